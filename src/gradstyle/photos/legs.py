"""The parts of an edit, and the renderings on the way of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..edits import Edit, Edits, combine
from ..images import to_levels
from .align import Aligned
from .faces import SURE, Points, face_at
from .framing import Pixels

WORKING = 120  # pixels of the crop's side at which motion and tone are found, for generators of up to 64 px
LARGEST = 160  # and for larger ones
STEPS = 6  # renderings on the way of an edit: neighbours differ by a pixel or two


@dataclass(frozen=True)
class Leg:
    """One part of an edit: the renderings on its way, and how it acts."""

    path: Tensor  # [K + 1, 3, S, S] in [−1, 1], from what was there before to what is to be
    turns: bool = False  # a pose: the head moves, its look does not change
    hair: bool = False  # the colour of hair changes, and nothing else
    footprint: Tensor | None = None  # [F, F] in 0 … 1: where in the crop the edit acts; none: all over the face
    meshes: Points | None = None  # [2, 468, 3], of the face at the path's ends, as `meshes_of` finds them; none: found


def legs_of(
    render: Callable[[Sequence[Edits]], Tensor], edits: Edits, steps: int = STEPS, turning: int = STEPS
) -> list[Leg]:
    """Splits edits into legs: first what colours hair, then what changes a face's look, then what turns it.

    `render` gives a picture [entries, 3, S, S] for each entry of a list of edits; all are drawn in one batch.
    `steps` are on the way of a look, `turning` on that of a pose.
    """
    every = [edit for edit in ([edits] if isinstance(edits, Edit) else edits) if edit]
    hair = combine([edit for edit in every if edit.hair])
    look = combine([edit for edit in every if not edit.turns and not edit.hair])
    pose = combine([edit for edit in every if edit.turns])
    entries: list[Edits] = [()]
    legs: list[Callable[[Tensor], Leg]] = []

    def way(edit: Edit, parts: int, before: Sequence[Edit] = ()) -> list[int]:
        """Adds the renderings on an edit's way, and returns their places among all."""
        first = len(entries)
        entries.extend([*before, step / parts * edit] for step in range(1, parts + 1))
        return list(range(first, first + parts))

    if hair:
        ends = [0, *way(hair, 1)]
        legs.append(lambda drawn: Leg(drawn[ends], hair=True))
    last = 0
    if look:
        looks = [0, *way(look, steps)]
        last = looks[-1]
        legs.append(lambda drawn: Leg(drawn[looks], footprint=look.footprint))
    if pose:
        turns = [last, *way(pose, turning, [look] if look else [])]
        legs.append(lambda drawn: Leg(drawn[turns], turns=True))
    drawn = _no_larger(render(entries))
    return [leg(drawn) for leg in legs]


def turning_steps(meshed: bool) -> int:
    """Returns the number of renderings on the way of a turn: with a mesh of the head, its end is enough."""
    return 1 if meshed else STEPS


def meshes_of(leg: Leg, aligned: Aligned) -> Points | None:
    """Finds the meshes [2, 468, 3] of a face at the ends of a leg, in pixels of the crop; none where it is not sure."""
    if aligned.face is None:
        return None
    side = working_side(leg.path)
    landmarks = aligned.frame.to_crop(aligned.face.landmarks, side)
    before, after = (mesh_in(end, landmarks, side) for end in (leg.path[:1], leg.path[-1:]))
    return None if before is None or after is None else np.stack([before, after])


def mesh_in(image: Tensor, landmarks: Points, side: int) -> Points | None:
    """Finds the mesh of the face around landmarks in a rendering [1, 3, S, S], `side` pixels wide; none if unsure."""
    face = face_at(_pixels(levels_of(image, side)), landmarks)
    return face.mesh if face.score >= SURE else None


def _pixels(levels: Tensor) -> Pixels:
    return np.ascontiguousarray(levels[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())


def working_side(images: Tensor) -> int:
    """Returns the side at which motion and tone of renderings [..., S, S] are found."""
    return WORKING if images.shape[-1] <= 64 else LARGEST


def _no_larger(images: Tensor) -> Tensor:
    """Reduces large renderings [N, 3, S, S] to the side at which they are compared."""
    return F.interpolate(images, (LARGEST, LARGEST), mode="area") if images.shape[-1] > LARGEST else images


def levels_of(images: Tensor, side: int) -> Tensor:
    """Brings renderings [N, 3, S, S] in [−1, 1] to levels of the working side."""
    levels = to_levels(images.detach().cpu())
    larger = levels.shape[-1] >= side
    return F.interpolate(levels, (side, side), mode="area") if larger else F.interpolate(levels, side, mode="bicubic")
