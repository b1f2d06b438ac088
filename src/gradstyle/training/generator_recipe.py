"""The recipe of a generator."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ..stylegan2 import DiscriminatorConfig, GeneratorConfig
from .recipe import Auto, Recipe


@dataclass(frozen=True)
class NetworksRecipe:
    """The shapes of both networks."""

    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    activation_clamp: float | None = None
    group: int = 4  # rows that share a minibatch deviation


@dataclass(frozen=True)
class AugmentRecipe:
    """What is done to pictures before the discriminator sees them."""

    mode: Literal["off", "auto", "fixed"] = "off"
    pipeline: str = "bgc"
    target: float = 0.6  # auto: how often the discriminator may be right about real pictures, minus wrong
    kimg: float = 500.0  # auto: thousands of pictures in which p can go from 0 to 1
    p: float = 0.0  # fixed: with this probability; auto: it starts here


@dataclass(frozen=True)
class GeneratorRecipe(Recipe):
    networks: NetworksRecipe = NetworksRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    rate: float | Auto = "auto"
    discriminator_rate: float | Auto = "auto"  # the generator's
    r1_gamma: float | Auto = "auto"
    r1_every: int = 16
    path_weight: float = 2.0
    path_every: int = 4
    path_share: int = 2  # the path length is measured on the batch divided by this
    mixing: float = 0.9  # how often a picture gets two codes, the second from a random layer on
    discriminator_weight: float = 1.0  # of StyleGAN2's own, on pixels; 0: there is none
    critic_weight: float = 0.0  # of one on the features of a network that knows pictures (--features, --teacher)
    critic_width: int = 64
    critic_rate: float = 0.001
    match_weight: float = 0.0  # of the distance from a smaller generator that it has grown from (--start)
    match_images: int = 0  # pictures after which that weight has fallen to nothing; 0: it stays
    head_start: int = 0  # pictures that discriminators learn from before the generator does
    fresh_fakes: bool = True  # discriminators see other pictures than the generator has just learned from
    ema_images: float | Auto = "auto"  # half-life of the average
    ema_rampup: float = 0.05  # the half-life is at most this share of the pictures seen; not on a warm start

    def resolved(self) -> GeneratorRecipe:
        """StyleGAN2-ADA's `auto`."""
        side, batch = self.data.resolution, self.loop.batch
        rate = (0.002 if side >= 1024 else 0.0025) if self.rate == "auto" else self.rate
        return dataclasses.replace(
            self,
            rate=rate,
            discriminator_rate=rate if self.discriminator_rate == "auto" else self.discriminator_rate,
            r1_gamma=0.0002 * side**2 / batch if self.r1_gamma == "auto" else self.r1_gamma,
            ema_images=batch * 10_000 / 32 if self.ema_images == "auto" else self.ema_images,
        )

    @property
    def generator(self) -> GeneratorConfig:
        shapes = dataclasses.asdict(self.networks)
        del shapes["group"]
        return GeneratorConfig(self.data.resolution, **shapes)

    @property
    def discriminator(self) -> DiscriminatorConfig:
        n = self.networks
        return DiscriminatorConfig(self.data.resolution, n.channel_base, n.channel_max, n.activation_clamp, n.group)
