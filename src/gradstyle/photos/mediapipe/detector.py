"""Faces in a photo by MediaPipe's short range detector, also those that are small: it looks at tiles as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...images import to_float
from ..framing import Pixels
from .graph import network
from .view import Points

SIDE = 128  # pixels of the square that the network sees
LEVELS = 3  # the whole photo; tiles of half its longer side; of a quarter: faces of a thirtieth of it are found
STEP = SIDE // 2  # from tile to tile: a face of half a tile is whole in one
BATCH = 16
LEAST_SCORE = 0.5
SAME = 0.3  # of two boxes' union that they share, from which on they are one face
CUT_OFF = 2.0  # pixels of a tile: a box that comes as near to its edge, where the photo goes on, may be part of a face


@dataclass(frozen=True, eq=False)
class Detection:
    """A face as the detector sees it, in the photo's pixels: pixel centres are whole numbers."""

    box: Points  # [2, 2]: left and top, right and bottom; from the brows to the chin
    keypoints: Points  # [6, 2]: eyes, nose, mouth, ears; the left one in the picture first
    score: float  # 0 … 1

    @property
    def row(self) -> Points:
        return np.concatenate([self.box.ravel(), self.keypoints.ravel()])


def detect(pixels: Pixels) -> list[Detection]:
    """The faces in a photo, surest first."""
    tiles, places = zip(*_tiles(pixels))
    found = [
        detection
        for first in range(0, len(tiles), BATCH)
        for detection in _detect(np.stack(tiles[first : first + BATCH]), places[first : first + BATCH])
    ]
    return _merged(found)


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a tile lies: its first pixel in a reduced photo, that photo's size, and how much smaller it is."""

    at: Points
    size: Points
    scale: Points  # of the photo's pixels to one of the tile's, across and down


def _tiles(pixels: Pixels) -> Iterator[tuple[Pixels, _Place]]:
    """Squares of the photo at several sizes, black beyond it. None is enlarged but the whole photo."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    picture = Image.fromarray(pixels)
    if (shrink := longer // (SIDE << LEVELS)) > 1:
        picture = picture.reduce(shrink)
    for level in range(LEVELS):
        goal = SIDE << level
        if level and goal > longer:
            return
        size = max(1, round(width * goal / longer)), max(1, round(height * goal / longer))
        small = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        before = [max(0, SIDE - length) // 2 for length in size]
        after = [max(0, SIDE - length) - b for length, b in zip(size, before)]
        small = np.pad(small, ((before[1], after[1]), (before[0], after[0]), (0, 0)))
        scale = np.array([width / size[0], height / size[1]])
        for y in _starts(small.shape[0]):
            for x in _starts(small.shape[1]):
                place = _Place(np.array([x - before[0], y - before[1]], np.float64), np.array(size, np.float64), scale)
                yield small[y : y + SIDE, x : x + SIDE], place


def _starts(length: int) -> list[int]:
    return sorted({*range(0, length - SIDE, STEP), length - SIDE})


def _anchors() -> Points:
    """Centres [896, 2] of the network's answers, in parts of its square: two for each 8 pixels, six for each 16."""
    centres = []
    for cells, each in ((16, 2), (8, 6)):
        along = (np.arange(cells) + 0.5) / cells
        centres.append(np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2).repeat(each, axis=0))
    return np.concatenate(centres)


ANCHORS = _anchors()


def _detect(tiles: Pixels, places: tuple[_Place, ...]) -> Iterator[Detection]:
    images = to_float(torch.from_numpy(tiles).permute(0, 3, 1, 2))
    offsets, logits = (answer.double().numpy() for answer in network("detector")(images))
    scores: npt.NDArray[np.float64] = 1 / (1 + np.exp(-logits[..., 0].clip(-100, 100)))
    for tile, anchor in zip(*(scores >= LEAST_SCORE).nonzero()):
        place, answer = places[tile], offsets[tile, anchor].reshape(8, 2)  # centre, size, six points
        centre, points = answer[0] + ANCHORS[anchor] * SIDE, answer[2:] + ANCHORS[anchor] * SIDE
        box = np.stack([centre - answer[1] / 2, centre + answer[1] / 2])
        goes_on = np.stack([place.at > 0, place.at + SIDE < place.size])
        near = np.stack([box[0] < CUT_OFF, box[1] > SIDE - CUT_OFF])
        if not (goes_on & near).any():
            box, points = ((each + place.at) * place.scale - 0.5 for each in (box, points))
            yield Detection(box, points, float(scores[tile, anchor]))


def _merged(found: list[Detection]) -> list[Detection]:
    """Boxes of one face become their mean, weighted by their scores."""
    rest, faces = sorted(found, key=lambda each: -each.score), []
    while rest:
        same = [each for each in rest if overlap(each.box, rest[0].box) > SAME] or rest[:1]
        rows = np.average([each.row for each in same], axis=0, weights=[each.score for each in same])
        faces.append(Detection(rows[:4].reshape(2, 2), rows[4:].reshape(6, 2), rest[0].score))
        rest = [each for each in rest if all(each is not other for other in same)]
    return faces


def overlap(a: Points, b: Points) -> float:
    """What two boxes [2, 2] share over what they cover."""
    shared = float(np.prod((np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])).clip(0)))
    covered = float(np.prod(a[1] - a[0]) + np.prod(b[1] - b[0])) - shared
    return shared / covered if covered > 0 else 0.0
