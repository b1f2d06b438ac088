"""A larger generator from a smaller one: its layers under finer ones, and its pictures as what to hold on to.

A grown generator knows its domain and nothing of the new pixels; where the new photos show more around the face, it
also draws everything at the wrong place and size. What moves all of it in a few thousand pictures is not a
discriminator but the smaller generator itself: each picture should show, in the part of it that the smaller crop
covers, what the smaller one makes of the same latents.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bundles import Bundle
from ..losses import FeatureDistance, Teacher
from ..losses.frozen import Frozen
from ..photos.align import Crop, inside
from ..stylegan2 import Discriminator, Generator
from .frozen_inputs import begin_with, weights_of
from .gradient_steps import place
from .painter import Latents, Painter


def begin_grown(start: str, generator: Generator, discriminator: Discriminator) -> None:
    """As `begin_with`; from networks of a smaller resolution too, where what is finer begins anew."""
    bundle = weights_of(start)
    if bundle.resolution == generator.config.resolution:
        begin_with(bundle, start, generator=generator, discriminator=discriminator)
        return
    if bundle.resolution > generator.config.resolution:
        raise ValueError(
            f"{start} makes {bundle.resolution} px, the recipe {generator.config.resolution}: it cannot shrink"
        )
    grow(generator, bundle.state("generator", torch.float32))
    if "discriminator" in bundle:
        grow_discriminator(discriminator, bundle.state("discriminator", torch.float32))


@torch.no_grad()
def grow(generator: Generator, smaller: Mapping[str, Tensor]) -> None:
    """Take a smaller generator's layers; the finer ones paint nothing yet, so that its pictures are those, larger."""
    _take(generator, smaller)
    for index, to_rgb in enumerate(generator.to_rgb):
        if f"to_rgb.{index}.weight" not in smaller:
            to_rgb.get_parameter("weight").zero_()


def grow_discriminator(discriminator: Discriminator, smaller: Mapping[str, Tensor]) -> None:
    """Take a smaller discriminator's blocks, under finer ones that begin anew."""
    blocks = {int(name.split(".")[1]) for name in smaller if name.startswith("blocks.")}
    finer = len(discriminator.blocks) - len(blocks)
    renamed = {}
    for name, value in smaller.items():
        part, _, rest = name.partition(".")
        if part == "blocks":
            number, _, rest = rest.partition(".")
            name = f"blocks.{int(number) + finer}.{rest}"
        if part != "from_rgb":
            renamed[name] = value
    _take(discriminator, renamed)


def _take(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = {name: value.shape for name, value in module.state_dict().items()}
    for name, value in state.items():
        if own.get(name) != value.shape:
            wanted = "none" if name not in own else list(own[name])
            raise ValueError(
                f"networks grow where what they share has the same shapes: {name} is {list(value.shape)} in the "
                f"smaller one, here {wanted}. Match [networks] of the recipe by --set"
            )
    module.load_state_dict(state, strict=False)


class Smaller(Frozen):
    """The generator that a larger one has grown from, and the judge of its bundle, if there is one."""

    def __init__(self, bundle: Bundle, crop: Crop) -> None:
        super().__init__()
        self.painter, self.side = Painter(bundle.generator()), bundle.resolution
        self.judge = Teacher(bundle.judge()) if "judge" in bundle else None
        self.box = inside(bundle.domain.crop, crop)
        self.freeze()

    @classmethod
    def open(cls, inputs: Mapping[str, str], resolution: int, crop: Crop, device: torch.device) -> Smaller | None:
        """None where a training begins with nothing, or with weights of its own resolution."""
        if "start" not in inputs or (bundle := weights_of(inputs["start"])).resolution >= resolution:
            return None
        smaller = cls(bundle, crop)
        place(smaller, device)
        return smaller

    def part_of(self, images: Tensor) -> Tensor:
        """What the smaller crop shows of each picture, at its size: each pixel the mean of four places."""
        left, top, right, bottom = self.box
        affine = torch.tensor([[right - left, 0, left + right - 1], [0, bottom - top, top + bottom - 1]])
        shape = [len(images), 3, 2 * self.side, 2 * self.side]
        where = F.affine_grid(affine.expand(len(images), -1, -1).to(images.device), shape, align_corners=False)
        sampled = F.grid_sample(images.float(), where, mode="bilinear", padding_mode="border", align_corners=False)
        return F.avg_pool2d(sampled, 2).contiguous(memory_format=torch.channels_last)

    def distance(self, images: Tensor, latents: Latents) -> Tensor:
        """How far pictures are from those that it makes of the same latents, by pixel and in the judge's features."""
        with torch.no_grad():
            wanted, _ = self.painter(latents._replace(noise=latents.noise[: self.painter.generator.config.layers]))
        shown = self.part_of(images)
        near: Tensor = (shown - wanted).abs().mean()
        return near if self.judge is None else near + FeatureDistance(self.judge)(shown, wanted)
