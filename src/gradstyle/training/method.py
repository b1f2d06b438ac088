"""Training a method on a bundle's frozen generator and encoder: each by its own loss, as its paper says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..bundles import Bundle
from ..encoder.e4e import fit
from ..losses import LazyR1, discriminator_loss
from ..methods import METHODS, Method
from ..methods.gradmove import GradMove, GradMoveConfig
from ..methods.gradstyle import GradStyleConfig
from ..methods.hfgi import HFGIConfig
from ..methods.method import TrainingContext
from ..methods.sdic import SDICConfig
from ..methods.styleres import StyleResConfig
from ..rng import seed_of
from .frozen_inputs import (
    GroupedDiscriminator,
    LossesRecipe,
    Standing,
    begin_with,
    copied,
    open_bundle,
    open_discriminator,
    open_losses,
    random_edit,
    weights_of,
)
from .gradient_steps import descend, learning_mode, place, share_statistics, touch
from .lookahead import Lookahead, ranger
from .loop import Batch, Setup, Trainable
from .recipe import Recipe

OptimiserName = Literal["adam", "adam-lookahead", "ranger"]


@dataclass(frozen=True)
class AdversaryRecipe:
    """How the discriminator goes on learning, where a method has an adversarial term."""

    rate: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.99)
    r1_gamma: float = 10.0
    r1_every: int = 16


@dataclass(frozen=True)
class MethodRecipe(Recipe):
    """What all methods' recipes share; each adds the method's own config and optimiser."""

    rate: float = 1e-4
    optimiser: OptimiserName = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    lookahead_steps: int = 5
    lookahead_share: float = 0.5
    halve_at: tuple[int, ...] = ()  # steps after which all rates are halved
    losses: LossesRecipe = field(default_factory=LossesRecipe)
    adversary: AdversaryRecipe = field(default_factory=AdversaryRecipe)
    freeze_statistics: bool = False  # of BatchNorm

    def make_optimiser(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        if self.optimiser == "ranger":
            return ranger(parameters, self.rate)
        adam = torch.optim.Adam(parameters, self.rate, self.betas)
        if self.optimiser == "adam":
            return adam
        return Lookahead(adam, self.lookahead_steps, self.lookahead_share)


@dataclass(frozen=True)
class GradStyleRecipe(MethodRecipe):
    config: GradStyleConfig = field(default_factory=GradStyleConfig)
    optimiser: OptimiserName = "adam-lookahead"
    losses: LossesRecipe = field(default_factory=lambda: LossesRecipe(perceptual="vgg"))


@dataclass(frozen=True)
class GradMoveRecipe(MethodRecipe):
    config: GradMoveConfig = field(default_factory=GradMoveConfig)
    optimiser: OptimiserName = "adam-lookahead"
    losses: LossesRecipe = field(default_factory=lambda: LossesRecipe(perceptual="vgg"))


@dataclass(frozen=True)
class StyleResRecipe(MethodRecipe):
    config: StyleResConfig = field(default_factory=StyleResConfig)
    betas: tuple[float, float] = (0.9, 0.99)
    halve_at: tuple[int, ...] = (5_000, 10_000, 15_000)
    losses: LossesRecipe = field(default_factory=lambda: LossesRecipe(perceptual="keras-vgg"))


@dataclass(frozen=True)
class SDICRecipe(MethodRecipe):
    config: SDICConfig = field(default_factory=SDICConfig)
    optimiser: OptimiserName = "ranger"
    rate: float = 1e-3


@dataclass(frozen=True)
class HFGIRecipe(MethodRecipe):
    config: HFGIConfig = field(default_factory=HFGIConfig)
    optimiser: OptimiserName = "ranger"


class MethodPass(nn.Module):
    """From photos to a loss in one forward pass, as gradient synchronisation wants it."""

    def __init__(self, method: Method[Any]) -> None:
        super().__init__()
        self.method = method

    def forward(self, photos: Tensor, context: TrainingContext) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        losses = self.method.training_loss(photos, context)
        fakes = None if losses.fakes is None else losses.fakes.detach()
        return touch(losses.total, self.method), dict(losses.terms), fakes


class MethodTraining(Trainable[MethodRecipe]):
    adversarial: ClassVar[str | None] = None  # the name of that term's weight in the method's config

    def __init__(self, setup: Setup[MethodRecipe]) -> None:
        super().__init__(setup)
        recipe, engine = self.recipe, self.engine
        config = recipe.config  # type: ignore[attr-defined]
        self.bundle = open_bundle(setup)
        self.generator, self.encoder = self.bundle.generator(), self.bundle.encoder()
        self.check(config)
        self.standing = Standing(self.inputs, generator=self.generator, encoder=self.encoder)
        torch.manual_seed(seed_of("weights", recipe.loop.seed))
        self.method = METHODS[self.kind](self.generator, self.encoder, config)
        place(self.method, engine.device)
        # Only what learns is kept: generator and encoder stand in the bundle.
        self.modules = {n: part for n, part in self.method.named_children() if n not in ("generator", "encoder")}
        learning = [parameter for parameter in self.method.parameters() if parameter.requires_grad]
        self.optimisers = {"method": recipe.make_optimiser(learning)}
        self.synced: nn.Module
        self.synced, self.step_method = engine.prepare(MethodPass(self.method), self.optimisers["method"])
        compare = open_losses(self.inputs, recipe.losses, engine.device, self.bundle)
        self.context = TrainingContext(*compare, draws=self.draws)

        self.discriminator: GroupedDiscriminator | None = None
        if self.adversarial and getattr(config, self.adversarial):
            self.discriminator = open_discriminator(self.bundle, self.inputs)
            side = self.discriminator.config.resolution
            if recipe.data.resolution < side:
                raise ValueError(f"the discriminator sees {side} px, data.resolution is {recipe.data.resolution}")
            place(self.discriminator, engine.device)
            self.r1 = LazyR1(recipe.adversary.r1_gamma, recipe.adversary.r1_every)
            adam = torch.optim.Adam(self.discriminator.parameters(), recipe.adversary.rate, recipe.adversary.betas)
            self.modules["discriminator"], self.optimisers["discriminator"] = self.discriminator, adam
            self.synced_discriminator: nn.Module
            self.synced_discriminator, self.step_discriminator = engine.prepare(self.discriminator, adam)
            self.context.discriminator = self.discriminator

    def check(self, config: Any) -> None:
        """Refuse, before any work is done, a bundle that the method cannot be trained on."""

    def need_mapping(self) -> None:
        if not self.generator.config.mapping_layers:
            raise ValueError(
                f"{self.kind} learns from random edits, which the mapping network draws, and this bundle's generator "
                "came without one: take a bundle whose generator has it"
            )

    def begin(self) -> None:
        if start := self.inputs.get("start"):
            begin_with(start, **{self.kind: self.method})

    def rate(self, batch: Batch) -> float:
        return 0.5 ** sum(batch.step >= step for step in self.recipe.halve_at)

    # ---- a step

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        photos = batch.photos.contiguous(memory_format=torch.channels_last)
        parts, self.context.step = photos.chunk(self.recipe.loop.parts), batch.step
        learning_mode(self.method, self.recipe.freeze_statistics)
        fakes: list[Tensor] = []
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
        each = [partial(self.learn, photos, fakes) for photos in parts]
        terms = descend(self.engine, self.synced, self.step_method, each)
        share_statistics(self.engine, self.method)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
            terms |= self.train_discriminator([partial(self.tell_apart, *pair) for pair in zip(parts, fakes)])
            if self.r1.due(batch.step):
                terms |= self.train_discriminator([partial(self.penalise, photos) for photos in parts])
        return terms

    def learn(self, photos: Tensor, fakes: list[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        loss, terms, made = self.synced(photos, self.context)
        if made is not None:
            fakes.append(made)
        return loss, terms

    def train_discriminator(self, passes: Sequence[Callable[[], Any]]) -> dict[str, Tensor]:
        return descend(self.engine, self.synced_discriminator, self.step_discriminator, passes)

    def tell_apart(self, photos: Tensor, fakes: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert self.discriminator is not None
        side = self.discriminator.config.resolution
        scores = self.synced_discriminator(torch.cat([fit(photos, side), fit(fakes, side)]))
        on_real, on_fake = scores[: len(photos)], scores[len(photos) :]
        loss = discriminator_loss(on_real, on_fake)
        return loss, {"discriminator": loss, "real_score": on_real.mean(), "fake_score": on_fake.mean()}

    def penalise(self, photos: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        real = photos.detach().requires_grad_(True)
        scores = self.synced_discriminator(real)
        loss = self.r1(scores, real)
        return loss + 0 * scores.sum(), {"r1": loss / (self.r1.gamma / 2 * self.r1.every)}

    # ---- what comes of it

    @torch.no_grad()
    def preview(self, photos: Tensor) -> tuple[Sequence[Sequence[Tensor]], Sequence[str]]:
        self.method.eval()
        with self.engine.autocast():
            inversion, edit = self.method.invert(photos), random_edit(self.generator)
            pictures = [photos, *(self.method.render(inversion, edits) for edits in ([], [edit] if edit else []))]
        pictures = pictures if edit else pictures[:2]
        return list(zip(*pictures)), ("photo", "reconstruction", "edit")[: len(pictures)]

    def export(self, name: str) -> Bundle:
        """The input bundle with this method."""
        bundle = copied(self.bundle, name, self.bundle, self.kind)
        bundle.put(self.kind, self.method)
        return bundle

    def state(self) -> dict[str, Any]:
        return {"standing": self.standing.names}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.standing.check(state["standing"])


class GradStyleTraining(MethodTraining):
    kind: ClassVar[str] = "gradstyle"
    Recipe: ClassVar[type[Recipe]] = GradStyleRecipe
    adversarial: ClassVar[str | None] = "weight_adversarial"


class GradMoveTraining(MethodTraining):
    kind: ClassVar[str] = "gradmove"
    Recipe: ClassVar[type[Recipe]] = GradMoveRecipe
    adversarial: ClassVar[str | None] = "weight_adversarial"

    def check(self, config: Any) -> None:
        self.need_mapping()

    def begin(self) -> None:
        """From an earlier one, or from GradStyle's residuals and gates, which it has in common."""
        start = self.inputs.get("start")
        if start and "gradmove" not in (given := weights_of(start)) and "gradstyle" in given:
            assert isinstance(self.method, GradMove)
            self.method.load_shared(given.state("gradstyle", torch.float32))
        else:
            super().begin()


class StyleResTraining(MethodTraining):
    kind: ClassVar[str] = "styleres"
    Recipe: ClassVar[type[Recipe]] = StyleResRecipe
    adversarial: ClassVar[str | None] = "adversarial"

    def check(self, config: Any) -> None:
        self.need_mapping()


class SDICTraining(MethodTraining):
    kind: ClassVar[str] = "sdic"
    Recipe: ClassVar[type[Recipe]] = SDICRecipe


class HFGITraining(MethodTraining):
    kind: ClassVar[str] = "hfgi"
    Recipe: ClassVar[type[Recipe]] = HFGIRecipe
