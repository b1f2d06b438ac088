"""What a method stores of a photo, as a value and as a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from typing_extensions import Self

from ..stylegan2 import Codes
from ..tensors import read_tensors, write_tensors

Plain: TypeAlias = str | int | float | bool


@dataclass(frozen=True)
class Inversion:
    """Holds what a method stores of a photo. Methods add fields: tensors, codes, canvases, tuples of them."""

    codes: Codes  # the codes that edits move
    generator: str = field(default="", kw_only=True)  # its fingerprint; empty: of a generator not yet known

    def __len__(self) -> int:
        return len(self.codes)

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same inversion with `change` applied to every tensor in it."""
        changed: Self = map_tensors(self, change)
        return changed

    def repeat(self, times: int) -> Self:
        """The whole batch, `times` times over."""
        return self.map(lambda x: x.repeat(times, *[1] * (x.ndim - 1)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the inversion, so that a photo need not be inverted again."""
        tensors: dict[str, Tensor] = {}
        values: dict[str, Plain] = {}
        _flatten(self, "", tensors, values)
        text = json.dumps({"class": type(self).__name__, "values": values}, sort_keys=True)
        write_tensors(Path(path), tensors, {"inversion": text, "sha256": _digest(text, tensors)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an inversion of this kind; a `render` refuses it where it is of another generator."""
        tensors, metadata = read_tensors(Path(path))
        text = metadata.get("inversion", "")
        try:
            kind, values = _read(text)
            if kind != cls.__name__:
                raise ValueError(f"it holds a {kind[:80]}, not a {cls.__name__}: it is of another method")
            if metadata.get("sha256") != _digest(text, tensors):
                raise ValueError("it is damaged or was changed: its content has not the SHA-256 that it names")
            loaded: Self = _Reader(tensors, values).read_all(cls)
            if any(x.shape[:1] != (len(loaded),) or not x.is_floating_point() for x in tensors.values()):
                raise ValueError(f"it holds {len(loaded)} photos, and tensors of another number or of no floats")
        except ValueError as error:
            raise ValueError(f"{path} is not a saved inversion that can be used: {error}") from error
        return loaded

    def __getitem__(self, index: int) -> Self:
        """One photo of the batch, as a batch of one."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"the inversion holds {len(self)} photos, there is no number {index}")
        return self.map(lambda x: x[index : index + 1 or None])


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply `change` to every tensor of nested dataclasses and tuples."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(map_tensors(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: map_tensors(getattr(value, f.name), change) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    return value


# ---- as a file: tensors and plain values under their places, `canvas.layer`; what holds what, the class says


def _flatten(value: Any, where: str, tensors: dict[str, Tensor], values: dict[str, Plain]) -> None:
    if isinstance(value, Tensor):
        tensors[where] = value
    elif isinstance(value, Plain):
        values[where] = value
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            _flatten(item, _below(where, i), tensors, values)
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            _flatten(getattr(value, each.name), _below(where, each.name), tensors, values)
    elif value is not None:
        raise ValueError(f"{where} is a {type(value).__name__}, which is not saved: an inversion holds tensors")


def _below(where: str, name: str | int) -> str:
    return f"{where}.{name}" if where else str(name)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Gives the SHA-256 of all values and tensors, whatever the order of the file."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode("utf-8", "surrogatepass"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(text: str) -> tuple[str, dict[str, Plain]]:
    """The class of an inversion, and its plain values by place."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its metadata does not say what it holds") from None
    kind, values = (told.get("class"), told.get("values")) if isinstance(told, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(values, dict):
        raise ValueError("its metadata does not say what it holds, or as once was usual: invert the photo again")
    return kind, values


class _Reader:
    """Builds an inversion from the fields that its class declares, and nothing else."""

    def __init__(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.held: dict[str, Any] = {**values, **tensors}
        self.places = set(self.held) | {p[:i] for p in self.held for i, c in enumerate(p) if c == "."}
        self.used: set[str] = set()

    def read_all(self, kind: type) -> Any:
        made = self.read(kind, "")
        if unused := sorted(set(self.held) - self.used):
            raise ValueError(f"it holds {unused[0][:80]!r}, which no {kind.__name__} has")
        return made

    def read(self, hint: Any, where: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return self.read_one_of(arguments, where)
        if origin is tuple:
            count = next(i for i in range(len(self.held) + 1) if _below(where, i) not in self.places)
            several = arguments[:1] * count if arguments[1:] == (...,) else arguments
            return tuple(self.read(each, _below(where, i)) for i, each in enumerate(several))
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            hints = typing.get_type_hints(hint)
            return hint(**{f.name: self.read(hints[f.name], _below(where, f.name)) for f in dataclasses.fields(hint)})
        if where not in self.held:
            raise ValueError(f"it lacks {where}")
        found = self.held[where]
        fits = isinstance(found, str) and found in arguments if origin is typing.Literal else type(found) is hint
        if not fits:
            raise ValueError(f"{where} is a {type(found).__name__} or a value that it cannot have")
        self.used.add(where)
        return found

    def read_one_of(self, hints: tuple[Any, ...], where: str) -> Any:
        """Reads a field that may be empty, or hold one of several kinds."""
        if where not in self.places and type(None) in hints:
            return None
        errors = []
        for hint in hints:
            try:
                return self.read(hint, where)
            except ValueError as error:
                errors.append(error)
        raise errors[0]
