"""What generator and discriminator share: equalised weights, the [1, 3, 3, 1] filter, the activation."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT2 = math.sqrt(2.0)


def channels_at(side: int, channel_base: int, channel_max: int) -> int:
    """Width of every feature map that is `side` pixels wide."""
    return min(channel_base // side, channel_max)


def check_resolution(resolution: int) -> None:
    if resolution not in (16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"resolution must be a power of two from 16 to 1024, got {resolution!r}")


@functools.lru_cache
def fir_kernel(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The [1, 3, 3, 1] binomial low-pass filter of StyleGAN2 in two dimensions, of sum 1."""
    with torch.inference_mode(False):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=dtype, device=device) / 8
        return (taps[:, None] * taps[None, :])[None, None]  # [1, 1, 4, 4]


class _Smooth(torch.autograd.Function):
    """The filter is symmetric, so its gradient is the filter again: on a CPU three times faster than PyTorch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int, gain: float) -> Tensor:
        ctx.padding, ctx.gain = padding, gain
        channels = x.shape[1]
        kernel = fir_kernel(x.device, x.dtype) * gain
        return F.conv2d(x, kernel.expand(channels, -1, -1, -1), padding=padding, groups=channels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Smooth.apply(gradient, 3 - ctx.padding, ctx.gain), None, None  # type: ignore[no-untyped-call]


def smooth(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Filter each channel at stride 1: on a CPU eight times faster than the same filter with a stride."""
    smoothed: Tensor = _Smooth.apply(x, padding, gain)  # type: ignore[no-untyped-call]
    return smoothed


def upsample(x: Tensor) -> Tensor:
    """Double the size of an image with the filter; outside the image is zero."""
    channels = x.shape[1]
    kernel = fir_kernel(x.device, x.dtype) * 4
    return F.conv_transpose2d(x, kernel.expand(channels, -1, -1, -1), stride=2, padding=1, groups=channels)


def activate(x: Tensor, clamp: float | None) -> Tensor:
    """Leaky ReLU in place. Its gain of √2 is folded into what comes before (it is positive homogeneous)."""
    x = F.leaky_relu_(x, 0.2)
    if clamp is None:
        return x
    if x.requires_grad:
        return F.hardtanh(x, -clamp, clamp)  # clamp, whose gradient takes one kernel and not four
    return x.clamp_(-clamp, clamp)


class EqualLinear(nn.Module):
    """A linear layer whose weights have unit variance at rest and are scaled at run time."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activation: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        gain = SQRT2 if self.activation else 1.0
        x = F.linear(
            x,
            self.weight.to(x.dtype) * (self.weight_gain * gain),
            self.bias.to(x.dtype) * (self.bias_gain * gain),
        )
        return F.leaky_relu_(x, 0.2) if self.activation else x


class EqualConv(nn.Module):
    """A plain convolution with equalised weights, leaky ReLU, and an optional halving of the size before it."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        down: bool = False,
        activation: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activation else None
        self.gain = (SQRT2 if activation else 1.0) / math.sqrt(inputs * size * size)
        self.size, self.down, self.clamp = size, down, clamp

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype) * self.gain
        bias = None if self.bias is None else (self.bias * SQRT2).to(x.dtype)
        if not self.down:
            x = F.conv2d(x, weight, bias, padding=self.size // 2)
        elif self.size == 1:
            x = F.conv2d(smooth(x, padding=1), weight, bias, stride=2)
        else:
            x = F.conv2d(smooth(x, padding=2), weight, bias, stride=2)
        return x if bias is None else activate(x, self.clamp)
