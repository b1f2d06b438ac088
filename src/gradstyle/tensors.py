"""Reading and writing safetensors files: hashed in the one pass that reads them, never more than once in memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

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


def read_tensors(
    path: Path, dtype: torch.dtype | None = None, sha256: str | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file; floating-point ones in `dtype`. One tensor at a time is held twice."""
    try:
        with safe_open(path, framework="pt") as checked:  # checks the header against the file's size
            metadata = dict(checked.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise BadTensors(f"{path}: not a readable safetensors file ({error})") from error
    digest = hashlib.sha256()
    tensors: dict[str, Tensor] = {}
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        digest.update(length)
        digest.update(header)
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            if entry["dtype"] not in _DTYPES:
                raise BadTensors(f"{path}: {name!r} is of type {entry['dtype']}, which no bundle uses")
            begin, end = entry["data_offsets"]
            data = bytearray(end - begin)
            if file.readinto(data) != end - begin:
                raise BadTensors(f"{path}: the file ends inside {name!r}")
            digest.update(data)
            kind = _DTYPES[entry["dtype"]]
            flat = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
            tensor = flat.reshape(entry["shape"])
            if tensor.is_floating_point():
                if not bool(torch.isfinite(tensor).all()):
                    raise BadTensors(f"{path}: {name!r} holds values that are not finite")
                tensor = tensor if dtype is None else tensor.to(dtype)
            tensors[name] = tensor
        digest.update(file.read())
    if sha256 is not None and digest.hexdigest() != sha256:
        raise BadTensors(f"{path}: damaged or replaced; its SHA-256 is {digest.hexdigest()}, expected {sha256}")
    return tensors, metadata


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> str:
    """Write a file as a whole or not at all, and give its SHA-256. The same tensors give the same bytes."""
    plain = {
        name: (tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor)
        .detach()
        .cpu()
        .contiguous()
        for name, tensor in tensors.items()
    }
    shared: dict[int, str] = {}
    for name, tensor in plain.items():  # safetensors refuses two names for one storage
        if (tensor.numel() and tensor.untyped_storage().nbytes() > tensor.nbytes) or tensor.data_ptr() in shared:
            plain[name] = tensor.clone()
        shared[tensor.data_ptr()] = name
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(plain, partial, dict(metadata or {}))
        digest = file_sha256(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return digest


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
