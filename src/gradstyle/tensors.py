"""Reading and writing safetensors files: hashed in the one pass that reads them, never more than once in memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import file_sha256

MAX_HEADER = 8 << 20  # bytes: a thousand tensors take about 100 kB
_OTHERS = {  # how files begin that are taken for ours
    b"PK\x03\x04": "a zip, as PyTorch writes .pt and .pth",
    b"\x80": "a pickle, as PyTorch once wrote .pt and .pth",
    b"\x93NUMPY": "a NumPy array",
}
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class BadTensors(ValueError):
    """A tensor file that is damaged, or not what it says it is."""


@dataclass(frozen=True)
class _Entry:
    """A tensor of a file, before it is read."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    length: int  # bytes


def read_shapes(path: Path) -> dict[str, Tensor]:
    """What a file holds, without its values: tensors of names, shapes and types alone."""
    return {e.name: torch.empty(e.shape, dtype=e.dtype, device="meta") for e in _read_header(path)[1]}


def read_tensors(
    path: Path,
    dtype: torch.dtype | None = None,
    sha256: str | None = None,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file; floating-point ones in `dtype`. One tensor at a time is held twice."""
    head, entries, metadata = _read_header(path)
    digest, not_finite = hashlib.sha256(head), None
    tensors: dict[str, Tensor] = {}
    converted = {e.name for e in entries if e.dtype.is_floating_point and dtype not in (None, e.dtype)}
    # One buffer for all of these: what is freed and asked for in other sizes leaves holes as large as the weights.
    scratch = _bytes(max((e.length for e in entries if e.name in converted), default=0))
    with path.open("rb") as file:
        file.seek(len(head))
        for entry in entries:
            change = entry.name in converted
            values = scratch[: entry.length] if change else _bytes(entry.length)
            data = values.numpy().data
            if file.readinto(data) != entry.length:
                raise BadTensors(f"{path}: the file ends inside {entry.name!r}")
            digest.update(data)
            tensor = values.view(entry.dtype)
            if not_finite is None and not finite(tensor):
                not_finite = entry.name
            tensors[entry.name] = tensor.to(device, dtype if change else None).reshape(entry.shape)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise BadTensors(f"{path}: damaged or replaced; its SHA-256 is {digest.hexdigest()}, expected {sha256}")
    if not_finite is not None:
        raise BadTensors(f"{path}: {not_finite!r} holds values that are not finite")
    return tensors, metadata


def _bytes(count: int) -> Tensor:
    """PyTorch's own memory, which begins at a multiple of 64 bytes: elsewhere some kernels sum in another order."""
    return torch.empty(count, dtype=torch.uint8, device="cpu")


def _read_header(path: Path) -> tuple[bytes, list[_Entry], dict[str, str]]:
    """The bytes before the values, what the values are in the order in which they lie, and the metadata."""
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if length > MAX_HEADER:
                other = next((what for start, what in _OTHERS.items() if prefix.startswith(start)), "")
                but = f", but {other}: `gradstyle bundle import` reads checkpoints" if other else ""
                raise BadTensors(f"not a safetensors file{but or f': its header would take {length:,} bytes'}")
            header = file.read(length)
        with safe_open(path, framework="pt"):  # checks every shape, type and place against the file's size
            values = json.loads(header, object_pairs_hook=_once)
    except (SafetensorError, OSError) as error:
        raise BadTensors(f"{path}: not a readable safetensors file ({error})") from error
    except BadTensors as error:
        raise BadTensors(f"{path}: {error}") from error
    metadata = values.pop("__metadata__", {})
    entries = []
    for name, value in sorted(values.items(), key=lambda item: item[1]["data_offsets"]):
        if value["dtype"] not in _DTYPES:
            raise BadTensors(f"{path}: {name!r} is of type {value['dtype']}, which no bundle uses")
        begin, end = value["data_offsets"]
        entries.append(_Entry(name, _DTYPES[value["dtype"]], tuple(value["shape"]), end - begin))
    return prefix + header, entries, metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers may disagree on which of two equal names counts."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise BadTensors("its header names something twice")
    return values


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> str:
    """Write a file as a whole or not at all, and give its SHA-256. The same tensors give the same bytes."""
    plain: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        kept = tensor.detach().cpu().contiguous()
        if dtype is not None and tensor.is_floating_point():
            kept = _narrowed(name, kept, dtype)
        if kept.untyped_storage().nbytes() > kept.nbytes or kept.data_ptr() in places:
            kept = kept.clone()  # safetensors refuses two names for one memory
        places.add(kept.data_ptr())
        plain[name] = kept
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(plain, partial, dict(metadata) if metadata else None)
        digest = file_sha256(partial)
        partial.replace(path)
    except SafetensorError as error:  # its name for a full disk too
        raise OSError(f"{path}: cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return digest


def _narrowed(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = tensor.to(dtype)
    if not finite(narrow) and finite(tensor):
        raise BadTensors(f"{name!r} holds values up to {tensor.abs().max():.3g}, too large for {dtype}")
    return narrow


def finite(values: Tensor) -> bool:
    """Of the lowest and the highest: twenty times faster than asking each value, and in no memory."""
    return not values.is_floating_point() or not values.numel() or all(x.isfinite() for x in values.aminmax())
