"""Motion is a value, and what is found between pictures is what moved them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gradstyle.motion import area_of, flow, sampled
from gradstyle.photos import Motion, motion_along

SIDE = 64


def scene(seed: int = 0, side: int = SIDE) -> Tensor:
    """A soft picture with structure everywhere, [1, 3, side, side] in [−1, 1]."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 10, 10, generator=random) * 2 - 1
    return F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False).clamp(-1, 1)


def turn(angle: float, centre: tuple[float, float] = (0.5, 0.5), side: int = SIDE) -> Tensor:
    """The offset of a turn by `angle`, in shares of the side: where each place was before."""
    place = (torch.arange(side) + 0.5) / side
    x, y = place[None, :] - centre[0], place[:, None] - centre[1]
    c, s = math.cos(angle), math.sin(angle)
    return torch.stack([c * x + s * y - x, c * y - s * x - y])[None]


def shift(x: float, y: float = 0.0, side: int = SIDE) -> Tensor:
    return torch.tensor([x, y])[None, :, None, None].expand(1, 2, side, side)


def inside(x: Tensor, margin: int = 10) -> Tensor:
    return x[..., margin:-margin, margin:-margin]


def test_carrying_by_an_offset_shows_what_lay_there() -> None:
    picture = scene()
    by = Motion(
        torch.tensor([4 / SIDE, -2 / SIDE])[None, :, None, None].expand(1, 2, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE)
    )
    moved = by.carry(picture)
    assert torch.allclose(moved[..., 10:20, 10:20], picture[..., 8:18, 14:24], atol=1e-4)


def test_a_motion_after_another_is_their_composition() -> None:
    first, then = Motion(turn(0.1), torch.ones(1, 1, SIDE, SIDE)), Motion(turn(0.07), torch.ones(1, 1, SIDE, SIDE))
    both = first.then(then)
    assert inside(both.offset - turn(0.17)).abs().max() < 1e-3
    picture = scene(side=SIDE)
    twice, once = then.carry(first.carry(picture)), both.carry(picture)
    assert inside(twice - once).abs().mean() < 0.02


def test_a_motion_and_its_way_back_are_none() -> None:
    there = Motion(turn(0.15), torch.ones(1, 1, SIDE, SIDE))
    still = there.then(there.inverted())
    assert inside(still.offset).abs().max() < 1e-3


def test_what_was_hidden_stays_hidden_along_the_way() -> None:
    hidden = torch.ones(1, 1, SIDE, SIDE)
    hidden[..., 20:30, 20:30] = 0
    later = Motion(torch.zeros(1, 2, SIDE, SIDE), hidden).then(Motion(shift(8 / SIDE), torch.ones(1, 1, SIDE, SIDE)))
    assert later.visible[0, 0, 25, 17] == 0 and later.visible[0, 0, 25, 27] == 1


def test_another_size_is_the_same_motion() -> None:
    finer = Motion(turn(0.1), torch.ones(1, 1, SIDE, SIDE)).resized(2 * SIDE)
    assert inside(finer.offset - turn(0.1, side=2 * SIDE)).abs().max() < 1e-3


def test_the_picture_of_motion_tells_directions_apart() -> None:
    right, left = (Motion(shift(x, side=4), torch.ones(1, 1, 4, 4)).picture() for x in (0.1, -0.1))
    assert right[0, 0, 0, 0] > 0.9 and left[0, 0, 0, 0] < -0.9
    assert Motion.none(1, 4).picture().abs().max() == 0


@pytest.mark.parametrize("angle", [0.04, -0.06])
def test_flow_finds_a_turn(angle: float) -> None:
    old = scene() * 100
    new = sampled(old, turn(angle))
    found = flow(new, old, levels=3)
    apart = inside(found - turn(angle)).norm(dim=1) * SIDE
    assert apart.mean() < 0.25 < inside(turn(angle)).norm(dim=1).mean() * SIDE


def test_motion_along_a_path_is_found_where_one_step_would_be_lost() -> None:
    """Twelve pixels, of structures of six: a single step finds another structure, six steps find the way."""
    random = torch.Generator().manual_seed(3)
    fine = F.interpolate(torch.rand(1, 3, 22, 22, generator=random) * 2 - 1, (SIDE, SIDE), mode="bicubic").clamp(-1, 1)
    whole = shift(12 / SIDE)
    path = torch.cat([sampled(fine, whole * k / 6) for k in range(7)])
    walked = motion_along(path).offset
    jumped = motion_along(path[[0, -1]]).offset

    def error(offset: Tensor) -> float:
        return float(((offset - whole)[..., 14:-14, 14:-26] * SIDE).norm(dim=1).mean())

    assert error(walked) < 1 < error(jumped)


def test_a_path_of_many_pictures_is_each_ones_own() -> None:
    still, moving = scene(1).expand(3, -1, -1, -1), torch.cat([sampled(scene(2), turn(0.04) * k / 2) for k in range(3)])
    both = motion_along(torch.stack([still, moving], dim=1)).offset
    assert both[0].abs().max() < 1e-4
    assert torch.allclose(both[1:], motion_along(moving).offset, atol=1e-4)


def test_a_place_that_stretches_was_not_visible() -> None:
    """A disc that grows from a point: in its middle, nothing of the old picture lies."""
    place = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    x, y = place[None, :].expand(SIDE, SIDE), place[:, None].expand(SIDE, SIDE)
    shrink = torch.exp(-(x**2 + y**2) / 0.02) * 0.95
    offset = torch.stack([-x * shrink, -y * shrink])[None]
    area = area_of(offset)
    assert area[0, 0, SIDE // 2, SIDE // 2] < 0.05 and area[0, 0, 4, 4] == pytest.approx(1, abs=0.01)


def test_a_path_is_two_renderings_at_least() -> None:
    with pytest.raises(ValueError, match="two renderings at least"):
        motion_along(scene())
