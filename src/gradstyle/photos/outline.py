"""Draws the outline of a face by its landmarks."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..motion import blurred
from .faces import Points

FEATHER = 0.03  # of the side: the Gaussian's deviation at the hull's edge


def face_outline(landmarks: Points, side: int) -> Tensor:
    """Draws the hull of 68 landmarks in a crop, from the brows to the chin, with a soft edge, [1, 1, side, side]."""
    return blurred(hull(landmarks, side), FEATHER * side)


def hull(points: Points, side: int) -> Tensor:
    """Draws the filled hull of points, [1, 1, side, side]."""
    points = convex(points)
    finer = 4
    drawn = Image.new("L", (side * finer, side * finer))
    ImageDraw.Draw(drawn).polygon([((x + 0.5) * finer, (y + 0.5) * finer) for x, y in points.tolist()], fill=255)
    return torch.from_numpy(np.array(drawn.reduce(finer), np.float32))[None, None] / 255


def convex(points: Points) -> Points:
    """Returns the corners of the convex hull, in order: Andrew's chains."""
    ordered = sorted(map(tuple, points.tolist()))

    def chain(points: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        kept: list[tuple[float, ...]] = []
        for x, y in points:
            while len(kept) > 1 and (kept[-1][0] - kept[-2][0]) * (y - kept[-2][1]) <= (kept[-1][1] - kept[-2][1]) * (
                x - kept[-2][0]
            ):
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))
