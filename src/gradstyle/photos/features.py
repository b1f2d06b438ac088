"""Finds where eyes and mouth keep the photo's own look, and draws the teeth of a mouth that an edit opens.

A small generator knows that there are teeth, how light and of what colour, but draws a white bar. Which tooth is where
is the same in all people: an arc of teeth that get narrower to the sides, and darker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..motion import blurred, step_between
from .faces import Points
from .mediapipe.mesh import EYES
from .outline import hull

UPPER = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]  # where the lips meet, from corner to corner
LOWER = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
LIPS = [61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91]  # their outer edge
LIDS = [[33, 160, 158, 133, 153, 144], [362, 385, 387, 263, 373, 380]]  # edges of the lids

MOVES = (0.02, 0.06)  # of the eyes' distance: lips that go less far stay as they are, and further take all along
CLOSED, OPEN = (0.02, 0.06), (0.03, 0.09)  # how far the lips are apart, over the same: fully below, and not above
TEETH = (0.125, 0.1, 0.095, 0.07, 0.06)  # widths from the middle to a side, of the distance of the corners
SHOWN = 0.92  # of the opening's height: the upper teeth
GAP = 0.007  # deviation of the dark between two teeth, of the distance of the corners
TINT = 0.45  # exponent: how far teeth have the colour of the light on the skin
IVORY = (1.02, 1.0, 0.95)
FINER = 4  # times the resolution at which an arc is drawn


@dataclass(frozen=True, eq=False)
class Features:
    """Eyes, lips and teeth after a face's mesh has moved: maps [1, 1, side, side] in 0 … 1."""

    moves: Tensor  # how far the lips move, one number
    lips: Tensor  # how far there are lips that move: they take their own colours along
    eyes: Tensor  # between the lids: no edit paints another's
    opened: Tensor  # where a closed mouth is open now
    teeth: Tensor  # there: how light, of the lightest that is to be seen

    @classmethod
    def of(cls, before: Points, after: Points, side: int) -> Features:
        """Reads them off a face's mesh [468, 3], in the pixels of a picture of `side`."""
        eyes = float(np.linalg.norm(np.subtract(*before[EYES])))
        moved, was, now = (
            torch.tensor(x / eyes)
            for x in (np.linalg.norm((after - before)[LIPS, :2], axis=1).mean(), _height(before), _height(after))
        )
        opens = step_between(now, *OPEN) * (1 - step_between(was, *CLOSED))
        moves = step_between(moved, *MOVES)
        lips = (1.6 * blurred(hull(after[LIPS, :2], side), 0.03 * side)).clamp(max=1) * moves
        inside, teeth = teeth_between(after[UPPER, :2], after[LOWER, :2], side)
        left, right = (blurred(hull(after[eye, :2], side), 0.006 * side) for eye in LIDS)
        return cls(moves, lips, torch.maximum(left, right), inside * opens, teeth)

    def teeth_beside(self, fresh: Tensor, skin: Tensor) -> Tensor:
        """Colours the teeth, levels [1, 3, side, side]: as light as the generator's lightest there, or the skin.

        `skin` [1, 3, 1, 1] is a face's mean; its light is that of its teeth.
        """
        light = (fresh.mean(dim=1, keepdim=True) * (self.opened > 0.5)).amax(dim=(2, 3), keepdim=True)
        light = torch.maximum(light, skin.mean(dim=1, keepdim=True)).clamp(max=235)
        tint = (skin / skin.mean(dim=1, keepdim=True).clamp_min(1)) ** TINT * torch.tensor(IVORY)[None, :, None, None]
        return light * tint * self.teeth


def teeth_between(upper: Points, lower: Points, side: int) -> tuple[Tensor, Tensor]:
    """Draws the opening between two edges [N, 2] from corner to corner, and how light its teeth are."""
    across = upper[-1] - upper[0]
    wide = float(np.linalg.norm(across)) or 1.0
    axes = np.stack([across, [-across[1], across[0]]]) / wide**2  # along the mouth and down it, in its widths
    place = (np.arange(side * FINER) + 0.5) / FINER - 0.5
    grid = np.stack(np.meshgrid(place, place), axis=-1) - upper[0]
    (x, y), top, bottom = np.moveaxis(grid @ axes.T, 2, 0), (upper - upper[0]) @ axes.T, (lower - upper[0]) @ axes.T
    first, last = np.interp(x, *top.T), np.interp(x, *bottom.T)
    inside = (y > first) & (y < last) & (x > 0) & (x < 1)
    height = (y - first) / np.maximum(last - first, 1e-3)
    edges = np.cumsum([0.0, *TEETH])
    aside = np.abs(x - 0.5)
    apart = np.abs(aside[..., None] - edges).min(axis=2)
    light = (1 - 0.3 * np.exp(-((apart / GAP) ** 2) / 2)) * np.clip(1 - (aside / edges[-1]) ** 3, 0, 1)
    rounded = SHOWN - 0.1 * (1 - np.clip(apart / 0.03, 0, 1)) ** 2 - 0.3 * aside**2  # of a tooth's lower edge
    light = light * np.clip((rounded - height) / 0.2, 0, 1) * (0.75 + 0.25 * np.clip(height / 0.3, 0, 1))
    drawn = torch.from_numpy(np.stack([inside, 0.2 + 0.8 * light]).astype(np.float32))[:, None]
    shown, teeth = F.avg_pool2d(drawn, FINER)
    return shown[None], teeth[None]


def _height(mesh: Points) -> float:
    middle = len(UPPER) // 2
    return float(np.linalg.norm((mesh[UPPER[middle]] - mesh[LOWER[middle]])[:2]))
