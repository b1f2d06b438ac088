"""Finds a person's hair in a picture by its colours, and recolours it.

A generator knows what becomes of a hair's colour, but its crop ends within the hair. So the change of the mean colour
is taken from it, and given to all the hair there is in the photo: that of the person outside the face, near the head,
in the colours that lie above the forehead and are no skin's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..motion import blurred, step_between
from .faces import Points
from .head import CHIN, FOREHEAD, TEMPLES
from .outline import hull

NOISE = 40.0  # variance of a colour, at least
ROUNDS = 3  # in which the colours of hair are found
SEEDS = (0.5, -0.45, -0.08)  # above a forehead: to the sides in widths of the face, and from and to in its heights
SIDES, BELOW = (0.9, 1.2), (1.2, 1.6)  # where hair ends at the latest, in the same
NECK = (0.15, 0.42)  # below a chin, to the sides in widths of the face: no hair to the first, all from the second on
SIMILAR = (9.0, 25.0)  # squared deviations of a colour from hair's: hair to the first, none from the second on
APART = (0.12, 0.35)  # Bhattacharyya's distance of the colours of hair and skin: none below the first
STRONGEST = 1.35  # by which contrast may grow or, inversely, fall
FEWEST = 40  # pixels that tell of hair's colours


def hair_matte(picture: Tensor, person: Tensor, mesh: Points) -> Tensor:
    """Tells how surely hair is at each place, [1, 1, S, S], of a picture [1, 3, S, S] in levels with a face's mesh."""
    side = picture.shape[-1]
    place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="xy"), dim=-1).double()
    down = mesh[CHIN, :2] - mesh[FOREHEAD, :2]
    tall, wide = float(np.linalg.norm(down)), float(np.linalg.norm((mesh[TEMPLES[1]] - mesh[TEMPLES[0]])[:2]))
    axes = torch.from_numpy(np.stack([[down[1], -down[0]], down]) / tall / np.array([[wide], [tall]]))
    aside, below = ((place - torch.from_numpy(mesh[FOREHEAD, :2])) @ axes.T).float().unbind(dim=2)
    face = hull(mesh[:, :2], side)
    free = step_between(person, 0.75, 0.98) * (1 - step_between(blurred(face, 1.0), 0.2, 0.7))
    sides, first, last = SEEDS
    above = free * ((aside.abs() < sides) & (below > first) & (below < last))
    skin = face * ((below > 0.15) & (below < 0.9))
    if above.sum() < FEWEST or skin.sum() < FEWEST:
        return torch.zeros_like(person)
    of_skin = _Colours.of(picture, skin)
    unlike = of_skin.far(picture)
    weight = above * (unlike >= unlike[above > 0.5].median())  # half of what lies there may be a high forehead
    of_hair = _Colours.of(picture, weight)
    for _ in range(ROUNDS):
        of_hair = _Colours.of(picture, above * of_hair.rather_than(of_skin, picture) + 1e-4 * weight)
    near = (1 - step_between(aside.abs(), *SIDES)) * (1 - step_between(below, *BELOW))
    near = near * torch.where(below > 0.85, step_between(aside.abs(), *NECK), 1.0)
    there = of_hair.rather_than(of_skin, picture) * (1 - step_between(of_hair.far(picture), *SIMILAR))
    there = there * near * free
    joined = there * above
    for _ in range(side // 3):  # what hangs together with what lies above the forehead: no dress is hair
        joined = torch.minimum(there, F.max_pool2d(joined, 5, 1, 2))
    return blurred(joined, 0.8) * step_between(_Colours.of(picture, above).apart(of_skin), *APART)


def recoloured(picture: Tensor, matte: Tensor, before: Tensor, after: Tensor, drawn: Tensor) -> Tensor:
    """Returns what to add to a picture, [1, 3, S, S] in levels, so that its hair changes as a rendering's does.

    `before` and `after` are renderings [1, 3, s, s] in levels, in which `drawn` [1, 1, s, s] says where hair is.
    """
    if matte.sum() < FEWEST or drawn.sum() < FEWEST:
        return torch.zeros_like(picture)
    old, new, own = (_mean(x, weight) for x, weight in ((before, drawn), (after, drawn), (picture, matte)))
    contrast = (new.mean() / old.mean().clamp_min(1)).clamp(1 / STRONGEST, STRONGEST)
    return matte * (new - old + (contrast - 1) * (picture - own))


class _Colours:
    """A normal distribution of colours."""

    def __init__(self, mean: Tensor, spread: Tensor) -> None:
        self.mean, self.spread = mean, spread  # [3], [3, 3]

    @classmethod
    def of(cls, picture: Tensor, weight: Tensor) -> _Colours:
        mean = _mean(picture, weight)
        apart = (picture - mean)[0].flatten(1)
        share = (weight / weight.sum()).flatten()
        return cls(mean[0, :, 0, 0], (apart * share) @ apart.T + NOISE * torch.eye(3))

    def far(self, picture: Tensor) -> Tensor:
        """Returns the squared deviations of each pixel's colour, [1, 1, S, S]."""
        apart = picture[0].flatten(1) - self.mean[:, None]
        squares: Tensor = (apart * torch.linalg.solve(self.spread, apart)).sum(dim=0)
        return squares.reshape(1, 1, *picture.shape[-2:])

    def rather_than(self, other: _Colours, picture: Tensor) -> Tensor:
        """Tells how surely a pixel's colour is of this distribution and not of the other."""
        own, others = (c.far(picture) + torch.logdet(c.spread) for c in (self, other))
        return torch.sigmoid((others - own) / 2)

    def apart(self, other: _Colours) -> Tensor:
        """Returns the part of Bhattacharyya's distance that the means make."""
        apart = self.mean - other.mean
        distance: Tensor = apart @ torch.linalg.solve((self.spread + other.spread) / 2, apart) / 8
        return distance


def _mean(picture: Tensor, weight: Tensor) -> Tensor:
    return (picture * weight).sum(dim=(2, 3), keepdim=True) / weight.sum().clamp_min(1e-6)
