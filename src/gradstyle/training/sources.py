"""Where pictures lie: a folder, a zip, or WebDataset shards (plain tar files). Nothing is ever unpacked."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

SUFFIXES = frozenset(
    [".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"]
)
LARGEST_FILE = 1 << 28  # bytes of one compressed picture; what is larger is not a photo
# Of zips, whose members may be far larger than what they take there:
SMALL_FILE, SMALL_ZIP = 16 << 20, 1 << 30  # bytes unpacked, below which no ratio is asked: flat drawings shrink a lot
MOST_TIMES = 100  # what unpacks to more than this times itself is no picture, and no archive of pictures
MOST_MEMBERS = 20_000_000
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the methods whose output can be limited while it is read


class Source(ABC):
    """Named files, sorted by name. `names` are the pictures; other files can be read by name as text."""

    path: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def read(self, index: int) -> bytes:
        """One picture's file, whose size is looked at before."""
        if self.sizes[index] > LARGEST_FILE:
            raise ValueError(f"{self.sizes[index]} bytes are more than a photo has")
        return self.bytes_of(self.names[index])

    @abstractmethod
    def bytes_of(self, name: str) -> bytes: ...

    @abstractmethod
    def text(self, name: str) -> str | None:
        """A text file that lies among the pictures; None if there is none of that name."""

    @staticmethod
    def open(path: str | Path) -> Source:
        path = Path(path)
        if path.is_dir():
            shards = sorted(path.glob("*.tar"))
            loose = any(is_picture(file.name) for file in path.iterdir())
            return Shards(path, shards) if shards and not loose else Folder(path)
        if not path.exists():
            raise FileNotFoundError(f"no data at {path}: give a folder, a zip, a tar or a folder of tars")
        if zipfile.is_zipfile(path):
            return Zip(path)
        if path.name.endswith(".tar"):
            return Shards(path, [path])
        raise ValueError(f"{path} is neither a folder nor a zip nor a plain .tar: unpack it first")

    def fingerprint(self, indices: Iterable[int], rule: str) -> str:
        """Of names, sizes, the bytes of 16 of the files, and the rule by which they become squares.

        It knows the pictures, not their container: the same tree as a folder and as a zip are equal.
        """
        chosen = list(indices)
        digest = hashlib.sha256(rule.encode())
        for index in chosen:
            digest.update(f"\0{self.names[index]}\0{self.sizes[index]}".encode("utf-8", "surrogateescape"))
        for index in chosen[:: max(1, len(chosen) // 16)][:16]:
            try:
                digest.update(self.read(index))
            except Exception:  # it will be named when all are read
                digest.update(b"unreadable")
        return digest.hexdigest()

    def _keep(self, files: Iterable[tuple[str, int]]) -> None:
        pictures = sorted((name, size) for name, size in files if is_picture(name))
        self.names, self.sizes = tuple(n for n, _ in pictures), tuple(s for _, s in pictures)


def is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in SUFFIXES and not hidden


class Folder(Source):
    def __init__(self, path: Path) -> None:
        self.path = path
        files = (file for file in path.rglob("*") if is_picture(file.name) and file.is_file())
        self._keep((file.relative_to(path).as_posix(), file.stat().st_size) for file in files)

    def bytes_of(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def text(self, name: str) -> str | None:
        file = self.path / name
        return file.read_text("utf-8-sig") if file.is_file() else None


class Zip(Source):
    """Nothing is unpacked before the sizes that the archive declares have been looked at, and nothing beyond them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)  # reading from several threads at once is allowed
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as a zip ({error})") from error
        members = self.zip.infolist()
        here, whole = path.stat().st_size, sum(member.file_size for member in members)
        if len(members) > MOST_MEMBERS:
            raise ValueError(f"{path} has {len(members):,} members, more than {MOST_MEMBERS:,}: divide it")
        if whole > max(SMALL_ZIP, MOST_TIMES * here) or sum(member.compress_size for member in members) > here:
            raise ValueError(
                f"{path} has {here:,} bytes and unpacks to {whole:,}: it is a zip bomb, or no archive of pictures"
            )
        self.members = {member.filename: member for member in members if not member.is_dir()}
        self._keep((name, member.file_size) for name, member in self.members.items())

    def bytes_of(self, name: str) -> bytes:
        member = self.members[name]
        size, packed = member.file_size, member.compress_size
        if member.compress_type not in PLAIN:
            raise ValueError("it is packed by another method than deflate: pack it anew")
        if size > LARGEST_FILE or size > max(SMALL_FILE, MOST_TIMES * packed):
            raise ValueError(f"{packed:,} bytes that unpack to {size:,} are no photo")
        with self.zip.open(member) as file:
            data = file.read(size)  # no more, whatever there is; without a limit all of it would be unpacked
            if len(data) != size or file.read(1):
                raise ValueError(f"it does not unpack to the {size:,} bytes that it declares")
        return data

    def text(self, name: str) -> str | None:
        return self.bytes_of(name).decode("utf-8-sig") if name in self.members else None


class Shards(Source):
    """Samples are the files that share a name up to its first dot; a sample's picture is the one with the
    shortest extension, so that `0001.jpg` is taken and `0001.mask.png` beside it is not."""

    def __init__(self, path: Path, shards: list[Path]) -> None:
        self.path = path
        self.members: dict[str, tuple[Path, int, int]] = {}
        for shard in shards:
            try:
                with tarfile.open(shard, "r:") as tar:
                    for member in tar:
                        if member.isfile() and not member.issparse():
                            name = f"{shard.name}/{member.name.removeprefix('./')}"
                            self.members[name] = (shard, member.offset_data, member.size)
            except tarfile.TarError as error:
                raise ValueError(
                    f"{shard} cannot be read as a plain tar ({error}): unpack compressed shards"
                ) from error
        samples: dict[str, str] = {}
        for name in filter(is_picture, self.members):
            folder, _, file = name.rpartition("/")
            sample = f"{folder}/{file.partition('.')[0]}"
            samples[sample] = min(name, samples.get(sample, name), key=lambda n: (len(n), n))
        self._keep((name, self.members[name][2]) for name in samples.values())

    def text(self, name: str) -> str | None:
        for member in self.members:
            if member.partition("/")[2] == name:
                return self.bytes_of(member).decode("utf-8-sig")
        beside = self.path / name
        return beside.read_text("utf-8-sig") if self.path.is_dir() and beside.is_file() else None

    def bytes_of(self, name: str) -> bytes:
        shard, offset, size = self.members[name]
        with shard.open("rb") as file:
            file.seek(offset)
            return file.read(size)
