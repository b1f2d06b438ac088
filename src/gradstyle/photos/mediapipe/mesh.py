"""The 468 points of MediaPipe's face mesh, in the photo's pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..framing import Pixels
from .detector import Detection
from .graph import network
from .view import Points, View, angle_of

SIDE = 192  # pixels of the square that the network sees
POINTS = 468
GROWN = 1.5  # times a face's box: that square
EYES = (33, 263)  # outer corners, the left one in the picture first
BATCH = 16


def view_of(detection: Detection) -> View:
    """The square in which the mesh of a detected face is looked for: upright by its eyes."""
    upright = View.around(detection.box, 0.0, GROWN)
    return View(upright.centre, upright.side, angle_of(*detection.keypoints[:2]))


def meshes(pixels: Pixels, views: Sequence[View]) -> list[tuple[Points, float]]:
    """Points [468, 3] and the probability that they lie on a face, for each view.

    They are looked for twice: in the view, and in the square around the points found there. Depth is in pixels too,
    from the face's middle towards what lies behind it.
    """
    first = _meshes(pixels, views)
    again = [View.around(points[:, :2], angle_of(*points[list(EYES), :2]), GROWN) for points, _ in first]
    return _meshes(pixels, again)


def _meshes(pixels: Pixels, views: Sequence[View]) -> list[tuple[Points, float]]:
    found: list[tuple[Points, float]] = []
    for first in range(0, len(views), BATCH):
        part = views[first : first + BATCH]
        points, logits = network("mesh")(torch.cat([view.of(pixels, SIDE) for view in part]))
        for view, answer, score in zip(part, points.reshape(-1, POINTS, 3).double().numpy(), logits.sigmoid().ravel()):
            flat, depth = view.to_photo(answer[:, :2] / SIDE), answer[:, 2:] / SIDE * view.side
            found.append((np.concatenate([flat, depth], axis=1), float(score)))
    return found
