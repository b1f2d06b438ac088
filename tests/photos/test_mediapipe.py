"""MediaPipe's networks in PyTorch answer as the originals do, and find faces of any size, place and turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gradstyle.photos.mediapipe
from gradstyle.photos import find_faces, person_mask
from gradstyle.photos.mediapipe import View, detect, meshes, view_of
from gradstyle.photos.mediapipe.graph import Graph, network
from gradstyle.photos.mediapipe.symmetry import MIRRORED
from gradstyle.photos.portraits import astronaut
from tests.support.drawn_people import drawn_people

ORIGINAL = np.load(Path(__file__).parents[1] / "data" / "mediapipe.npz")
HERE = Path(gradstyle.photos.mediapipe.__file__).parent


def pictures(side: int, low: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(drawn_people(side)).permute(0, 3, 1, 2).float() / 255 * (1 - low) + low


@pytest.fixture(scope="module")
def portrait() -> Any:
    return astronaut().pixels


# ---- as the originals


def test_the_detector_answers_as_the_original() -> None:
    offsets, scores = network("detector")(pictures(128, low=-1.0))
    assert np.abs(offsets[:, ::16].numpy() - ORIGINAL["offsets"]).max() < 1e-3
    assert np.abs(scores[..., 0].numpy() - ORIGINAL["scores"]).max() < 1e-3


def test_the_mesh_answers_as_the_original() -> None:
    points, score = network("mesh")(pictures(192))
    assert np.abs(points.reshape(3, -1, 3).numpy() - ORIGINAL["points"]).max() < 1e-3
    assert np.abs(score.ravel().numpy() - ORIGINAL["score"]).max() < 1e-3


def test_the_persons_mask_answers_as_the_original() -> None:
    (mask,) = network("person")(pictures(256))
    assert np.abs(mask[:, 0, ::8, ::8].numpy() - ORIGINAL["person"]).max() < 1e-3
    assert 0.4 < ORIGINAL["person"][1].mean() < 0.5  # there is somebody


@pytest.mark.parametrize(("name", "side"), [("detector", 128), ("mesh", 192), ("person", 256)])
def test_a_picture_is_answered_alike_alone_and_among_others(name: str, side: int) -> None:
    together = network(name)(pictures(side))
    for index, picture in enumerate(pictures(side)):
        for alone, many in zip(network(name)(picture[None]), together):
            torch.testing.assert_close(alone[0], many[index], atol=1e-3, rtol=1e-3)


def test_a_graph_forgets_what_no_step_needs_any_more() -> None:
    steps = [{"op": "relu", "name": "a", "of": ["input"]}, {"op": "add", "name": "b", "of": ["a", "w"]}]
    (made,) = Graph({"w": torch.ones(1)}, steps, ["b"])(torch.tensor([-2.0, 3.0]))
    assert made.tolist() == [1.0, 4.0]
    (kept, _) = Graph({"w": torch.ones(1)}, steps, ["a", "b"])(torch.tensor([-2.0, 3.0]))
    assert kept.tolist() == [0.0, 3.0]


def test_licence_and_notice_come_with_the_weights() -> None:
    assert "Apache License" in (HERE / "LICENSE").read_text("utf-8")
    notice = (HERE / "NOTICE").read_text("utf-8")
    assert all(path.name in notice for path in HERE.glob("*.safetensors")) and "The MediaPipe Authors" in notice


# ---- views


@pytest.mark.parametrize(("angle", "length"), [(0.0, 96.0), (0.7, 300.0), (-2.0, 480.0)])
def test_a_view_shows_what_lies_under_it(angle: float, length: float) -> None:
    """A photo whose colours are its coordinates."""
    y, x = np.mgrid[0:900, 0:1200]
    pixels = np.stack([x * 0.17, y * 0.23, x * 0], axis=-1).round().astype(np.uint8)
    view = View(np.array([600.0, 450.0]), length, angle)
    along = (np.arange(64) + 0.5) / 64
    where = view.to_photo(np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)).T * [[0.17], [0.23]]
    rising, falling = (view.of(each, 64)[0, :2].reshape(2, -1).numpy() * 255 for each in (pixels, 255 - pixels))
    assert np.abs(rising - where).max() < 1
    shift = (rising + 255 - falling) / 2 - where  # rounding, which has the same sign in both, cancels
    assert np.abs(shift.mean(axis=1)).max() < 0.02  # a tenth of a pixel


def test_a_view_around_points_holds_them_turned_as_they_are() -> None:
    points = np.array([[10.0, 20.0], [50.0, 20.0], [30.0, 40.0]])
    view = View.around(points, 0.0, 1.5)
    assert view.centre.tolist() == [30.0, 30.0] and view.side == 60.0
    turn = np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]])
    turned = View.around(points @ turn, 0.5, 1.5)
    np.testing.assert_allclose(turned.centre, view.centre @ turn)
    assert turned.side == pytest.approx(60.0)


def test_beyond_the_photo_its_edge_goes_on() -> None:
    pixels = np.full((20, 30, 3), 50, np.uint8)
    pixels[:, -1] = 200
    shown = View(np.array([29.5, 10.0]), 40.0).of(pixels, 40)[0, 0] * 255
    assert shown[:, 22:].min() > 199 and shown[:, :15].max() < 51
    assert View(np.array([500.0, 10.0]), 40.0).of(pixels, 40).min() * 255 > 199  # wholly beside it


# ---- faces


def test_small_faces_are_found_in_a_large_photo(portrait: Any) -> None:
    """A face of a thirtieth of the photo's longer side, at places that tiles cut through."""
    face = Image.fromarray(portrait).crop((120, 20, 330, 230)).resize((190, 190), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (2400, 1500), (120, 130, 125))
    places = [(0, 0), (531, 480), (1130, 700), (2210, 1310), (2000, 55)]
    for at in places:
        sheet.paste(face, at)
    found = find_faces(np.asarray(sheet))
    assert len(found) == len(places) and all(60 < each.size < 95 for each in found)
    middles = {tuple(np.round((each.landmarks.mean(axis=0) - 95) / 10).astype(int).tolist()) for each in found}
    assert len(middles) == len(places)
    for x, y in places:
        nearest = min(np.abs(each.landmarks.mean(axis=0) - (x + 90, y + 105)).max() for each in found)
        assert nearest < 20


def test_a_mirrored_photo_has_the_mirrored_mesh(portrait: Any) -> None:
    views = [view_of(each) for each in detect(portrait)][:1]
    ((mesh, score),) = meshes(portrait, views)
    other = [View(np.array([511 - each.centre[0], each.centre[1]]), each.side, -each.angle) for each in views]
    ((mirrored, _),) = meshes(np.ascontiguousarray(portrait[:, ::-1]), other)
    assert score > 0.99 and mesh.shape == (468, 3)
    back = mirrored[MIRRORED] * (-1, 1, 1) + (511, 0, 0)
    assert np.abs(back - mesh).max() < 0.02 * np.ptp(mesh[:, 0])


def test_no_face_is_found_where_there_is_none() -> None:
    for pixels in (np.mgrid[0:600, 0:800][1] % 256, np.random.default_rng(0).integers(0, 256, (600, 800))):
        assert find_faces(np.repeat(pixels[..., None], 3, axis=-1).astype(np.uint8), thorough=True) == []


# ---- the person


def test_the_mask_is_where_the_person_is(portrait: Any) -> None:
    mask = person_mask(portrait)
    assert mask.shape == (1, 1, 512, 512) and mask.min() >= 0 and mask.max() <= 1
    (face,) = find_faces(portrait)
    x, y = face.landmarks[17:].round().astype(int).T
    assert mask[0, 0, y, x].min() > 0.9  # her face
    assert mask[0, 0, :60, 380:].max() < 0.1 and mask[0, 0, 40:110, 60:130].max() < 0.1  # the wall
    assert mask[0, 0, 350:450, 100:250].mean() > 0.9  # her suit
    small = person_mask(portrait, (30, 40))
    assert small.shape == (1, 1, 30, 40) and small[0, 0, 8, 17] > 0.9 and small[0, 0, 2, 35] < 0.1
