"""Put an edit of a crop back into the photo that it was cut from.

What is pasted is the change that the edit made: the edited rendering less the rendering without edits, enlarged and
added to the photo. So whatever the photo has and no rendering has, finer detail than the generator's pixels and what
an inversion misses, stays where it is. That is wrong only where the edit moves something: a mouth that opens would
keep the closed mouth's lines. There the edited crop itself is put, in the photo's own colours.

Pasted is what lies in the hull of the face's landmarks, and beyond it the forehead, and what changed visibly, such as
hair. But where, beyond the hull, the rendering without edits does not show what the photo shows, a change of it says
nothing about the photo, and stays out.

Change and crop are told apart by how much of the structure survives. Around each pixel, the rendering without edits has
structure: what differs from its neighbourhood's mean. Regressing the edited rendering on it tells which share of that
structure is still there, 1 where it stayed or only became lighter, darker or stronger, 0 where it went. Where there was
none to begin with, on a cheek, none can be stale, and the change is added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..images import to_levels
from ..motion import blurred, step_between
from .align import Aligned, Frame
from .carried import Carry, put_carried
from .faces import Face, Points
from .outline import hull
from .photo import Photo

Detail = Literal["auto", "keep", "crop"]
BAND = 1 << 20  # pixels of a photo that are worked on at once
_OUTLINES: WeakKeyDictionary[Aligned, dict[tuple[int, float, float], tuple[Tensor, Tensor]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Paste:
    """How a change is pasted. Lengths are parts of the crop's side, levels are of 255."""

    detail: Detail = "auto"  # auto: the change, and the crop where structure moved; keep: the change; crop: the crop
    feather: float = 0.03  # the Gaussian's deviation at the hull's edge
    forehead: float = 0.55  # of the height from chin to the bridge of the nose: what the hull adds above the brows
    grows: tuple[float, float] = (5.0, 16.0)  # outside the hull: changes below the first stay out, above the second in
    trust: tuple[float, float] = (12.0, 32.0)  # and only where the rendering without edits is as near to the photo
    border: float = 0.06  # within which the crop's edges fade, where the photo goes on beyond them
    window: float = 0.025  # deviation of the neighbourhood in which structure is looked for
    noise: float = 5.0  # structure weaker than this counts as none
    stays: tuple[float, float] = (0.35, 0.75)  # of structure: with less it moved, with more it stayed
    colour: float = 0.07  # deviation of the neighbourhood whose colour the crop is matched to

    def __post_init__(self) -> None:
        if self.detail not in get_args(Detail):
            raise ValueError(f"detail is one of {', '.join(get_args(Detail))}, got {self.detail!r}")


PASTE = Paste()
_blurred = partial(blurred, deviations=3.0)


@dataclass(frozen=True, eq=False)
class Change:
    """What becomes of a photo under a frame: photo · (1 − fade) + add, in levels of 255, wherever mask is above 0."""

    add: Tensor  # [3, S, S]
    fade: Tensor  # [1, S, S], in [0, 1]
    mask: Tensor  # [1, S, S], in [0, 1]
    moved: Tensor  # [1, S, S]: 1 where structure moved


def paste(photo: Photo, aligned: Aligned, before: Tensor, after: Tensor, how: Paste = PASTE) -> Photo:
    """The photo with the change from `before` to `after` in it: renderings [3, S, S] in [−1, 1] of the aligned crop.

    `before` is the rendering without edits. Where the mask is 0, and everywhere if nothing changed, the photo's pixels
    are what they were, to the bit.
    """
    change = change_of(photo, aligned, before, after, how)
    return photo if change is None else replace(photo, pixels=put(photo.pixels, aligned.frame, change))


def change_of(photo: Photo, aligned: Aligned, before: Tensor, after: Tensor, how: Paste = PASTE) -> Change | None:
    """The change under a frame; none where two renderings are one."""
    before, after = _levels(before), _levels(after)
    if before.shape != after.shape:
        raise ValueError(f"two renderings of one crop are of one size, got {list(before.shape)} {list(after.shape)}")
    if torch.equal(before, after):
        return None
    side = before.shape[-1]
    crop = torch.from_numpy(aligned.pixels.transpose(2, 0, 1).copy())[None].float()
    missing = F.interpolate(crop, size=(side, side), mode="area" if aligned.side >= side else "bilinear") - before
    moved = (
        moved_of(before, after, how) if how.detail == "auto" else torch.full_like(before[:, :1], how.detail == "crop")
    )
    stayed = 1 - moved if how.detail == "auto" else torch.ones_like(moved)  # where the photo's own colours are known
    itself = after + _blurred(missing * stayed, how.colour * side) / (_blurred(stayed, how.colour * side) + 1e-3)
    working = max(side, 256)
    change, itself, moved = (_enlarged(x, working) for x in (after - before, itself, moved))
    moved = moved.clamp(0, 1)
    known = 1 - step_between(_blurred(missing.square().mean(1, True), how.window * side).sqrt(), *how.trust)
    seen = step_between(_seen(after - before), *how.grows)
    seen, known = (_enlarged(x, working).clamp(0, 1) for x in (seen, known))
    mask = mask_of(photo, aligned, seen, known, how)
    add = mask * ((1 - moved) * change + moved * itself.clamp(0, 255))
    return Change(add[0], (mask * moved)[0], mask[0], moved[0])


def moved_of(before: Tensor, after: Tensor, how: Paste) -> Tensor:
    """Where structure moved, [1, 1, S, S] in [0, 1], of renderings [1, 3, S, S] in levels."""
    deviation = how.window * before.shape[-1]

    def around(x: Tensor) -> Tensor:
        return _blurred(x.mean(dim=1, keepdim=True), deviation)

    old, new = before - _blurred(before, deviation), after - _blurred(after, deviation)
    share = (around(old * new) + how.noise**2) / (around(old.square()) + how.noise**2)
    return 1 - step_between(share, *how.stays)


def mask_of(photo: Photo, aligned: Aligned, seen: Tensor, known: Tensor, how: Paste) -> Tensor:
    """Where the change goes: the face; what is `known` of the forehead, or `seen` to change; no edge of the crop."""
    side = seen.shape[-1]
    mask = seen  # with no face to tell what the edit is of, all of it counts
    if aligned.face is not None:
        face, forehead = _outlines(aligned, aligned.face, side, how)
        mask = torch.maximum(face, torch.maximum(seen, forehead) * known)
    mask = mask * _inside(photo, aligned, side, how.border)
    return torch.where(mask < 1 / 255, 0.0, mask.clamp(max=1))


def _outlines(aligned: Aligned, face: Face, side: int, how: Paste) -> tuple[Tensor, Tensor]:
    """The face, and with the forehead, [1, 1, side, side] each: drawn once for all edits of a crop."""
    known = _OUTLINES.setdefault(aligned, {})
    key = side, how.forehead, how.feather
    if key not in known:
        points = aligned.frame.to_crop(face.landmarks, side)
        raised = points[17:27] + (points[27] - points[8]) * how.forehead  # the brows; there may be a fringe, or a hat
        both = (hull(each, side) for each in (points, np.concatenate([points, raised])))
        inside, with_forehead = (_blurred(each, how.feather * side) for each in both)
        known[key] = inside, with_forehead
    return known[key]


def put(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], frame: Frame, change: Change | Carry
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A photo's pixels with a change under a frame, band by band: the memory that it takes hardly grows with them."""
    if isinstance(change, Carry):
        return put_carried(pixels, frame, change)
    maps = torch.cat([change.add, change.fade, change.mask])[None]
    if frame.side < maps.shape[-1]:  # no aliases
        maps = F.interpolate(maps, size=2 * (max(1, ceil(frame.side)),), mode="area")
    out, (height, width) = pixels.copy(), pixels.shape[:2]
    left, top, right, bottom = _bounds(frame, maps[0, 4], width, height)
    into = np.linalg.inv(np.stack([frame.across, frame.down]))
    rows = max(1, BAND // max(1, right - left))
    x = torch.arange(left, right, dtype=torch.float64)
    for first in range(top, bottom, rows):
        last = min(first + rows, bottom)
        y = torch.arange(first, last, dtype=torch.float64)
        unit = torch.stack(  # [rows, columns, 2]
            [(x[None] - frame.corner[0]) * into[0, k] + (y[:, None] - frame.corner[1]) * into[1, k] for k in range(2)],
            dim=-1,
        )
        grid = (2 * unit - 1).float()[None]
        mask = F.grid_sample(maps[:, 4:], grid, "bilinear", "zeros", align_corners=False)[0, 0]
        drawn = F.grid_sample(maps[:, :4], grid, "bicubic", "border", align_corners=False)[0]
        there = out[first:last, left:right]
        old = torch.from_numpy(there.transpose(2, 0, 1).copy())
        new = (old * (1 - drawn[3].clamp(0, 1)) + drawn[:3]).round().clamp(0, 255).to(torch.uint8)
        there[:] = torch.where(mask > 0, new, old).numpy().transpose(1, 2, 0)
    return out


# ---- parts


def _levels(image: Tensor) -> Tensor:
    image = image.detach().float().cpu()
    image = image[None] if image.ndim == 3 else image
    if image.ndim != 4 or image.shape[:2] != (1, 3) or image.shape[2] != image.shape[3]:
        raise ValueError(f"a rendering is [3, side, side], got {list(image.shape)}")
    return to_levels(image)


def _seen(change: Tensor) -> Tensor:
    """How much of a change a person sees, [1, 1, S, S] in levels: single pixels of it are noise."""
    return _blurred(change, change.shape[-1] / 96).abs().amax(dim=1, keepdim=True)


def _inside(photo: Photo, aligned: Aligned, side: int, border: float) -> Tensor:
    """1 in the crop, falling to 0 at those of its edges beyond which the photo goes on; 0 in bars."""
    rows, columns = (
        slice(round((s.start or 0) * side / aligned.side), round((s.stop or aligned.side) * side / aligned.side))
        for s in aligned.inside
    )
    y, x = (
        _ramp(side, part, border * side, *goes_on)
        for part, goes_on in zip((rows, columns), _goes_on(photo, aligned.frame, rows, columns, side))
    )
    return torch.minimum(y[:, None], x[None, :])[None, None]


def _ramp(side: int, part: slice, width: float, at_start: bool, at_end: bool) -> Tensor:
    place = torch.arange(side) + 0.5
    from_start, to_end = place - part.start, part.stop - place
    distance = torch.minimum(
        from_start if at_start else torch.full((side,), torch.inf), to_end if at_end else torch.full((side,), torch.inf)
    )
    return step_between(torch.where((from_start > 0) & (to_end > 0), distance, 0.0), 0.5, 0.5 + width)


def _goes_on(photo: Photo, frame: Frame, rows: slice, columns: slice, side: int) -> list[tuple[bool, bool]]:
    """Whether the photo goes on beyond the top and the bottom of a part of the crop, and beyond its left and right."""
    along = np.linspace(0, 1, 33)
    over, under = (np.full(33, edge - 0.5) for edge in (rows.start - 1.0, rows.stop + 1.0))
    before, behind = (np.full(33, edge - 0.5) for edge in (columns.start - 1.0, columns.stop + 1.0))
    x, y = columns.start + along * (columns.stop - columns.start), rows.start + along * (rows.stop - rows.start)
    lines = [[(x, over), (x, under)], [(before, y), (behind, y)]]

    def in_photo(line: tuple[Points, Points]) -> bool:
        points = frame.to_photo(np.stack(line, axis=1), side)
        return bool(((points > -0.5) & (points < np.array(photo.size) - 0.5)).all(axis=1).any())

    return [(in_photo(first), in_photo(second)) for first, second in lines]


def _bounds(frame: Frame, mask: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part of the photo that holds all of a mask."""
    side = mask.shape[-1]
    rows, columns = (mask.amax(dim=axis).nonzero() for axis in (1, 0))
    if not len(rows):
        return 0, 0, 0, 0
    low, high = (
        torch.cat([x[at], y[at]]).double().numpy() for at, (x, y) in ((0, (columns, rows)), (-1, (columns, rows)))
    )
    low, high = low - 1, high + 1
    corners = frame.to_photo(
        np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]], [high[0], high[1]]]), side
    )
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
    return max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(bottom))


def _enlarged(x: Tensor, side: int) -> Tensor:
    return x if x.shape[-1] == side else F.interpolate(x, size=(side, side), mode="bicubic", align_corners=False)
