"""Results in one archive, cut into files no larger than asked: `cat results.tar.part-* | tar x` opens it too."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from ..files import file_sha256

LIST, ARCHIVE = "files.json", "results.tar"  # the pieces by name, with digests; what they join to
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str) -> int:
    """Bytes from "15MB", "4 MiB" or "20000"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b?)", text.strip(), re.IGNORECASE)
    unit = found[2].upper() if found else ""
    if found is None or unit not in UNITS or float(found[1]) * UNITS[unit] < 1:
        raise ValueError(f"a size is a number with B, KB, MB, GB, MiB or GiB, got {text!r}")
    return int(float(found[1]) * UNITS[unit])


# ---- out


class _Cutter(io.RawIOBase):
    """Writes one stream into files of `largest` bytes."""

    def __init__(self, folder: Path, largest: int) -> None:
        self.folder, self.largest, self.room = folder, largest, 0
        self.made: list[tuple[Path, Any]] = []  # each piece, and the digest of what is in it
        self.file: io.BufferedWriter | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        while len(rest):
            if not self.room:
                self._next()
            assert self.file is not None
            now, rest = rest[: self.room], rest[self.room :]
            self.file.write(now)
            self.made[-1][1].update(now)
            self.room -= len(now)
        return len(data)

    def _next(self) -> None:
        self.close_file()
        path = self.folder / f"{ARCHIVE}.part-{len(self.made):03d}"
        self.file, self.room = path.open("wb"), self.largest
        self.made.append((path, hashlib.sha256()))

    def close_file(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def pack(root: Path, out: Path, largest: int) -> list[Path]:
    """All files below `root` as an archive in pieces. What an earlier call left in `out` goes."""
    if out.exists() and any(out.iterdir()) and not (out / LIST).exists():
        raise ValueError(f"{out} holds other files: give another folder")
    partial = out.with_name(f".{out.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    cutter = _Cutter(partial, largest)
    try:
        with tarfile.open(fileobj=cutter, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for file in sorted(path for path in root.rglob("*") if path.is_file()):
                entry = tarfile.TarInfo(file.relative_to(root).as_posix())
                entry.size = file.stat().st_size
                with file.open("rb") as content:
                    tar.addfile(entry, content)
    finally:
        cutter.close_file()
    listed = [{"name": path.name, "sha256": digest.hexdigest()} for path, digest in cutter.made]
    (partial / LIST).write_text(json.dumps({"pieces": listed}, indent=2) + "\n")
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return [out / path.name for path in (*(path for path, _ in cutter.made), partial / LIST)]


# ---- in again


class _Joined(io.RawIOBase):
    """Reads files as one stream."""

    def __init__(self, paths: list[Path]) -> None:
        self.waiting, self.file = list(paths), io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (count := self.file.readinto(buffer)) and self.waiting:
            self.file = io.BytesIO(self.waiting.pop(0).read_bytes())
        return count


def join(folder: Path, out: Path) -> list[Path]:
    """Unpack the archive, after each of its pieces has been checked against its digest."""
    pieces = _checked(folder)
    made: list[Path] = []
    stream: Any = io.BufferedReader(_Joined(pieces))
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for entry in tar:
            path = PurePosixPath(entry.name)
            if not entry.isfile() or path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{folder} holds {entry.name!r}, which is no file of a training's results")
            target = out / path
            if target.exists():
                raise ValueError(f"{target} exists: give another --out")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            try:
                content = tar.extractfile(entry)
                assert content is not None
                with partial.open("wb") as file:
                    shutil.copyfileobj(content, file)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            made.append(target)
    return made


def _checked(folder: Path) -> list[Path]:
    try:
        listed = json.loads((folder / LIST).read_text())["pieces"]
        named = [(str(each["name"]), each["sha256"]) for each in listed]
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no {LIST}: it was not made by `gradstyle train all`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / LIST} cannot be read ({error})") from error
    for name, digest in named:
        if Path(name).name != name:
            raise ValueError(f"{folder / LIST} names {name!r}, which lies elsewhere")
        if not (folder / name).is_file():
            raise ValueError(f"{folder} lacks {name}")
        if file_sha256(folder / name) != digest:
            raise ValueError(f"{folder / name} is damaged, it has not the digest that {LIST} gives: copy it again")
    return [folder / name for name, _ in named]
