"""The residual StyleGAN2 discriminator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import EqualConv, EqualLinear, channels_at, check_resolution


@dataclass(frozen=True)
class DiscriminatorConfig:
    resolution: int = 1024
    channel_base: int = 32768
    channel_max: int = 512
    activation_clamp: float | None = None
    group: int = 4  # samples that share one minibatch deviation

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if self.group < 1:
            raise ValueError(f"group must be at least 1, got {self.group!r}")

    def width(self, side: int) -> int:
        return channels_at(side, self.channel_base, self.channel_max)


class ResidualBlock(nn.Module):
    """Two convolutions beside a 1×1; halves the size."""

    def __init__(self, inputs: int, outputs: int, clamp: float | None) -> None:
        super().__init__()
        self.conv0 = EqualConv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = EqualConv(inputs, outputs, 3, down=True, clamp=clamp)
        self.skip = EqualConv(inputs, outputs, 1, down=True, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(self.conv0(x)) + self.skip(x)
        return out * math.sqrt(0.5)


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """Append a map that tells how much the samples of a group differ; sample i is in group i mod (N / group)."""
    count = len(x)
    size = next(size for size in range(min(group, count), 0, -1) if count % size == 0)
    grouped = x.float().reshape(size, count // size, *x.shape[1:])
    variance = (grouped - grouped.mean(dim=0)).square().mean(dim=0)  # .var() is ten times slower on a CPU
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [N / size]
    plane = deviation.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])
    return torch.cat([x, plane.to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        sides = [config.resolution >> i for i in range(int(math.log2(config.resolution)) - 2)]
        clamp, width = config.activation_clamp, config.width
        self.from_rgb = EqualConv(3, width(config.resolution), 1, clamp=clamp)
        self.blocks = nn.ModuleList(ResidualBlock(width(side), width(side // 2), clamp) for side in sides)
        self.conv = EqualConv(width(4) + 1, width(4), 3, clamp=clamp)
        self.linear = EqualLinear(width(4) * 16, width(4), activation=True)
        self.score = EqualLinear(width(4), 1)

    def features(self, image: Tensor) -> list[Tensor]:
        """The map of each block, half the size of the one before."""
        if image.ndim != 4 or list(image.shape[1:]) != [3, self.config.resolution, self.config.resolution]:
            side = self.config.resolution
            raise ValueError(f"the discriminator takes images [N, 3, {side}, {side}], got {list(image.shape)}")
        kind, weight = image.device.type, self.from_rgb.weight
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        x, maps = self.from_rgb(image.to(dtype)), []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(minibatch_deviation(self.features(image)[-1], self.config.group))
        with torch.autocast(image.device.type, enabled=False):
            score: Tensor = self.score(self.linear(x.flatten(1).float()))
        return score[:, 0]  # [N]
