"""A portrait that comes with the package, with its landmarks, so that a first edit needs no download and no dlib."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..faces import Face
from ..photo import Photo, open_photo

HERE = Path(__file__).parent


def astronaut() -> tuple[Photo, Face, str]:
    """Eileen Collins: the photo, her face, and where it is from."""
    said = json.loads((HERE / "eileen-collins.json").read_text("utf-8"))
    left, top, right, bottom = said["box"]
    face = Face((left, top, right, bottom), np.array(said["landmarks"], np.float64), said["score"])
    return open_photo(HERE / "eileen-collins.jpg"), face, said["about"]
