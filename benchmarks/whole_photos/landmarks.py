"""dlib's landmarks, for measuring alone: their licence forbids commercial use, and nothing that edits has seen them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gradstyle.metrics.whole_photo import Landmarks
from gradstyle.photos import Face
from gradstyle.photos.faces import Pixels, Points

FILE = "shape_predictor_68_face_landmarks.dat"  # in the package face_recognition_models


def network_of_landmarks() -> Landmarks | None:
    """dlib's 68 landmarks of a face; none where they are not installed."""
    package = find_spec("face_recognition_models")  # not imported: it wants an old setuptools
    if package is None or not package.origin or find_spec("dlib") is None:
        return None
    import dlib

    finder = dlib.get_frontal_face_detector()
    network = dlib.shape_predictor(str(Path(package.origin).parent / "models" / FILE))

    def landmarks(pixels: Pixels, face: Face) -> Points:
        own = dlib.rectangle(*(round(edge) for edge in face.box))
        there = max(finder(pixels), key=lambda box: box.intersect(own).area(), default=own)  # they know its boxes best
        found = network(pixels, there if there.intersect(own).area() else own).parts()
        return np.array([[point.x, point.y] for point in found], np.float64)

    return landmarks
