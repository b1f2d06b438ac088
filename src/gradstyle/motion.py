"""Where things go when an edit moves them, as a value: composed, inverted, resized, drawn.

Motion is found between neighbours of a path of renderings, from no edit to the whole edit, and composed: between
neighbours a place moves by a pixel or two, which the differences of two pictures tell (Lucas and Kanade 1981), from
coarse to fine. Sixty lines do it; OpenCV's flow would cost an installation of 57 MB that clashes with other builds
of itself, and finds no better motion here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from .images import to_levels

LEVELS = 2  # sizes at which neighbours are compared, each half of the one before
ROUNDS = 4  # of refinement at each size
WINDOW = 4 / 128  # deviation of the neighbourhood that moves together, in shares of the side
FLAT = 10.0  # squared slope, in levels a pixel, below which a place tells nothing of its motion
OUTLIER = 20.0  # levels of difference beyond which a place is doubted


@dataclass(frozen=True)
class Motion:
    """For each place of the new picture: where it was in the old one, and whether it was to be seen there."""

    offset: Tensor  # [N, 2, H, W], x and y, in shares of the side
    visible: Tensor  # [N, 1, H, W], 0 … 1

    @classmethod
    def none(cls, count: int, side: int) -> Motion:
        return cls(torch.zeros(count, 2, side, side), torch.ones(count, 1, side, side))

    def carry(self, picture: Tensor, padding: str = "border") -> Tensor:
        """The old picture [N, C, H, W], moved."""
        return sampled(picture, self.offset, padding=padding)

    def then(self, later: Motion) -> Motion:
        """This motion, and after it another."""
        visible = later.visible * sampled(self.visible, later.offset)
        return Motion(later.offset + sampled(self.offset, later.offset), visible)

    def inverted(self, rounds: int = 8) -> Motion:
        """The way back, by fixed points: it exists where the motion folds nothing."""
        back = -self.offset
        for _ in range(rounds):
            back = -sampled(self.offset, back)
        return Motion(back, sampled(self.visible, back))

    def resized(self, side: int) -> Motion:
        """The same motion on a finer or coarser grid; it is in shares of the side, so nothing is scaled."""
        if side == self.offset.shape[-1]:
            return self
        return Motion(*(F.interpolate(x, (side, side), mode="bilinear") for x in (self.offset, self.visible)))

    def picture(self, longest: float = 0.1) -> Tensor:
        """Motion to look at, [N, 3, H, W] in [−1, 1]: the hue is its direction, the strength its length."""
        x, y = (self.offset / longest).clamp(-1, 1).unbind(dim=1)
        length = torch.hypot(x, y).clamp(max=1)
        angle = torch.atan2(y, x)
        hues = torch.stack([torch.cos(angle - turn) for turn in (0.0, 2.0944, 4.1888)], dim=1)
        return (hues * length[:, None]).clamp(-1, 1) * self.visible


def motion_along(path: Tensor) -> Motion:
    """The motion from the first to the last of renderings [K + 1, N, 3, S, S] in [−1, 1], found step by step.

    A path of single renderings may come as [K + 1, 3, S, S]. A place that the way stretches to more than twice its
    size was hardly to be seen before.
    """
    if path.ndim == 4:
        path = path[:, None]
    if path.ndim != 5 or len(path) < 2:
        raise ValueError(f"a path is two renderings at least, [steps + 1, N, 3, side, side], got {list(path.shape)}")
    levels = to_levels(path)
    steps = flow(levels[1:].flatten(0, 1), levels[:-1].flatten(0, 1)).chunk(len(path) - 1)
    total = steps[0]
    for step in steps[1:]:
        total = step + sampled(total, step)
    return Motion(total, step_between(area_of(total), 0.1, 0.45))


def flow(
    new: Tensor,
    old: Tensor,
    window: float = WINDOW,
    levels: int = LEVELS,
    rounds: int = ROUNDS,
    flat: float = FLAT,
    weight: Tensor | None = None,
) -> Tensor:
    """Offsets [N, 2, H, W] in shares of the side by which `old`, sampled there, looks like `new`: both [N, C, H, W].

    Where a place tells nothing of its motion, its neighbours do. `weight` [N, 1, H, W] says how much a place counts.
    """
    pyramid = [(new, old, weight)]
    for _ in range(levels - 1):
        pyramid.append(tuple(None if x is None else F.avg_pool2d(x, 2) for x in pyramid[-1]))  # type: ignore[arg-type]
    offset = new.new_zeros(len(new), 2, *pyramid[-1][0].shape[-2:])
    for new, old, weight in reversed(pyramid):
        side = new.shape[-1]
        deviation = window * pyramid[0][0].shape[-1]
        if offset.shape[-1] != side:
            offset = F.interpolate(offset, new.shape[-2:], mode="bilinear")
        for _ in range(rounds):
            moved = sampled(old, offset)
            across, down = slopes((new + moved) / 2)
            apart = new - moved
            trust = 1 / (1 + apart.square().mean(dim=1, keepdim=True) / OUTLIER**2)
            if weight is not None:
                trust = trust * weight
            products = [across * across, across * down, down * down, across * apart, down * apart]
            sums = blurred(torch.stack([each.sum(dim=1) for each in products], dim=1) * trust, deviation)
            xx, xy, yy, xt, yt = sums.unbind(dim=1)
            xx, yy = xx + flat, yy + flat
            pixels = torch.stack([yy * xt - xy * yt, xx * yt - xy * xt], dim=1) / (xx * yy - xy * xy)[:, None]
            pixels = pixels / (1 + lengths(pixels) / 2)  # no round jumps
            offset = offset + pixels / side
            known = (xx + yy - 2 * flat)[:, None]
            known = known / (known + 6 * flat) + 0.02
            offset = blurred(offset * known, deviation) / blurred(known, deviation)
    return offset


# ---- what pictures are worked on with


def sampled(x: Tensor, offset: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Pictures [N, C, H, W] at places that are moved by an offset [N, 2, h, w] in shares of the side."""
    height, width = offset.shape[-2:]
    rows = (torch.arange(height, dtype=offset.dtype, device=offset.device) + 0.5) / height
    columns = (torch.arange(width, dtype=offset.dtype, device=offset.device) + 0.5) / width
    grid = torch.stack([columns[None, None, :] + offset[:, 0], rows[None, :, None] + offset[:, 1]], dim=-1) * 2 - 1
    return F.grid_sample(x.expand(len(offset), -1, -1, -1), grid, mode, padding, align_corners=False)


def lengths(offset: Tensor) -> Tensor:
    """Of each place's offset [N, 2, H, W], as [N, 1, H, W]: `norm` takes ten times as long across this axis."""
    return offset.square().sum(dim=1, keepdim=True).sqrt()


def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences a pixel, across and down."""
    across, down = F.pad(x, (1, 1, 0, 0), "replicate"), F.pad(x, (0, 0, 1, 1), "replicate")
    return (across[..., 2:] - across[..., :-2]) / 2, (down[..., 2:, :] - down[..., :-2, :]) / 2


def area_of(offset: Tensor) -> Tensor:
    """What part of the old picture's area a place of the new one shows, [N, 1, H, W]: 1 where nothing stretches."""
    across, down = slopes(offset * offset.shape[-1])
    return (1 + across[:, :1]) * (1 + down[:, 1:]) - across[:, 1:] * down[:, :1]


def blurred(x: Tensor, deviation: float, deviations: float = 2.5) -> Tensor:
    """Gaussian, with edges repeated; it reaches so many deviations far, and never beyond a picture's side."""
    reach = min(max(1, ceil(deviations * deviation)), min(x.shape[-2:]) - 1)
    place = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (place / max(deviation, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    for axis in ((0, 0, reach, reach), (reach, reach, 0, 0)):
        shaped = kernel[..., None] if axis[2] else kernel[:, :, None]
        x = F.conv2d(F.pad(x, axis, "replicate"), shaped, groups=x.shape[1])
    return x


def step_between(x: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high`, and smooth between them."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
