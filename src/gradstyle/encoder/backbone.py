"""The improved-residual units with squeeze-and-excitation (IR-SE) that the field's encoders are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Weigh each channel by what all of them hold."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        squeezed = max(width // reduction, 1)
        self.fc1 = nn.Conv2d(width, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * weight.sigmoid()


class Shortcut(nn.Conv2d):
    """A 1×1 convolution without bias, for a unit's way past its other convolutions.

    Of narrow maps it takes the places that a stride leaves first, and convolves those. Else, on a processor with AVX2
    and no more, PyTorch 2.13.0 (oneDNN 3.12) corrupts the heap where it computes the gradient of the kernel: float32,
    channels last, a stride of 2, two pictures or more, fewer inputs than the 8 floats of a register. Wider maps are
    safe there, and quicker with the stride in the convolution.
    """

    NARROW = 8  # inputs

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels >= self.NARROW:
            return super().forward(x)
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight)


class IRUnit(nn.Module):
    """BN, 3×3, PReLU, 3×3 with the stride, BN, and SE where asked for, beside the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, squeeze: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.norm0 = nn.BatchNorm2d(inputs)
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.act = nn.PReLU(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.squeeze = SqueezeExcite(outputs) if squeeze else None
        self.shortcut = (
            None if inputs == outputs else nn.Sequential(Shortcut(inputs, outputs, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm1(self.conv1(self.act(self.conv0(self.norm0(x)))))
        if self.squeeze is not None:
            out = self.squeeze(out)
        beside: Tensor = x[:, :, :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(x)
        return out + beside


class Backbone(nn.Module):
    """A stem and four bodies of IR units, each of which halves the size with its first unit."""

    def __init__(self, units: Sequence[int], widths: Sequence[int], squeeze: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        )
        self.bodies = nn.ModuleList()
        inputs = widths[0]
        for count, width in zip(units, widths):
            body = [IRUnit(inputs, width, stride=2, squeeze=squeeze)]
            body += [IRUnit(width, width, squeeze=squeeze) for _ in range(count - 1)]
            self.bodies.append(nn.Sequential(*body))
            inputs = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """What each body gives, coarser and coarser."""
        x = self.stem(x)
        taps = []
        for body in self.bodies:
            x = body(x)
            taps.append(x)
        return taps
