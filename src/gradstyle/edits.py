"""Edits are values: a named offset in code space that scales, adds and is bound to one generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import isfinite
from operator import add
from typing import TypeAlias

import torch
from torch import Tensor

from .stylegan2 import Codes


@dataclass(frozen=True, eq=False)
class Edit:
    """An offset of W+ and, where there is one, of S, for the generator with that fingerprint.

    Edits scale and add: `2 * smile - pose` and `-smile` are edits too.
    """

    name: str
    w: Tensor | None  # [codes, w_dim], or [1, w_dim]: the same for every code
    s: Tensor | None = None  # [style channels]
    generator: str = ""  # fingerprint; empty: of a generator not yet known
    turns: bool = False  # a pose: it moves the head, and changes nothing else
    footprint: Tensor | None = None  # [F, F] in 0 … 1: where in the crop it acts; none: nobody has measured
    hair: bool = False  # the colour of hair: it changes nothing else

    def __post_init__(self) -> None:
        if self.w is None and self.s is None:
            raise ValueError(f"edit {self.name!r} holds no offset")
        if self.w is not None and self.w.ndim != 2:
            raise ValueError(f"edit {self.name!r}: an offset of W+ is [codes, w_dim], got {list(self.w.shape)}")
        if self.footprint is not None and (self.footprint.ndim != 2 or len(self.footprint) != self.footprint.shape[1]):
            raise ValueError(f"edit {self.name!r}: a footprint is a square, got {list(self.footprint.shape)}")
        if self.s is not None and self.s.ndim != 1:
            raise ValueError(f"edit {self.name!r}: an offset of S is [style channels], got {list(self.s.shape)}")

    def __bool__(self) -> bool:
        """Whether it changes anything: a zero edit is no edit."""
        return any(offset is not None and bool(offset.any()) for offset in (self.w, self.s))

    def __mul__(self, amount: float) -> Edit:
        if not isfinite(amount):
            raise ValueError(f"{amount} times edit {self.name!r} is no edit: an amount is a number")
        name = self.name if amount == 1 else f"{amount:g} * {_one_word(self.name)}"
        return replace(self, name=name, w=_scaled(self.w, amount), s=_scaled(self.s, amount))

    __rmul__ = __mul__

    def __neg__(self) -> Edit:
        return self * -1

    def __add__(self, other: Edit) -> Edit:
        both = f"edits {self.name!r} and {other.name!r}"
        if self.generator and other.generator and self.generator != other.generator:
            raise ValueError(
                f"{both} are for the generators {self.generator} and {other.generator}: edits add only on one generator"
            )
        return Edit(
            f"{self.name} + {other.name}",
            _sum(self.w, other.w, both),
            _sum(self.s, other.s, both),
            self.generator or other.generator,
            self.turns and other.turns,
            _both_footprints(self.footprint, other.footprint),
            self.hair and other.hair,
        )

    def __sub__(self, other: Edit) -> Edit:
        return replace(self + -other, name=f"{self.name} - {_one_word(other.name)}")

    def apply(self, codes: Codes) -> Codes:
        """The only place where codes are changed."""
        w, s = codes.w, codes.s
        if self.w is not None:
            if self.w.shape[0] not in (1, w.shape[1]) or self.w.shape[1] != w.shape[2]:
                raise ValueError(f"edit {self.name!r} moves codes {list(self.w.shape)}, these are {list(w.shape[1:])}")
            w = w + self.w.to(w.device, w.dtype)
        if self.s is not None:
            offset = self.s.to(w.device, w.dtype)
            if s is not None and s.shape[1] != len(offset):
                raise ValueError(f"edit {self.name!r} moves {len(offset)} style channels, these are {s.shape[1]}")
            s = offset.expand(len(codes), -1) if s is None else s + offset
        return Codes(w, s)


Edits: TypeAlias = Edit | Sequence[Edit]


def combine(edits: Edits) -> Edit | None:
    """What some edits add up to; None if that changes nothing."""
    every = [edits] if isinstance(edits, Edit) else edits
    return (reduce(add, every) or None) if every else None


def _scaled(offset: Tensor | None, amount: float) -> Tensor | None:
    return None if offset is None else offset * amount


def _sum(a: Tensor | None, b: Tensor | None, both: str) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    if a.shape[-1] != b.shape[-1] or (a.ndim == 2 and 1 not in (len(a), len(b)) and len(a) != len(b)):
        raise ValueError(f"{both} do not add: they move {list(a.shape)} and {list(b.shape)}")
    return torch.add(a, b.to(a.device, a.dtype))


def _both_footprints(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Where either acts; not known where one is not."""
    return None if a is None or b is None else torch.maximum(a, b)


def _one_word(name: str) -> str:
    return f"({name})" if " " in name else name
