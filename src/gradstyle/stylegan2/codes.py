"""Codes: where a picture lies in the generator's W+ space, with an optional offset in its style space S."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Codes:
    """One code a layer and picture. `s`, where there is one, is added to the styles that `w` gives."""

    w: Tensor  # [N, n, w_dim]
    s: Tensor | None = None  # [N, sum of the style widths], in the order in which the layers run

    def __post_init__(self) -> None:
        if self.w.ndim != 3:
            raise ValueError(f"W+ codes have the shape [pictures, layers, w_dim], got {list(self.w.shape)}")
        if self.s is not None and (self.s.ndim != 2 or self.s.shape[0] != self.w.shape[0]):
            raise ValueError(
                f"style offsets have the shape [{self.w.shape[0]} pictures, channels], got {list(self.s.shape)}"
            )

    def __len__(self) -> int:
        return self.w.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> Codes:
        """The codes of some of the pictures; a single index keeps the batch axis."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return Codes(self.w[index], None if self.s is None else self.s[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Codes:
        return Codes(self.w.to(device, dtype), None if self.s is None else self.s.to(device, dtype))

    def detach(self) -> Codes:
        return Codes(self.w.detach(), None if self.s is None else self.s.detach())

    def repeat(self, times: int) -> Codes:
        """The whole batch, `times` times over."""
        return Codes(self.w.repeat(times, 1, 1), None if self.s is None else self.s.repeat(times, 1))

    @staticmethod
    def cat(parts: Sequence[Codes]) -> Codes:
        w = torch.cat([part.w for part in parts])
        if all(part.s is None for part in parts):
            return Codes(w)
        width = next(part.s.shape[1] for part in parts if part.s is not None)
        return Codes(w, torch.cat([part.w.new_zeros(len(part), width) if part.s is None else part.s for part in parts]))
