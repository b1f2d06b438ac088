"""What networks from elsewhere see of a known face: a portrait as small as a generator of 64 pixels draws it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradstyle.bundles import Domain
from gradstyle.evaluation.sight import Sight, View
from gradstyle.metrics import onlookers
from gradstyle.metrics.attributes import target_of
from gradstyle.metrics.onlookers import LOST, ONLOOKERS, faces_of, measured
from gradstyle.photos import Photo, align
from gradstyle.photos.portraits import astronaut
from tests.support import tiny

MESH = [ONLOOKERS[name] for name in ("yaw", "pitch", "Smiling", "Mouth_Slightly_Open")]


@pytest.fixture(scope="module")
def portrait() -> Tensor:
    photo: Photo = astronaut()
    return align(photo, photo.faces[0], Domain("faces", (1, 1), "celeba"), 64).image


def test_each_edit_has_its_onlooker_and_the_others_have_none() -> None:
    attributes = ("Smiling", "Young", "Eyeglasses", "Mouth_Slightly_Open")
    named = {"smile": "mesh_mouth", "age": "years", "yaw": "mesh_yaw", "pose": "mesh_yaw", "pitch": "mesh_pitch"}
    for name, figure in named.items():
        target = target_of(name, tiny.an_edit(), None, attributes)
        assert ONLOOKERS[target.attribute].name == figure
    opening = target_of("mouth", tiny.an_edit(), None, attributes, "Mouth_Slightly_Open")
    assert ONLOOKERS[opening.attribute].name == "mesh_opening"
    assert target_of("glasses", tiny.an_edit(), None, attributes).attribute not in ONLOOKERS
    assert [o.unit for o in MESH] == ["°", "°", " sd", " sd"] and ONLOOKERS["Young"].unit == " years"
    assert all(o.in_deviations == (o.unit == " sd") for o in ONLOOKERS.values())


def test_a_face_of_a_small_picture_is_seen_and_in_a_mirror_it_looks_the_other_way(portrait: Tensor) -> None:
    pictures = torch.cat([portrait, portrait.flip(3)])
    places = faces_of(pictures)
    found = measured(MESH, pictures, places)
    assert found["mesh_yaw"][1] == pytest.approx(-float(found["mesh_yaw"][0]), abs=2)
    for name, near in {"mesh_pitch": 0.5, "mesh_mouth": 0.05, "mesh_opening": 0.02}.items():
        assert found[name][1] == pytest.approx(float(found[name][0]), abs=near)


def test_where_no_face_is_left_it_is_lost_and_a_photo_without_one_has_no_figure(portrait: Tensor) -> None:
    (face,) = faces_of(portrait)
    blank = torch.zeros_like(portrait)
    assert faces_of(blank) == [None]
    found = measured(MESH, torch.cat([portrait, blank, portrait]), [face, face, None])
    assert all(column.isnan().tolist() == [False, True, True] for column in found.values())


def test_changes_are_in_the_edits_sense_and_lost_faces_are_counted() -> None:
    sight = object.__new__(Sight)
    sight.names, sight.attributes, sight.spreads = (), ("Smiling", "Young"), []
    smile, age, young, yaw = (
        target_of(name, tiny.an_edit(), None, sight.attributes, given)
        for name, given in (("smile", None), ("age", None), ("young", "Young"), ("yaw", "-yaw"))
    )
    sight.onlookers = {target: ONLOOKERS[target.attribute] for target in (smile, age, young, yaw)}
    sight.units = {"mesh_mouth": 0.1, "years": 1.0, "mesh_yaw": 1.0}
    nan, faceless = torch.nan, torch.tensor([False, False, False, True])

    def view(*values: float) -> View:
        return View((), dict.fromkeys(sight.units, torch.tensor(values, dtype=torch.float64)), faceless)

    before, after = view(1.0, 2.0, nan, nan), view(1.5, nan, 4.0, nan)
    assert before.lost[:3].tolist() == [0, 0, 1] and before.lost[3].isnan()
    for target, wanted in ((smile, 5.0), (age, 0.5), (young, -0.5), (yaw, -0.5)):
        found = sight.changes(target, before, after)
        change = found[sight.onlookers[target].name]
        assert change[0] == pytest.approx(wanted) and change[1:].isnan().all(), target.name
        assert found[LOST.name][:3].tolist() == [0, 1, 1] and found[LOST.name][3].isnan()


def test_years_are_seen_in_the_box_of_the_unedited_face(portrait: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = []

    def years(pixels: np.ndarray, face: onlookers.Face) -> float:
        boxes.append(face.box)
        return float(pixels.mean())

    monkeypatch.setattr(onlookers, "network_of_years", lambda: years)
    (face,) = faces_of(portrait)
    assert face is not None
    own = replace(face, box=(face.box[0] + 3, *face.box[1:]))
    found = measured([ONLOOKERS["Young"]], portrait, [own])
    assert boxes == [own.box] and found["years"][0] > 0 and not ONLOOKERS["Young"].missing
    monkeypatch.setattr(onlookers, "network_of_years", lambda: None)
    assert ONLOOKERS["Young"].missing and not MESH[0].missing
