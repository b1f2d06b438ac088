"""Builds a bundle from published files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..edits import Edit
from ..published import open_published
from .bundle import Bundle
from .download import unpack
from .manifest import BundleError, Domain

CHECKPOINTS = (".pt", ".pth", ".pkl", ".npy", ".npz", ".safetensors")
LARGEST_DIRECTORY = 1 << 20  # bytes
MOST_PACKED = 50  # weights hardly compress; what shrinks to less than a fiftieth is no checkpoint


def build(
    name: str, files: Sequence[Path], domain: Domain | None = None, licence: str = "", origin: str = ""
) -> tuple[Bundle, list[str]]:
    """Joins the parts of some files; later files replace parts of earlier ones. Also gives notes for the reader."""
    bundle = Bundle(name, domain, origin or ", ".join(file.name for file in files), licence)
    notes: list[str] = []
    edits: dict[str, Edit] = {}
    for file in files:
        checkpoint = unzipped(file)
        if checkpoint != file:
            notes.append(f"{file.name}: unpacked to {checkpoint}, which is not needed any more when this is done")
        published = open_published(checkpoint)
        notes.append(f"{checkpoint.name}: {published.what}")
        notes += published.notes
        if published.network is not None:
            raise BundleError(f"{file} is {published.what}: no part of a bundle, losses and metrics read it themselves")
        for part, (config, state) in published.parts.items():
            bundle.put_state(part, config, state)
        edits |= published.edits
    if "generator" not in bundle:
        raise BundleError(f"no generator in {', '.join(map(str, files))}: a bundle stands on one, give its file too")
    bundle.put_edits({key: replace(edit, generator=bundle.fingerprint) for key, edit in edits.items()})
    return bundle, notes


def unzipped(file: Path) -> Path:
    """Unpacks a zip that holds one checkpoint (StyleRes is published so); gives any other file as it is."""
    if not file.is_file() or not _small_directory(file):
        return file
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return file  # the reader of checkpoints says what is wrong with it
    if any(PurePosixPath(entry.filename).name == "data.pkl" for entry in entries):
        return file  # torch's own checkpoints are zips
    held = [e for e in entries if e.filename.endswith(CHECKPOINTS) and not e.filename.startswith("__MACOSX/")]
    if not held or all(entry.filename.endswith(".npy") for entry in entries):
        return file
    if len(held) > 1:
        raise BundleError(f"{file} holds {len(held)} checkpoints: unpack it, and import those that are wanted")
    (entry,) = held
    name = PurePosixPath(entry.filename).name
    if name.startswith(".") or "\\" in name or not name.isprintable():
        raise BundleError(f"{file} holds a checkpoint with the odd name {name[:80]!r}: unpack it yourself")
    if entry.file_size > MOST_PACKED * entry.compress_size:
        raise BundleError(f"{file} would unpack {entry.compress_size:,} bytes to {entry.file_size:,}: no weights do")
    return unpack(file, name)


def _small_directory(file: Path) -> bool:
    """Whether a file is a zip whose list of entries is small enough for Python to read."""
    with file.open("rb") as opened:
        length = opened.seek(0, 2)
        opened.seek(max(0, length - 22 - 0xFFFF - 20))
        tail = opened.read()
    end = tail.rfind(b"PK\x05\x06")
    zip64 = tail[max(0, end - 20) : max(0, end)].startswith(b"PK\x06\x07")
    return end >= 0 and not zip64 and int.from_bytes(tail[end + 12 : end + 16], "little") < LARGEST_DIRECTORY
