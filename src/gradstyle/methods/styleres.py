"""StyleRes (Pehlivan et al. 2023): what the codes cannot hold becomes a residual feature, moved with each edit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import Encoder, Taps
from ..encoder.backbone import Shortcut
from ..losses.adversarial import generator_loss
from ..rng import Draws
from ..stylegan2 import Canvas, Codes, Discriminator, Generator
from .method import Inversion, Learning, Losses, Method, TrainingContext, fit


@dataclass(frozen=True)
class StyleResConfig:
    """Every shape and weight; the defaults are the published ones.

    `perceptual` and `cycle_perceptual` belong to VGG16 features of pixels in 0–255, whose distances are in the
    hundreds: a recipe that compares with another network sets its own.
    """

    layer: int = 7  # whose activation E1 and E2 read and E2 writes: 64 px, at most half of the image's side
    tap: str = "c1"  # the encoder's finest feature, which still holds what the codes lose
    width: int = 512  # of E1
    halvings: int = 2  # E1 works down to a quarter of the feature's side
    extraction_units: int = 3
    reduced: int = 256  # channels to which E2 brings each of its two inputs
    branch_units: int = 3

    edit_probability: float = 0.5  # how many of the samples are trained edited
    edit_strength: tuple[float, float] = (0.4, 0.5)  # the part of the way to a random code

    pixel: float = 1.0  # the first three on unedited samples, the others on all
    perceptual: float = 1e-3
    identity: float = 0.1
    adversarial: float = 0.1
    feature: float = 5.0  # keeps ΔF near what the generator makes by itself
    cycle_perceptual: float = 1e-4
    cycle_identity: float = 0.1

    def __post_init__(self) -> None:
        for name in ("layer", "width", "extraction_units", "reduced", "branch_units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.halvings < 0:
            raise ValueError(f"halvings must be at least 0, got {self.halvings!r}")
        if not 0 <= self.edit_probability <= 1:
            raise ValueError(f"edit_probability must be between 0 and 1, got {self.edit_probability!r}")
        if len(self.edit_strength) != 2 or not 0 <= self.edit_strength[0] <= self.edit_strength[1]:
            raise ValueError(f"edit_strength is two numbers, the lower first, got {self.edit_strength!r}")


class ResUnit(nn.Module):
    """3×3, leaky ReLU, 3×3, beside the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else Shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(F.leaky_relu(self.conv0(x), 0.2))
        return out + (x if self.shortcut is None else self.shortcut(x))


class ResidualEncoder(nn.Module):
    """E1: what the photo has and the generator's own feature lacks, aligned with that feature."""

    def __init__(self, config: StyleResConfig, tap_width: int, feature_width: int) -> None:
        super().__init__()
        width, steps = config.width, range(config.halvings)
        self.first = nn.Conv2d(tap_width + feature_width, width, 1)
        self.unit = ResUnit(width, width)
        self.down = nn.ModuleList(nn.Sequential(ResUnit(width, width, stride=2), ResUnit(width, width)) for _ in steps)
        self.up = nn.ModuleList(nn.Sequential(ResUnit(width, width), ResUnit(width, width)) for _ in steps)
        self.out = nn.Conv2d(width, width, 1)
        self.extract = nn.Conv2d(width, width, 1)
        self.extraction = nn.Sequential(*[ResUnit(width, width) for _ in range(config.extraction_units)])

    def forward(self, tap: Tensor, feature: Tensor) -> Tensor:
        x = torch.cat([fit(tap, feature.shape[-1]), feature], dim=1).to(self.first.weight.dtype)
        x = self.unit(self.first(x))  # [N, width, S, S]
        finer = []
        for down in self.down:
            finer.append(x)
            x = down(x)
        for up in self.up:
            skip = finer.pop()
            x = up(skip + F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=True))
        residual: Tensor = self.extraction(self.extract(self.out(x)))
        return residual  # [N, width, S, S]


class ResidualTransform(nn.Module):
    """E2: the residual as this edit's feature needs it, F + gate · ΔF."""

    def __init__(self, config: StyleResConfig, feature_width: int) -> None:
        super().__init__()
        inner = 2 * config.reduced
        self.reduce_feature = nn.Conv2d(feature_width, config.reduced, 3, padding=1)
        self.reduce_residual = nn.Conv2d(config.width, config.reduced, 3, padding=1)
        alike = [inner] * (config.branch_units - 1)
        self.delta = nn.Sequential(*[ResUnit(inner, outputs) for outputs in [*alike, feature_width]])
        self.gate = nn.Sequential(*[ResUnit(inner, outputs) for outputs in [*alike, 1]])
        # ΔF starts at zero, so that training starts from the picture of the codes; the units that make it let
        # through what they are given, and what they are given is nothing yet.
        made = [unit.conv1 for unit in self.delta if isinstance(unit, ResUnit)]
        for conv in (self.reduce_feature, self.reduce_residual, *made):
            for parameter in conv.parameters():
                nn.init.zeros_(parameter)

    def forward(self, feature: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        reduced = self.reduce_feature(feature.to(self.reduce_feature.weight.dtype))
        both = torch.cat([reduced, self.reduce_residual(residual)], dim=1)
        delta: Tensor = self.delta(both)  # [N, C, S, S]
        gate: Tensor = self.gate(both).sigmoid()  # [N, 1, S, S]
        return feature + (gate * delta).to(feature.dtype), delta


@dataclass(frozen=True)
class StyleResInversion(Inversion):
    residual: Tensor  # [N, width, S, S], what E1 found
    canvas: Canvas  # the reconstruction as far as E2's output


class StyleRes(Method[StyleResInversion]):
    name = "styleres"
    config: StyleResConfig
    Config = StyleResConfig
    Keeps = StyleResInversion
    learning = Learning(
        {"betas": (0.9, 0.99), "halve_at": (5_000, 10_000, 15_000), "losses": {"perceptual": "keras-vgg"}},
        adversarial="adversarial",
        random_edits=True,
    )

    def __init__(self, generator: Generator, encoder: Encoder, config: StyleResConfig | None = None) -> None:
        super().__init__(generator, encoder, config)
        config = self.config
        self.check_layer(config.layer)
        width = generator.config.width(config.layer)
        self.e1 = ResidualEncoder(config, encoder.config.width(config.tap), width)
        self.e2 = ResidualTransform(config, width)

    def invert(self, photo: Tensor, codes: Codes | None = None) -> StyleResInversion:
        codes, taps = self.encode(photo, codes)
        canvas = self._begin(codes)
        residual = self.e1(taps[self.config.tap], canvas.feature)
        canvas = canvas.replace(self.e2(canvas.feature, residual)[0])
        return StyleResInversion(codes, residual, canvas, generator=self.generator.fingerprint)

    def reconstruct(self, inversion: StyleResInversion) -> Tensor:
        return self.generator.run(inversion.canvas, inversion.codes).image

    def render_codes(self, inversion: StyleResInversion, codes: Codes) -> Tensor:
        canvas = self._begin(codes)
        feature, _ = self.e2(canvas.feature, inversion.residual)
        return self.generator.run(canvas.replace(feature), codes).image

    def _begin(self, codes: Codes) -> Canvas:
        return self.generator.run(self.generator.start(codes), codes, to=self.config.layer)

    # ---- training

    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        """No editing for some samples; for all of them the cycle: to the edit, and from its picture back."""
        config, count = self.config, len(photo)
        photo = fit(photo, self.encoder.config.input_size)
        with torch.no_grad():
            codes, taps = self.encode(photo, None)
            offsets, edited = self._random_edits(codes, context.draws)
        drawn, delta = self._translate(codes, taps, offsets, edited)
        image = fit(drawn, photo.shape[-1])
        terms = {"feature": delta.float().abs().mean()}

        plain = (~edited).nonzero()[:, 0]
        # A sample weighs the same whatever the others of its batch were dealt, so that a batch split over
        # processes has the loss of the whole one.
        share = len(plain) / (count * (1 - config.edit_probability)) if len(plain) else 0.0
        for name, compare in (
            ("pixel", F.mse_loss),
            ("perceptual", context.perceptual),
            ("identity", context.identity),
        ):
            terms[name] = compare(image[plain], photo[plain]) * share if len(plain) else photo.new_zeros(())

        if config.cycle_perceptual or config.cycle_identity:
            with torch.no_grad():
                codes, taps = self.encode(image, None)
            back = fit(self._translate(codes, taps, -offsets, edited)[0], photo.shape[-1])
            terms["cycle_perceptual"] = context.perceptual(back, photo)
            terms["cycle_identity"] = context.identity(back, photo)

        fakes = image
        if context.discriminator is not None:
            if isinstance(context.discriminator, Discriminator):
                fakes = fit(drawn, context.discriminator.config.resolution)
            terms["adversarial"] = generator_loss(context.discriminator(fakes))
        return Losses(terms, {name: getattr(config, name) for name in terms}, fakes)

    def _random_edits(self, codes: Codes, draws: Draws) -> tuple[Tensor, Tensor]:
        """Part of the way to a random code for some of the samples, w' − w = s · (M(z) − w); zero for the rest."""
        count, device = len(codes), codes.w.device
        low, high = self.config.edit_strength
        edited = (draws.uniform(count) < self.config.edit_probability).to(device)  # [N]
        strength = (low + (high - low) * draws.uniform(count, 1, 1)).to(device) * edited[:, None, None]
        target = self.generator.map(draws.normal(count, self.generator.config.z_dim))  # [N, w_dim]
        return strength * (target[:, None] - codes.w), edited

    def _translate(self, codes: Codes, taps: Taps, offsets: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
        """The picture with its codes moved by `offsets`, and ΔF; only E1 and E2 learn from it."""
        with torch.no_grad():
            canvas = self._begin(codes)
            moved, rows = Codes(codes.w + offsets), edited.nonzero()[:, 0]
            there = self._begin(moved[rows]) if len(rows) else None
        residual = self.e1(taps[self.config.tap], canvas.feature)
        # The other rows keep the feature that E1 has just seen: without an edit it is theirs.
        if there is not None and there.rgb is not None and canvas.rgb is not None:
            canvas = dataclasses.replace(
                canvas,
                feature=canvas.feature.index_copy(0, rows, there.feature),
                rgb=canvas.rgb.index_copy(0, rows, there.rgb),
            )
        feature, delta = self.e2(canvas.feature, residual)
        return self.generator.run(canvas.replace(feature), moved).image, delta
