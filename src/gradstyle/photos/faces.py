"""Finds faces in a photo, and their landmarks, with MediaPipe's networks, which come with the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .mediapipe import View, certainties, detect, meshes, view_of
from .mediapipe.mesh import EYES, GROWN

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]

SURE = 0.9  # probability above which a face is one
PLAIN = 0.999  # probability from which on a first look is enough
COVERED = 1 / 3  # of a face, by one that is surer, from which on it is none: an eye alone looks like a small face

# dlib's 68 landmarks, by which FFHQ's and CelebA's crops were cut, from MediaPipe's 468: each is the mesh's point for
# the same spot, and a step that is the same in all faces, the median over photos of the way to where dlib puts it.
# fmt: off
SAME_SPOT = [
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,  # jaw
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,  # mouth
]
# Across and down, in thousandths of the face's size and in the axes of the line between its eyes.
STEPS = np.array([
    [-21, -1], [-21, 86], [6, 158], [-58, -100], [-55, -32], [10, 61], [-56, 14], [-97, 28],
    [0, 61], [97, 28], [56, 14], [-10, 61], [55, -32], [58, -100], [-6, 158], [21, 86],
    [21, -1], [-25, 42], [31, 8], [79, 24], [79, 43], [42, 103], [-42, 103], [-79, 43],
    [-79, 24], [-31, 8], [25, 42], [0, 45], [0, -15], [0, -49], [0, 17], [-9, 21],
    [10, -7], [0, 29], [-10, -7], [9, 21], [36, 27], [52, 10], [27, 24], [-19, 21],
    [-22, 18], [2, 17], [19, 21], [-27, 24], [-52, 10], [-36, 27], [-2, 17], [22, 18],
    [-19, 13], [-30, 28], [11, 13], [0, 23], [-11, 13], [30, 28], [19, 13], [65, -18],
    [1, 19], [0, 19], [-1, 19], [-65, -18], [-4, 31], [-22, 16], [0, 24], [22, 16],
    [4, 31], [21, 7], [0, 17], [-21, 7],
]) / 1000
# fmt: on


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo, in the photo's pixels: pixel centres are whole numbers."""

    box: Box  # left, top, right, bottom of the landmarks
    landmarks: Points  # [68, 2], x and y: jaw 0–16, brows 17–26, nose 27–35, eyes 36–47, mouth 48–67
    score: float  # the probability that it is a face
    mesh: Points | None = None  # [468, 3], x, y and depth, where it was found by its mesh

    @classmethod
    def of(cls, mesh: Points, score: float) -> Face:
        landmarks = landmarks_of(mesh)
        (left, top), (right, bottom) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
        return cls((left, top, right, bottom), landmarks, score, mesh)

    @property
    def size(self) -> float:
        """The side of the square of its area."""
        return float(np.sqrt(np.prod(np.ptp(self.landmarks, axis=0))))

    def scaled(self, scale: float) -> Face:
        """Returns the same face in the photo at `scale` times its size."""
        left, top, right, bottom = ((edge + 0.5) * scale - 0.5 for edge in self.box)
        landmarks = (self.landmarks + 0.5) * scale - 0.5
        mesh = None if self.mesh is None else self.mesh * scale + np.array([1.0, 1.0, 0.0]) * (0.5 * scale - 0.5)
        return Face((left, top, right, bottom), landmarks, self.score, mesh)


def find_faces(pixels: Pixels, thorough: bool = False) -> list[Face]:
    """Finds the faces in a photo, largest first, down to about a thirtieth of its longer side.

    With `thorough`, a photo in which none is found is searched again turned on its side and on its head.
    """
    pixels = _rgb(pixels)
    found = list(_faces(pixels, [view_of(each) for each in detect(pixels)]))
    for quarters in (1, 3, 2) if thorough else ():
        if found:
            break
        turned = np.ascontiguousarray(np.rot90(pixels, quarters))
        views = [_turned_back(view_of(each), quarters, turned.shape) for each in detect(turned)]
        found = list(_faces(pixels, views))
    return sorted(found, key=lambda face: -face.size)


def face_at(pixels: Pixels, around: Points, angle: float = 0.0) -> Face:
    """Finds the face around points [N, 2], its last landmarks or its box's corners; its score tells if there is one.

    `angle` is that of the line between its eyes, in radians.
    """
    ((mesh, score),) = meshes(_rgb(pixels), [View.around(around, angle, GROWN)])
    return Face.of(mesh, score)


def is_face_at(pixels: Pixels, around: Points, angle: float = 0.0) -> bool:
    """Tells whether `face_at` finds a face; a quicker network nearly always decides: 14 ms on a core, not 40."""
    (first,) = certainties(_rgb(pixels), [View.around(around, angle, GROWN)])
    return first >= PLAIN or face_at(pixels, around, angle).score >= SURE


def landmarks_of(mesh: Points) -> Points:
    """Returns dlib's landmarks [68, 2] of a mesh [468, 2 or 3], in the same pixels."""
    points = mesh[SAME_SPOT, :2]
    size = np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean())
    across = np.subtract(*mesh[EYES[::-1], :2])
    across = across / np.linalg.norm(across) * size
    return np.asarray(points + STEPS @ np.stack([across, [-across[1], across[0]]]), np.float64)


def _faces(pixels: Pixels, views: Sequence[View]) -> Iterator[Face]:
    """Yields the faces that the views show, each once."""
    found: list[Face] = []
    for mesh, score in sorted(meshes(pixels, views, any_side_up=True), key=lambda each: -each[1]):
        face = Face.of(mesh, score)
        if score >= SURE and all(_shared(face.box, other.box) < COVERED for other in found):
            found.append(face)
            yield face


def _shared(a: Box, b: Box) -> float:
    """Returns the share of the smaller box that the other covers."""
    (left, top), (right, bottom) = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    smaller = min((right - left) * (bottom - top) for left, top, right, bottom in (a, b))
    return float(max(0.0, right - left) * max(0.0, bottom - top) / smaller) if smaller > 0 else 1.0


def _turned_back(view: View, quarters: int, turned: tuple[int, ...]) -> View:
    """Turns a view of `np.rot90(photo, quarters)` back into one of the photo."""
    (x, y), width, height = view.centre.tolist(), turned[1], turned[0]
    for _ in range(quarters):  # one quarter back: clockwise
        x, y, width, height = height - 1 - y, x, height, width
    return View(np.array([x, y]), view.side, view.angle + quarters * np.pi / 2)


def _rgb(pixels: Pixels) -> Pixels:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"a photo's pixels are uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    return np.ascontiguousarray(pixels)
