"""Pictures between the 8 bits of files and the −1 … 1 of networks."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(levels: Tensor) -> Tensor:
    """Levels 0 … 255 become −1 … 1."""
    return levels.float() / 127.5 - 1


def to_levels(images: Tensor) -> Tensor:
    """Values −1 … 1 become 0 … 255, neither rounded nor of 8 bits; what is outside is clipped."""
    return (images.float().clamp(-1, 1) + 1) * 127.5


def to_8_bits(images: Tensor) -> Tensor:
    """Values −1 … 1 become 0 … 255, rounded and clipped."""
    return to_levels(images).round().to(torch.uint8)
