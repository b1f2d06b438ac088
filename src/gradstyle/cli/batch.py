"""Many photos edited alike: what is found, where each goes, what was done; a stopped batch goes on where it was."""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Literal

REPORT = "report.jsonl"
PICTURES = tuple(f".{kind}" for kind in (
    "jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "avif", "heic", "heif", "hif", "tif", "tiff", "bmp",
    "gif", "ppm", "pgm", "jp2", "tga",
))  # fmt: skip
Status = Literal["begun", "edited", "failed", "left", "done before"]


@dataclass(frozen=True)
class Task:
    """A photo, and the place of its edited copy; another ending is added if it cannot be written as its own kind."""

    photo: Path
    target: Path


@dataclass(frozen=True)
class Line:
    """What became of a photo: a line of the report."""

    photo: str
    status: Status
    out: str = ""
    why: str = ""  # it failed, or was left
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    state: tuple[int, int] = (0, 0)  # of the photo's file: bytes, and when it was changed
    how: Mapping[str, Any] = field(default_factory=dict)  # all that the result depends on beside the photo

    @property
    def is_there(self) -> bool:
        """Whether the picture was written. One that was begun is written as a whole or not at all."""
        return self.status in ("begun", "edited", "done before") and Path(self.out).is_file()


# Writes a task's picture, and gives its path and notes. Just before it writes, it says where it will.
Work = Callable[[Task, Callable[[Path], None]], tuple[Path, tuple[str, ...]]]


def is_batch(arguments: Sequence[Path]) -> bool:
    """Whether arguments may mean more than one photo."""
    return len(arguments) != 1 or arguments[0].is_dir() or _is_pattern(arguments[0])


def found(arguments: Sequence[Path], out: Path) -> tuple[list[Task], list[Line]]:
    """Photos that are meant, in order, and files in folders that are none by name. What is in `out` is not meant."""
    tasks: dict[Path, Task] = {}
    left: list[Line] = []
    for argument in arguments:
        if argument.is_dir():
            for path in sorted(
                p for p in argument.rglob("*") if (p.is_file() or p.is_symlink()) and not _within(p, out)
            ):
                place = path.relative_to(argument)
                if any(part.startswith(".") for part in place.parts):
                    continue
                if path.suffix.lower() in PICTURES:
                    tasks.setdefault(path.resolve(), Task(path, out / place))
                else:
                    left.append(Line(str(path), "left", why="its name is no picture's; name it to have it read anyway"))
            continue
        matches = [Path(name) for name in sorted(glob.glob(str(argument), recursive=True))]  # noqa: PTH207
        if not matches and _is_pattern(argument):
            raise ValueError(f"no file is named like {str(argument)!r}")
        for path in [argument] if argument.exists() or not _is_pattern(argument) else matches:
            if not path.is_dir() and not _within(path, out):
                tasks.setdefault(path.resolve(), Task(path, out / path.name))
    if not tasks:
        raise ValueError(f"no photo in {', '.join(map(str, arguments))}")
    return _apart(tasks.values()), left


def run(
    tasks: Sequence[Task],
    work: Work,
    out: Path,
    how: Mapping[str, Any],
    jobs: int = 1,
    tell: Callable[[Line], None] = lambda line: None,
) -> list[Line]:
    """Do the work on every task and report each.

    What a report in `out` says was done with the same settings to the same file is not done again. One photo's failure
    costs no other photo anything.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = {line.photo: line for line in read_report(out / REPORT)}
    how = json.loads(json.dumps(how))
    lines: list[Line] = []
    with (out / REPORT).open("a", encoding="utf-8") as report:
        writing = Lock()

        def write(line: Line) -> None:
            with writing:
                report.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
                report.flush()

        def one(task: Task) -> Line:
            start, photo, state = time.perf_counter(), str(task.photo), (0, 0)
            try:
                known = task.photo.stat()
                state = known.st_size, known.st_mtime_ns
                old = before.get(photo)
                if old is not None and (old.how, old.state) == (how, state) and old.is_there:
                    return Line(photo, "done before", old.out, notes=old.notes, state=state, how=how)
                path, notes = work(task, lambda path: write(Line(photo, "begun", str(path), state=state, how=how)))
            except Exception as error:  # nothing that one photo does may end the batch
                why = str(error).removeprefix(f"{photo}: ") or type(error).__name__
                return Line(photo, "failed", why=" ".join(why.split()), state=state, how=how)
            return Line(photo, "edited", str(path), "", notes, time.perf_counter() - start, state, how)

        with ThreadPoolExecutor(jobs) as pool:
            for line in _as_done(pool, one, tasks, 2 * jobs):
                write(line)
                lines.append(line)
                tell(line)
    return lines


def read_report(path: Path) -> Iterator[Line]:
    """The lines of a report that can be read; the last of a photo counts. A stopped batch may have cut one off."""
    if not path.is_file():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(text)
            values["state"], values["notes"] = tuple(values["state"]), tuple(values["notes"])
            yield Line(**values)
        except (ValueError, TypeError, KeyError):
            continue


def _as_done(
    pool: ThreadPoolExecutor, one: Callable[[Task], Line], tasks: Iterable[Task], ahead: int
) -> Iterator[Line]:
    """Results as they come, with few tasks begun ahead, so that a batch can be stopped."""
    left, waiting = iter(tasks), set[Future[Line]]()
    try:
        while True:
            while len(waiting) < ahead and (task := next(left, None)) is not None:
                waiting.add(pool.submit(one, task))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    finally:
        for future in waiting:
            future.cancel()


def _apart(tasks: Iterable[Task]) -> list[Task]:
    """Photos of one name from several places go to several places."""
    taken: set[Path] = set()
    apart = []
    for task in tasks:
        target, count = task.target, 1
        while target in taken:
            count += 1
            target = task.target.with_name(f"{task.target.stem}-{count}{task.target.suffix}")
        taken.add(target)
        apart.append(Task(task.photo, target))
    return apart


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _is_pattern(path: Path) -> bool:
    return not path.exists() and any(c in os.fspath(path) for c in "*?[")
