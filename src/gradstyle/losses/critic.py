"""A second discriminator, which looks through the eyes of a network that already knows what pictures show.

Frozen features tell a generator what a plain discriminator takes long to learn: what hair, glasses and a mouth are.
As in Projected GANs (Sauer et al. 2021), random projections that never learn mix the channels of each map and carry
the coarse maps down to the fine ones, so that no head can do with a few channels, and each knows of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..rng import stream
from .frozen import Frozen

SMALLEST = 8  # a head halves its map until that many places lie along the side


class FeatureMixing(Frozen):
    """Random projections: across the channels of each map, and from each map to the next finer one."""

    def __init__(self, inputs: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.widths = tuple(min(width << level, 4 * width) for level in range(len(inputs)))
        finer = (self.widths[0], *self.widths)
        self.across = nn.ModuleList(nn.Conv2d(i, o, 1, bias=False) for i, o in zip(inputs, self.widths))
        self.down = nn.ModuleList(nn.Conv2d(i, o, 1, bias=False) for i, o in zip(self.widths, finer))
        random = stream("feature mixing")
        for weight in self.parameters():
            weight.data.normal_(0, weight.shape[1] ** -0.5, generator=random)
        self.freeze()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps from fine to coarse, each half the size of the one before."""
        mixed: list[Tensor] = []
        for level in reversed(range(len(maps))):
            x = self.across[level](maps[level])
            if mixed:
                coarser = self.down[level + 1](mixed[0])
                x = (x + F.interpolate(coarser, scale_factor=2, mode="bilinear")) * math.sqrt(0.5)
            mixed.insert(0, x)
        return mixed


class GroupedBatchNorm(nn.Module):
    """Each channel normalised over the pictures of a group, which are consecutive rows: how a batch is dealt out to
    processes, or taken in parts, changes nothing."""

    def __init__(self, width: int, group: int) -> None:
        super().__init__()
        self.group = group
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).float()  # [N, H, W, C]
        grouped = rows.reshape(len(x) // self.group, -1, rows.shape[3])
        centred = grouped - grouped.mean(dim=1, keepdim=True)
        scale = (centred.square().mean(dim=1, keepdim=True) + 1e-5).rsqrt() * self.weight
        return (centred * scale + self.bias).reshape(rows.shape).permute(0, 3, 1, 2).to(x.dtype)


class FeatureCritic(nn.Module):
    """One head a feature map; a head scores patches. Spectral norms hold it back, as no R1 reaches it."""

    def __init__(self, inputs: Sequence[int], sides: Sequence[int], width: int = 64, group: int = 4) -> None:
        super().__init__()
        self.heads = nn.ModuleList(critic_head(i, side, width, group) for i, side in zip(inputs, sides, strict=True))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [head(x).flatten(1) for head, x in zip(self.heads, maps)]  # a head [N, patches]


def critic_head(inputs: int, side: int, width: int, group: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    while side > SMALLEST:
        layers += _layer(nn.Conv2d(inputs, width, 4, stride=2, padding=1, bias=False), width, group)
        inputs, side = width, side // 2
    layers += _layer(nn.Conv2d(inputs, width, 3, padding=1, bias=False), width, group)
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))


def _layer(convolution: nn.Conv2d, width: int, group: int) -> list[nn.Module]:
    return [spectral_norm(convolution), GroupedBatchNorm(width, group), nn.LeakyReLU(0.2)]


def critic_loss(real: Sequence[Tensor], fake: Sequence[Tensor], shares: Tensor) -> Tensor:
    """The hinge: a score beyond 1 on the right side counts no more. `shares` [heads] say what each head counts."""
    return shares @ torch.stack([F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake)])


def critic_generator_loss(fake: Sequence[Tensor], shares: Tensor) -> Tensor:
    return -(shares @ torch.stack([scores.mean() for scores in fake]))
