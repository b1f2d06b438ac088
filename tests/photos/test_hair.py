"""Hair is found by its colours, and takes the change of a rendering's hair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gradstyle import load
from gradstyle.edits import Edit
from gradstyle.photos import legs_of
from gradstyle.photos.hair import hair_matte, recoloured
from gradstyle.photos.head import CHIN, FOREHEAD, TEMPLES
from gradstyle.photos.portraits import astronaut

SIDE = 96
SKIN, HAIR, WALL, SHIRT = (200.0, 160.0, 140.0), (60.0, 40.0, 30.0), (90.0, 120.0, 200.0), (30.0, 160.0, 60.0)


def drawn(hair: tuple[float, ...] = HAIR, wall: tuple[float, ...] = WALL) -> tuple[Tensor, Tensor, np.ndarray, Tensor]:
    """A head: picture, person, mesh, and where its hair is."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inside = lambda cy, h, w: ((x - 48) / w) ** 2 + ((y - cy) / h) ** 2 < 1  # noqa: E731
    face, head, shirt = inside(52, 20, 15), inside(46, 34, 24), y > 84
    picture = torch.zeros(3, SIDE, SIDE)
    for where, colour in ((y >= 0, wall), (head, hair), (shirt, SHIRT), (face, SKIN)):
        picture[:, where] = torch.tensor(colour)[:, None]
    grain = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    mesh = np.zeros((468, 3))
    turn = np.linspace(0, 2 * np.pi, 468)
    mesh[:, :2] = np.c_[48 + 15 * np.cos(turn), 52 + 20 * np.sin(turn)]
    mesh[FOREHEAD, :2], mesh[CHIN, :2] = (48, 32), (48, 72)
    mesh[TEMPLES, :2] = (33, 52), (63, 52)
    person = (head | shirt).float()[None, None]
    return (picture + 4 * grain)[None], person, mesh, (head & ~face & ~shirt)


def test_hair_is_what_has_its_colours_near_the_head() -> None:
    picture, person, mesh, truth = drawn()
    matte = hair_matte(picture, person, mesh)[0, 0]
    inner = torch.nn.functional.avg_pool2d(truth[None, None].float(), 5, 1, 2)[0, 0] > 0.99
    assert matte[inner].mean() > 0.85
    assert matte[52, 48] < 0.05 and matte[90, 48] < 0.05 and matte[5, 5] < 0.01  # face, shirt, wall


def test_a_wall_of_the_hairs_colour_is_no_hair() -> None:
    picture, person, mesh, truth = drawn(wall=HAIR)
    matte = hair_matte(picture, person, mesh)[0, 0]
    assert matte[truth].mean() > 0.5 and matte[(person[0, 0] < 0.5)].mean() < 0.02


def test_a_dress_of_the_hairs_colour_is_no_hair() -> None:
    picture, person, mesh, _ = drawn()
    picture[..., 87:, :] = torch.tensor(HAIR)[:, None, None]  # below a collar
    assert hair_matte(picture, person, mesh)[..., 90:, :].max() < 0.05


def test_a_bald_head_has_none() -> None:
    picture, person, mesh, _ = drawn(hair=SKIN)
    assert hair_matte(picture, person, mesh).max() < 0.05


def test_hair_takes_the_change_of_the_mean_and_of_contrast_and_nothing_else() -> None:
    picture, person, mesh, truth = drawn()
    matte = hair_matte(picture, person, mesh)
    small = torch.zeros(1, 3, 32, 32)
    before, after, where = small + 50, small + 75, torch.ones(1, 1, 32, 32)
    tone = recoloured(picture, matte, before, after, where)
    sure = (matte > 0.99)[0, 0]
    assert tone[0][:, sure].mean() == pytest.approx(25, abs=4)
    assert (picture + tone)[0][:, sure].std(dim=1).mean() > 1.2 * picture[0][:, sure].std(dim=1).mean()
    assert tone[0][:, ~truth & (matte[0, 0] < 1e-3)].abs().max() < 0.2
    assert not recoloured(picture, matte, before, before, where).any()


def test_hair_is_a_leg_of_its_own_drawn_from_the_plain_face() -> None:
    def render(entries):  # type: ignore[no-untyped-def]
        totals = [sum(float(e.w[0, 0]) for e in ([entry] if isinstance(entry, Edit) else entry)) for entry in entries]
        return torch.tensor(totals)[:, None, None, None]

    blond = Edit("blond", torch.full((1, 4), 100.0), hair=True)
    smile, yaw = Edit("smile", torch.ones(1, 4)), Edit("yaw", torch.full((1, 4), 10.0), turns=True)
    hair, look, pose = legs_of(render, [yaw, blond, smile], steps=2, turning=1)
    assert hair.path.flatten().tolist() == [0, 100] and hair.hair
    assert look.path.flatten().tolist() == [0, 0.5, 1] and not look.hair
    assert pose.path.flatten().tolist() == [1, 11] and pose.turns


def test_a_portraits_hair_gets_lighter_and_her_face_stays() -> None:
    editor, photo = load("faces"), astronaut()
    assert editor.edits["blond"].hair and not editor.edits["smile"].hair
    out = editor.edit(photo, {"blond": 2.0})
    change = out.pixels.astype(float).mean(axis=2) - photo.pixels.mean(axis=2)
    left, top, right, bottom = (round(edge) for edge in photo.faces[0].box)
    face = change[top + 30 : bottom - 20, left + 20 : right - 20]
    assert np.abs(face).mean() < 1.0
    assert change[max(0, top - 60) : bottom, left - 50 : right + 50].max() > 25
    assert (change > 8).mean() > 0.01
