"""Geometry moves a head: near places further than far ones, what is in front before what is behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

from gradstyle.motion import Motion, sampled
from gradstyle.photos import Photo
from gradstyle.photos.features import CLOSED, LIPS, LOWER, UPPER, Features, teeth_between
from gradstyle.photos.head import TEMPLES, Head, Likeness, beside, looked_up
from gradstyle.photos.portraits import astronaut

SIDE = 128


@pytest.fixture(scope="module")
def portrait() -> Photo:
    return astronaut()


@pytest.fixture(scope="module")
def head(portrait: Photo) -> Head:
    """The astronaut's, in the square around her face."""
    mesh = portrait.faces[0].mesh
    assert mesh is not None
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    scale = SIDE / (2 * (high - low).max())
    placed = (mesh - [*((low + high) / 2), 0.0]) * scale + [SIDE / 2, SIDE / 2, 0]
    return Head.of(placed, torch.ones(1, 1, SIDE, SIDE))


def turn(degrees: float, axis: str = "y") -> np.ndarray:
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def test_a_likeness_is_found_again(head: Head) -> None:
    rotation = turn(20) @ turn(-7, "x")
    found = Likeness.between(head.mesh, 1.3 * head.mesh @ rotation.T + [3, -2, 5])
    assert found.scale == pytest.approx(1.3)
    assert np.allclose(found.rotation, rotation) and np.allclose(found.shift, [3, -2, 5])
    assert np.allclose(found(head.mesh), 1.3 * head.mesh @ rotation.T + [3, -2, 5])


def test_no_turn_moves_nothing(head: Head) -> None:
    assert not head.turned(np.eye(3)).offset.any()


@pytest.mark.parametrize("degrees", [-15, 15])
def test_places_go_where_the_mesh_goes(head: Head, degrees: float) -> None:
    motion = head.turned(turn(degrees))
    after = (head.mesh - head.centre) @ turn(degrees).T + head.centre
    seen = [1, 4, 6, 33, 263, 61, 291, 152, 9]  # nose, eyes, corners of the mouth, chin, between the brows
    for before, now in zip(head.mesh[seen], after[seen]):
        x, y = np.round(now[:2]).astype(int)
        back = motion.offset[0, :, y, x].numpy() * SIDE
        assert np.abs(now[:2] + back - before[:2]).max() < 1.6  # of 128 pixels, where a nose goes 9
    nose, temple = (np.linalg.norm((after - head.mesh)[point, :2]) for point in (1, TEMPLES[0]))
    assert nose > 7 and temple < 0.4 * nose
    edges = torch.cat([motion.offset[..., 0, :], motion.offset[..., :, 0]])
    assert edges.abs().max() * SIDE < 0.5  # far from a head


def test_a_wall_holds_what_is_beside_a_face(head: Head) -> None:
    free = torch.ones(1, 1, SIDE, SIDE)
    free[..., :30, :] = 0  # the wall begins above the forehead
    far = slice(0, 12)
    walled = Head.of(head.mesh, free).turned(turn(15)).offset[..., far, :]
    assert walled.abs().max() < 0.3 * head.turned(turn(15)).offset[..., far, :].abs().max().clamp_min(1e-4)


def test_a_field_goes_on_evenly_where_it_is_free() -> None:
    known, free = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    known[..., 24:40, 24:40] = 1
    free[..., :, :48] = 1
    field = beside(torch.full((1, 2, 64, 64), 0.1), known, free)
    assert torch.allclose(field[..., 28:36, 28:36], torch.tensor(0.1), atol=1e-3)
    left, right = field[0, 0, 32, 10], field[0, 0, 32, 58]
    assert left > 0.03 and right < 0.01  # free on one side, a wall on the other


def test_a_field_is_turned_around_even_where_it_stretches() -> None:
    x = (torch.arange(SIDE) + 0.5) / SIDE
    bump = 0.09 * torch.exp(-(((x - 0.5) / 0.07) ** 2))  # steeper than one: no fixed point is found there
    forth = torch.zeros(1, 2, SIDE, SIDE)
    forth[:, 0] = bump * (x[:, None] * (1 - x[:, None]) * 4)
    depth = (x - 0.5).expand(1, 1, SIDE, SIDE).contiguous()  # the left lies in front, where it folds
    back = looked_up(forth, depth)
    ahead = Motion(back, torch.ones(1, 1, SIDE, SIDE))
    there = back + sampled(forth, back)  # back, and forth again, is nowhere
    assert there[..., 8:-8, : SIDE // 2].abs().max() * SIDE < 1.0
    assert ahead.offset.abs().max() < 0.1


def test_what_lies_in_front_is_seen() -> None:
    forth, depth = torch.zeros(1, 2, 64, 64), torch.zeros(1, 1, 64, 64)
    forth[:, 0, :, :32] = 10 / 64  # the left half goes right, over what stays
    for front in (-0.3, 0.3):
        depth[..., :32] = front
        back = looked_up(forth, depth)[0, 0, 32, 36] * 64
        assert back == pytest.approx(-10 if front < 0 else 0, abs=0.5)


# ---- eyes and mouth


def opened(mesh: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """A mouth whose lips meet, moved apart: as shares of the distance of its corners."""
    mesh = mesh.copy()
    first, last = mesh[UPPER[0]], mesh[UPPER[-1]]
    wide = np.linalg.norm(last - first)
    for ring, way in ((UPPER, -upper), (LOWER, lower)):
        for place, point in enumerate(ring):
            share = place / (len(ring) - 1)
            mesh[point] = first + share * (last - first) + [0, way * wide * np.sin(np.pi * share), 0]
    return mesh


def test_a_mouth_that_opens_has_teeth_and_one_that_was_open_keeps_its_own(head: Head) -> None:
    closed, open_ = opened(head.mesh, 0, 0), opened(head.mesh, 0.05, 0.2)
    features = Features.of(closed, open_, SIDE)
    assert features.opened.amax() > 0.9 and 0.3 < features.teeth.amax() <= 1
    x, y = ((open_[UPPER[5]] + open_[LOWER[5]]) / 2)[:2].round().astype(int)
    assert features.opened[0, 0, y, x] > 0.9
    assert not Features.of(open_, opened(head.mesh, 0.1, 0.4), SIDE).opened.any()
    assert not Features.of(closed, closed, SIDE).opened.any() and CLOSED[0] > 0


def test_lips_keep_their_colours_only_where_they_move(head: Head) -> None:
    assert not Features.of(head.mesh, head.mesh, SIDE).lips.any()
    smile = head.mesh.copy()
    smile[LIPS, 0] += np.sign(smile[LIPS, 0] - smile[LIPS, 0].mean()) * 4
    lips = Features.of(head.mesh, smile, SIDE).lips
    x, y = smile[LIPS, :2].mean(axis=0).round().astype(int)
    assert lips[0, 0, y, x] > 0.9 and lips[0, 0, 5, 5] == 0


def test_teeth_are_even_and_darker_to_the_sides() -> None:
    across = np.linspace(20, 100, 11)
    bow = np.sin(np.pi * np.linspace(0, 1, 11))
    inside, light = teeth_between(np.c_[across, 50 + 0 * bow], np.c_[across, 50 + 24 * bow], SIDE)
    row = light[0, 0, 60]
    assert torch.allclose(row[21:60], row[61:100].flip(0), atol=0.1)
    assert row[50:70].mean() > 1.5 * row[28:34].mean()
    dark = (row[1:-1] < row[:-2] - 0.02) & (row[1:-1] < row[2:] - 0.02)
    assert dark[30:90].sum() >= 3  # between teeth
    assert inside[0, 0, 60, 60] == 1 and inside[0, 0, 40, 60] == 0
    assert light[0, 0, 72, 60] < 0.5 * row[55]  # below the upper teeth it is dark


def test_teeth_have_the_light_of_the_skin(head: Head) -> None:
    features = Features.of(opened(head.mesh, 0, 0), opened(head.mesh, 0.05, 0.2), SIDE)
    for level in (60.0, 200.0):
        drawn = features.teeth_beside(torch.zeros(1, 3, SIDE, SIDE), torch.full((1, 3, 1, 1), level))
        light = F.max_pool2d(drawn.mean(dim=1), 3, 1, 1).amax()
        assert level * 0.8 < light < level * 1.1
