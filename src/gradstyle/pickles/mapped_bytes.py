"""A range of a file's bytes, mapped and not read."""

from __future__ import annotations

import mmap
import weakref
from dataclasses import dataclass
from pathlib import Path

from .errors import Refused

RELEASE_FROM = 1 << 16  # smaller ranges are not worth giving back


@dataclass(frozen=True, eq=False)
class Span:
    """Bytes start … stop of a buffer; a part of it is one more span, and nothing is copied."""

    buffer: memoryview
    start: int
    stop: int
    mapping: mmap.mmap | None = None

    @classmethod
    def of_file(cls, path: Path) -> Span:
        with path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # writing never reaches the file
        return cls(memoryview(mapping), 0, len(mapping), mapping)

    @classmethod
    def of_bytes(cls, data: bytes | bytearray) -> Span:
        data = bytearray(data) if isinstance(data, bytes) else data  # tensors want memory they may write
        return cls(memoryview(data), 0, len(data))

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, length: int) -> Span:
        self._check(start, length)
        return Span(self.buffer, self.start + start, self.start + start + length, self.mapping)

    def read(self, start: int, length: int) -> bytes:
        self._check(start, length)
        return bytes(self.buffer[self.start + start : self.start + start + length])

    def number(self, start: int, width: int) -> int:
        return int.from_bytes(self.read(start, width), "little")

    def view(self) -> memoryview:
        """The bytes themselves. When nobody holds them any more their memory is given back to the system,
        so that a checkpoint moved elsewhere tensor by tensor is not held twice."""
        view = self.buffer[self.start : self.stop]
        if self.mapping is not None and len(self) >= RELEASE_FROM and hasattr(self.mapping, "madvise"):
            first = -(-self.start // mmap.PAGESIZE) * mmap.PAGESIZE
            length = self.stop // mmap.PAGESIZE * mmap.PAGESIZE - first
            release = weakref.finalize(view, self.mapping.madvise, mmap.MADV_DONTNEED, first, length)
            release.atexit = False
        return view

    def _check(self, start: int, length: int) -> None:
        if start < 0 or length < 0 or start + length > len(self):
            raise Refused(f"it is cut short or damaged: {length:,} bytes are missing at byte {self.start + start:,}")
