"""e4e (Tov et al. 2021): a photo becomes W+ codes and a pyramid of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..stylegan2.codes import Codes
from ..stylegan2.layers import EqualLinear
from .backbone import Backbone


@dataclass(frozen=True)
class EncoderConfig:
    """Every shape of the encoder; the defaults are the published ones for a 1024 px generator."""

    codes: int = 18
    w_dim: int = 512
    input_size: int = 256
    units: tuple[int, int, int, int] = (3, 4, 14, 3)  # IR-SE-50
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    feature_width: int = 512  # of c3, p2, p1 as the heads and the methods see them
    head_width: int = 512
    coarse: int = 3  # deltas of codes 1 … coarse − 1 come from c3
    middle: int = 7  # of coarse … middle − 1 from p2, and from middle on from p1

    def __post_init__(self) -> None:
        if not 16 <= self.input_size <= 2048:
            raise ValueError(f"input_size must be from 16 to 2048 pixels, got {self.input_size!r}")
        if not 1 <= self.codes <= 18:
            raise ValueError(f"codes must be from 1 to 18, got {self.codes!r}")
        if len(self.units) != 4 or len(self.widths) != 4 or min(*self.units, *self.widths) < 1 or max(self.units) > 99:
            raise ValueError(f"units and widths are four numbers each, got {self.units!r} and {self.widths!r}")
        if self.widths[3] != self.feature_width:
            raise ValueError(f"feature_width {self.feature_width} must be the last of widths {self.widths}")
        if not 1 <= self.coarse <= self.middle:
            raise ValueError(f"codes split at 1 <= coarse <= middle, got {self.coarse} and {self.middle}")

    def side(self, tap: str) -> int:
        """Pixels along the side of a tap's map."""
        halvings = {"c0": 1, "c1": 2, "c2": 3, "c3": 4, "p2": 3, "p1": 2}
        if tap not in halvings:
            raise ValueError(f"the encoder has the taps {', '.join(halvings)}, not {tap!r}")
        side = self.input_size
        for _ in range(halvings[tap]):
            side = (side + 1) // 2
        return side

    def width(self, tap: str) -> int:
        """Channels of a tap's map."""
        self.side(tap)
        return {"c0": self.widths[0], "c1": self.widths[1], "c2": self.widths[2]}.get(tap, self.feature_width)

    def tap_of(self, code: int) -> str:
        """The map from which code `code`, or its delta, is read."""
        return "c3" if code < self.coarse else "p2" if code < self.middle else "p1"


@dataclass(frozen=True)
class Taps:
    """The encoder's features, from fine to coarse and up again."""

    c0: Tensor  # [N, widths[0], H/2, W/2]; no published method reads it, those of small pictures do
    c1: Tensor  # [N, widths[1], H/4, W/4]
    c2: Tensor  # [N, widths[2], H/8, W/8]
    c3: Tensor  # [N, feature_width, H/16, W/16]
    p2: Tensor  # [N, feature_width, H/8, W/8]
    p1: Tensor  # [N, feature_width, H/4, W/4]

    def __getitem__(self, name: str) -> Tensor:
        tap: Tensor = getattr(self, name)
        return tap


def fit(photo: Tensor, side: int) -> Tensor:
    """A photo at the size in which a network sees it: averaged down, or interpolated up."""
    if photo.shape[-1] == side:
        return photo
    if photo.shape[-1] > side:
        return F.interpolate(photo, size=(side, side), mode="area")
    return F.interpolate(photo, size=(side, side), mode="bilinear", align_corners=False)


class CodeHead(nn.Module):
    """Halve a feature map until one pixel is left, then a linear layer: one code, or its delta."""

    def __init__(self, side: int, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        halvings = (side - 1).bit_length()
        self.convs = nn.ModuleList(
            nn.Conv2d(width if i else inputs, width, 3, stride=2, padding=1) for i in range(halvings)
        )
        self.linear = EqualLinear(width if halvings else inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.01)
        with torch.autocast(x.device.type, enabled=False):
            code: Tensor = self.linear(x.flatten(1).float())
        return code  # [N, w_dim]


class Encoder(nn.Module):
    """`encoder(photo)` gives codes and taps; `features` and `codes` are its two halves."""

    mean_codes: Tensor

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.backbone = Backbone(config.units, config.widths)
        self.lateral2 = nn.Conv2d(config.widths[2], config.feature_width, 1)
        self.lateral1 = nn.Conv2d(config.widths[1], config.feature_width, 1)
        self.heads = nn.ModuleList(
            CodeHead(config.side(config.tap_of(i)), config.feature_width, config.head_width, config.w_dim)
            for i in range(config.codes)
        )
        self.register_buffer("mean_codes", torch.zeros(config.codes, config.w_dim))

    def features(self, photo: Tensor) -> Taps:
        if photo.ndim != 4 or photo.shape[1] != 3 or photo.shape[2] != photo.shape[3]:
            raise ValueError(f"photos are square RGB, [N, 3, side, side] in [-1, 1], got {list(photo.shape)}")
        x = fit(photo, self.config.input_size).to(self.lateral1.weight.dtype)
        c0, c1, c2, c3 = self.backbone(x)
        p2 = _up(c3, c2) + self.lateral2(c2)
        p1 = _up(p2, c1) + self.lateral1(c1)
        return Taps(c0, c1, c2, c3, p2, p1)

    def codes(self, taps: Taps, deltas: int | None = None) -> Codes:
        """Codes in float32. Training switches the deltas on one at a time: `deltas` of them are used."""
        used = self.config.codes - 1 if deltas is None else deltas
        base: Tensor = self.heads[0](taps[self.config.tap_of(0)])
        codes = [base]
        for i, head in enumerate(self.heads[1:], start=1):
            codes.append(base + head(taps[self.config.tap_of(i)]) if i <= used else base)
        return Codes(torch.stack(codes, dim=1) + self.mean_codes.float())  # [N, codes, w_dim]

    def forward(self, photo: Tensor) -> tuple[Codes, Taps]:
        taps = self.features(photo)
        return self.codes(taps), taps


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
