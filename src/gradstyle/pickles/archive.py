"""A strict reader of zip files (torch's since 1.6, NumPy's .npz): what is stored is mapped, what is
compressed is bounded before it is unpacked, and nothing is ever written to disk."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from .errors import Refused
from .mapped_bytes import Span

STORED, DEFLATED = 0, 8
MAX_ENTRIES = 100_000
MAX_INFLATED = 512 << 20  # of all compressed entries together
MAX_RATIO, RATIO_MATTERS_FROM = 100, 16 << 20
INFLATE_STEP = 1 << 16
UNKNOWN_16, UNKNOWN_32 = 0xFFFF, 0xFFFFFFFF  # "see the ZIP64 field"


@dataclass(frozen=True)
class Entry:
    name: str
    method: int
    header: int  # where its local header starts
    packed: int
    size: int


class Archive:
    """The entries of a zip file by name."""

    def __init__(self, span: Span) -> None:
        self.span = span
        directory, count, end = self._directory()
        self.entries: dict[str, Entry] = {}
        at = 0
        for _ in range(count):
            entry, at = self._entry(directory, at)
            if entry.name in self.entries:
                raise Refused(f"the archive holds {entry.name!r} twice")
            self.entries[entry.name] = entry
        if at != len(directory):
            raise Refused("the archive's directory is damaged: it holds more than it counts")
        inflated = sum(entry.size for entry in self.entries.values() if entry.method == DEFLATED)
        if inflated > MAX_INFLATED:
            raise Refused(f"the archive would unpack to {inflated:,} bytes, more than {MAX_INFLATED:,}")
        self.data = {entry.name: self._data(entry) for entry in self.entries.values()}
        self._refuse_overlaps(end)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def read(self, name: str) -> Span:
        if name not in self.entries:
            raise Refused(f"the archive holds no {name!r}")
        entry = self.entries[name]
        return self.data[name] if entry.method == STORED else self._inflate(entry)

    def _directory(self) -> tuple[Span, int, int]:
        """The central directory, its number of entries, and where it starts."""
        tail = min(len(self.span), 22 + 0xFFFF)
        end = self.span.read(len(self.span) - tail, tail).rfind(b"PK\x05\x06") + len(self.span) - tail
        if end < len(self.span) - tail or end + 22 > len(self.span):
            raise Refused("the archive has no directory at its end: the file is cut short")
        count, size, start = (self.span.number(end + at, width) for at, width in ((10, 2), (12, 4), (16, 4)))
        if end >= 20 and self.span.read(end - 20, 4) == b"PK\x06\x07":
            end = self.span.number(end - 20 + 8, 8)
            if self.span.read(end, 4) != b"PK\x06\x06":
                raise Refused("the archive's ZIP64 directory is damaged")
            count, size, start = (self.span.number(end + at, 8) for at in (32, 40, 48))
        if count > MAX_ENTRIES:
            raise Refused(f"the archive counts {count:,} entries, more than {MAX_ENTRIES:,}")
        if start + size != end:
            raise Refused("the archive's directory does not end where it should: the file is cut short or damaged")
        return self.span.part(start, size), count, start

    def _entry(self, directory: Span, at: int) -> tuple[Entry, int]:
        if directory.read(at, 4) != b"PK\x01\x02":
            raise Refused("the archive's directory is damaged")
        flags, method = directory.number(at + 8, 2), directory.number(at + 10, 2)
        packed, size = directory.number(at + 20, 4), directory.number(at + 24, 4)
        name_length, extra_length, comment_length = (directory.number(at + i, 2) for i in (28, 30, 32))
        header = directory.number(at + 42, 4)
        name = _checked_name(directory.read(at + 46, name_length))
        extra = directory.part(at + 46 + name_length, extra_length)
        if UNKNOWN_32 in (size, packed, header):
            size, packed, header = _zip64(extra, size, packed, header)
        if flags & 1:
            raise Refused(f"the archive's entry {name!r} is encrypted")
        if method not in (STORED, DEFLATED):
            raise Refused(f"the archive's entry {name!r} is packed with method {method}, not stored or deflated")
        if method == STORED and packed != size:
            raise Refused(f"the archive's entry {name!r} says {size:,} bytes but stores {packed:,}")
        if size > RATIO_MATTERS_FROM and size > packed * MAX_RATIO:
            raise Refused(f"the archive's entry {name!r} would unpack {packed:,} bytes to {size:,}")
        return Entry(name, method, header, packed, size), at + 46 + name_length + extra_length + comment_length

    def _data(self, entry: Entry) -> Span:
        at = entry.header
        if self.span.read(at, 4) != b"PK\x03\x04":
            raise Refused(f"the archive's entry {entry.name!r} does not start where the directory says")
        name_length, extra_length = self.span.number(at + 26, 2), self.span.number(at + 28, 2)
        if self.span.read(at + 30, name_length) != entry.name.encode():
            raise Refused(f"the archive's entry {entry.name!r} is called something else where it lies")
        return self.span.part(at + 30 + name_length + extra_length, entry.packed)

    def _refuse_overlaps(self, directory: int) -> None:
        entries = sorted(self.entries.values(), key=lambda entry: entry.header)
        starts = [entry.header for entry in entries[1:]] + [directory]
        for entry, following in zip(entries, starts):
            if self.data[entry.name].stop - self.span.start > following:
                raise Refused(f"the archive's entry {entry.name!r} overlaps what follows it")

    def _inflate(self, entry: Entry) -> Span:
        out, done = bytearray(entry.size), 0
        inflater, packed = zlib.decompressobj(-zlib.MAX_WBITS), self.data[entry.name].view()
        try:
            for at in range(0, entry.packed, INFLATE_STEP):
                piece = inflater.decompress(packed[at : at + INFLATE_STEP], entry.size - done + 1)
                out[done : done + len(piece)] = piece
                done += len(piece)
                if done > entry.size:
                    break
        except zlib.error as error:
            raise Refused(f"the archive's entry {entry.name!r} is damaged ({error})") from error
        if done != entry.size or not inflater.eof:
            raise Refused(f"the archive's entry {entry.name!r} does not unpack to the {entry.size:,} bytes it says")
        return Span.of_bytes(out)


def _checked_name(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise Refused(f"the archive has an entry with an unreadable name {raw[:80]!r}") from None
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise Refused(f"the archive's entry {name[:80]!r} points outside the archive")
    return name


def _zip64(extra: Span, *numbers: int) -> list[int]:
    """Size, packed size and offset, each from the extra field where it did not fit into 32 bits."""
    at = 0
    while at < len(extra):
        kind, length = extra.number(at, 2), extra.number(at + 2, 2)
        if kind == 1:
            field, taken, found = extra.part(at + 4, length), 0, []
            for number in numbers:
                found.append(field.number(taken, 8) if number == UNKNOWN_32 else number)
                taken += 8 * (number == UNKNOWN_32)
            return found
        at += 4 + length
    raise Refused("the archive's directory is damaged: a ZIP64 field is missing")
