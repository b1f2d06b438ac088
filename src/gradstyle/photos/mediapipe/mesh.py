"""The 468 points of MediaPipe's face mesh, in the photo's pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..framing import Pixels
from .detector import Detection
from .graph import network
from .symmetry import MIRRORED
from .view import Points, View, angle_of

SIDE = 192  # pixels of the square that the network sees
POINTS = 468
GROWN = 1.5  # times a face's box: that square
EYES = [33, 263]  # outer corners, the left one in the picture first
BATCH = 16


def view_of(detection: Detection) -> View:
    """The square in which the mesh of a detected face is looked for: upright by its eyes."""
    upright = View.around(detection.box, 0.0, GROWN)
    return View(upright.centre, upright.side, angle_of(*detection.keypoints[:2]))


def meshes(pixels: Pixels, views: Sequence[View]) -> list[tuple[Points, float]]:
    """Points [468, 3] and the probability that they lie on a face, for each view.

    They are looked for twice: in the view, and in the square around the points found there. The second time they are
    the mean of what the network finds in it and in its mirror image: nearer to dlib's by a tenth, and the face's two
    sides count alike. Depth is in pixels too, from the face's middle towards what lies behind it.
    """
    first = _meshes(pixels, views, both=False)
    again = [View.around(points[:, :2], angle_of(*points[EYES, :2]), GROWN) for points, _ in first]
    return _meshes(pixels, again, both=True)


def _meshes(pixels: Pixels, views: Sequence[View], both: bool) -> list[tuple[Points, float]]:
    found: list[tuple[Points, float]] = []
    for first in range(0, len(views), BATCH):
        part = views[first : first + BATCH]
        images = torch.cat([view.of(pixels, SIDE) for view in part])
        points, scores = _look(images)
        if both:
            mirrored, others = _look(images.flip(3))
            mirrored = mirrored[:, MIRRORED] * (-1, 1, 1) + (1, 0, 0)
            points, scores = (points + mirrored) / 2, (scores + others) / 2
        for view, answer, score in zip(part, points, scores.tolist()):
            found.append((np.c_[view.to_photo(answer[:, :2]), answer[:, 2] * view.side], score))
    return found


def _look(images: Tensor) -> tuple[Points, Points]:
    """Points [N, 468, 3] in parts of the pictures' side, and probabilities [N]."""
    points, logits = network("mesh")(images)
    return points.reshape(-1, POINTS, 3).double().numpy() / SIDE, logits.sigmoid().ravel().double().numpy()
