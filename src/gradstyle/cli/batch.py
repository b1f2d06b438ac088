"""Many photos edited alike: what is found, where each goes, what was done; a stopped batch goes on where it was."""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..files import file_sha256, locked
from .app import writable

REPORT = "report.jsonl"
LOCK, PARTIAL = ".gradstyle-lock", ".gradstyle-partial"  # in the folder while a batch runs
PICTURES = tuple(f".{kind}" for kind in (
    "jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "avif", "heic", "heif", "hif", "tif", "tiff", "bmp",
    "gif", "ppm", "pgm", "jp2", "tga",
))  # fmt: skip
Status = Literal["begun", "edited", "failed", "left", "done before"]


@dataclass(frozen=True)
class Task:
    """A photo, and the place of its edited copy, which no other task has."""

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
    source: str = ""  # SHA-256 of the photo's file
    sha256: str = ""  # of the picture that was written
    how: Mapping[str, Any] = field(default_factory=dict)  # all that the result depends on beside the photo


Work = Callable[[Path, Path], tuple[str, ...]]  # writes a photo's picture to a place, and gives notes on it


def is_batch(arguments: Sequence[Path]) -> bool:
    """Whether arguments may mean more than one photo."""
    return len(arguments) != 1 or arguments[0].is_dir() or _is_pattern(arguments[0])


def found(
    arguments: Sequence[Path], out: Path, ending: Callable[[Path], str] = lambda photo: ""
) -> tuple[list[Task], list[Line]]:
    """Photos that are meant, in order, and files in folders that are none by name. What is in `out` is not meant.

    `ending` gives what a photo's name lacks to be that of its edited copy: another kind of file, or nothing.
    """
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
    return _apart(tasks.values(), ending), left


def run(
    tasks: Sequence[Task],
    work: Work,
    out: Path,
    how: Mapping[str, Any],
    jobs: int = 1,
    force: bool = False,
    tell: Callable[[Line], None] = lambda line: None,
) -> list[Line]:
    """Do the work on every task and report each.

    A task is done if the report in `out` says that with the same settings, of a photo of the same digest, a picture
    was made of the very digest that its place holds now. One photo's failure costs no other photo anything. A report
    names a picture's digest before the picture takes its place: whenever a batch is killed, no picture is unknown.
    """

    def busy() -> NoReturn:
        raise ValueError(f"another batch writes to {out}: wait until it is done, or give another --out")

    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK, busy), _emptied(out / PARTIAL) as partials, _opened(out / REPORT) as (before, write):
        how, numbers = json.loads(json.dumps(how)), count()
        made = {(line.source, line.sha256): line for line in before if line.how == how and line.sha256}
        places = {(line.source, line.out) for line in made.values()}
        lines: list[Line] = []

        def one(task: Task) -> Line:
            start, photo, source, place = time.perf_counter(), str(task.photo), "", task.target
            try:
                source = file_sha256(task.photo) if task.photo.is_file() else ""
                there = file_sha256(place) if place.is_file() else ""
                if there and (old := made.get((source, there))) is not None:
                    return Line(photo, "done before", str(place), "", old.notes, 0.0, source, there, how)
                if not place.is_file() or place.stat().st_size:  # an empty file is nobody's picture
                    _check_place(place, force, known=(source, str(place)) in places)
                partial = partials / f"{next(numbers)}{place.suffix}"
                notes = work(task.photo, partial)
                digest = file_sha256(partial)
                write(Line(photo, "begun", str(place), source=source, sha256=digest, how=how))
                place.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(place)
            except Exception as error:  # nothing that one photo does may end the batch
                why = str(error).removeprefix(f"{photo}: ") or type(error).__name__
                return Line(photo, "failed", why=" ".join(why.split()), source=source, how=how)
            return Line(photo, "edited", str(place), "", notes, time.perf_counter() - start, source, digest, how)

        with _stopped_as_by_hand(), ThreadPoolExecutor(jobs) as pool:
            for line in _as_done(pool, one, tasks, 2 * jobs):
                write(line)
                lines.append(line)
                tell(line)
    return lines


def _check_place(place: Path, force: bool, known: bool) -> None:
    if place.is_file() and known and not force:
        raise ValueError(
            f"{place} is no longer what was written: give another --out, or --force to overwrite what was changed"
        )
    if writable(place, force).is_dir():
        raise ValueError(f"{place} is a folder; give another --out")


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A folder for what is not yet whole, without what a killed batch left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[Line], Callable[[Line], None]]]:
    """A report: the lines it has, and what adds one to them."""
    before, writing = list(read_report(path)), threading.Lock()
    cut = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")  # its last line, when a batch was killed
    with path.open("a", encoding="utf-8", errors="surrogateescape") as report:  # file names may be of any bytes
        report.write("\n" * cut)

        def write(line: Line) -> None:
            with writing:
                report.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
                report.flush()

        yield before, write


@contextmanager
def _stopped_as_by_hand() -> Iterator[None]:
    """Ends what SIGTERM and SIGHUP would kill as Ctrl-C does, unless they are ignored (nohup) or answered already."""
    named = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    main = threading.current_thread() is threading.main_thread()  # no other may set them
    ours = [each for each in named if each is not None and main and signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


def read_report(path: Path) -> Iterator[Line]:
    """The lines of a report that can be read; the last of a photo counts. A stopped batch may have cut one off."""
    if not path.is_file():
        return
    for text in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        try:
            values = json.loads(text)
            line = Line(**{**values, "notes": tuple(values["notes"])})
        except (ValueError, TypeError, KeyError):
            continue
        if all(isinstance(value, str) for value in (line.photo, line.out, line.source, line.sha256)):
            yield line


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


def _apart(tasks: Iterable[Task], ending: Callable[[Path], str]) -> list[Task]:
    """Photos of one name from several places go to several places, on a disk that takes `A.png` for `a.png` too."""
    taken: set[str] = set()
    apart = []
    for task in tasks:
        whole = task.target.with_name(task.target.name + ending(task.photo))
        target, number = whole, 1
        while (folded := unicodedata.normalize("NFC", str(target)).casefold()) in taken:
            number += 1
            target = whole.with_name(f"{whole.stem}-{number}{whole.suffix}")
        taken.add(folded)
        apart.append(Task(task.photo, target))
    return apart


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _is_pattern(path: Path) -> bool:
    return not path.exists() and any(c in os.fspath(path) for c in "*?[")
