"""Training a generator: StyleGAN2 (Karras et al. 2020) with adaptive discriminator augmentation.

The discriminator compares rows that share a minibatch deviation. Here those are consecutive rows, so that a
batch dealt out to processes, or taken in parts, has the groups of the joined batch as long as each part is a
multiple of the group: then they all compute the same gradient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..bundles import Bundle
from ..losses import LazyR1, PathLength, discriminator_loss, generator_loss
from ..rng import seed_of
from ..stylegan2 import Discriminator, Generator
from .augment import AdaptiveP, Augment
from .critic import Critic, CriticShape
from .generator_recipe import GeneratorRecipe
from .gradient_steps import by_groups, descend, new_share
from .grow import Smaller, begin_grown
from .painter import Latents, Painter
from .recipe import Recipe
from .trainable import Batch, Setup, Trainable

SHEET = (4, 8)  # rows and columns of a preview
SHEET_TRUNCATION = 0.8


class GeneratorTraining(Trainable[GeneratorRecipe]):
    kind: ClassVar[str] = "generator"
    Recipe: ClassVar[type[Recipe]] = GeneratorRecipe

    def __init__(self, setup: Setup[GeneratorRecipe]) -> None:
        super().__init__(setup)
        recipe, engine = self.recipe, self.engine
        mine = recipe.loop.batch // engine.num_processes // recipe.loop.parts
        if mine % recipe.networks.group:
            raise ValueError(
                f"each process's part of a batch is {mine} pictures, not a multiple of networks.group "
                f"{recipe.networks.group}: change loop.batch, loop.parts or networks.group"
            )
        torch.manual_seed(seed_of("weights", recipe.loop.seed))
        generator, discriminator = Generator(recipe.generator), Discriminator(recipe.discriminator)
        for module in (generator, discriminator):
            module.to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(generator).requires_grad_(False).eval()
        self.path_length = PathLength().to(engine.device)
        self.augment = Augment(recipe.augment.pipeline, recipe.augment.p)  # not moved: a GPU would be waited for
        self.adaptive = AdaptiveP(recipe.augment.target, recipe.augment.kimg, p=recipe.augment.p)
        self.r1 = LazyR1(float(recipe.r1_gamma), recipe.r1_every)
        self.warm = False  # started from weights: their average needs no ramp-up

        self.generator, self.painter, self.discriminator = generator, Painter(generator), discriminator
        self.modules = {
            "generator": generator,
            "discriminator": discriminator,
            "average": self.average,
            "path_length": self.path_length,
        }
        self.smaller: Smaller | None = None
        if recipe.match_weight or recipe.critic_weight:
            self.smaller = Smaller.open(setup.inputs, recipe.data.resolution, recipe.data.domain.crop, engine.device)
        self.critic: Critic | None = None
        if recipe.critic_weight:
            shape = CriticShape(recipe.data.resolution, recipe.critic_width, recipe.networks.group, recipe.critic_rate)
            self.critic = Critic(engine, self.draws, setup.inputs, self.smaller, shape)
        self.match_weight = recipe.match_weight  # falls while it learns
        self.optimisers = {
            "generator": lazy_adam(generator, float(recipe.rate), recipe.path_every if recipe.path_weight else None),
            "discriminator": lazy_adam(
                discriminator, float(recipe.discriminator_rate), recipe.r1_every if self.r1.gamma else None
            ),
        }
        # Prepared modules synchronise gradients over processes; those that only pass gradients on, or none,
        # are called as they are. Either way accelerate's precision holds: it is put around their forward.
        self.synced_painter, self.synced_discriminator = engine.prepare(self.painter, discriminator)
        self.step_generator, self.step_discriminator = engine.prepare(*self.optimisers.values())
        if self.critic is not None:
            self.modules["critic"] = self.critic.heads
            self.optimisers["critic"] = self.critic.optimiser
        # What torch.compile makes cannot be differentiated twice: R1 and path length take the plain modules.
        self.fast_painter, self.fast_discriminator = self.synced_painter, self.synced_discriminator
        if recipe.loop.compile:
            self.fast_painter = torch.compile(self.synced_painter, dynamic=False)
            self.fast_discriminator = torch.compile(self.synced_discriminator, dynamic=False)

    def begin(self) -> None:
        if start := self.inputs.get("start"):
            begin_grown(start, generator=self.generator, discriminator=self.discriminator)
            self.average.load_state_dict(self.generator.state_dict())
            self.warm = True

    # ---- a step

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        count, recipe = len(batch.photos), self.recipe
        if recipe.match_images:
            self.match_weight = recipe.match_weight * max(0.0, 1 - batch.images / recipe.match_images)
        fakes, terms = list[Tensor](), dict[str, Tensor]()
        if batch.images >= recipe.head_start:
            fakes, terms = self.train_generator(count)
            if recipe.path_weight and batch.step % recipe.path_every == 0:
                parts = recipe.loop.parts
                terms |= self.regularise_generator(max(count // parts // recipe.path_share, 1) * parts)
        if recipe.fresh_fakes or not fakes:
            fakes = self.paint(count)
        terms |= self.train_discriminator(batch.photos, fakes)
        if recipe.discriminator_weight and self.r1.due(batch.step):
            terms |= self.regularise_discriminator(batch.photos)
        self.update_average(batch.images + recipe.loop.batch)
        return terms

    @torch.no_grad()
    def paint(self, count: int) -> list[Tensor]:
        """Pictures for the discriminators, a tensor for each part of the batch."""
        return [self.painter(latents)[0] for latents in self.latents(count).split(self.recipe.loop.parts)]

    def train_generator(self, count: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """One step; gives the pictures that it was made on, too."""
        fakes = list[Tensor]()
        self.discriminator.requires_grad_(False)
        passes = [partial(self.fool, part, fakes) for part in self.latents(count).split(self.recipe.loop.parts)]
        terms = descend(self.engine, self.synced_painter, self.step_generator, passes)
        self.discriminator.requires_grad_(True)
        return fakes, terms

    def fool(self, latents: Latents, fakes: list[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        recipe, terms = self.recipe, dict[str, Tensor]()
        images, _ = self.fast_painter(latents)
        loss = images.new_zeros(())
        if recipe.discriminator_weight:
            scores = self.score(self.discriminator, self.seen(images))
            loss = loss + recipe.discriminator_weight * generator_loss(scores)
        if self.critic is not None:
            loss = loss + recipe.critic_weight * self.critic.against(images)
        if self.smaller is not None and self.match_weight:
            with self.engine.autocast():
                terms["match"] = self.smaller.distance(images, latents)
            loss = loss + self.match_weight * terms["match"]
        fakes.append(images.detach())
        return loss, {"generator": loss, **terms}

    def regularise_generator(self, count: int) -> dict[str, Tensor]:
        parts = self.latents(count).split(self.recipe.loop.parts)
        passes = [partial(self.penalise_path, latents) for latents in parts]
        terms = descend(self.engine, self.synced_painter, self.step_generator, passes)
        return terms | {"path_mean": self.path_length.mean.clone()}

    def penalise_path(self, latents: Latents) -> tuple[Tensor, Mapping[str, Tensor]]:
        images, w = self.synced_painter(latents)
        noise = self.normal(len(images), images[0].numel()).view_as(images)
        loss = self.path_length(images, w, noise)
        weighted = loss * (self.recipe.path_weight * self.recipe.path_every)
        return weighted + 0 * images.sum(), {"path": loss}  # every weight takes part, as processes expect

    def train_discriminator(self, photos: Tensor, fakes: Sequence[Tensor]) -> dict[str, Tensor]:
        """One step of all discriminators; `fakes` are a tensor for each part of the batch."""
        reals, terms = photos.chunk(self.recipe.loop.parts), dict[str, Tensor]()
        if self.critic is not None:
            terms |= self.critic.train(reals, fakes)
        if self.recipe.discriminator_weight:
            real_scores = list[Tensor]()
            passes = [partial(self.tell_apart, *pair, real_scores) for pair in zip(reals, fakes, strict=True)]
            terms |= descend(self.engine, self.synced_discriminator, self.step_discriminator, passes)
            if self.recipe.augment.mode == "auto":
                self.augment.p.fill_(self.adaptive.update(self.engine.gather(torch.cat(real_scores))))
                terms["augment_p"] = self.augment.p.to(photos.device, copy=True)
        return terms

    def tell_apart(self, real: Tensor, fake: Tensor, real_scores: list[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        both = torch.cat([self.seen(real), self.seen(fake)])
        on_real, on_fake = self.score(self.fast_discriminator, both).chunk(2)
        real_scores.append(on_real.detach())
        loss = discriminator_loss(on_real, on_fake)
        return loss, {"discriminator": loss, "real_score": on_real.mean(), "fake_score": on_fake.mean()}

    def regularise_discriminator(self, photos: Tensor) -> dict[str, Tensor]:
        passes = [partial(self.penalise, part) for part in photos.chunk(self.recipe.loop.parts)]
        return descend(self.engine, self.synced_discriminator, self.step_discriminator, passes)

    def penalise(self, photos: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        real = photos.detach().requires_grad_(True)
        scores = self.score(self.synced_discriminator, self.seen(real))
        loss = self.r1(scores, real)
        return loss + 0 * scores.sum(), {"r1": loss / (self.r1.gamma / 2 * self.r1.every)}  # as for the path length

    def update_average(self, images: int) -> None:
        recipe = self.recipe
        rampup = math.inf if self.warm else recipe.ema_rampup
        share = new_share(recipe.loop.batch, images, float(recipe.ema_images), rampup)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), share)

    # ---- what it is drawn from

    def latents(self, count: int) -> Latents:
        config, device = self.generator.config, self.engine.device
        z = self.draws.normal(count, 2, config.z_dim)
        mixed, where = self.draws.uniform(count, 2).unbind(dim=1)
        cut = torch.where(mixed < self.recipe.mixing, 1 + where * (config.codes - 1), config.codes).long()
        sides = [config.side(layer) for layer in range(config.layers)]
        flat = self.normal(count, sum(side * side for side in sides))
        planes = torch.split(flat, [side * side for side in sides], dim=1)
        noise = tuple(plane.reshape(count, 1, side, side) for plane, side in zip(planes, sides))
        return Latents(z.to(device), cut.to(device), noise)

    def normal(self, count: int, size: int) -> Tensor:
        """Many normal numbers a row, drawn where they are needed from a seed of the row's own."""
        random, rows = torch.Generator(self.engine.device), []
        for seed in self.draws.seeds(count):
            random.manual_seed(seed)
            rows.append(torch.randn(size, generator=random, device=self.engine.device))
        return torch.stack(rows)  # [N, size]

    def seen(self, images: Tensor) -> Tensor:
        return images if self.recipe.augment.mode == "off" else self.augment(images, self.draws)

    def score(self, discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return by_groups(discriminator, images, self.recipe.networks.group)

    # ---- what comes of it

    @torch.no_grad()
    def finished(self) -> Generator:
        """The average as it stands, with its mean code."""
        generator = copy.deepcopy(self.average)
        generator.mean_w.copy_(generator.estimated_mean())
        return generator

    @torch.no_grad()
    def preview(self, photos: Tensor) -> tuple[Sequence[Sequence[Tensor]], Sequence[str]]:
        generator, (rows, columns) = self.finished(), SHEET
        codes = generator.sample(rows * columns, SHEET_TRUNCATION)
        with self.engine.autocast():
            return [list(generator(codes[row * columns : (row + 1) * columns])) for row in range(rows)], ()

    def export(self, name: str) -> Bundle:
        bundle = Bundle(name, self.recipe.data.domain, origin="trained with gradstyle train generator")
        bundle.put("generator", self.finished())
        bundle.put("discriminator", self.discriminator)  # learned or not: methods go on from it
        return bundle

    def state(self) -> dict[str, Any]:
        state = {"adaptive": self.adaptive.state_dict(), "warm": self.warm}
        return state if self.critic is None else state | {"standing": self.critic.standing.names}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if self.recipe.augment.mode == "auto":
            self.adaptive.load_state_dict(state["adaptive"])
            self.augment.p.fill_(self.adaptive.p)
        self.warm = state["warm"]
        if self.critic is not None:
            self.critic.standing.check(state.get("standing", {}))


def lazy_adam(module: nn.Module, rate: float, every: int | None) -> torch.optim.Adam:
    """Adam without momentum, made slower for the additional steps of a regularisation that is due now and then."""
    share = 1.0 if every is None else every / (every + 1)
    return torch.optim.Adam(module.parameters(), lr=rate * share, betas=(0.0, 0.99**share), eps=1e-8)
