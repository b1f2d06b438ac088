"""Perspective warps: where the corners go, and that every map of a pyramid goes there alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.methods.warp import random_perspectives, warp
from gradstyle.rng import Draws

CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


class Fixed(Draws):
    """Gives one set of corner offsets; the chance of a warp is drawn as before."""

    def __init__(self, offsets: Tensor) -> None:
        super().__init__()
        self.offsets = offsets

    def uniform(self, rows: int, *shape: int) -> Tensor:
        return self.offsets.expand(rows, -1, -1) if shape == (4, 2) else super().uniform(rows, *shape)


def see(homographies: Tensor, points: Tensor) -> Tensor:
    """What the homographies make of points [P, 2]."""
    seen = torch.cat([points, torch.ones(len(points), 1)], 1) @ homographies.transpose(1, 2)
    return seen[..., :2] / seen[..., 2:]  # [N, P, 2]


def coordinates(side: int) -> Tensor:
    """A map whose two channels tell where each pixel is."""
    axis = (torch.arange(side) + 0.5) * (2 / side) - 1
    return torch.stack([axis.expand(side, -1), axis[:, None].expand(-1, side)])[None]  # [1, 2, side, side]


def test_a_trapezoid_computed_by_hand() -> None:
    # The upper corners move in to x = ±1/2. With the ansatz x' = ax / (dy + 1), y' = (by + c) / (dy + 1):
    # a = 1 + d = 2 − 2d, b + c = 1 + d, c − b = d − 1.
    offsets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    homography = random_perspectives(1, Fixed(offsets), distortion=0.5)
    by_hand = torch.tensor([[4 / 3, 0, 0], [0, 1, 1 / 3], [0, 1 / 3, 1]])
    torch.testing.assert_close(homography[0], by_hand, atol=1e-5, rtol=0)


def test_corners_move_inwards_to_where_the_draws_say() -> None:
    homographies = random_perspectives(64, Draws(3), distortion=0.15)
    moved = CORNERS * (1 - 0.15 * Draws(3).uniform(64, 4, 2))  # [64, 4, 2]
    seen = torch.stack([see(h[None], points)[0] for h, points in zip(homographies, moved)])
    torch.testing.assert_close(seen, CORNERS.expand(64, -1, -1), atol=1e-4, rtol=0)
    shift = (see(torch.linalg.inv(homographies), CORNERS) - CORNERS) * -CORNERS  # inwards is positive
    assert shift.min() > -1e-4
    assert 0.12 < shift.max() <= 0.15 + 1e-4


def test_half_size_in_the_middle_of_nothing() -> None:
    homography = random_perspectives(1, Fixed(torch.ones(4, 2)), distortion=0.5)
    small = warp(torch.ones(1, 1, 16, 16), homography)[0, 0]
    assert torch.equal(small[5:11, 5:11], torch.ones(6, 6))
    outside = small.clone()
    outside[3:13, 3:13] = 0
    assert not outside.any()
    assert float(small.sum()) == 64  # a quarter of the area


def test_a_pixel_shows_the_point_that_its_homography_names() -> None:
    homographies = random_perspectives(5, Draws(1), distortion=0.3)
    side = 32
    shown = warp(coordinates(side).expand(5, -1, -1, -1), homographies)
    wanted = see(homographies, coordinates(side)[0].flatten(1).T).transpose(1, 2).reshape(5, 2, side, side)
    inside = (wanted.abs().amax(1, keepdim=True) < 1 - 1 / side).expand_as(wanted)
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(shown[inside], wanted[inside], atol=1e-4, rtol=0)


def test_the_identity_leaves_a_map_as_it_is() -> None:
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(warp(x, torch.eye(3).expand(2, -1, -1)), x)
    x = torch.randn(1, 3, 12, 20)
    torch.testing.assert_close(warp(x, torch.eye(3)[None]), x, atol=1e-5, rtol=0)


def test_maps_of_two_sizes_are_warped_alike() -> None:
    homographies = random_perspectives(4, Draws(2), distortion=0.15)
    axis = coordinates(128)
    fine = torch.sin(3 * axis[:, :1] + 1) * torch.cos(2 * axis[:, 1:])  # smooth
    coarse = F.avg_pool2d(fine, 4)
    a = F.avg_pool2d(warp(fine.expand(4, -1, -1, -1), homographies), 4)
    b = warp(coarse.expand(4, -1, -1, -1), homographies)
    inside = warp(torch.ones(4, 1, 32, 32), homographies) == 1
    inside = F.pad(inside[:, :, 6:-6, 6:-6], (6, 6, 6, 6))  # without pixels that mix with the outside
    assert (a - b)[inside].abs().max() < 0.01
    assert (a - coarse)[inside].abs().max() > 0.1  # it did move


def test_probability() -> None:
    eye = torch.eye(3).expand(50, -1, -1)
    assert torch.equal(random_perspectives(50, Draws(0), probability=0), eye)
    some = random_perspectives(2000, Draws(0), probability=0.9)
    left = (some == torch.eye(3)).all(dim=(1, 2)).float().mean()
    assert 0.07 < left < 0.13


def test_a_split_batch_is_warped_as_the_joined_one() -> None:
    joined = random_perspectives(6, Draws(5), probability=0.5)
    parts = [random_perspectives(3, Draws(5, rank, 2), probability=0.5) for rank in range(2)]
    torch.testing.assert_close(torch.cat(parts), joined)


def test_half_precision_does_not_blur_where_a_pixel_comes_from() -> None:
    x = torch.randn(1, 3, 256, 256)
    homographies = random_perspectives(1, Draws(0))
    half = warp(x.bfloat16(), homographies)
    assert half.dtype == torch.bfloat16
    exact = warp(x, homographies)
    assert (half.float() - exact).abs().max() < 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(warp(x, homographies), exact)
