"""GradMove: GradStyle's residuals, each moved to where the edit moves the feature that it belongs to.

GradStyle looks for a residual's place by comparing the edited feature with the residual, which live in different
spaces. The two *streams* do not: they are the same layers of the same generator. So a place of the edited feature is
looked up in the feature of the reconstruction, at this stage and the coarser ones, and the residual comes from there,
as one map moved by one flow; a gate refuses it where the photo does not show what the edit shows. Without an edit the
flow is zero and the gate open, whatever was learned: a vanishing edit is next to none.

Nothing of it is in a paper; the residual module and the Gate&Fusion are GradStyle's (eq. 2-4).

Longer than 300 lines: the method, its training and its motion in one file, as every method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import Encoder, Taps
from ..losses import generator_loss
from ..motion import Motion, sampled
from ..rng import Draws
from ..stylegan2 import Canvas, Codes, Generator
from .gradstyle import GateFusion, GradualResidualModule, Stage, check_stages, root_mean_square, stages_kept
from .method import Inversion, Learning, Losses, Method, TrainingContext, fit
from .selective_attention import sinusoidal_positions
from .warp import random_perspectives, warp

ROWS = 1 << 22  # scores of a search that are held at a time
TRUNCATION = 0.85  # of the random codes that it learns from


@dataclass(frozen=True)
class GradMoveConfig:
    """Holds shapes and loss weights. Stages and residuals are GradStyle's."""

    stages: tuple[Stage, ...] = (Stage(3, "c3"), Stage(6, "p2"), Stage(8, "p1"))
    residual_width: int = 512
    residual_units: int = 4
    match_width: int = 64  # of what places are compared by
    reach: int = 2  # a flow is read from the best match and so many places on each side of it
    sharpness: float = 27.0  # of the comparison of two cosines, at the start
    position: float = 0.4  # how much a place weighs beside what is there, at the start
    refuse_width: int = 32
    keys: Literal["reconstruction", "residual"] = "reconstruction"  # ablation: looked up in the residual itself
    reading: Literal["flow", "attention"] = "flow"  # ablation: a mean over the matches in place of one flow
    refuses: bool = True  # ablation: whatever is found is taken
    warped: float = 0.0  # ablation: of the pairs, those that are a photo and its residuals and keys under a warp
    mixed: float = 0.4  # of the random pictures in pairs: those with two styles
    edit_strength: tuple[float, float] = (0.2, 0.8)  # of the way from one code to another
    fewer_stages: float = 0.4  # how often a photo gets the first stages alone
    warp_distortion: float = 0.15
    weight_aligner: float = 0.2  # on the error over the size of what is to be found
    weight_gate: float = 0.05
    weight_perceptual: float = 0.8
    weight_identity: float = 0.1
    weight_cycle: float = 0.5  # of the way back from an edit, beside the reconstruction
    weight_adversarial: float = 0.02

    def __post_init__(self) -> None:
        check_stages(self.stages)
        for name in ("residual_width", "residual_units", "match_width", "refuse_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.match_width % 4:
            raise ValueError(f"match_width must be a multiple of 4, as positions take it, got {self.match_width!r}")
        if not 1 <= self.reach <= 16:  # no weight has its shape, so that nothing else would bound the work
            raise ValueError(f"reach must be from 1 to 16, got {self.reach!r}")


@dataclass(frozen=True)
class Keys:
    """Holds the features that an edited feature is matched with."""

    places: Tensor  # [N, C, H, W], unit vectors
    rest: Tensor  # [N, 2, H, W]: what each place would be moved by if nothing had moved

    def under(self, warps: Tensor) -> Keys:
        """Beyond the map nothing is like anything."""
        return Keys(F.normalize(warp(self.places, warps), dim=1), warp(self.rest, warps))


class Mover(nn.Module):
    """Moves one stage's residual: finds where each place of the edited feature was, and whether it was visible."""

    def __init__(self, inputs: int, config: GradMoveConfig) -> None:
        super().__init__()
        self.config, width = config, config.match_width
        self.describe = nn.Conv2d(inputs, width, 1, bias=False)
        self.context = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.sharpness = nn.Parameter(torch.tensor(math.log(config.sharpness)))
        self.position = nn.Parameter(torch.tensor(config.position))
        nn.init.orthogonal_(self.describe.weight)
        nn.init.zeros_(self.context.weight)
        if config.refuses:
            self.differs = nn.Sequential(
                nn.Conv2d(2 * width, config.refuse_width, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(config.refuse_width, 1, 3, padding=1),
            )

    # ---- what places are compared by

    def places(self, features: list[Tensor]) -> Tensor:
        """Gives unit vectors of this stage's and the coarser features, each at unit scale."""
        side, scaled = features[-1].shape[-1], []
        for feature in features:
            unit = feature.float() / root_mean_square(feature.float())
            unit = F.interpolate(unit, (side, side), mode="bilinear") if unit.shape[-1] != side else unit
            scaled.append(unit / math.sqrt(unit.shape[1]))
        described = self.describe(torch.cat(scaled, dim=1).to(self.describe.weight.dtype))
        described = (described + self.context(described)).float()
        described = described / root_mean_square(described)
        where = sinusoidal_positions(side, side, described.shape[1], device=described.device)
        where = math.sqrt(2) * self.position * where.T.reshape(1, -1, side, side)
        return F.normalize(described + where, dim=1)

    def keys(self, features: list[Tensor]) -> Keys:
        places = self.places(features)
        own = torch.arange(places[0, 0].numel(), device=places.device).expand(len(places), -1)
        _, weights = self._match(places, places, own)
        return Keys(places, torch.unflatten(_mean_step(weights, self.config.reach), -1, places.shape[2:]))

    # ---- where they were

    def forward(self, residual: Tensor, keys: Keys, features: list[Tensor]) -> tuple[Tensor, Motion]:
        """Gives the residual as the edited features need it, and the motion that brought it there."""
        query, (height, width) = self.places(features), residual.shape[2:]
        best, weights = self._match(query, keys.places)
        steps = _mean_step(weights, self.config.reach)  # [N, 2, L], in places
        rest = keys.rest.flatten(2).gather(-1, best[:, None].expand(-1, 2, -1))
        own = torch.arange(height * width, device=best.device)
        jump = torch.stack([best % width - own % width, best // width - own // width], dim=1)
        size = torch.tensor([width, height], device=best.device).view(2, 1)
        offset = torch.unflatten((jump + steps - rest) / size, -1, (height, width))  # in shares of the side
        if self.config.reading == "flow":
            moved = sampled(residual.float(), offset, "bicubic")  # bilinear between places blurs
        else:
            around = F.unfold(residual.float(), 2 * self.config.reach + 1, padding=self.config.reach)
            around = torch.unflatten(around, 1, (residual.shape[1], -1))  # [N, C, K, L]
            near = around.gather(-1, best[:, None, None].expand(*around.shape[:3], -1))
            moved = torch.unflatten((near * weights[:, None]).sum(dim=2), -1, (height, width))
        seen = self._seen(query, sampled(keys.places, offset)) if self.config.refuses else torch.ones_like(moved[:, :1])
        return (moved * seen).to(residual.dtype), Motion(offset, seen)

    def _match(self, query: Tensor, keys: Tensor, best: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gives the best match of each place, [N, L], unless given, and the weights of the places around it, [N, K, L].

        So many rows of scores are held at a time that they stay small, forward and backward.
        """
        height, width = keys.shape[2:]
        found, weighed = [], []
        step_x, step_y = _steps(self.config.reach, keys.device)  # [K]
        rows = max(1, ROWS // (len(keys) * height * width))
        flat, chunks = keys.flatten(2), torch.split(query.flatten(2).mT, rows, dim=1)
        for part, given in zip(chunks, chunks if best is None else torch.split(best, rows, dim=1)):
            with torch.autocast(keys.device.type, enabled=False):
                scores = torch.bmm(part, flat)  # [N, rows, L]
            at = scores.detach().argmax(dim=-1) if best is None else given
            y, x = at[..., None] // width + step_y, at[..., None] % width + step_x
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            near = scores.gather(-1, y.clamp(0, height - 1) * width + x.clamp(0, width - 1))
            near = (near * self.sharpness.exp()).masked_fill(~inside, -math.inf)
            found.append(at)
            weighed.append(near.softmax(dim=-1))
        return torch.cat(found, dim=1), torch.cat(weighed, dim=1).mT

    def _seen(self, query: Tensor, found: Tensor) -> Tensor:
        """Gives 1 where the match resembles the query, whatever the weights, and towards 0 where it does not."""
        dtype, none = self.describe.weight.dtype, torch.zeros_like(found)
        alike, apart = (self.differs(torch.cat([found, by], dim=1).to(dtype)) for by in (none, query - found))
        return torch.exp(-(apart - alike).float().square())


def _steps(reach: int, device: torch.device) -> Tensor:
    """Gives the steps to the places around one, x and y, row by row: [2, K]."""
    line = torch.arange(-reach, reach + 1, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()])


def _mean_step(weights: Tensor, reach: int) -> Tensor:
    """Reduces weights [N, K, L] to the mean of x and y, [N, 2, L]."""
    return _steps(reach, weights.device).to(weights.dtype) @ weights


class StageModules(nn.Module):
    """Holds all that one stage learns: GradStyle's residual and Gate&Fusion, and what moves the residual."""

    def __init__(self, number: int, generator: Generator, encoder: Encoder, config: GradMoveConfig) -> None:
        super().__init__()
        stage, widths = config.stages[number], [generator.config.width(s.layer) for s in config.stages[: number + 1]]
        self.layer, self.tap, self.side = stage.layer, stage.tap, generator.config.side(stage.layer)
        self.residual = GradualResidualModule(
            encoder.config.width(stage.tap), widths[-1], config.residual_width, config.residual_units
        )
        self.fuse = GateFusion(widths[-1])
        self.move = Mover(sum(widths), config)

    def lacking(self, taps: Taps, feature: Tensor) -> Tensor:
        """F_m of a photo's taps and a stream's feature."""
        residual: Tensor = self.residual(fit(taps[self.tap], self.side).to(feature.dtype), feature)
        return residual


@dataclass(frozen=True)
class GradMoveInversion(Inversion):
    residuals: tuple[Tensor, ...]  # F_m, stage by stage
    keys: tuple[Keys, ...]
    canvas: Canvas  # the Reconstruction Stream after its last fusion

    def under(self, warps: Tensor) -> GradMoveInversion:
        """With everything that is looked up and moved seen under warps."""
        residuals = tuple(warp(residual, warps) for residual in self.residuals)
        return replace(self, residuals=residuals, keys=tuple(keys.under(warps) for keys in self.keys))


@dataclass(frozen=True)
class Editing:
    """Holds an Editing Stream, stage by stage."""

    canvas: Canvas  # after its last fusion
    features: tuple[Tensor, ...]  # before each fusion
    moved: tuple[Tensor, ...]  # F'_m
    motions: tuple[Motion, ...]


@dataclass(frozen=True)
class Pairs:
    """Holds pictures whose edit is known."""

    before: Tensor
    after: Tensor
    offsets: Tensor  # from the codes of the one to those of the other

    def where(self, taken: Tensor, photos: Tensor) -> Pairs:
        """These where `taken` [N, 1, 1], elsewhere photos that nothing edits."""
        taken = taken.to(photos.device)
        before, after = (torch.where(taken[..., None], each, photos) for each in (self.before, self.after))
        return Pairs(before, after, self.offsets * taken.to(self.offsets))


class GradMove(Method[GradMoveInversion]):
    name = "gradmove"
    config: GradMoveConfig
    Config = GradMoveConfig
    Keeps = GradMoveInversion
    learning = Learning(
        {"optimiser": "adam-lookahead", "losses": {"perceptual": "vgg"}},
        adversarial="weight_adversarial",
        random_edits=True,
        begins_from="gradstyle",
        shared_config=("stages", "residual_width", "residual_units"),
    )

    def __init__(self, generator: Generator, encoder: Encoder, config: GradMoveConfig | None = None) -> None:
        config = config or GradMoveConfig()
        super().__init__(generator, encoder, config)
        self.check_layer(config.stages[-1].layer)
        self.stages = nn.ModuleList(StageModules(i, generator, encoder, config) for i in range(len(config.stages)))

    def invert(self, photo: Tensor, codes: Codes | None = None) -> GradMoveInversion:
        codes, taps = self.encode(photo, codes)
        return self._inverted(codes, taps)[0]

    def reconstruct(self, inversion: GradMoveInversion) -> Tensor:
        return self.generator.run(inversion.canvas, inversion.codes).image

    def render_codes(self, inversion: GradMoveInversion, codes: Codes) -> Tensor:
        return self.generator.run(self._edited(inversion, codes).canvas, codes).image

    def motion(self, inversion: GradMoveInversion, codes: Codes) -> Motion:
        """Gives the finest stage's motion, and where what it moved was visible."""
        return self._edited(inversion, codes).motions[-1]

    def at_detail(self, inversion: GradMoveInversion, share: float) -> GradMoveInversion:
        """Gives the same photo with fewer details, the finest dropped first: 1 is all, 0 the picture of the codes."""
        if not 0 <= share <= 1:
            raise ValueError(f"a share of the details is between 0 and 1, got {share!r}")
        kept = [min(max(share * len(self.stages) - i, 0.0), 1.0) for i in range(len(self.stages))]
        residuals = tuple(part * residual for part, residual in zip(kept, inversion.residuals))
        canvas = self.generator.start(inversion.codes)
        for stage, residual in zip(self._stages(), residuals):
            canvas = self.generator.run(canvas, inversion.codes, to=stage.layer)
            canvas = canvas.replace(stage.fuse(canvas.feature, residual)[0])
        return replace(inversion, residuals=residuals, canvas=canvas)

    def load_shared(self, state: Mapping[str, Tensor]) -> None:
        """Take over the residual modules and gates of a trained GradStyle of the same shapes."""
        movers = {key: value for key, value in self.own_state().items() if ".move." in key}
        self.load_own(movers | {key: value for key, value in state.items() if ".align." not in key})

    # ---- the streams

    def _inverted(self, codes: Codes, taps: Taps, kept: Tensor | None = None) -> tuple[GradMoveInversion, Tensor]:
        """The Reconstruction Stream, with the first `kept` [N] stages if that is given, and GradStyle's eq. 5 of it."""
        canvas, gates = self.generator.start(codes), codes.w.new_zeros(())
        features: list[Tensor] = []
        residuals: list[Tensor] = []
        keys: list[Keys] = []
        for number, stage in enumerate(self._stages()):  # coarse to fine; the image itself is not needed here
            canvas = self.generator.run(canvas, codes, to=stage.layer)
            residual = stage.lacking(taps, canvas.feature)
            if kept is not None:
                residual = residual * (kept > number).to(residual)[:, None, None, None]
            features.append(canvas.feature)
            residuals.append(residual)
            keys.append(stage.move.keys(features if self.config.keys == "reconstruction" else residuals))
            fused, added = stage.fuse(canvas.feature, residual)
            canvas, gates = canvas.replace(fused), gates + added.float().abs().mean()
        found = GradMoveInversion(codes, tuple(residuals), tuple(keys), canvas, generator=self.generator.fingerprint)
        return found, gates

    def _edited(self, inversion: GradMoveInversion, codes: Codes) -> Editing:
        canvas = self.generator.start(codes)
        features: list[Tensor] = []
        moved: list[tuple[Tensor, Motion]] = []
        for stage, residual, keys in zip(self._stages(), inversion.residuals, inversion.keys):
            canvas = self.generator.run(canvas, codes, to=stage.layer)
            features.append(canvas.feature)
            moved.append(stage.move(residual, keys, features))
            canvas = canvas.replace(stage.fuse(canvas.feature, moved[-1][0])[0])
        return Editing(canvas, tuple(features), *map(tuple, zip(*moved)))

    def _stages(self) -> list[StageModules]:
        return [stage for stage in self.stages if isinstance(stage, StageModules)]

    # ---- learning

    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        """Reconstructs half of the photos, edits them and undoes the edit; as many pairs show the truth of an edit."""
        config, draws, size = self.config, context.draws, self.generator.config.resolution
        half, lent = photo.chunk(2) if len(photo) > 1 else (photo, photo)
        with torch.no_grad():
            codes, taps = self.encode(half, None)
            pairs = self._pairs(self.encode(lent, None)[0], draws)
            warped = draws.uniform(len(lent), 1, 1) < config.warped
            pairs = pairs.where(~warped, fit(lent, size))
            taken = self.encode(pairs.before, None)
            there = self.encoder.features(pairs.after)
        both = Codes.cat([codes, taken[0]])
        every = Taps(*(torch.cat([taps[f.name], taken[1][f.name]]) for f in fields(Taps)))
        kept = stages_kept(len(both), len(self.stages), config.fewer_stages, draws).to(photo.device)
        inversion, gates = self._inverted(both, every, kept)
        back = self.reconstruct(inversion)
        warps = torch.where(warped, random_perspectives(len(lent), draws, config.warp_distortion), torch.eye(3))
        if config.warped:
            inversion = inversion.under(torch.cat([torch.eye(3).expand(len(half), -1, -1), warps]))
        offsets = torch.cat([self._offsets(codes, draws), pairs.offsets])
        edited = Codes(both.w + offsets)
        editing = self._edited(inversion, edited)
        drawn = self.generator.run(editing.canvas, edited).image
        count = len(half)

        terms: dict[str, Tensor] = {"gate": gates}
        errors = []
        for number, stage in enumerate(self._stages()):
            with torch.no_grad():
                truth = stage.lacking(there, editing.features[number][count:].detach()).float()
            rows = (kept[count:] > number).float()[:, None, None, None]
            error = (editing.moved[number][count:].float() - truth).abs() * rows
            errors.append(error.mean() / (truth * rows).abs().mean().clamp(min=1e-6))
        terms["aligner"] = torch.stack(errors).sum()

        def compare(weight: float, images: Tensor, targets: Tensor) -> None:
            for name, value in {
                "l2": (images.float() - targets).square().mean(),
                "perceptual": context.perceptual(images, targets),
                "identity": context.identity(images, targets),
            }.items():
                terms[name] = terms.get(name, 0) + weight * value

        compare(1.0, torch.cat([back[:count], drawn[count:]]), torch.cat([fit(half, size), fit(pairs.after, size)]))
        if config.weight_cycle:
            with torch.no_grad():
                again = self.encode(drawn[:count].clamp(-1, 1), None)[1]
            returned, _ = self._inverted(Codes(edited.w[:count]), again, kept[:count])
            compare(config.weight_cycle, self.render_codes(returned, codes), fit(half, size))
        fakes = None
        if context.discriminator is not None and config.weight_adversarial:
            fakes = torch.cat([drawn[:count], back[:count]])
            terms["adversarial"] = generator_loss(context.discriminator(fakes))
        weights = {
            "l2": 1.0,
            "perceptual": config.weight_perceptual,
            "identity": config.weight_identity,
            "adversarial": config.weight_adversarial,
            "gate": config.weight_gate,
            "aligner": config.weight_aligner,
        }
        return Losses(terms, weights, fakes=None if fakes is None else fakes.detach())

    def _offsets(self, codes: Codes, draws: Draws) -> Tensor:
        """Random edits, [N, codes, w_dim]: of the way from one random code to another, in a range of the layers."""
        rows, layers = len(codes), codes.w.shape[1]
        low, high = self.config.edit_strength
        strength = low + (high - low) * draws.uniform(rows, 1, 1)
        way = self._random(rows, draws) - self._random(rows, draws)
        first = (draws.uniform(rows, 1) * 1.6 - 0.8).clamp(min=0) * layers  # half of them from the first layer on
        last = first + (0.2 + 0.8 * draws.uniform(rows, 1)) * (layers - first)
        there = torch.arange(layers)
        within = ((there >= first.floor()) & (there < last.ceil()))[:, :, None]
        return (strength * within).to(codes.w) * way[:, None]

    def _pairs(self, lent: Codes, draws: Draws) -> Pairs:
        """As many pictures as `lent` codes, every other one of these, the others random."""
        rows, layers = len(lent), lent.w.shape[1]
        w = self.generator.codes(self._random(rows, draws)).w
        others = self.generator.codes(self._random(rows, draws)).w
        mixed = draws.uniform(rows, 1, 1) < self.config.mixed
        beyond = torch.arange(layers)[:, None] >= 2 + (draws.uniform(rows, 1, 1) * (layers - 3)).floor()
        w = torch.where((mixed & beyond).to(w.device), others, w)
        borrowed = (torch.arange(rows) % 2 == 0).to(w.device)[:, None, None]
        start = Codes(torch.where(borrowed, lent.w.to(w), w))
        offsets = self._offsets(start, draws)
        before, after = self.generator(Codes.cat([start, Codes(start.w + offsets)])).clamp(-1, 1).chunk(2)
        return Pairs(before, after, offsets)

    def _random(self, rows: int, draws: Draws) -> Tensor:
        w = self.generator.map(draws.normal(rows, self.generator.config.z_dim))
        return torch.lerp(self.generator.mean_w.to(w), w, TRUNCATION)
