"""Training a method on a bundle's frozen generator and encoder: each by its own loss, as its paper says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_type_hints

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..bundles import Bundle
from ..config import from_json
from ..encoder.e4e import fit
from ..losses import LazyR1, discriminator_loss
from ..methods import Method
from ..methods.method import Learning, TrainingContext
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
from .recipe import Recipe
from .trainable import Batch, Setup, Trainable

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
    """What all methods' recipes share; each adds the method's config, and its own defaults."""

    optional = True  # so that a new method is in every chain at once

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
    Method: ClassVar[type[Method[Any]]]
    learning: ClassVar[Learning]

    def __init__(self, setup: Setup[MethodRecipe]) -> None:
        super().__init__(setup)
        recipe, engine = self.recipe, self.engine
        config = recipe.config  # type: ignore[attr-defined]
        self.bundle = open_bundle(setup)
        self.generator, self.encoder = self.bundle.generator(), self.bundle.encoder()
        if self.learning.random_edits and not self.generator.config.mapping_layers:
            raise ValueError(
                f"{self.kind} learns from random edits, which the mapping network draws, and this bundle's generator "
                "came without one: take a bundle whose generator has it"
            )
        self.standing = Standing(self.inputs, generator=self.generator, encoder=self.encoder)
        torch.manual_seed(seed_of("weights", recipe.loop.seed))
        self.method = self.Method(self.generator, self.encoder, config)
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
        if self.learning.adversarial and getattr(config, self.learning.adversarial):
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

    def begin(self) -> None:
        if start := self.inputs.get("start"):
            weights, base = weights_of(start), self.learning.begins_from
            if base and base in weights and self.kind not in weights:
                self.method.load_shared(weights.state(base, torch.float32))
            else:
                begin_with(weights, start, **{self.kind: self.method})

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


@functools.cache
def training_of(method: type[Method[Any]]) -> type[MethodTraining]:
    """The training of a method, whose recipe is made from what the method's class says."""
    learning, hints = method.learning, get_type_hints(MethodRecipe)
    if learning is None:
        raise ValueError(f"{method.name} has nothing to learn beside its encoder")
    fields: list[Any] = [("config", method.Config, field(default_factory=method.Config))]
    for name, value in learning.recipe.items():
        default = from_json(hints[name], value, name) if isinstance(value, Mapping) else value
        fields.append((name, hints[name], field(default=default)))
    recipe = make_dataclass(f"{method.__name__}Recipe", fields, bases=(MethodRecipe,), frozen=True)
    members = {"kind": method.name, "Method": method, "learning": learning, "Recipe": recipe}
    return type(f"{method.__name__}Training", (MethodTraining,), members)
