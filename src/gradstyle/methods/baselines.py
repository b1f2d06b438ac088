"""Baselines without weights: a photo's details added to any edit. A method must beat them.

Both give the photo itself where nothing is edited, and have no weights. The third of them, codes alone, is e4e. G is
the generator's picture as a picture is seen, in [−1, 1]: a photo lacks nothing of what goes beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..motion import motion_along
from ..stylegan2 import Codes
from .method import Inversion, Losses, Method, TrainingContext, fit


@dataclass(frozen=True)
class PasteConfig:
    """Has no values."""


@dataclass(frozen=True)
class PasteInversion(Inversion):
    photo: Tensor  # [N, 3, resolution, resolution]
    drawn: Tensor  # the same of what the generator makes of the codes


class Paste(Method[PasteInversion]):
    """Adds what the codes lack where it was: G(w′) + photo − G(w)."""

    name = "paste"
    Config: ClassVar[type] = PasteConfig
    Keeps: ClassVar[type[PasteInversion]] = PasteInversion

    def invert(self, photo: Tensor, codes: Codes | None = None) -> PasteInversion:
        codes = self.codes_of(photo, codes)
        photo = fit(photo.float(), self.generator.config.resolution)
        return self.Keeps(codes, photo, self.draw(codes), generator=self.generator.fingerprint)

    def reconstruct(self, inversion: PasteInversion) -> Tensor:
        return inversion.photo

    def render_codes(self, inversion: PasteInversion, codes: Codes) -> Tensor:
        return self.draw(codes) + (inversion.photo - inversion.drawn)

    def draw(self, codes: Codes) -> Tensor:
        picture: Tensor = self.generator(codes)
        return picture.clamp(-1, 1)

    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        raise ValueError(f"{self.name} is a baseline, which has nothing to learn: train one of the methods")


@dataclass(frozen=True)
class CarriedConfig:
    steps: int = 6  # renderings on the way of an edit: neighbours of 64 px differ by a pixel or two
    largest: int = 128  # pixels of the side up to which motion is found, since it is a few pixels a step there


@dataclass(frozen=True)
class CarriedInversion(PasteInversion):
    """Holds what `paste` holds."""


class Carried(Paste):
    """Adds what the codes lack where the edit moves it, along the motion between the generator's own pictures."""

    name = "carried"
    Config = CarriedConfig
    Keeps = CarriedInversion

    def render_codes(self, inversion: PasteInversion, codes: Codes) -> Tensor:
        steps, count, side = self.config.steps, len(codes), inversion.drawn.shape[-1]
        way = Codes.cat([between(inversion.codes, codes, step / steps) for step in range(1, steps + 1)])
        drawn = torch.cat([inversion.drawn, self.draw(way)])
        with torch.autocast(drawn.device.type, enabled=False):  # in bfloat16 a place is not known to the pixel
            path = torch.stack(torch.split(fit(drawn, min(side, self.config.largest)), count))
            motion = motion_along(path).resized(side)
            return drawn[-count:] + motion.carry(inversion.photo - inversion.drawn) * motion.visible


def between(codes: Codes, others: Codes, share: float) -> Codes:
    """Gives codes on the straight line between two; at its ends exactly these."""
    both = Codes.cat([codes, others])  # no offset of S is one of zeros
    (w, to), s = both.w.chunk(2), None if both.s is None else both.s.chunk(2)
    return Codes(torch.lerp(w, to, share), None if s is None else torch.lerp(s[0], s[1], share))
