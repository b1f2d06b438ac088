"""Stores values that can be made again, up to a number of bytes; the longest unused is dropped first."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

V = TypeVar("V")
Key = tuple[Hashable, ...]


class Shelf:
    """Stores values by key, in at most `most` bytes. The first part of a key is its owner.

    By hand, as cachetools has no owners whose values are dropped together.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"a cache holds a byte at least, got {most!r}")
        self.most, self.bytes = most, 0
        self._held: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key, make: Callable[[], V]) -> V:
        """Gives the stored value of a key, or makes it; a value larger than the whole shelf is not stored."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                kept: V = self._held[key][0]
                return kept
        value = make()
        size = weigh(value)
        with self._lock:
            self._forget(key)
            if size <= self.most:
                self._held[key] = value, size
                self.bytes += size
            while self.bytes > self.most:
                self._forget(next(iter(self._held)))
        return value

    def drop(self, owner: Hashable) -> None:
        """Drops all values of an owner."""
        with self._lock:
            for key in [key for key in self._held if key[0] == owner]:
                self._forget(key)

    def _forget(self, key: Key) -> None:
        _, size = self._held.pop(key, (None, 0))
        self.bytes -= size


def weigh(value: Any) -> int:
    """Bytes of all arrays, tensors, pictures and texts in a value."""
    if isinstance(value, Tensor | np.ndarray):
        return int(value.nbytes)
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, list | tuple):
        return sum(map(weigh, value))
    if isinstance(value, dict):
        return sum(map(weigh, value.values()))
    if dataclasses.is_dataclass(value):
        return sum(weigh(getattr(value, field.name)) for field in dataclasses.fields(value))
    return 0
