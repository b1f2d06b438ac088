"""The part of a photo that a network sees: any square of it, turned as may be, at the network's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..framing import Pixels

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """A square of a photo, in pixels whose centres are whole numbers."""

    centre: Points  # [2], x and y
    side: float
    angle: float = 0.0  # radians; turns the photo's x towards its y

    @classmethod
    def around(cls, points: Points, angle: float, grown: float) -> View:
        """The square of the longer side of the points' box, `grown` times as large; the box is turned by the angle."""
        turn = _rotation(angle)
        turned = points @ turn  # in the axes of the box
        low, high = turned.min(axis=0), turned.max(axis=0)
        return cls(turn @ ((low + high) / 2), max(1.0, float((high - low).max()) * grown), angle)

    @property
    def other_sides(self) -> list[View]:
        """The same square with each of its other sides up."""
        return [View(self.centre, self.side, self.angle + quarters * np.pi / 2) for quarters in (1, 2, 3)]

    def to_photo(self, points: Points) -> Points:
        """Points [N, 2] in parts of the view's side, in the photo."""
        return np.asarray(self.centre + (points - 0.5) * self.side @ _rotation(self.angle).T, np.float64)

    def of(self, pixels: Pixels, side: int) -> Tensor:
        """What it shows, [1, 3, side, side] in 0 … 1, without aliases; beyond the photo its edge goes on."""
        height, width = pixels.shape[:2]
        corners = self.to_photo(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])) + 0.5
        shrink = max(1, int(self.side / side))
        low = np.clip(np.floor(corners.min(axis=0)) - shrink, 0, (width - 1, height - 1)).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + shrink, low + 1, (width, height)).astype(int)
        part = Image.fromarray(pixels[low[1] : high[1], low[0] : high[0]]).reduce(shrink)
        there = torch.from_numpy(np.array(part).transpose(2, 0, 1))[None].float() / 255
        along = (np.arange(side) + 0.5) / side
        places = self.to_photo(np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)) + 0.5
        grid = (places - low) / shrink / part.size * 2 - 1
        where = torch.from_numpy(grid).float().reshape(1, side, side, 2)
        return F.grid_sample(there, where, "bilinear", "border", align_corners=False)


def _rotation(angle: float) -> Points:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def angle_of(start: Points, end: Points) -> float:
    """The direction from a point to another, in radians."""
    x, y = (end - start).tolist()
    return float(np.arctan2(y, x))
