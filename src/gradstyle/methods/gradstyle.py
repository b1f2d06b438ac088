"""GradStyle (Li et al., AAAI 2024): details that codes lose come back stage by stage, aligned to the edit.

The Reconstruction Stream finds at each stage what the generator's feature lacks and adds it. The Editing Stream
generates from edited codes and adds the same residuals, each first aligned to the edited feature. Equations are
numbered as in the paper; what the paper leaves open is a value of `GradStyleConfig`, marked *choice*.

Longer than 300 lines: the paper's method and its training in one file, as every method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import Encoder, Taps
from ..rng import Draws
from ..stylegan2 import Canvas, Codes, Generator
from .method import Inversion, Learning, Losses, Method, TrainingContext, fit, map_tensors
from .selective_attention import SelectiveAttention, sinusoidal_positions
from .warp import random_perspectives, warp


@dataclass(frozen=True)
class Stage:
    """A stage ends after generator layer `layer` and is refined with the encoder's features `tap`."""

    layer: int
    tap: Literal["c0", "c1", "c2", "c3", "p1", "p2"]


def check_stages(stages: Sequence[Stage]) -> None:
    layers = [stage.layer for stage in stages]
    if not layers or layers != sorted(set(layers)) or layers[0] < 0:
        raise ValueError(f"stages end after rising layers of the generator, got {layers}")


@dataclass(frozen=True)
class GradStyleConfig:
    """Defaults are for a 1024 px generator: maps of 16, 32 and 64 pixels, 512 wide."""

    stages: tuple[Stage, ...] = (Stage(3, "c3"), Stage(6, "p2"), Stage(8, "p1"))  # choice: counted from 0
    residual_width: int = 512  # choice: the common space of W_T and W_f
    residual_units: int = 4  # choice: depth of E_res
    blocks: int = 3  # choice: "several times" in the paper
    head_width: int = 64  # d_k of eq. 9
    keep: float = 30.0  # choice: μ, in per cent; 100 is dense attention
    mlp_ratio: int = 2  # choice
    content: float = 0.3  # choice: how much content weighs beside position in queries and keys, at the start
    warp_distortion: float = 0.15  # HFGI's warp, which the paper cites
    warp_probability: float = 0.9  # choice
    weight_perceptual: float = 0.8  # λ_lpips; choice, as e4e
    weight_identity: float = 0.1  # λ_id; choice, as e4e
    weight_adversarial: float = 0.01  # λ_adv; choice
    weight_gate: float = 0.1  # λ_f, on means over elements; choice
    weight_aligner: float = 0.1  # λ_aligner, on the error over the size of what it compares; choice
    fewer_stages: float = 0.0  # how often training leaves a photo the first stages alone; choice
    with_grm: bool = True  # ablation "without GRM": the encoder's features take the residual's place
    with_gam: bool = True  # ablation "without GAM": residuals are added as they lie

    def __post_init__(self) -> None:
        check_stages(self.stages)
        for name in ("residual_width", "residual_units", "blocks", "head_width", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")


class ResidualUnit(nn.Module):
    """conv, leaky ReLU, conv, beside the identity (1×1 where the widths differ)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.conv1(F.leaky_relu(self.conv0(x), 0.2))
        return out


class GradualResidualModule(nn.Module):
    """What the feature lacks of the photo: F_m = E_res(W_T T_m, W_f f_m) (eq. 2)."""

    def __init__(self, tap_width: int, feature_width: int, width: int, units: int) -> None:
        super().__init__()
        self.from_tap = nn.Conv2d(tap_width, width, 1)  # W_T
        self.from_feature = nn.Conv2d(feature_width, width, 1)  # W_f
        widths = [2 * width] + [width] * units
        self.units = nn.Sequential(*(ResidualUnit(i, o) for i, o in zip(widths, widths[1:])))  # noqa: RUF007
        self.out = nn.Conv2d(widths[-1], feature_width, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # choice: training starts from the generator's own picture
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, tap: Tensor, feature: Tensor) -> Tensor:
        both = torch.cat([self.from_tap(tap), self.from_feature(feature)], dim=1)
        residual: Tensor = self.out(self.units(both))
        return residual  # [N, C, H, W]


class EncoderFeature(nn.Module):
    """In place of the GRM in its ablation: the encoder's feature itself, brought to the generator's width."""

    def __init__(self, tap_width: int, feature_width: int) -> None:
        super().__init__()
        self.from_tap = nn.Conv2d(tap_width, feature_width, 1)

    def forward(self, tap: Tensor, feature: Tensor) -> Tensor:
        residual: Tensor = self.from_tap(tap)
        return residual


class GateFusion(nn.Module):
    """Add to a stage what it lacks and nothing more (eq. 3-4); one object serves both streams."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * width, width, kernel_size=3, padding=1)  # W_g

    def forward(self, feature: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        gate = self.gate(torch.cat([feature, residual], dim=1)).sigmoid()  # [N, C, H, W]
        added = gate * residual
        return feature + added, added  # `added` feeds eq. 5


class AlignerBlock(nn.Module):
    """Selective Attention from the edited feature to the residual, and an MLP.

    It starts as a look at the same place: queries and keys through one orthogonal map, values as they are. An
    aligner that starts at random needs many times the training to get even there.
    """

    def __init__(self, width: int, config: GradStyleConfig, first: bool) -> None:
        super().__init__()
        heads = next(n for n in range(max(width // config.head_width, 1), 0, -1) if width % n == 0)
        self.attention = SelectiveAttention(width, heads, config.keep)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_ratio * width), nn.GELU(), nn.Linear(config.mlp_ratio * width, width)
        )
        with torch.no_grad():
            nn.init.orthogonal_(self.attention.query.weight, gain=2)  # sharp enough to tell neighbours apart
            self.attention.key.weight.copy_(self.attention.query.weight)
            nn.init.eye_(self.attention.value.weight)
            nn.init.eye_(self.attention.out.weight)
            if not first:
                nn.init.zeros_(self.attention.out.weight)
            for parameter in self.mlp[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, steer: Tensor, keys: Tensor, residual: Tensor, aligned: Tensor | None) -> Tensor:
        # The first block has no skip from the query: what comes out is made of the residual alone.
        query = steer if aligned is None else steer + aligned
        found: Tensor = self.attention(query, keys, residual)
        aligned = found if aligned is None else aligned + found
        out: Tensor = aligned + self.mlp(self.norm(aligned))
        return out


class Aligner(nn.Module):
    """F'_m = E_ab(F_m, f_m): the residual rearranged to where the edited feature needs it (eq. 7).

    Both maps are brought to unit scale, whatever the generator's is, and the result back to the residual's.
    """

    def __init__(self, width: int, config: GradStyleConfig) -> None:
        super().__init__()
        self.context = nn.Conv2d(width, width, 3, padding=1)  # what surrounds a place of the edited feature
        self.content = nn.Parameter(torch.tensor(config.content))
        self.blocks = nn.ModuleList(AlignerBlock(width, config, first=i == 0) for i in range(config.blocks))
        self.out = nn.Linear(width, width)
        nn.init.eye_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, residual: Tensor, feature: Tensor) -> Tensor:
        height, width = feature.shape[2:]
        scale = root_mean_square(residual)
        values = _tokens(residual / scale)  # [N, L, C]
        steer = _tokens(self.context(feature / root_mean_square(feature)))
        positions = sinusoidal_positions(height, width, feature.shape[1], device=feature.device).to(values.dtype)
        z_feature, z_residual = self.content * steer + positions, self.content * values + positions
        aligned: Tensor | None = None
        for block in self.blocks:
            aligned = block(z_feature, z_residual, values, aligned)
        out: Tensor = self.out(aligned)
        return out.transpose(1, 2).reshape(residual.shape).to(feature.dtype) * scale


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # [N, C, H, W] → [N, L, C]


def root_mean_square(x: Tensor) -> Tensor:
    mean = x.float().square().mean(dim=(1, 2, 3), keepdim=True)
    return (mean + 1e-8).sqrt().to(x.dtype)  # [N, 1, 1, 1]


class StageModules(nn.Module):
    """All that one stage learns: the GRM's residual, the Gate&Fusion of both streams, the GAM's aligner."""

    def __init__(self, stage: Stage, generator: Generator, encoder: Encoder, config: GradStyleConfig) -> None:
        super().__init__()
        self.layer, self.tap = stage.layer, stage.tap
        width, tap_width = generator.config.width(stage.layer), encoder.config.width(stage.tap)
        self.side = generator.config.side(stage.layer)
        self.residual = (
            GradualResidualModule(tap_width, width, config.residual_width, config.residual_units)
            if config.with_grm
            else EncoderFeature(tap_width, width)
        )
        self.fuse = GateFusion(width)
        self.align = Aligner(width, config) if config.with_gam else None

    def lacking(self, taps: Taps, feature: Tensor) -> Tensor:
        """F_m of a photo's taps and the reconstruction's feature."""
        residual: Tensor = self.residual(_resized(taps[self.tap], self.side).to(feature.dtype), feature)
        return residual

    def aligned(self, residual: Tensor, feature: Tensor) -> Tensor:
        """F'_m, or F_m as it lies where the ablation has no aligner."""
        return residual if self.align is None else self.align(residual, feature)


@dataclass(frozen=True)
class GradStyleInversion(Inversion):
    residuals: tuple[Tensor, ...]  # F_m, stage by stage
    canvas: Canvas  # the Reconstruction Stream after its last fusion


class GradStyle(Method[GradStyleInversion]):
    name = "gradstyle"
    config: GradStyleConfig
    Config = GradStyleConfig
    Keeps = GradStyleInversion
    learning = Learning(
        {"optimiser": "adam-lookahead", "losses": {"perceptual": "vgg"}}, adversarial="weight_adversarial"
    )

    def __init__(self, generator: Generator, encoder: Encoder, config: GradStyleConfig | None = None) -> None:
        config = config or GradStyleConfig()
        super().__init__(generator, encoder, config)
        self.check_layer(config.stages[-1].layer)
        self.stages = nn.ModuleList(StageModules(stage, generator, encoder, config) for stage in config.stages)

    def invert(self, photo: Tensor, codes: Codes | None = None) -> GradStyleInversion:
        """Encoding Phase and Reconstruction Stream, up to its last fusion (eq. 1)."""
        codes, taps = self.encode(photo, codes)
        canvas, residuals = self.generator.start(codes), []
        for stage in self._stages():  # coarse to fine; the image itself is not needed here
            canvas = self.generator.run(canvas, codes, to=stage.layer)
            residual = stage.lacking(taps, canvas.feature)
            canvas = canvas.replace(stage.fuse(canvas.feature, residual)[0])
            residuals.append(residual)
        return GradStyleInversion(codes, tuple(residuals), canvas, generator=self.generator.fingerprint)

    def reconstruct(self, inversion: GradStyleInversion) -> Tensor:
        return self.generator.run(inversion.canvas, inversion.codes).image

    def render_codes(self, inversion: GradStyleInversion, codes: Codes) -> Tensor:
        """Editing Stream (eq. 6)."""
        canvas = self.generator.start(codes)
        for stage, residual in zip(self._stages(), inversion.residuals):
            canvas = self.generator.run(canvas, codes, to=stage.layer)
            aligned = stage.aligned(residual, canvas.feature)
            canvas = canvas.replace(stage.fuse(canvas.feature, aligned)[0])
        return self.generator.run(canvas, codes).image

    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        """Both streams on unedited codes: the second must undo a warp of the residuals (eq. 10-15)."""
        with torch.no_grad():
            codes, taps = self.encode(photo, None)
            # Until the first fusion the streams are one: that part of the generator runs once.
            shared = self.generator.run(self.generator.start(codes), codes, to=self.config.stages[0].layer)
        gate_loss = aligner_loss = photo.new_zeros(())
        kept = stages_kept(len(photo), len(self.stages), self.config.fewer_stages, context.draws).to(photo.device)
        warps = random_perspectives(
            len(photo), context.draws, self.config.warp_distortion, self.config.warp_probability
        )

        # From there on they run side by side, as one batch: first the reconstructions, then the edits.
        canvas, both = map_tensors(shared, _twice), Codes.cat([codes, codes])
        for number, stage in enumerate(self._stages()):
            canvas = self.generator.run(canvas, both, to=stage.layer)
            feature, moved = canvas.feature.chunk(2)
            residual = stage.lacking(taps, feature) * (kept > number).to(feature)[:, None, None, None]
            truth = residual.detach()  # nothing of the second stream reaches W_T, W_f or E_res
            aligned = stage.aligned(warp(truth, warps), moved)
            error = (aligned.float() - truth.float()).abs().mean()  # eq. 10, of each stage in sizes of its residual:
            aligner_loss = aligner_loss + error / truth.float().abs().mean().clamp(min=1e-6)  # theirs differ eightfold
            fused, added = stage.fuse(canvas.feature, torch.cat([residual, aligned.to(residual.dtype)]))
            gate_loss = gate_loss + added[: len(photo)].float().abs().mean()  # eq. 5
            canvas = canvas.replace(fused)
        images = self.generator.run(canvas, both).image

        target = fit(photo, self.generator.config.resolution)
        terms = {"gate": gate_loss, "aligner": aligner_loss}
        for image in images.chunk(2):
            _add(terms, "l2", (image - target).square().mean())  # eq. 11
            _add(terms, "perceptual", context.perceptual(image, target))  # eq. 12
            _add(terms, "identity", context.identity(image, target))  # eq. 13
            if context.discriminator is not None:
                _add(terms, "adversarial", F.softplus(-context.discriminator(image)).mean())  # eq. 14
        weights = {
            "l2": 1.0,
            "perceptual": self.config.weight_perceptual,
            "identity": self.config.weight_identity,
            "adversarial": self.config.weight_adversarial,
            "gate": self.config.weight_gate,
            "aligner": self.config.weight_aligner if self.config.with_gam else 0.0,
        }  # eq. 15
        return Losses(terms, weights, fakes=images.detach())

    def _stages(self) -> list[StageModules]:
        return [stage for stage in self.stages if isinstance(stage, StageModules)]


def stages_kept(rows: int, stages: int, fewer: float, draws: Draws) -> Tensor:
    """How many stages each row has in training, [N]: all, or with the probability `fewer` the first few of them, so
    that each brings back what it can and does not wait for a finer one."""
    some = 1 + (draws.uniform(rows) * (stages - 1)).long()
    return torch.where(draws.uniform(rows) < fewer, some, torch.full_like(some, stages))


def _resized(tap: Tensor, side: int) -> Tensor:
    if tap.shape[-1] == side:
        return tap
    return F.interpolate(tap, size=(side, side), mode="bilinear", align_corners=False)


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])


def _add(terms: dict[str, Tensor], name: str, value: Tensor) -> None:
    terms[name] = terms[name] + value if name in terms else value
