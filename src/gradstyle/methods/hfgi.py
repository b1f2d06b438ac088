"""HFGI (Wang et al. 2022): the distortion map holds what the codes lost, aligned to each edit and consulted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import Encoder
from ..encoder.backbone import IRUnit
from ..stylegan2 import Canvas, Codes, Generator
from ..stylegan2.layers import EqualConv
from .method import Inversion, Learning, Losses, Method, TrainingContext, at_encoder_size, fit
from .warp import random_perspectives, warp


@dataclass(frozen=True)
class HFGIConfig:
    """Every shape and weight; the defaults are the published ones. Maps are of the encoder's input size."""

    layer: int = 7  # where details enter: 64 px and 512 channels; a 64 px generator takes 5
    aligner_widths: tuple[int, ...] = (16, 32, 48, 64)  # from the map's own size down, each half the one before
    consultation_widths: tuple[int, ...] = (32, 48, 64)  # the last at a quarter of the map's side
    units: int = 3  # IR units a level

    pixel: float = 1.0
    perceptual: float = 0.8
    identity: float = 0.1
    alignment: float = 0.1
    distortion: float = 0.15  # of half the side, by which a warp moves a corner at most
    probability: float = 0.9  # of a warp; the tenth map that is left alone is the one a reconstruction meets

    def __post_init__(self) -> None:
        if self.layer < 0 or self.units < 1:
            raise ValueError(f"layer must be at least 0 and units at least 1, got {self.layer!r} and {self.units!r}")
        for name in ("aligner_widths", "consultation_widths"):
            widths = getattr(self, name)
            if len(widths) < 2 or min(widths) < 1:
                raise ValueError(f"{name} must be two or more positive widths, got {widths!r}")


class Stem(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.norm(self.conv(x.to(self.conv.weight.dtype))))
        return out


class Down(nn.Sequential):
    """Halves the size."""

    def __init__(self, inputs: int, outputs: int, units: int) -> None:
        super().__init__(IRUnit(inputs, outputs, stride=2), *[IRUnit(outputs, outputs) for _ in range(units - 1)])


class Up(nn.Module):
    """Doubles the size and joins the map of that size from the way down."""

    def __init__(self, inputs: int, beside: int, outputs: int, units: int) -> None:
        super().__init__()
        widths = [inputs + beside, *[inputs] * (units > 1), *[outputs] * max(units - 1, 1)]
        self.units = nn.Sequential(*[IRUnit(i, o) for i, o in pairwise(widths)])

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        x = F.interpolate(x, size=beside.shape[2:], mode="bilinear", align_corners=False)
        out: Tensor = self.units(torch.cat([x, beside], dim=1))
        return out


class Aligner(nn.Module):
    """Adaptive distortion alignment: the map of one picture as it would lie on another, from an hourglass over both."""

    def __init__(self, widths: tuple[int, ...], units: int) -> None:
        super().__init__()
        self.stem = Stem(6, widths[0])
        self.downs = nn.ModuleList(Down(i, o, units) for i, o in pairwise(widths))
        upward = [widths[-1], *widths[-3::-1], 3]  # each level gives as many channels as the next finer skip has
        self.ups = nn.ModuleList(
            Up(i, beside, o, units) for (i, o), beside in zip(pairwise(upward), widths[-2::-1], strict=True)
        )

    def forward(self, distortion: Tensor, image: Tensor) -> Tensor:
        x: Tensor = self.stem(torch.cat([distortion, image], dim=1))
        passed = []
        for down in self.downs:
            passed.append(x)
            x = down(x)
        for up in self.ups:
            x = up(x, passed.pop())
        return x  # [N, 3, S, S]


class Branch(nn.Module):
    """Two equalised convolutions, the first with a leaky ReLU."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.hidden = EqualConv(inputs, width, 3)
        self.out = EqualConv(width, width, 3, activation=False)
        nn.init.zeros_(self.out.weight)  # training starts from the picture of the codes
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.out(self.hidden(x))
        return x + self.bias.to(x.dtype)[:, None, None]


class Consultation(nn.Module):
    """Turns an aligned map into scale and shift of a generator feature."""

    def __init__(self, widths: tuple[int, ...], units: int, feature_width: int) -> None:
        super().__init__()
        self.stem = Stem(3, widths[0])
        self.downs = nn.Sequential(*[Down(i, o, units) for i, o in pairwise(widths)])
        self.scale = Branch(widths[-1], feature_width)
        self.shift = Branch(widths[-1], feature_width)

    def forward(self, feature: Tensor, aligned: Tensor) -> Tensor:
        x = self.downs(self.stem(aligned))
        if x.shape[2:] != feature.shape[2:]:
            x = F.interpolate(x, size=feature.shape[2:], mode="bilinear", align_corners=False)
        return torch.addcmul(feature + self.shift(x).to(feature.dtype), feature, self.scale(x).to(feature.dtype))


@dataclass(frozen=True)
class HFGIInversion(Inversion):
    distortion: Tensor  # [N, 3, S, S], the photo without the picture of its codes
    canvas: Canvas  # the picture of the codes at the layer where details enter, with the photo's own in it


class HFGI(Method[HFGIInversion]):
    """The map belongs to the photo and so does its alignment to the unedited picture: `invert` does both, and a
    reconstruction only runs the upper layers. An edit has to be drawn once before the map can be aligned to it;
    with the details it goes on from the canvas of that first pass, not from the start.
    """

    name = "hfgi"
    config: HFGIConfig
    Config = HFGIConfig
    Keeps = HFGIInversion
    learning = Learning({"optimiser": "ranger"})

    def __init__(self, generator: Generator, encoder: Encoder, config: HFGIConfig | None = None) -> None:
        super().__init__(generator, encoder, config)
        config = self.config
        self.check_layer(config.layer)
        self.aligner = Aligner(config.aligner_widths, config.units)
        width = generator.config.width(config.layer)
        self.consultation = Consultation(config.consultation_widths, config.units, width)

    def invert(self, photo: Tensor, codes: Codes | None = None) -> HFGIInversion:
        codes = self.codes_of(photo, codes)
        canvas, image = self.draw(codes)
        distortion = fit(photo, self.side) - image
        canvas = self.consult(canvas, self.aligner(distortion, image))
        return HFGIInversion(codes, distortion, canvas, generator=self.generator.fingerprint)

    def reconstruct(self, inversion: HFGIInversion) -> Tensor:
        return self.generator.run(inversion.canvas, inversion.codes).image

    def render_codes(self, inversion: HFGIInversion, codes: Codes) -> Tensor:
        canvas, image = self.draw(codes)
        aligned = self.aligner(inversion.distortion, image)
        return self.generator.run(self.consult(canvas, aligned), codes).image

    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        """Trains without edits: a warp stands in for one, and the aligner must undo it."""
        config = self.config
        photo = fit(photo, self.side)
        with torch.no_grad():
            codes, _ = self.encoder(photo)
            canvas, image = self.draw(codes)
            distortion = photo - image
            moves = random_perspectives(len(photo), context.draws, config.distortion, config.probability)
            warped = warp(distortion, moves)
        aligned = self.aligner(warped, image)
        drawn = fit(self.generator.run(self.consult(canvas, aligned), codes).image, self.side)
        return Losses(
            terms={
                "pixel": F.mse_loss(drawn, photo),
                "perceptual": context.perceptual(drawn, photo),
                "identity": context.identity(drawn, photo),
                "alignment": F.l1_loss(aligned.float(), distortion),
            },
            weights={
                "pixel": config.pixel,
                "perceptual": config.perceptual,
                "identity": config.identity,
                "alignment": config.alignment,
            },
        )

    @property
    def side(self) -> int:
        """Pixels along the side of maps, and of the pictures that are compared."""
        return self.encoder.config.input_size

    def draw(self, codes: Codes) -> tuple[Canvas, Tensor]:
        """The picture of the codes alone: its canvas at the layer where details enter, and how it ends."""
        canvas = self.generator.run(self.generator.start(codes), codes, to=self.config.layer)
        return canvas, at_encoder_size(self.generator.run(canvas, codes).image, self.side)

    def consult(self, canvas: Canvas, aligned: Tensor) -> Canvas:
        return canvas.replace(self.consultation(canvas.feature, aligned))
