"""What a checkpoint's pickle may name, and what we make of it: values that hold data and do nothing.

A name in a pickle is only a key into `GLOBALS` below. The object that Python has under that name is never
looked up.

Longer than 300 lines: the list of all that a pickle may name is in one place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .errors import Refused
from .mapped_bytes import Span

MAX_DIMENSIONS = 16
MAX_EXTENT = 1 << 40  # of one dimension, stride or offset
ALIGNED = 8
EXPANDED_FREELY = 1 << 20  # elements; a larger tensor may not have more of them than its storage

Spend = Callable[[int], None]  # told how many bytes are about to be copied; refuses when it is too much


@dataclass
class Record:
    """An object of a class that is not loaded: the class's name, and what the object held."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """A module's tensors under the names that its own `state_dict` would give them."""
        parts = [self.state.get(key) or {} for key in ("_parameters", "_buffers", "_modules")]
        transient = self.state.get("_non_persistent_buffers_set") or ()
        if not all(isinstance(part, dict) for part in parts) or not isinstance(transient, set | tuple):
            raise ValueError(f"the {self.name} stored in the file does not look like a network")
        parameters, buffers, modules = parts
        kept = {**parameters, **{name: value for name, value in buffers.items() if name not in transient}}
        found = {f"{prefix}{name}": value for name, value in kept.items() if isinstance(value, Tensor)}
        for name, module in modules.items():
            if isinstance(module, Record):
                found |= module.state_dict(f"{prefix}{name}.")
        return found


@dataclass(frozen=True, eq=False)
class Global:
    """A class or function that a pickle names; `make` is our own stand-in for calling it."""

    name: str
    make: Callable[..., Any] | None = None
    dtype: torch.dtype | None = None  # of a storage class


@dataclass(eq=False)
class Storage:
    """A tensor's memory. In torch's older format its bytes are found only after the pickle is read."""

    dtype: torch.dtype
    numel: int
    data: Span | None = None
    values: Tensor | None = None

    def place(self, data: Span) -> None:
        needed = self.numel * self.dtype.itemsize
        if needed > len(data):
            raise Refused(f"a storage of {self.numel:,} {self.dtype} values has only {len(data):,} bytes")
        self.data = data.part(0, needed)

    def raw(self, spend: Spend) -> Tensor:
        """The bytes, mapped where they are aligned and copied where not; the same for every tensor in it."""
        if self.data is None:
            raise Refused("a tensor's values are not in the file")
        if self.values is None:
            self.values = torch.empty(0, dtype=torch.uint8)
            if len(self.data):
                self.values = torch.frombuffer(self.data.view(), dtype=torch.uint8)
            if self.values.data_ptr() % ALIGNED:
                spend(len(self.data))
                self.values = self.values.clone()
        return self.values


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as a pickle describes it: a view into a storage, to be checked before it is built."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def build(self, spend: Spend) -> Tensor:
        shown = f"a tensor of size {self.size}, stride {self.stride} and offset {self.offset}"[:200]
        if len(self.size) != len(self.stride) or len(self.size) > MAX_DIMENSIONS:
            raise Refused(f"{shown} cannot be: the dimensions do not agree")
        if not all(0 <= number <= MAX_EXTENT for number in (self.offset, *self.size, *self.stride)):
            raise Refused(f"{shown} cannot be: a number is negative or beyond any data")
        held = self.storage.numel * self.storage.dtype.itemsize // self.dtype.itemsize
        count = prod(self.size)
        if count == 0:
            if max(self.size) > EXPANDED_FREELY:
                raise Refused(f"{shown} is empty and yet huge")
            return torch.empty(self.size, dtype=self.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.size, self.stride))
        if last >= held:
            raise Refused(f"{shown} reaches past its storage of {held:,} values")
        if count > max(held, EXPANDED_FREELY):
            raise Refused(f"{shown} repeats {held:,} stored values into {count:,}")
        raw = self.storage.raw(spend)[: held * self.dtype.itemsize]
        if self.dtype == torch.bool:
            spend(held)
            raw = raw.ne(0)  # a byte other than 0 and 1 is no bool
        return raw.view(self.dtype).as_strided(self.size, self.stride, self.offset)


@dataclass(eq=False)
class NumpyType:
    """`numpy.dtype(code)`; its byte order follows as a state."""

    code: str
    order: str = "="

    def set_state(self, state: object) -> None:
        match state:
            case (1 | 2 | 3 | 4, ("<" | ">" | "|" | "=") as order, None, None, None, *_):
                self.order = order.replace("|", "=")
            case _:
                raise Refused(f"the NumPy type {self.code!r} has fields or an unknown byte order")

    def array(self, data: object, count: int, spend: Spend) -> np.ndarray[Any, Any]:
        dtype = np.dtype(self.order + self.code)
        data = data.encode("ascii") if isinstance(data, str) else data  # Python 2 had one type for both
        if not isinstance(data, Span | bytes):
            raise Refused(f"a NumPy array's data is a {type(data).__name__}, not bytes")
        if len(data) != count * dtype.itemsize:
            raise Refused(f"a NumPy array of {count:,} {dtype} values has {len(data):,} bytes")
        return native(np.frombuffer(data.view() if isinstance(data, Span) else data, dtype), spend)


@dataclass(eq=False)
class NumpyArray:
    """An array to be: NumPy pickles an empty one and then sets its state."""

    shape: tuple[int, ...] = (0,)
    kind: NumpyType | None = None
    order: Literal["C", "F"] = "C"
    data: object = b""

    def set_state(self, state: object) -> None:
        match state:
            case (int(), tuple() as shape, NumpyType() as kind, int() as fortran, data):
                self.shape, self.kind, self.data = shape, kind, data
                self.order = "F" if fortran else "C"
            case _:
                raise Refused("a NumPy array's state is not one that NumPy writes")

    def build(self, spend: Spend) -> np.ndarray[Any, Any]:
        if self.kind is None:
            raise Refused("a NumPy array is named but not in the file")
        flat = self.kind.array(self.data, checked_count(self.shape), spend)
        return flat.reshape(self.shape, order=self.order)


def native(array: np.ndarray[Any, Any], spend: Spend) -> np.ndarray[Any, Any]:
    """In this machine's byte order, aligned and writable."""
    if array.dtype.isnative and array.flags.aligned and array.flags.writeable:
        return array
    spend(array.nbytes)
    return array.astype(array.dtype.newbyteorder("="))


def checked_count(shape: tuple[Any, ...]) -> int:
    if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and 0 <= n <= MAX_EXTENT for n in shape):
        raise Refused(f"an array of shape {str(shape)[:80]} cannot be")
    return prod(shape)


def checked_ints(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(value) is int for value in values):
        raise Refused(f"a tensor's size or stride is {str(values)[:80]}, not a tuple of whole numbers")
    return values


def checked_key(key: object) -> object:
    """A dictionary's key or a set's member: flat, so that hashing it is cheap."""
    flat = key if isinstance(key, tuple) else (key,)
    if len(flat) > 16 or not all(k is None or type(k) in (str, int, float, bool, bytes) for k in flat):
        raise Refused(f"a dictionary or set uses a {type(key).__name__} as a key")
    return key


def numpy_type(code: object, *_: object) -> NumpyType:
    if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]|f16|c8|c16", code):
        raise Refused(f"a NumPy array holds {str(code)[:80]!r}; only plain numbers are read")
    return NumpyType(code)


def numpy_array(cls: object, *_: object) -> NumpyArray:
    if cls is not GLOBALS["numpy.ndarray"]:
        raise Refused("a NumPy array is made of an unknown class")
    return NumpyArray()


def numpy_array_from(data: object, kind: object, shape: object, order: object) -> NumpyArray:
    array = NumpyArray()
    array.set_state((1, shape, kind, order == "F", data))
    return array


def numpy_scalar(kind: object, data: object) -> float:
    if not isinstance(kind, NumpyType):
        raise Refused("a NumPy number has no type")
    value = kind.array(data, 1, lambda _: None)[0].item()
    return value if isinstance(value, bool | int) else float(value)


def rebuild_tensor(
    storage: object, offset: int, size: object, stride: object, *_: object, dtype: torch.dtype | None = None
) -> StoredTensor:
    if not isinstance(storage, Storage) or type(offset) is not int:
        raise Refused("a tensor is made of something other than a storage and an offset")
    return StoredTensor(storage, offset, checked_ints(size), checked_ints(stride), dtype or storage.dtype)


def rebuild_typed_tensor(
    storage: object, offset: int, size: object, stride: object, grad: object, hooks: object, dtype: str, *_: object
) -> StoredTensor:
    if dtype not in DTYPES:
        raise Refused(f"a tensor has the unknown type {str(dtype)[:80]!r}")
    return rebuild_tensor(storage, offset, size, stride, dtype=DTYPES[dtype])


def rebuild_parameter(data: object, *_: object) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise Refused(f"a parameter is made of a {type(data).__name__}, not of a tensor")
    return data


def reconstruct_persistent(meta: object) -> Record:
    """StyleGAN2-ADA's objects carry the source of their class. It is dropped here, unread."""
    match meta:
        case {"class_name": str() as name, "state": dict() as state}:
            return Record(name, state)
    raise Refused("a stored network has no class name or no state")


def ordered_dict(pairs: object = ()) -> dict[Any, Any]:
    if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise Refused("a dictionary is made of something other than pairs")
    return {checked_key(key): value for key, value in pairs}


def plain_set(members: object = ()) -> set[Any]:
    if not isinstance(members, list | tuple):
        raise Refused(f"a set is made of a {type(members).__name__}, not of a list")
    return {checked_key(member) for member in members}


def size(values: object = ()) -> tuple[int, ...]:
    return checked_ints(values)


def device(kind: object, index: object = None) -> str:
    return str(kind)[:40] if index is None else f"{str(kind)[:40]}:{str(index)[:40]}"


def path(*parts: object) -> str:
    return str(PurePosixPath(*(part for part in parts if isinstance(part, str))))


def reconstruct_object(cls: object, base: object, state: object) -> Any:
    """`copyreg`'s way of making an object, up to protocol 1: an empty one, of a dictionary's items if it is one."""
    if not isinstance(cls, Global) or cls.make is None or not isinstance(base, Global):
        raise Refused("an object is made of something that is not a class")
    made = cls.make()
    if isinstance(made, dict) and isinstance(state, dict):
        made.update(state)
    return made


DTYPES = {
    f"torch.{name}": getattr(torch, name)
    for name in [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "complex64",
        "complex128",
        "float8_e4m3fn",
        "float8_e5m2",
    ]
}

STORAGES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered_dict,
    "collections.defaultdict": lambda factory=None: {},
    "dnnlib.util.EasyDict": ordered_dict,
    "argparse.Namespace": lambda: Record("argparse.Namespace"),
    "copyreg._reconstructor": reconstruct_object,
    "builtins.set": plain_set,
    "builtins.frozenset": plain_set,
    "pathlib.PosixPath": path,
    "pathlib.WindowsPath": path,
    "torch.Size": size,
    "torch.device": device,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_typed_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
    "torch_utils.persistence._reconstruct_persistent_obj": reconstruct_persistent,
    "numpy.dtype": numpy_type,
    **{f"numpy.{core}.multiarray._reconstruct": numpy_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": numpy_scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": numpy_array_from for core in ("core", "_core")},
}

NAMES_ONLY = [
    "numpy.ndarray",
    *(f"builtins.{name}" for name in ["object", "dict", "list", "int", "float", "str", "bool"]),
]

GLOBALS: dict[str, Global | str] = {
    **{name: Global(name, make) for name, make in FUNCTIONS.items()},
    **{name: Global(name) for name in NAMES_ONLY},
    **{f"torch.{name}Storage": Global(name, dtype=dtype) for name, dtype in STORAGES.items()},
    **{f"torch.cuda.{name}Storage": Global(name, dtype=dtype) for name, dtype in STORAGES.items()},
    "torch.storage.UntypedStorage": Global("UntypedStorage", dtype=torch.uint8),
    **{name: name for name in DTYPES},
}
