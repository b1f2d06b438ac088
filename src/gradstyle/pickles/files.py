"""Reads a file that others have published, whatever wrote it, without running anything in it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from .archive import Archive
from .errors import PublishedFileError, Refused
from .mapped_bytes import Span
from .pickle_types import Storage, checked_count, native
from .plain_values import Tree, plain
from .unpickle import ReadLimit, Unpickler, load_stream, named_storage

MAX_SAFETENSORS_HEADER = 16 << 20
NOT_CHECKPOINTS = {
    b"<": "it is a web page: the download was stopped by a page that asks something",
    b"version https://git-lfs": "it is a Git LFS pointer: fetch the file itself with git lfs pull",
    b"\x1f\x8b": "it is compressed with gzip: unpack it first",
    b"7z\xbc\xaf": "it is a 7z archive: unpack it first",
    b"Rar!": "it is a RAR archive: unpack it first",
}


def read_file(path: Path) -> Tree:
    """Reads torch checkpoints (both formats), NVIDIA's pickles, .npy, .npz and safetensors, told apart by content.

    Tensors are views of the file where it lies: reading takes no memory until their values are used, and the file
    must stay as it is for as long as they live. Clone what is kept.
    """
    try:
        return _read(path)
    except Refused as error:
        raise PublishedFileError(f"{path}: {error}") from error
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PublishedFileError(f"{path}: cannot be read ({cause})") from error


def _read(path: Path) -> Tree:
    if path.is_dir():
        raise Refused("it is a folder; give the checkpoint file in it")
    if not path.exists():
        raise Refused("there is no such file")
    if not path.is_file() or path.stat().st_size == 0:
        raise Refused("the file is empty" if path.is_file() else "it is not a regular file")
    span = Span.of_file(path)
    head = span.read(0, min(32, len(span)))
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _read_archive(Archive(span), ReadLimit.of(span))
    if head.startswith(b"\x93NUMPY"):
        return _read_npy(span, ReadLimit.of(span))
    if head.startswith(b"\x80"):
        budget = ReadLimit.of(span)
        return plain(load_stream(span, budget), budget)
    if head[8:9] == b"{":
        return _read_safetensors(path, span)
    for start, cause in NOT_CHECKPOINTS.items():
        if head.startswith(start):
            raise Refused(cause)
    raise Refused(f"it starts with {head[:8]!r}, which is no checkpoint format that is read here")


def _read_archive(archive: Archive, budget: ReadLimit) -> Tree:
    pickles = [name for name in archive.entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    arrays = [name for name in archive.entries if name.endswith(".npy")]
    if len(pickles) == 1:
        return _read_torch(archive, pickles[0].removesuffix("data.pkl"), budget)
    if arrays and len(arrays) == len(archive.entries):
        return {name.removesuffix(".npy"): _read_npy(archive.read(name), budget) for name in arrays}
    raise Refused("it is a zip archive, but neither a torch checkpoint nor an .npz of arrays: unpack it")


def _read_torch(archive: Archive, folder: str, budget: ReadLimit) -> Tree:
    if f"{folder}constants.pkl" in archive:
        raise Refused("it is a TorchScript program: save its state_dict instead")
    if f"{folder}byteorder" in archive and archive.read(f"{folder}byteorder").read(0, 6) != b"little":
        raise Refused("it was written on a big-endian machine")
    storages: dict[str, Storage] = {}

    def persistent(reference: object) -> Storage:
        key, storage = named_storage(reference)
        if key not in storages:
            storage.place(archive.read(f"{folder}data/{key}"))
            storages[key] = storage
        known = storages[key]
        if (known.dtype, known.numel) != (storage.dtype, storage.numel):
            raise Refused(f"the storage {key[:40]!r} is given two sizes")
        return known

    pickle = archive.read(f"{folder}data.pkl")
    return plain(Unpickler(pickle, budget, persistent).load(), budget)


def _read_npy(span: Span, budget: ReadLimit) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    head = io.BytesIO(span.read(0, min(len(span), 1 << 16)))
    try:
        version = np.lib.format.read_magic(head)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(head)
        else:
            raise ValueError(f"version {version}")
    except Exception as error:  # NumPy's parser lets through whatever Python's own raises
        raise Refused(f"its NumPy header cannot be read ({type(error).__name__})") from error
    if dtype.kind not in "biufc" or dtype.subdtype is not None:
        raise Refused(f"it is a NumPy array of {str(dtype)[:80]!r}; only plain numbers are read")
    needed, held = checked_count(shape) * dtype.itemsize, len(span) - head.tell()
    if needed != held:
        raise Refused(f"its NumPy header promises {needed:,} bytes for shape {shape}, the file holds {held:,}")
    flat = np.frombuffer(span.part(head.tell(), held).view(), dtype)
    return native(flat, budget.spend).reshape(shape, order="F" if fortran else "C")


def _read_safetensors(path: Path, span: Span) -> Tree:
    header = span.number(0, 8)
    if header > min(MAX_SAFETENSORS_HEADER, len(span) - 8):
        raise Refused(f"its safetensors header says {header:,} bytes, the file holds {len(span):,}")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
