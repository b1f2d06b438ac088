"""What an edit does to a photo that it carries, and how that is put into the photo's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..motion import Motion, blurred, lengths, step_between
from .align import Frame
from .framing import Pixels

MARGIN = 0.3  # of the crop's side that is added on each side of it: what an edit may move there
REGAIN = 0.12  # of fine detail: as much as sampling between pixels loses of it
BAND = 1 << 19  # pixels of a photo that are put at once


@dataclass(frozen=True, eq=False)
class Carry:
    """What an edit does to a photo under a frame that reaches MARGIN beyond the crop. Maps are [1, C, S, S]."""

    motion: Motion  # from the edited photo to the photo
    tone: Tensor  # levels that are added to what is moved
    fresh: Tensor  # levels of what was not to be seen before
    shown: Tensor  # 1 where the photo shows it, 0 where `fresh` takes its place
    person: Tensor  # of the photo
    wall: Tensor  # levels: the photo without the person

    def then(self, second: Carry) -> Carry:
        """Joins two legs: what this one made is carried along the second's motion."""

        def along(x: Tensor) -> Tensor:
            return second.motion.carry(x)

        shown, tone = along(self.shown), along(self.tone) + second.tone
        fresh = torch.where(second.shown < shown, second.fresh, along(self.fresh))
        motion = self.motion.then(second.motion)
        return Carry(motion, tone, fresh, second.shown * shown, second.person, second.wall)


def reaching(frame: Frame) -> Frame:
    """Widens the frame of a crop by its margin."""
    corner = frame.corner - MARGIN * (frame.across + frame.down)
    return Frame(corner, frame.across * (1 + 2 * MARGIN), frame.down * (1 + 2 * MARGIN))


def put_carried(pixels: Pixels, frame: Frame, carry: Carry) -> Pixels:
    """Returns a photo's pixels carried under the crop's frame; what does not change stays to the bit."""
    around = reaching(frame)
    maps = torch.cat(
        [carry.motion.offset, carry.tone, carry.fresh, carry.shown, carry.person, carry.wall], dim=1
    )  # [1, 13, S, S]
    reach = blurred(lengths(carry.motion.offset), 2.0)
    changed = (reach * around.side > 0.02) | (carry.tone.abs().amax(1, True) > 0.2) | (carry.shown < 0.999)
    out, (height, width) = pixels.copy(), pixels.shape[:2]
    left, top, right, bottom = _bounds(around, changed[0, 0], width, height)
    if right <= left or bottom <= top:
        return out
    mask = F.max_pool2d(changed.float(), 3, stride=1, padding=1)
    into = np.linalg.inv(np.stack([around.across, around.down]))
    turn = torch.from_numpy(np.stack([around.across, around.down])).float()  # shares of the frame to pixels
    rows = max(1, BAND // max(1, right - left))
    x = torch.arange(left, right, dtype=torch.float64)
    for first in range(top, bottom, rows):
        last = min(first + rows, bottom)
        y = torch.arange(first, last, dtype=torch.float64)
        unit = torch.stack(
            [(x[None] - around.corner[0]) * into[0, k] + (y[:, None] - around.corner[1]) * into[1, k] for k in (0, 1)],
            dim=-1,
        ).float()  # [rows, columns, 2]
        grid = (2 * unit - 1)[None]
        active = F.grid_sample(mask, grid, "nearest", "zeros", align_corners=False)[0, 0] > 0
        if not bool(active.any()):
            continue
        fields = F.grid_sample(maps, grid, "bilinear", "border", align_corners=False)
        offset = fields[0, :2].permute(1, 2, 0)  # shares of the frame
        moved = _moved(pixels, first, left, offset @ turn)
        before = F.grid_sample(carry.person, grid + 2 * offset[None], "bilinear", "border", align_corners=False)
        there = out[first:last, left:right]
        old = torch.from_numpy(there.transpose(2, 0, 1).copy()).float()[None]
        tone, fresh, shown, person, wall = torch.split(fields[:, 2:], [3, 3, 1, 1, 3], dim=1)
        front = shown * (moved + tone) + (1 - shown) * fresh
        # Where the person was and is no more, the wall; at a soft edge that stays, the photo as it is.
        free = ((person - before) / (person + 0.05)).clamp(0, 1)
        new = before * front + (1 - before) * (old + free * (wall - old))
        new = torch.where(active, new.round().clamp(0, 255), old)[0].to(torch.uint8)
        there[:] = new.numpy().transpose(1, 2, 0)
    return out


# ---- parts


def _moved(pixels: Pixels, top: int, left: int, offset: Tensor) -> Tensor:
    """The photo at the places of a band from (left, top) on, moved by pixels [rows, columns, 2]."""
    height, width = pixels.shape[:2]
    rows, columns = offset.shape[:2]
    x = torch.arange(left, left + columns) + offset[..., 0]
    y = torch.arange(top, top + rows)[:, None] + offset[..., 1]
    x0, x1 = (int(v) for v in (x.min().floor() - 2, x.max().ceil() + 3))
    y0, y1 = (int(v) for v in (y.min().floor() - 2, y.max().ceil() + 3))
    x0, y0, x1, y1 = max(0, min(x0, width - 1)), max(0, min(y0, height - 1)), min(width, x1), min(height, y1)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    part = torch.from_numpy(pixels[y0:y1, x0:x1].transpose(2, 0, 1).copy())[None].float()
    grid = torch.stack([(x - x0 + 0.5) * 2 / (x1 - x0) - 1, (y - y0 + 0.5) * 2 / (y1 - y0) - 1], dim=-1)[None]
    moved = F.grid_sample(part, grid, "bicubic", "border", align_corners=False)
    lost = step_between(offset.norm(dim=-1), 0.1, 0.6)  # a pixel that did not move is itself
    return moved + REGAIN * lost * (moved - F.avg_pool2d(moved, 3, 1, 1, count_include_pad=False))


def _bounds(frame: Frame, mask: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part of the photo that holds all of a mask [S, S]."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if not len(rows):
        return 0, 0, 0, 0
    (x0, x1), (y0, y1) = ((float(v[0]) - 2, float(v[-1]) + 2) for v in (columns, rows))
    corners = frame.to_photo(np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]), mask.shape[-1])
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
    return max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(bottom))
