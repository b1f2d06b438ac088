"""The 468 points of MediaPipe's face mesh, in the photo's pixels."""

from __future__ import annotations

import math
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
CERTAIN = 10.0  # logit: of 40 portraits the right side up, the least has 12.7; on their heads, half have below 4.2


def view_of(detection: Detection) -> View:
    """The square in which the mesh of a detected face is looked for: upright by its eyes."""
    upright = View.around(detection.box, 0.0, GROWN)
    return View(upright.centre, upright.side, angle_of(*detection.keypoints[:2]))


def certainties(pixels: Pixels, views: Sequence[View]) -> list[float]:
    """The probability that each view shows a face, by a first look alone: a third of the work of `meshes`."""
    return [_probability(logit) for _, logit in _look(pixels, views)]


def meshes(pixels: Pixels, views: Sequence[View], any_side_up: bool = False) -> list[tuple[Points, float]]:
    """Points [468, 3] and the probability that they lie on a face, for each view.

    They are looked for twice: in the view, and in the square around the points found there. The second time they are
    the mean of what the network finds in it and in its mirror image: nearer to dlib's by a tenth, and the face's two
    sides count alike. Depth is in pixels too, from the face's middle towards what lies behind it.

    With `any_side_up`, a view that shows no certain face is turned to the side on which it shows the most certain one:
    the detector finds heads that hang down, but takes their mouths for eyes.
    """
    first = _look(pixels, views)
    if any_side_up:
        first = [each if each[1] >= CERTAIN else _turned(pixels, view, each) for view, each in zip(views, first)]
    again = _look(pixels, [_around(points) for points, _ in first], both=True)
    return [(points, _probability(logit)) for points, logit in again]


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _turned(pixels: Pixels, view: View, upright: tuple[Points, float]) -> tuple[Points, float]:
    points, _ = max([upright, *_look(pixels, view.other_sides)], key=lambda found: found[1])
    return _look(pixels, [_around(points)])[0]  # it may still be off by half a quarter


def _around(points: Points) -> View:
    return View.around(points[:, :2], angle_of(*points[EYES, :2]), GROWN)


def _look(pixels: Pixels, views: Sequence[View], both: bool = False) -> list[tuple[Points, float]]:
    """Points in the photo, and the logit of their probability; `both`: of the view and its mirror image."""
    found: list[tuple[Points, float]] = []
    for first in range(0, len(views), BATCH):
        part = views[first : first + BATCH]
        images = torch.cat([view.of(pixels, SIDE) for view in part])
        points, logits = _answers(images)
        if both:
            mirrored, others = _answers(images.flip(3))
            mirrored = mirrored[:, MIRRORED] * (-1, 1, 1) + (1, 0, 0)
            points, logits = (points + mirrored) / 2, (logits + others) / 2
        for view, answer, logit in zip(part, points, logits.tolist()):
            found.append((np.c_[view.to_photo(answer[:, :2]), answer[:, 2] * view.side], logit))
    return found


def _answers(images: Tensor) -> tuple[Points, Points]:
    """Points [N, 468, 3] in parts of the pictures' side, and logits [N]."""
    points, logits = network("mesh")(images)
    return points.reshape(-1, POINTS, 3).double().numpy() / SIDE, logits.ravel().double().numpy()
