"""Holds a studio's files in a folder of its own, up to a number of bytes, until the studio ends."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "gradstyle-studio-"


class DiskFull(OSError):
    """Says that there is no room for a file."""


class Disk:
    """A new folder under the system's for temporary files, with room for `most` bytes.

    A lock beside it says that its studio runs. The system frees it with the process, so that what a killed one left
    is known by it, and removed when the next one starts.
    """

    def __init__(self, most: int) -> None:
        sweep_dead()
        self.most = most
        self.folder, self._running = _claimed()
        self.files = self.folder / "files"  # what Gradio serves from
        self.visitors = self.folder / "visitors"
        self.files.mkdir(mode=0o700)
        self._promised = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes of all files: uploads, opened photos, results, and what is being written."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
        return total

    def take(self, size: int) -> None:
        """Reserves bytes for a file that is about to be written."""
        with self._lock:
            if self.used + self._promised + size > self.most:
                raise DiskFull("the studio's disk is full: try again in an hour")
            self._promised += size

    def give_back(self, size: int) -> None:
        """Releases the reserved bytes: the file is written by now, or never will be."""
        with self._lock:
            self._promised -= size

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def place(self) -> Path:
        """A folder for a file that is given out, of a name that nobody can guess."""
        place = self.files / secrets.token_hex(20)
        place.mkdir()
        return place

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._running.release()
        Path(self._running.lock_file).unlink(missing_ok=True)


def sweep_dead() -> None:
    """Remove the folders of this user's studios that run no more."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*.lock"):
        with suppress(OSError, Timeout):
            if path.is_symlink() or path.stat().st_uid != getattr(os, "getuid", lambda: 0)():
                continue
            with FileLock(path, timeout=0, thread_local=False):
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink(missing_ok=True)


def _claimed() -> tuple[Path, FileLock]:
    """Locks a new folder before it exists, so that no other studio takes it for abandoned."""
    while True:
        folder = Path(tempfile.gettempdir(), PREFIX + secrets.token_hex(8))
        lock = FileLock(f"{folder}.lock", timeout=0, thread_local=False)
        with suppress(Timeout):
            lock.acquire()
            folder.mkdir(mode=0o700)
            return folder, lock
