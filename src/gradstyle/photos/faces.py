"""Faces in a photo: where they are, their 68 landmarks, and the vector that tells people apart. All of it is dlib's."""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]

LANDMARKS = "shape_predictor_68_face_landmarks.dat"
RECOGNITION = "dlib_face_recognition_resnet_model_v1.dat"
TURNED = "mmod_human_face_detector.dat"  # a network: finds heads in profile, and takes seconds a megapixel
FACE = 256  # pixels of a face's side at which its landmarks are read
SEARCHED = 1600  # pixels of the longer side in which faces are searched; the least face found is a twentieth of it
SEARCHED_BY_NETWORK = 640
LEAST_BY_NETWORK = 40  # pixels of the shorter side: the faces that it looks for have as many
SURE = 0.25  # score above which a frontal face is believed; below, only where none is surer
SURE_BY_NETWORK = 0.8
_LOCK = threading.Lock()  # dlib's detectors keep what they work on


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo, in the photo's pixels: pixel centres are whole numbers, as dlib counts."""

    box: Box  # left, top, right, bottom
    landmarks: Points  # [68, 2], x and y: jaw 0–16, brows 17–26, nose 27–35, eyes 36–47, mouth 48–67
    score: float  # of the detector, higher is surer

    @property
    def size(self) -> float:
        """The side of the square of its area, by its landmarks: detectors draw boxes in steps."""
        return float(np.sqrt(np.prod(np.ptp(self.landmarks, axis=0))))


def find_faces(pixels: Pixels, thorough: bool = False) -> list[Face]:
    """Faces that look towards the camera, largest first.

    With `thorough`, a photo in which none is found is searched again turned on its side and on its head, and then
    with a network that finds profiles too; that takes seconds.
    """
    pixels = _rgb(pixels)
    found = _frontal(pixels)
    if not found and thorough:
        for quarters in (1, 3, 2):
            turned = np.ascontiguousarray(np.rot90(pixels, quarters))
            if found := [_turn_back(face, quarters, turned.shape) for face in _frontal(turned)]:
                break
    if not found and thorough:
        found = _profiles(pixels)
    return sorted(found, key=lambda face: -face.size)


def landmarks_in(pixels: Pixels, box: Box) -> Points:
    """The 68 landmarks [68, 2] of the face in a box, as the detector draws boxes: from the brows to the chin.

    They are looked for in the face at one size, whatever its size in the photo: dlib gives whole pixels, and reads
    single ones, which in a large photo are noise.
    """
    dlib, (left, top, right, bottom) = _dlib(), box
    height, width = _rgb(pixels).shape[:2]
    margin = 0.5 * max(right - left, bottom - top)
    x0, y0 = min(max(0, int(left - margin)), width - 1), min(max(0, int(top - margin)), height - 1)
    x1, y1 = max(x0 + 1, min(width, int(right + margin) + 1)), max(y0 + 1, min(height, int(bottom + margin) + 1))
    scale = FACE / max(1.0, right - left + 1, bottom - top + 1)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    part = Image.fromarray(pixels[y0:y1, x0:x1])
    part = part.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)
    each = np.array([size[0] / (x1 - x0), size[1] / (y1 - y0)])
    inside = (np.array([[left, top], [right, bottom]]) - (x0, y0) + 0.5) * each - 0.5
    with _LOCK:
        shape = _model(LANDMARKS)(np.asarray(part), dlib.rectangle(*(round(edge) for edge in inside.ravel().tolist())))
    found = np.array([(point.x, point.y) for point in shape.parts()], np.float64)
    return np.asarray((found + 0.5) / each - 0.5 + (x0, y0), np.float64)


def embed(chips: Pixels) -> npt.NDArray[np.float64]:
    """dlib's recognition vectors [N, 128] of faces [N, 150, 150, 3], cut as its `get_face_chip` cuts them."""
    if chips.ndim != 4 or chips.shape[1:] != (150, 150, 3) or chips.dtype != np.uint8:
        raise ValueError(f"faces to embed are uint8 [N, 150, 150, 3], got {chips.dtype} {list(chips.shape)}")
    if not len(chips):
        return np.empty((0, 128))
    with _LOCK:
        vectors = _model(RECOGNITION).compute_face_descriptor(list(np.ascontiguousarray(chips)))
    return np.array(vectors, np.float64)


# ---- searching


def _frontal(pixels: Pixels) -> list[Face]:
    small, scale = _resized(pixels, SEARCHED, SEARCHED)
    with _LOCK:
        boxes, scores, _ = _detector().run(small, 0, 0.0)
    return list(_faces(pixels, boxes, scores, scale, SURE))


def _profiles(pixels: Pixels) -> list[Face]:
    small, scale = _resized(pixels, SEARCHED_BY_NETWORK, SEARCHED_BY_NETWORK // 2)
    if min(small.shape[:2]) < LEAST_BY_NETWORK:
        return []
    with _LOCK:
        found = list(_model(TURNED)(small, 0))
    return list(_faces(pixels, [f.rect for f in found], [f.confidence for f in found], scale, SURE_BY_NETWORK))


def _faces(pixels: Pixels, boxes: Any, scores: Any, scale: float, sure: float) -> Iterator[Face]:
    """With no sure face, one that is not is taken: there is a person who sent the photo for it."""
    least = sure if max(scores, default=0.0) >= sure else 0.0
    for rectangle, score in zip(boxes, scores):
        if score >= least:
            left, top, right, bottom = rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()
            box = (left * scale, top * scale, (right + 1) * scale - 1, (bottom + 1) * scale - 1)
            yield Face(box, landmarks_in(pixels, box), float(score))


def _resized(pixels: Pixels, most: int, least: int) -> tuple[Pixels, float]:
    """The photo with a longer side from `least` (but at most doubled) to `most`, and how many of its pixels one is."""
    height, width = pixels.shape[:2]
    goal = min(max(max(height, width), min(least, 2 * max(height, width))), most)
    if goal == max(height, width):
        return pixels, 1.0
    scale = max(height, width) / goal
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)), scale


def _turn_back(face: Face, quarters: int, turned: tuple[int, ...]) -> Face:
    """A face of the photo after `np.rot90(photo, quarters)`, in the photo."""
    height, width = turned[0], turned[1]

    def back(points: Points) -> Points:
        x, y, w, h = points[:, 0], points[:, 1], width, height
        for _ in range(quarters):  # one quarter back: clockwise
            x, y, w, h = h - 1 - y, x, h, w
        return np.stack([x, y], axis=1)

    left, top, right, bottom = face.box
    corners = back(np.array([[left, top], [right, bottom]], np.float64))
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Face((left, top, right, bottom), back(face.landmarks), face.score)


# ---- dlib


def _rgb(pixels: Pixels) -> Pixels:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"a photo's pixels are uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    return np.ascontiguousarray(pixels)


def _dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise ValueError(f'finding faces needs dlib: pip install "gradstyle[faces]" ({error})') from error
    return dlib


@functools.cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@functools.cache
def _model(name: str) -> Any:
    """One of dlib's networks. The package that holds the files is not imported: it wants setuptools for that."""
    dlib, spec = _dlib(), importlib.util.find_spec("face_recognition_models")
    path = Path(spec.origin).parent / "models" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ValueError('the networks that find faces are not there: pip install "gradstyle[faces]"')
    kinds = {
        LANDMARKS: dlib.shape_predictor,
        RECOGNITION: dlib.face_recognition_model_v1,
        TURNED: dlib.cnn_face_detection_model_v1,
    }
    return kinds[name](str(path))
