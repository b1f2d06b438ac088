"""SDIC (Zhang et al. 2024): predict what the encoder's picture lacks, put it into code and feature, then edit.

DIPN compares photo and reconstruction and predicts a discrepancy map; DICN compensates the codes and one
feature of the generator with it.

Longer than 300 lines: two networks and the method in one file, as every method.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import Encoder
from ..encoder.backbone import IRUnit
from ..stylegan2 import Codes, Generator
from ..stylegan2.layers import EqualConv
from .method import Inversion, Learning, Losses, Method, TrainingContext, at_encoder_size, fit


@dataclass(frozen=True)
class SDICConfig:
    """Every shape of SDIC; the defaults are the published ones, for a generator of 128 px and more."""

    layer: int = 7  # its output is compensated: 64 pixels, coarse enough to follow an edit
    working_size: int = 256  # pixels of the pictures that are compared, and of the map between them
    photo_widths: tuple[int, ...] = (16, 32, 96, 160)  # of a picture's features at full size, half, quarter, eighth
    half_width: int = 24  # between the first two of them: half the size has two units
    match_width: int = 48  # before the two pictures become planes
    planes: int = 48  # depth of the volume, one half from each picture
    volume_widths: tuple[int, ...] = (8, 16, 32, 48)  # of the hourglass, at the sizes of photo_widths
    head_width: int = 16
    head_units: int = 3
    map_widths: tuple[int, ...] = (32, 64)  # the map on its way to the layer's size, one halving each
    shift_width: int | None = None  # channels that become shifts of codes: one a code (car model: 18 for 16 codes)
    shift_side: int = 64  # at this size the channels are read as rows as long as a code
    pixel: float = 1.0
    perceptual: float = 0.8
    identity: float = 0.1
    feature: float = 0.5 * 0.8  # the two keep the compensation small, so that the codes stay editable
    code: float = 0.5 * 0.2

    def __post_init__(self) -> None:
        if len(self.photo_widths) < 2 or len(self.volume_widths) != len(self.photo_widths) or not self.map_widths:
            raise ValueError(
                "photo_widths and volume_widths hold one width a size and at least two, map_widths one a halving, "
                f"got {self.photo_widths!r}, {self.volume_widths!r} and {self.map_widths!r}"
            )
        for name in ("photo_widths", "volume_widths", "map_widths"):
            widths = getattr(self, name)
            if not 1 <= min(widths) <= max(widths) <= 4096:
                raise ValueError(f"{name} must be from 1 to 4096, got {widths!r}")
        for name in ("working_size", "half_width", "match_width", "planes", "head_width", "shift_side"):
            if not 1 <= getattr(self, name) <= 4096:
                raise ValueError(f"{name} must be from 1 to 4096, got {getattr(self, name)!r}")
        if not 1 <= self.head_units <= 99:
            raise ValueError(f"head_units must be from 1 to 99, got {self.head_units!r}")
        if self.shift_width is not None and not 1 <= self.shift_width <= 4096:
            raise ValueError(f"shift_width must be from 1 to 4096, or None for one a code, got {self.shift_width!r}")
        halvings = len(self.photo_widths) - 1
        for name, value in (("planes", self.planes), ("working_size", self.working_size)):
            if value % 2**halvings:
                raise ValueError(
                    f"{name} is halved {halvings} times and must be a multiple of {2**halvings}, got {value!r}"
                )

    @property
    def context_widths(self) -> tuple[int, ...]:
        """Widths of a picture's features after the way up, full size first."""
        return (*(2 * width for width in self.photo_widths[:-1]), self.photo_widths[-1])


# ---- the basic unit: convolution without bias, BatchNorm, leaky ReLU


class Unit(nn.Module):
    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.01, inplace=True)


def unit2d(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> Unit:
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return Unit(conv, nn.BatchNorm2d(outputs))


def unit3d(inputs: int, outputs: int, size: tuple[int, int, int] = (3, 3, 3), stride: int = 1) -> Unit:
    depth, height, width = size
    padding = (depth // 2, height // 2, width // 2)
    conv = nn.Conv3d(inputs, outputs, size, stride, padding, bias=False)
    return Unit(conv, nn.BatchNorm3d(outputs))


# ---- DIPN: the discrepancy map


class PictureEncoder(nn.Module):
    """A picture at full size, half, quarter, eighth. Photo and reconstruction have one each."""

    def __init__(self, config: SDICConfig) -> None:
        super().__init__()
        full, half, *smaller = config.photo_widths
        levels = [
            nn.Sequential(unit2d(3, full)),
            nn.Sequential(unit2d(full, config.half_width, stride=2), unit2d(config.half_width, half)),
        ]
        levels += [nn.Sequential(unit2d(i, o, stride=2)) for i, o in pairwise([half, *smaller])]
        self.levels = nn.ModuleList(levels)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class StepUp(nn.Module):
    """Double the size, lay the feature of that size beside it, mix."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.up = Unit(up, nn.BatchNorm2d(outputs))
        self.mix = unit2d(2 * outputs, 2 * outputs)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        mixed: Tensor = self.mix(torch.cat([self.up(x), beside], dim=1))
        return mixed


class WayUp(nn.Module):
    """Carry what the small maps know to the large ones; one object serves both pictures."""

    def __init__(self, config: SDICConfig) -> None:
        super().__init__()
        steps = zip(config.context_widths[1:], config.photo_widths)
        self.steps = nn.ModuleList(StepUp(inputs, outputs) for inputs, outputs in steps)  # full size first
        self.last = unit2d(config.context_widths[0], config.context_widths[0])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = list(features)
        for level in reversed(range(len(self.steps))):
            features[level] = self.steps[level](features[level + 1], features[level])
        features[0] = self.last(features[0])
        return features


class ContextFusion(nn.Module):
    """Add what the photo shows to the volume where it is asked for: v + σ(attention(f + v))·f."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        half = max(context // 2, 1)
        self.context = nn.Sequential(unit2d(context, half, size=1), nn.Conv2d(half, width, 1))
        self.attention = nn.Sequential(unit3d(width, width, (1, 5, 5)), nn.Conv3d(width, width, 1, bias=False))
        self.mix = unit3d(width, width, (1, 5, 5))

    def forward(self, volume: Tensor, photo: Tensor) -> Tensor:
        context = self.context(photo).unsqueeze(2)  # [N, C, 1, H, W]
        attention = self.attention(volume + context).sigmoid()  # [N, C, D, H, W]
        mixed: Tensor = self.mix(torch.addcmul(volume, attention, context))
        return mixed


class Hourglass(nn.Module):
    """Down and up again through the volume, with the photo's features at each size below the full one."""

    def __init__(self, widths: tuple[int, ...], contexts: tuple[int, ...]) -> None:
        super().__init__()
        inner = list(pairwise(widths[1:]))
        self.down = nn.ModuleList(nn.Sequential(unit3d(i, o, stride=2), unit3d(o, o)) for i, o in pairwise(widths))
        self.fuse = nn.ModuleList(ContextFusion(o, context) for o, context in zip(widths[1:], contexts[1:]))
        self.up = nn.ModuleList(
            Unit(nn.ConvTranspose3d(i, o, 4, stride=2, padding=1, bias=False), nn.BatchNorm3d(o)) for o, i in inner
        )
        self.mix = nn.ModuleList(
            nn.Sequential(unit3d(2 * o, o, (1, 1, 1)), unit3d(o, o), unit3d(o, o)) for o, _ in inner
        )
        self.last = nn.ConvTranspose3d(widths[1], 1, 4, stride=2, padding=1, bias=False)

    def forward(self, volume: Tensor, photo: list[Tensor]) -> Tensor:
        volumes = []
        for down in self.down:
            volume = down(volume)
            volumes.append(volume)
        volume = self.fuse[-1](volumes[-1], photo[-1])
        for level in reversed(range(len(self.up))):
            volume = self.mix[level](torch.cat([self.up[level](volume), volumes[level]], dim=1))
            volume = self.fuse[level](volume, photo[level + 1])
        planes: Tensor = self.last(volume).squeeze(1)
        return planes  # [N, planes, H, W]


class DiscrepancyPrediction(nn.Module):
    """DIPN: the map of what the reconstruction lacks of the photo."""

    def __init__(self, config: SDICConfig) -> None:
        super().__init__()
        self.photo = PictureEncoder(config)
        self.reconstruction = PictureEncoder(config)
        self.up = WayUp(config)
        self.match = nn.Sequential(
            unit2d(config.context_widths[0], config.match_width),
            nn.Conv2d(config.match_width, config.planes // 2, 1),
        )
        self.enter = unit3d(1, config.volume_widths[0])
        self.hourglass = Hourglass(config.volume_widths, config.context_widths)
        self.head = nn.Sequential(
            unit2d(config.planes, config.head_width),
            nn.Conv2d(config.head_width, config.head_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.head_width),
            nn.ReLU(inplace=True),
            *(IRUnit(3 if i else config.head_width, 3) for i in range(config.head_units)),
        )

    def forward(self, photo: Tensor, reconstruction: Tensor) -> Tensor:
        dtype = self.hourglass.last.weight.dtype
        seen = self.up(self.photo(photo.to(dtype)))
        made = self.up(self.reconstruction(reconstruction.to(dtype)))
        planes = torch.cat([self.match(seen[0]), self.match(made[0])], dim=1)  # [N, planes, H, W]
        volume = self.enter(planes.unsqueeze(1))  # [N, C, planes, H, W]
        discrepancy: Tensor = self.head(self.hourglass(volume, seen))
        return discrepancy  # [N, 3, H, W]


# ---- DICN: the compensation


class FeatureCompensation(nn.Module):
    """What the map adds to the generator's feature G: σ(attention(r + G))·r, where r is read from the map."""

    def __init__(self, config: SDICConfig, width: int) -> None:
        super().__init__()
        first = config.map_widths[0]
        self.enter = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        self.down = nn.Sequential(
            *(
                nn.Sequential(unit2d(i, o, stride=2), nn.Conv2d(o, o, 3, padding=1, bias=False))
                for i, o in pairwise([*config.map_widths, width])
            )
        )
        *_, last = (part for part in self.down.modules() if isinstance(part, nn.Conv2d))
        nn.init.zeros_(last.weight)  # nothing is missing yet: training starts from the codes' own picture
        self.attention = nn.Sequential(unit2d(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False))

    def forward(self, discrepancy: Tensor, feature: Tensor) -> Tensor:
        missing = self.down(self.enter(discrepancy))  # [N, width, side, side]
        added: Tensor = self.attention(missing + feature).sigmoid() * missing
        return added


class CodeCompensation(nn.Module):
    """W' = (1 + γ)·W + β, where γ and β are read from the map."""

    def __init__(self, config: SDICConfig, codes: int, w_dim: int) -> None:
        super().__init__()
        channels = codes if config.shift_width is None else config.shift_width
        pixels = channels * config.shift_side**2
        rows = pixels // w_dim
        if pixels % w_dim or rows < 2:
            raise ValueError(
                f"{channels} shift channels of {config.shift_side}² pixels do not make two rows or more of {w_dim}: "
                "change shift_width or shift_side"
            )
        self.side, self.w_dim = config.shift_side, w_dim
        self.shift = nn.Sequential(EqualConv(3, channels, 3), EqualConv(channels, channels, 3, activation=False))
        self.shift_bias = nn.Parameter(torch.zeros(channels))
        self.rows = nn.Sequential(
            nn.Conv1d(rows, rows // 2, 1), nn.BatchNorm1d(rows // 2), nn.LeakyReLU(0.01), nn.Conv1d(rows // 2, codes, 1)
        )
        self.gamma = self._head(codes)
        self.beta = self._head(codes)

    @staticmethod
    def _head(codes: int) -> nn.Sequential:
        last = nn.Conv1d(codes, codes, 1, bias=False)
        nn.init.zeros_(last.weight)  # nor are codes moved
        return nn.Sequential(nn.Conv1d(codes, codes, 3, padding=1), nn.BatchNorm1d(codes), nn.LeakyReLU(0.01), last)

    def forward(self, discrepancy: Tensor, w: Tensor) -> Tensor:
        shift = self.shift(discrepancy)
        shift = shift + self.shift_bias.to(shift.dtype)[:, None, None]
        shift = F.interpolate(shift, size=(self.side, self.side), mode="bilinear", align_corners=False)
        rows = self.rows(shift.reshape(len(shift), -1, self.w_dim))  # [N, n, w_dim]
        moved: Tensor = (1 + self.gamma(rows).float()) * w + self.beta(rows).float()
        return moved  # [N, n, w_dim]


# ---- the method


@dataclass(frozen=True)
class SDICInversion(Inversion):
    """`codes` are the compensated W'. An edit needs F − G7, which is kept as it was made: as a difference of two
    larger maps, half precision would round it twice more."""

    feature: Tensor  # F: G7 of the uncompensated codes and what it lacked  [N, width, side, side]
    added: Tensor  # F − G7  [N, width, side, side]


class SDIC(Method[SDICInversion]):
    name = "sdic"
    config: SDICConfig
    Config = SDICConfig
    Keeps = SDICInversion
    learning = Learning({"optimiser": "ranger", "rate": 1e-3})

    def __init__(self, generator: Generator, encoder: Encoder, config: SDICConfig | None = None) -> None:
        super().__init__(generator, encoder, config)
        config, shapes = self.config, generator.config
        self.check_layer(config.layer)
        reached = config.working_size / 2 ** len(config.map_widths)
        if reached != shapes.side(config.layer):
            raise ValueError(
                f"the map shrinks from {config.working_size} px to {reached:g} in {len(config.map_widths)} halvings, "
                f"layer {config.layer} has {shapes.side(config.layer)}: change working_size or map_widths"
            )
        self.discrepancy = DiscrepancyPrediction(config)
        self.feature = FeatureCompensation(config, shapes.width(config.layer))
        self.code = CodeCompensation(config, shapes.codes, shapes.w_dim)

    def invert(self, photo: Tensor, codes: Codes | None = None) -> SDICInversion:
        codes = self.codes_of(photo, codes)
        canvas = self.generator.run(self.generator.start(codes), codes, to=self.config.layer)
        first = self.generator.run(canvas, codes).image
        side = self.config.working_size
        discrepancy = self.discrepancy(fit(photo, side), at_encoder_size(first, side))
        added = self.feature(discrepancy, canvas.feature)
        compensated = Codes(self.code(discrepancy, codes.w), codes.s)
        return SDICInversion(compensated, canvas.feature + added, added, generator=self.generator.fingerprint)

    def reconstruct(self, inversion: SDICInversion) -> Tensor:
        codes = inversion.codes
        canvas = self.generator.run(self.generator.start(codes), codes, to=self.config.layer)
        return self.generator.run(canvas.replace(inversion.feature), codes).image

    def render_codes(self, inversion: SDICInversion, codes: Codes) -> Tensor:
        canvas = self.generator.run(self.generator.start(codes), codes, to=self.config.layer)
        return self.generator.run(canvas.replace(canvas.feature + inversion.added), codes).image

    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        codes: Codes = self.encoder(photo)[0]
        inversion = self.invert(photo, codes)
        side = self.config.working_size
        wanted, image = fit(photo, side), fit(self.reconstruct(inversion), side)
        terms = {
            "pixel": F.mse_loss(image, wanted),
            "perceptual": context.perceptual(image, wanted),
            "identity": context.identity(image, wanted),
            "feature": inversion.added.float().square().mean(),  # MSE(F, G7)
            "code": F.mse_loss(inversion.codes.w, codes.w),
        }
        return Losses(terms, {name: getattr(self.config, name) for name in terms})
