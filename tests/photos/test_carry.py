"""A photo is carried where the renderings of its edit go, and stays what it was everywhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gradstyle import load
from gradstyle.editor import Editor
from gradstyle.edits import Edit
from gradstyle.motion import sampled
from gradstyle.photos import Aligned, Carrier, Photo, align, legs_of, person_mask, put
from gradstyle.photos.legs import Leg
from gradstyle.photos.maps import continued
from gradstyle.photos.portraits import astronaut

SIDE = 64


class Whole:
    crop = "none"
    aspect = (1, 1)


def scene(side: int, seed: int = 0) -> Photo:
    random = torch.Generator().manual_seed(seed)
    soft = F.interpolate(torch.rand(1, 3, 12, 12, generator=random), (side, side), mode="bicubic").clamp(0, 1)
    grain = torch.rand(1, 1, side, side, generator=random) * 0.15 - 0.075
    pixels = ((soft * 0.8 + 0.1 + grain).clamp(0, 1) * 255).round().to(torch.uint8)
    return Photo(np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy()))


def bump(strength: float, side: int) -> Tensor:
    """An offset that is largest in the middle and none at the edges, in shares of the side."""
    place = (torch.arange(side) + 0.5) / side - 0.5
    away = torch.exp(-(place[None, :] ** 2 + place[:, None] ** 2) / 0.03)
    return torch.stack([strength * away, torch.zeros(side, side)])[None]


def drawn(crop: Aligned, offset: float = 0.0, side: int = SIDE) -> Tensor:
    """Stands for a rendering: the crop as a generator of `side` pixels has it, moved by a bump."""
    small = F.interpolate(crop.image, (side, side), mode="area")
    return sampled(small, bump(offset, side))


def path(crop: Aligned, offset: float, steps: int = 6) -> Tensor:
    return torch.cat([drawn(crop, offset * step / steps) for step in range(steps + 1)])


def levels(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))[None]


@pytest.mark.parametrize("turns", [False, True])
def test_the_photo_goes_where_the_renderings_go(turns: bool) -> None:
    photo = scene(300)
    crop = align(photo, None, Whole, 300)  # type: ignore[arg-type]
    carrier = Carrier.of(photo, crop, drawn(crop)[0])
    carry = carrier.along([Leg(path(crop, 0.05), turns)])
    assert carry is not None
    moved = levels(put(photo.pixels, crop.frame, carry))
    truth = sampled(levels(photo.pixels), bump(0.05, 300), "bicubic")
    middle = (..., slice(90, 210), slice(90, 210))
    error = (moved - truth)[middle].abs().mean()
    assert error < 0.35 * (levels(photo.pixels) - truth)[middle].abs().mean()
    grain = [(x - F.avg_pool2d(x, 3, 1, 1))[middle].std() for x in (moved, levels(photo.pixels))]
    assert 0.9 < grain[0] / grain[1] < 1.08  # as sharp as the photo, from renderings of 64 px


def test_what_is_new_comes_from_the_rendering() -> None:
    photo = scene(256, seed=1)
    crop = align(photo, None, Whole, 256)  # type: ignore[arg-type]
    before = drawn(crop)
    after = before.clone()
    after[..., 26:38, 26:38] = torch.tensor([0.9, -0.9, -0.9])[:, None, None]
    way = torch.cat([torch.lerp(before, after, step / 6) for step in range(7)])
    carry = Carrier.of(photo, crop, before[0]).along([Leg(way)])
    assert carry is not None
    out = put(photo.pixels, crop.frame, carry)
    red = out[112:144, 112:144].reshape(-1, 3).mean(axis=0) - photo.pixels[112:144, 112:144].reshape(-1, 3).mean(axis=0)
    assert red[0] > 25 and red[1] < -25 and red[2] < -25
    assert np.array_equal(out[:20], photo.pixels[:20])


def test_a_footprint_keeps_an_edit_where_it_acts() -> None:
    photo = scene(256, seed=2)
    crop = align(photo, None, Whole, 256)  # type: ignore[arg-type]
    left = torch.zeros(32, 32)
    left[:, :10] = 1
    carrier = Carrier.of(photo, crop, drawn(crop)[0])
    kept = carrier.along([Leg(path(crop, 0.05), footprint=left)])
    free = carrier.along([Leg(path(crop, 0.05))])
    assert kept is not None and free is not None
    out, all_over = put(photo.pixels, crop.frame, kept), put(photo.pixels, crop.frame, free)
    right = np.s_[80:176, 150:200]
    assert np.array_equal(out[right], photo.pixels[right])
    assert not np.array_equal(all_over[right], photo.pixels[right])


def test_equal_renderings_change_nothing() -> None:
    photo = scene(128)
    crop = align(photo, None, Whole, 128)  # type: ignore[arg-type]
    assert Carrier.of(photo, crop, drawn(crop)[0]).along([Leg(drawn(crop).expand(3, -1, -1, -1))]) is None


def test_looks_are_drawn_before_poses_and_all_in_one_batch() -> None:
    batches: list[list[Edit | None]] = []

    def render(entries):  # type: ignore[no-untyped-def]
        from gradstyle.edits import combine

        batches.append([combine(entry) for entry in entries])
        return torch.arange(len(entries), dtype=torch.float32)[:, None, None, None]

    smile, yaw = Edit("smile", torch.ones(1, 4)), Edit("yaw", torch.full((1, 4), 10.0), turns=True)
    look, pose = legs_of(render, [yaw, smile, 0 * smile], steps=2, turning=2)
    (entries,) = batches
    totals = [0.0 if entry is None or entry.w is None else float(entry.w[0, 0]) for entry in entries]
    assert totals == [0, 0.5, 1, 6, 11]
    assert look.path.flatten().tolist() == [0, 1, 2] and not look.turns
    assert pose.path.flatten().tolist() == [2, 3, 4] and pose.turns
    assert legs_of(render, [0 * smile]) == []


def test_what_is_unknown_goes_on_as_what_is_beside_it() -> None:
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., :32], picture[..., 32:] = 50, 200
    known = torch.ones(1, 1, 64, 64)
    known[..., 20:44, 8:24] = known[..., 20:44, 40:56] = 0
    picture[..., 20:44, 8:24] = picture[..., 20:44, 40:56] = 120  # a person, say
    wall = continued(picture, known)
    assert (wall[..., 24:40, 10:16] - 50).abs().max() < 25 and (wall[..., 24:40, 48:54] - 200).abs().max() < 25
    assert (wall[..., :8, :24] - 50).abs().max() < 3


# ---- on the bundled model, and a real portrait


@pytest.fixture(scope="module")
def editor() -> Editor:
    return load("faces", "e4e")


@pytest.fixture(scope="module")
def portrait() -> Photo:
    return astronaut()


def test_no_edit_gives_the_photo_to_the_bit(editor: Editor, portrait: Photo) -> None:
    assert editor.edit(portrait, {"smile": 0.0, "yaw": 0.0}) is portrait


@pytest.mark.parametrize("name", ["smile", "yaw"])
def test_a_vanishing_edit_changes_next_to_nothing(editor: Editor, portrait: Photo, name: str) -> None:
    out = editor.edit(portrait, {name: 0.001})
    assert np.abs(out.pixels.astype(int) - portrait.pixels).max() < 2


def test_a_look_leaves_all_but_the_person_alone(editor: Editor, portrait: Photo) -> None:
    out = editor.edit(portrait, {"smile": -1.5})
    person = F.max_pool2d(person_mask(portrait.pixels), 2 * (portrait.size[0] // 50) + 1, 1, portrait.size[0] // 50)
    changed = np.abs(out.pixels.astype(int) - portrait.pixels).max(axis=2) > 4
    assert changed.mean() > 0.002
    outside = (person[0, 0] < 0.5).numpy()
    assert (changed & outside).sum() <= 0.005 * outside.sum()


@pytest.mark.parametrize("amount", [-1.5, 1.5])
def test_a_mouth_moves_in_the_eyes_of_a_mesh_and_keeps_the_photos_detail(
    editor: Editor, portrait: Photo, amount: float
) -> None:
    from gradstyle.metrics.mesh import mouth_curve

    out = editor.edit(portrait, {"smile": amount})
    before, after = portrait.faces[0].mesh, out.faces[0].mesh
    assert before is not None and after is not None
    assert (mouth_curve(after) - mouth_curve(before)) * amount > 0.05 * abs(amount)


def test_heads_turn_in_the_eyes_of_a_mesh(editor: Editor, portrait: Photo) -> None:
    from gradstyle.metrics.mesh import head_turn

    before = portrait.faces[0].mesh
    assert before is not None
    ends = [replace(editor.edit(portrait, {"yaw": amount})).faces[0].mesh for amount in (-1.5, 1.5)]
    assert ends[0] is not None and ends[1] is not None
    left, ahead, right = (head_turn(mesh)[0] for mesh in (ends[0], before, ends[1]))
    assert min(abs(left - ahead), abs(right - ahead)) > 12 and (left - ahead) * (right - ahead) < 0
