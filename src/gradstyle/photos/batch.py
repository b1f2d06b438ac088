"""Edits many photos alike: finds them, gives each a target, reports what was done, and resumes a stopped batch."""

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
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, NoReturn

from PIL import Image

from ..files import file_sha256, locked
from .photo import suffix_for

REPORT = "report.jsonl"
LOCK, PARTIAL = ".gradstyle-lock", ".gradstyle-partial"  # in the folder while a batch runs
PICTURES = tuple(f".{kind}" for kind in (
    "jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "avif", "heic", "heif", "hif", "tif", "tiff", "bmp",
    "gif", "ppm", "pgm", "jp2", "tga",
))  # fmt: skip
Status = Literal["begun", "edited", "failed", "left", "done before"]


@dataclass(frozen=True)
class Task:
    """A photo and the target of its edited copy, which no other task has."""

    photo: Path
    target: Path


@dataclass(frozen=True)
class Line:
    """One line of the report: what became of a photo."""

    photo: str
    status: Status
    out: str = ""
    why: str = ""  # the reason, if it failed or was left
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    source: str = ""  # SHA-256 of the photo's file
    sha256: str = ""  # of the picture that was written
    how: Mapping[str, Any] = field(default_factory=dict)  # all settings that the result depends on


Work = Callable[[Path, Path], tuple[str, ...]]  # edits a photo into a target file, and returns notes


def is_batch(arguments: Sequence[Path]) -> bool:
    """Tells whether the arguments may mean more than one photo."""
    return len(arguments) != 1 or arguments[0].is_dir() or _is_pattern(arguments[0])


def find_photos(
    arguments: Sequence[Path], out: Path, missing_suffix: Callable[[Path], str] = lambda photo: ""
) -> tuple[list[Task], list[Line]]:
    """Lists the photos that the arguments name, and the other files in their folders; what lies in `out` is skipped.

    `missing_suffix` gives what a photo's name lacks to name its edited copy, if that is another kind of file.
    """
    tasks: dict[Path, Task] = {}
    skipped: list[Line] = []

    def add(path: Path, target: Path) -> None:
        tasks.setdefault(path.resolve(), Task(path, target))

    for argument in arguments:
        if argument.is_dir():
            for path in sorted(argument.rglob("*")):
                place = path.relative_to(argument)
                hidden = any(part.startswith(".") for part in place.parts)
                if hidden or _within(path, out) or not (path.is_file() or path.is_symlink()):
                    continue
                if path.suffix.lower() in PICTURES:
                    add(path, out / place)
                else:
                    why = "its name is no picture's; name it to have it read anyway"
                    skipped.append(Line(str(path), "left", why=why))
            continue
        paths = [argument]
        if _is_pattern(argument):
            paths = [Path(name) for name in sorted(glob.glob(str(argument), recursive=True))]  # noqa: PTH207
            if not paths:
                raise ValueError(f"no file is named like {str(argument)!r}")
        for path in paths:
            if not path.is_dir() and not _within(path, out):
                add(path, out / path.name)
    if not tasks:
        raise ValueError(f"no photo in {', '.join(map(str, arguments))}")
    return _with_distinct_targets(tasks.values(), missing_suffix), skipped


def same_kind(path: Path, suffix: str) -> bool:
    """Tells whether a path's own suffix means the same kind of file."""
    kinds = Image.registered_extensions()
    return kinds.get(path.suffix.lower()) == kinds[suffix]


def missing_suffix(photo: Path) -> str:
    """Returns what a photo's name lacks to name its edited copy; nothing, if it names that kind of file already."""
    suffix = suffix_for(photo)
    return "" if suffix is None or same_kind(photo, suffix) else suffix


def run(
    tasks: Sequence[Task],
    work: Work,
    out: Path,
    how: Mapping[str, Any],
    jobs: int = 1,
    force: bool = False,
    tell: Callable[[Line], None] = lambda line: None,
) -> list[Line]:
    """Does the work on every task and reports each.

    A task is done already if the report in `out` has a line with the same settings, the photo's digest and the digest
    of the picture that stands at the target now. A failure costs no other photo anything. The report names a picture's
    digest before the picture is moved to its target, so a batch may be killed at any time.
    """

    def busy() -> NoReturn:
        raise ValueError(f"another batch writes to {out}: wait until it is done, or give another --out")

    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK, busy), _empty_folder(out / PARTIAL) as partials, _report(out / REPORT) as (earlier, write):
        how, numbers = json.loads(json.dumps(how)), count()
        made = {(line.source, line.sha256): line for line in earlier if line.how == how and line.sha256}
        targets = {(line.source, line.out) for line in made.values()}
        lines: list[Line] = []

        def process(task: Task) -> Line:
            start, target = time.perf_counter(), task.target
            line = Line(str(task.photo), "failed", how=how)
            try:
                line = replace(line, source=file_sha256(task.photo) if task.photo.is_file() else "")
                old_digest = file_sha256(target) if target.is_file() else ""
                if old_digest and (old := made.get((line.source, old_digest))) is not None:
                    return replace(line, status="done before", out=str(target), notes=old.notes, sha256=old_digest)
                _check_target(target, force, known=(line.source, str(target)) in targets)
                partial = partials / f"{next(numbers)}{target.suffix}"
                notes = work(task.photo, partial)
                done = replace(line, status="begun", out=str(target), sha256=file_sha256(partial))
                write(done)
                target.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(target)
            except Exception as error:  # nothing that one photo does may end the batch
                why = str(error).removeprefix(f"{task.photo}: ") or type(error).__name__
                return replace(line, why=" ".join(why.split()))
            return replace(done, status="edited", notes=notes, seconds=time.perf_counter() - start)

        with _signals_as_interrupts(), ThreadPoolExecutor(jobs) as pool:
            for line in _as_done(pool, process, tasks, 2 * jobs):
                write(line)
                lines.append(line)
                tell(line)
    return lines


def _check_target(target: Path, force: bool, known: bool) -> None:
    if target.is_dir():
        raise ValueError(f"{target} is a folder; give another --out")
    if force or not target.exists() or not target.stat().st_size:  # an empty file is nobody's picture
        return
    if known:
        raise ValueError(
            f"{target} is no longer what was written: give another --out, or --force to overwrite what was changed"
        )
    raise ValueError(f"{target} exists; give another --out, or --force to overwrite it")


@contextmanager
def _empty_folder(folder: Path) -> Iterator[Path]:
    """Makes an empty folder for unfinished pictures, and removes it in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _report(path: Path) -> Iterator[tuple[list[Line], Callable[[Line], None]]]:
    """Opens a report: the lines it has, and a function that adds one."""
    earlier, writing = list(read_report(path)), threading.Lock()
    cut_off = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")  # a killed batch
    with path.open("a", encoding="utf-8", errors="surrogateescape") as report:  # file names may be of any bytes
        report.write("\n" * cut_off)

        def write(line: Line) -> None:
            with writing:
                report.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
                report.flush()

        yield earlier, write


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP stop the batch as Ctrl-C does, unless they are ignored (nohup) or handled already."""
    named = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    main = threading.current_thread() is threading.main_thread()  # only that one may set handlers
    signals = [each for each in named if each is not None and main and signal.getsignal(each) is signal.SIG_DFL]
    for each in signals:
        signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)


def read_report(path: Path) -> Iterator[Line]:
    """Yields a report's readable lines; a photo's last one counts. A killed batch may have cut one off."""
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
    pool: ThreadPoolExecutor, process: Callable[[Task], Line], tasks: Iterable[Task], ahead: int
) -> Iterator[Line]:
    """Yields results as they come; only a few tasks are submitted ahead, so that a batch can be stopped."""
    remaining, waiting = iter(tasks), set[Future[Line]]()
    try:
        while True:
            while len(waiting) < ahead and (task := next(remaining, None)) is not None:
                waiting.add(pool.submit(process, task))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    finally:
        for future in waiting:
            future.cancel()


def _with_distinct_targets(tasks: Iterable[Task], missing_suffix: Callable[[Path], str]) -> list[Task]:
    """Numbers targets of one name, also for a disk that takes `A.png` for `a.png`."""
    taken: set[str] = set()
    distinct = []
    for task in tasks:
        first = task.target.with_name(task.target.name + missing_suffix(task.photo))
        target, number = first, 1
        while (folded := unicodedata.normalize("NFC", str(target)).casefold()) in taken:
            number += 1
            target = first.with_name(f"{first.stem}-{number}{first.suffix}")
        taken.add(folded)
        distinct.append(Task(task.photo, target))
    return distinct


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _is_pattern(path: Path) -> bool:
    return not path.exists() and any(c in os.fspath(path) for c in "*?[")
