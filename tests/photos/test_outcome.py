"""What is said of an edited photo: that nothing of it is to be seen, or that the face is gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradstyle.photos import Aligned, Carry, Motion, Photo, align, faces, remark
from gradstyle.photos.outcome import face_lost, shows
from gradstyle.photos.portraits import astronaut

SIDE = 16


class Domain:
    crop = "celeba"
    aspect = (1, 1)


def carry(offset: float = 0.0, tone: float = 0.0, shown: float = 1.0) -> Carry:
    """It acts at one place alone."""
    still, colour, one = torch.zeros(1, 2, SIDE, SIDE), torch.zeros(1, 3, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE)
    moved, toned, seen = still.clone(), colour.clone(), one.clone()
    moved[0, 1, 3, 4], toned[0, 2, 3, 4], seen[0, 0, 3, 4] = offset, tone, shown
    return Carry(Motion(moved, one), toned, colour, seen, one, colour)


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        (None, False),
        (carry(), False),
        (carry(offset=0.0005, tone=1.9, shown=0.995), False),
        (carry(offset=-0.0007), True),  # of crop and margin, which are 1.6 times the crop's side
        (carry(tone=-2.1), True),
        (carry(shown=0.98), True),
    ],
)
def test_what_is_next_to_nothing(made: Carry | None, seen: bool) -> None:
    assert shows(made) == seen


@pytest.fixture(scope="module")
def photo() -> Photo:
    return astronaut()


@pytest.fixture(scope="module")
def crop(photo: Photo) -> Aligned:
    return align(photo, photo.faces[0], Domain, 64)  # type: ignore[arg-type]


def without_face(photo: Photo, crop: Aligned) -> np.ndarray:
    assert crop.face is not None
    left, top, right, bottom = (round(edge) for edge in crop.face.box)
    pixels = photo.pixels.copy()
    pixels[top - 20 : bottom, left:right] = pixels[top, left]
    return pixels


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_face_is_looked_for_where_it_was_whichever_side_is_up(photo: Photo, quarters: int) -> None:
    turned = Photo(np.ascontiguousarray(np.rot90(photo.pixels, quarters)))
    crop = align(turned, turned.faces[0], Domain, 64)  # type: ignore[arg-type]
    gone = without_face(turned, crop)
    assert face_lost(turned.pixels, gone, crop) and not face_lost(turned.pixels, turned.pixels, crop)
    assert not face_lost(gone, gone, crop)  # none was there before
    assert not face_lost(turned.pixels, gone, replace(crop, face=None))  # nobody has looked for one


def test_what_is_said(photo: Photo, crop: Aligned) -> None:
    before, gone, large = photo.pixels, without_face(photo, crop), carry(0.1)
    assert remark("smile +1", large, before, before, crop) == ""
    assert remark("smile +2", large, before, gone, crop) == (
        "after smile +2 no face is found where it was: try a smaller amount"
    )
    assert remark("smile +0.01", None, before, before, crop) == "smile +0.01 changes next to nothing in this photo"
    assert remark("a +1, b +1", carry(), before, before, crop) == "a +1, b +1 change next to nothing in this photo"


def test_a_plain_face_costs_a_first_look_alone(photo: Photo, crop: Aligned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "face_at", None)
    assert not face_lost(photo.pixels, photo.pixels, crop)


def test_a_first_look_that_doubts_is_not_the_last_word(
    photo: Photo, crop: Aligned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "certainties", lambda pixels, views: [0.99])
    assert not face_lost(photo.pixels, photo.pixels, crop)
    assert face_lost(photo.pixels, without_face(photo, crop), crop)
