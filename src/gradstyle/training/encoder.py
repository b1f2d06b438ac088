"""Training an encoder: e4e (Tov et al. 2021) on a frozen generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..bundles import Bundle
from ..encoder import Encoder, EncoderConfig
from ..methods.e4e import EncoderLoss, EncoderLossConfig, LatentDiscriminator, LatentDiscriminatorLoss, deltas_at
from ..methods.method import TrainingContext
from ..rng import seed_of
from .frozen_inputs import (
    LossesRecipe,
    Standing,
    begin_with,
    copied,
    mean_code,
    open_bundle,
    open_losses,
    random_edit,
    weights_of,
)
from .gradient_steps import descend, learning_mode, place, share_statistics, touch
from .lookahead import ranger
from .recipe import Recipe
from .trainable import Batch, Setup, Trainable


@dataclass(frozen=True)
class EncoderNetworkRecipe:
    """The encoder's shapes; the bundle's generator says how many codes there are and how long they are."""

    input_size: int = 256
    units: tuple[int, int, int, int] = (3, 4, 14, 3)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    head_width: int = 512
    coarse: int = 3
    middle: int = 7

    def config(self, codes: int, w_dim: int) -> EncoderConfig:
        width = self.widths[-1]
        shapes = (self.input_size, self.units, self.widths, width, self.head_width, self.coarse, self.middle)
        return EncoderConfig(codes, w_dim, *shapes)


@dataclass(frozen=True)
class EncoderRecipe(Recipe):
    network: EncoderNetworkRecipe = field(default_factory=EncoderNetworkRecipe)
    loss: EncoderLossConfig = field(default_factory=EncoderLossConfig)
    losses: LossesRecipe = field(default_factory=LossesRecipe)
    rate: float = 1e-4  # Ranger
    discriminator_rate: float = 2e-5  # Adam, on single codes
    freeze_statistics: bool = False  # of BatchNorm: for backbones that come with good ones


class EncoderPass(nn.Module):
    """From photos to a loss in one forward pass, as gradient synchronisation wants it."""

    def __init__(self, encoder: Encoder, loss: EncoderLoss) -> None:
        super().__init__()
        self.encoder, self.loss = encoder, loss

    def forward(self, photos: Tensor, context: TrainingContext) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        losses = self.loss(photos, context)
        assert losses.fakes is not None
        return touch(losses.total, self.encoder), dict(losses.terms), losses.fakes.detach()


class EncoderTraining(Trainable[EncoderRecipe]):
    kind: ClassVar[str] = "encoder"
    Recipe: ClassVar[type[Recipe]] = EncoderRecipe

    def __init__(self, setup: Setup[EncoderRecipe]) -> None:
        super().__init__(setup)
        recipe, engine = self.recipe, self.engine
        self.bundle = open_bundle(setup)
        self.generator = self.bundle.generator(device=engine.device)
        if not self.generator.config.mapping_layers:
            raise ValueError("an encoder learns what codes look like from the mapping network, which this bundle lacks")
        self.standing = Standing(self.inputs, generator=self.generator)
        torch.manual_seed(seed_of("weights", recipe.loop.seed))
        shapes = self.generator.config
        self.encoder = Encoder(recipe.network.config(shapes.codes, shapes.w_dim))
        self.encoder.mean_codes.copy_(mean_code(self.generator))
        place(self.encoder, engine.device)
        self.discriminator = LatentDiscriminator(shapes.w_dim).to(engine.device)
        self.losses = recipe.loss
        if "start" in self.inputs:  # all of its deltas have learned already
            self.losses = replace(recipe.loss, first_delta=-shapes.codes, delta_every=1)
        self.loss = EncoderLoss(self.generator, self.encoder, self.losses)
        self.discriminator_loss = LatentDiscriminatorLoss(self.generator, self.losses, engine.gather)
        compare = open_losses(self.inputs, recipe.losses, engine.device, self.bundle)
        self.context = TrainingContext(*compare, draws=self.draws)

        self.modules = {"encoder": self.encoder, "discriminator": self.discriminator}
        self.optimisers = {
            "encoder": ranger(self.encoder.parameters(), recipe.rate),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), recipe.discriminator_rate),
        }
        self.synced: nn.Module
        self.synced_discriminator: nn.Module
        self.synced, self.synced_discriminator = engine.prepare(
            EncoderPass(self.encoder, self.loss), self.discriminator
        )
        self.step_encoder, self.step_discriminator = engine.prepare(*self.optimisers.values())

    def begin(self) -> None:
        if start := self.inputs.get("start"):
            begin_with(weights_of(start), start, encoder=self.encoder)
            self.encoder.mean_codes.copy_(mean_code(self.generator))  # of this generator

    # ---- a step

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        parts, self.context.step = batch.photos.chunk(self.recipe.loop.parts), batch.step
        learning_mode(self.encoder, self.recipe.freeze_statistics)
        self.discriminator.requires_grad_(False)
        self.context.discriminator = self.discriminator
        config, fakes = self.losses, list[Tensor]()
        on = deltas_at(batch.step, self.encoder.config.codes - 1, config.first_delta, config.delta_every)
        each = [partial(self.learn, part, fakes) for part in parts]
        terms = descend(self.engine, self.synced, self.step_encoder, each, resting=self.encoder.heads[on + 1 :])
        terms["deltas"] = torch.tensor(float(on), device=self.engine.device)
        self.discriminator.requires_grad_(True)
        self.context.discriminator = self.synced_discriminator
        each = [partial(self.tell_apart, part) for part in fakes]
        terms |= descend(self.engine, self.synced_discriminator, self.step_discriminator, each)
        share_statistics(self.engine, self.encoder)
        return terms

    def learn(self, photos: Tensor, fakes: list[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        loss, terms, codes = self.synced(photos, self.context)
        fakes.append(codes)
        return loss, terms

    def tell_apart(self, fakes: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        losses = self.discriminator_loss(fakes, self.context)
        return losses.total, {f"latent_{name}": term for name, term in losses.terms.items()}

    # ---- what comes of it

    @torch.no_grad()
    def preview(self, photos: Tensor) -> tuple[Sequence[Sequence[Tensor]], Sequence[str]]:
        self.encoder.eval()
        with self.engine.autocast():
            codes, edit = self.encoder(photos)[0], random_edit(self.generator)
            pictures = [photos, self.generator(codes), *([self.generator(edit.apply(codes))] if edit else [])]
        return list(zip(*pictures)), ("photo", "reconstruction", "edit")[: len(pictures)]

    def export(self, name: str) -> Bundle:
        """The input bundle with this encoder; methods on another encoder are left behind."""
        bundle = copied(self.bundle, name, ("generator", "discriminator"), self.kind)
        bundle.put("encoder", self.encoder)
        return bundle

    def state(self) -> dict[str, Any]:
        return {"pools": self.discriminator_loss.state_dict(), "standing": self.standing.names}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.standing.check(state["standing"])
        self.discriminator_loss.load_state_dict(state["pools"])
