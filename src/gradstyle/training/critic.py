"""The discriminator that looks through networks which know pictures, and how it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from ..losses import FeatureCritic, FeatureMixing, Judge, LiteFeatures, Teacher, critic_generator_loss, critic_loss
from ..losses.frozen import Frozen
from ..rng import Draws
from .frozen_inputs import Standing
from .gradient_steps import descend, place
from .grow import Smaller

FURTHEST = 4  # pixels by which a picture is moved


@dataclass(frozen=True)
class CriticShape:
    resolution: int
    width: int
    group: int  # rows over which its heads normalise
    rate: float


class Eye(Frozen):
    """A network that knows pictures, through fixed random projections."""

    share = 1.0  # what a head on one of its maps counts

    def __init__(
        self, network: nn.Module, features: Callable[[Tensor], list[Tensor]], widths: Sequence[int], width: int
    ) -> None:
        super().__init__()
        self.network, self.features, self.mixing = network, features, FeatureMixing(widths, width)
        self.freeze()

    def forward(self, images: Tensor) -> list[Tensor]:
        mixed: list[Tensor] = self.mixing(self.features(images))
        return mixed


class Pixels(nn.Module):
    """The pictures themselves and at half their size, four pixels a place: what is as fine as a pixel is in no
    network's features."""

    share = 3.0  # two heads, against four and more of each network

    def forward(self, images: Tensor) -> list[Tensor]:
        return [F.pixel_unshuffle(each, 2) for each in (images, F.avg_pool2d(images, 2))]


def open_eyes(inputs: Mapping[str, str], smaller: Smaller | None, width: int) -> list[Eye | Pixels]:
    """All that are at hand: ImageNet's features, a teacher's, those of the judge of the bundle to grow from, and
    pixels. A judge's maps are narrow, and the first of them is little more than pixels."""
    eyes: list[Eye | Pixels] = []
    if file := inputs.get("features"):
        known = LiteFeatures.open(file).folded()
        eyes.append(Eye(known, known.features, known.widths, width))
    if file := inputs.get("teacher"):
        teacher = Teacher(Judge.open(file))
        widths = teacher.judge.config.widths[1:]
        eyes.append(Eye(teacher, lambda images: teacher.features(images)[1:], widths, width // 2))
    if smaller is not None and smaller.judge is not None:
        judge = smaller.judge
        widths = judge.judge.config.widths[1:]
        eyes.append(Eye(judge, lambda images: judge.features(smaller.part_of(images))[1:], widths, width // 2))
    if not eyes:
        raise ValueError(
            "the recipe's critic looks through a network that knows pictures: give --features FILE or --teacher FILE "
            "(gradstyle train teacher makes one), or --set critic_weight=0 to learn without it"
        )
    return [*eyes, Pixels()]


class Critic:
    """A discriminator on such features, and what it learns with."""

    def __init__(
        self, engine: Accelerator, draws: Draws, inputs: Mapping[str, str], smaller: Smaller | None, shape: CriticShape
    ) -> None:
        self.engine, self.draws, self.eyes = engine, draws, open_eyes(inputs, smaller, shape.width)
        for eye in self.eyes:
            place(eye, engine.device)
        self.standing = Standing(inputs)
        with torch.no_grad():
            blank = torch.zeros(1, 3, shape.resolution, shape.resolution, device=engine.device)
            maps = [(each, eye.share) for eye in self.eyes for each in eye(blank)]
        shares = torch.tensor([share for _, share in maps], device=engine.device)
        self.shares = shares / shares.sum()  # [heads]
        widths, sides = [x.shape[1] for x, _ in maps], [x.shape[2] for x, _ in maps]
        self.heads = FeatureCritic(widths, sides, shape.width, shape.group).to(engine.device)
        self.optimiser = torch.optim.Adam(self.heads.parameters(), lr=shape.rate, betas=(0.0, 0.99))
        self.synced, self.stepping = engine.prepare(self.heads, self.optimiser)

    def see(self, images: Tensor) -> list[Tensor]:
        """All maps of pictures that are moved by a few pixels: or what networks that halve their maps never look at
        fills with hatching."""
        down, right = (self.draws.uniform_once(2) * (2 * FURTHEST + 1)).long().tolist()
        padded = F.pad(images, [FURTHEST] * 4, mode="replicate")
        images = padded[:, :, down : down + images.shape[2], right : right + images.shape[3]]
        images = images.contiguous(memory_format=torch.channels_last)
        with self.engine.autocast():
            return [each for eye in self.eyes for each in eye(images)]

    def against(self, images: Tensor) -> Tensor:
        self.heads.requires_grad_(False)
        with self.engine.autocast():
            loss = critic_generator_loss(self.heads(self.see(images)), self.shares)
        self.heads.requires_grad_(True)
        return loss

    def train(self, reals: Sequence[Tensor], fakes: Sequence[Tensor]) -> dict[str, Tensor]:
        passes = [partial(self.tell_apart, *pair) for pair in zip(reals, fakes, strict=True)]
        return descend(self.engine, self.synced, self.stepping, passes)

    def tell_apart(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        with torch.no_grad():
            maps = self.see(torch.cat([real, fake]))
        on_real, on_fake = zip(*(each.float().chunk(2) for each in self.synced(maps)))
        loss = critic_loss(on_real, on_fake, self.shares)
        real_score, fake_score = (torch.cat(each, dim=1).mean() for each in (on_real, on_fake))
        return loss, {"critic": loss, "critic_real": real_score, "critic_fake": fake_score}
