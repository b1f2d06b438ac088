"""Files that are written as a whole or not at all, by one process at a time, under names that every system takes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NO_LOCKS_HERE = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK}
DEVICES = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
LONGEST_NAME = 200  # bytes; file systems take 255, of which endings and the names of partial files have the rest


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it takes the place of `path` if the block ends well, and is removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")  # several may write one file
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; until all of it is there, the file stays what it was."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def cache_folder() -> Path:
    """The folder for downloads and what is made of them: GRADSTYLE_HOME, else the system's place for caches."""
    if chosen := os.environ.get("GRADSTYLE_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gradstyle"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gradstyle"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradstyle"


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_name(name: str, what: str) -> None:
    """Refuse a name that leads elsewhere, or that some system reads as something else: `a\\b`, `x:y`, `CON.png`."""
    if not name or name.startswith(".") or not name.isprintable() or set(name) & set('/\\:*?"<>|'):
        raise ValueError(f'{what} is a name without / \\ : * ? " < > | and no dot before it, got {name[:80]!r}')
    if name != name.strip() or name.endswith("."):
        raise ValueError(f"{what} begins with no space and ends with no space or dot, got {name[:80]!r}")
    if DEVICES.fullmatch(name):
        raise ValueError(f"{what} is not {name[:80]!r}: Windows takes that for a device; choose another name")
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ValueError(f"{what} is at most {LONGEST_NAME} bytes long, got {len(os.fsencode(name))}: {name[:80]!r}…")


@contextmanager
def locked(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock file; `wait` is called as long as another process does.

    The system drops the lock of a process that died, so none is ever stale. By hand, as filelock leaves its file
    behind and has nothing to call while it waits.
    """
    while (file := _acquire(path)) is None:
        wait()
    try:
        yield
    finally:
        with suppress(OSError):  # an open file stays on Windows: empty, and no hindrance
            path.unlink()
        file.close()


def _acquire(path: Path) -> BinaryIO | None:
    """The lock's file, held; None while another process holds it."""
    file = path.open("ab")
    with suppress(FileNotFoundError):
        # The one who held it may have removed it meanwhile: then this lock is on a file that nobody else sees.
        if _lock(file) and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
    file.close()
    return None


def _lock(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in NO_LOCKS_HERE  # some network folders have none: go on as without
    return True
