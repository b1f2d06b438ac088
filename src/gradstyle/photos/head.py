"""A head that turns and changes its face: its mesh says where each of a photo's places goes.

A generator knows by how much an edit turns a head, or lifts the corners of its mouth, since a mesh can be found in both
of its pictures. How the photo moves then is geometry: as sharp as the photo, and no motion that a face cannot make.
In a turn the nose goes far and the temples hardly, and the outline of the hair stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..motion import Motion, blurred, lengths, step_between
from .align import Frame
from .faces import Face, Points
from .outline import hull
from .photo import Photo

TEMPLES = [234, 454]  # where a face ends before the ears, the left one in the picture first
FOREHEAD, CHIN = 10, 152
# Points that no expression moves: forehead, bridge of the nose, corners of the eyes, temples.
STEADY = [6, 168, 197, 195, 33, 133, 263, 362, 10, 151, 9, 8, 127, 356, 234, 454]

BEHIND = 0.08  # distances of the temples by which a head's centre lies behind them
REACH = (0.9, 1.15)  # distances of the temples, across and down, at which hair and neck stay where they are
NEAR = 0.013  # of the side: deviation over which points of the mesh speak for what lies beside them
FADES = 0.07  # of the side: how far beyond a person motion goes on
SMOOTH = 0.008  # of the side: deviation by which motion is smoothed
STILL = (0.0003, 0.003)  # of the side: motion below the first is none, above the second is all
COARSE = 64  # pixels a side on which motion is continued beside a face
ROUNDS = 24  # of averaging, at each size from an eighth of that on
FINER = 3  # times as many places are moved across as are looked up
HEAD = 128  # pixels of crop and margin at which the motion of a head is found
EDGE = 0.01  # of a photo's sides: what lies there stays
IN_FRONT = 0.03  # of the side: depth by which one place hides another


@dataclass(frozen=True, eq=False)
class Likeness:
    """A scale, a rotation and a shift in space, between two meshes [N, 3]."""

    scale: float
    rotation: Points  # [3, 3]
    shift: Points  # [3]

    @classmethod
    def between(cls, old: Points, new: Points) -> Likeness:
        """That which brings the old points nearest to the new ones (Umeyama 1991)."""
        a, b = old - old.mean(axis=0), new - new.mean(axis=0)
        left, sizes, right = np.linalg.svd(b.T @ a)
        signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
        rotation, scale = (left * signs) @ right, float((sizes * signs).sum() / (a * a).sum())
        return cls(scale, rotation, new.mean(axis=0) - scale * rotation @ old.mean(axis=0))

    def __call__(self, points: Points) -> Points:
        return np.asarray(self.scale * points @ self.rotation.T + self.shift, np.float64)


@dataclass(frozen=True, eq=False)
class Head:
    """A head in a picture, ready to be moved: what depends on the picture alone."""

    mesh: Points  # [468, 3], in the picture's pixels
    inside: Tensor  # [side, side], bool: the places for which the mesh speaks
    weights: Tensor  # [places, 468]
    centre: Points  # [3]
    face: Tensor  # [1, 1, side, side]: where the mesh alone says what moves
    free: Tensor  # [1, 1, side, side]: where something else may move with it
    depth: Tensor  # [1, 1, side, side]: towards the wall, from the centre, in shares of the side

    @classmethod
    def of(cls, mesh: Points, free: Tensor) -> Head:
        """`mesh` [468, 3] is the face in a picture of the size of `free` [1, 1, side, side], in its pixels.

        Free is where something else than the face may move with it: not the wall, nor what lies outside the photo.
        """
        side = free.shape[-1]
        span = mesh[TEMPLES[1]] - mesh[TEMPLES[0]]
        wide = float(np.linalg.norm(span))
        across, down = span / wide, mesh[CHIN] - mesh[FOREHEAD]
        down = down - (down @ across) * across
        down = down / np.linalg.norm(down)
        centre = mesh[TEMPLES].mean(axis=0) + BEHIND * wide * np.cross(across, down)
        face = hull(mesh[:, :2], side)
        grid, inside = _grid(side), face[0, 0] > 0
        apart = torch.cdist(grid[inside], torch.from_numpy(mesh[:, :2]).float())
        weights = torch.softmax(-apart.square() / (2 * (NEAR * side) ** 2), dim=1)
        axes = torch.from_numpy(np.stack([across[:2], down[:2]]) / (wide * np.array(REACH)[:, None])).float()
        away = (grid - torch.from_numpy(centre[:2]).float()) @ axes.T
        near = (away.norm(dim=2) < 1).float()[None, None]
        head = cls(mesh, inside, weights, centre, face, free * near, face)
        depth = beside(head._spread(mesh[:, 2:] - centre[2]) / side, face, head.free)
        return replace(head, depth=depth)

    @property
    def side(self) -> int:
        return self.face.shape[-1]

    def turned(self, rotation: Points) -> Motion:
        """The picture's motion as a rotation [3, 3] turns the head about its centre."""
        return self.moved((self.mesh - self.centre) @ (rotation - np.eye(3)).T)

    def moved(self, steps: Points) -> Motion:
        """The picture's motion as the mesh's points go by `steps` [468, 3] pixels."""
        forth = beside(self._spread(steps[:, :2]) / self.side, self.face, self.free)
        forth = blurred(forth, SMOOTH * self.side)
        forth = forth * step_between(lengths(forth), *STILL)
        return Motion(looked_up(forth, self.depth), torch.ones_like(self.face))

    def _spread(self, values: Points) -> Tensor:
        """What the mesh's points say [468, C], at each place of the face, [1, C, side, side]."""
        spread = torch.zeros(self.side, self.side, values.shape[1])
        spread[self.inside] = self.weights @ torch.from_numpy(values).float()
        return spread.permute(2, 0, 1)[None]


def head_in(photo: Photo, face: Face, around: Frame, person: Tensor) -> Head | None:
    """Finds a face's head under a frame; what lies beside it may move as far as the person and the photo reach."""
    if face.mesh is None:
        return None
    mesh = np.c_[around.to_crop(face.mesh[:, :2], HEAD), face.mesh[:, 2] * HEAD / around.side]
    place = np.stack(np.meshgrid(*[np.arange(HEAD, dtype=np.float64)] * 2), axis=-1).reshape(-1, 2)
    at = around.to_photo(place, HEAD) / np.array(photo.size)
    inside = ((at > EDGE) & (at < 1 - EDGE)).all(axis=1).reshape(1, 1, HEAD, HEAD)
    free = F.interpolate(person, (HEAD, HEAD), mode="bilinear") > 0.7
    return Head.of(mesh, (free & torch.from_numpy(inside)).float())


def beside(field: Tensor, known: Tensor, free: Tensor) -> Tensor:
    """A field as it is where it is known, as even as can be where it is free, and elsewhere soon nothing."""
    total = torch.zeros_like(F.interpolate(field, (COARSE // 8, COARSE // 8)))
    for side in (COARSE // 8, COARSE // 4, COARSE // 2, COARSE):
        value, share, open_ = (F.interpolate(x, (side, side), mode="area") for x in (field * known, known, free))
        value, share = value / share.clamp_min(1e-3), (share > 0.5).float()
        fading = (1 - share) / (1 + (1 - open_) / (side * FADES) ** 2)
        total = F.interpolate(total, (side, side), mode="bilinear")
        for _ in range(ROUNDS):
            total = share * value + fading * F.avg_pool2d(total, 3, 1, 1)
    wide = F.interpolate(total, field.shape[-2:], mode="bicubic")
    return wide + blurred(known, 0.012 * field.shape[-1]) * (field - wide)


def looked_up(forth: Tensor, depth: Tensor) -> Tensor:
    """Where each place of a new picture was in the old one, [1, 2, S, S], of a field that says where the old ones go.

    Where several places go to one, the one that lies nearest to the camera is seen.
    """
    side = forth.shape[-1]
    fine = side * FINER
    moved, depth = (F.interpolate(x, (fine, fine), mode="bilinear") for x in (forth, depth))
    x, y = ((_grid(fine) + 0.5) / FINER - 0.5 + moved[0].permute(1, 2, 0) * side).clamp(0, side - 1.001).unbind(dim=2)
    nearer = torch.exp(-(depth[0, 0] - depth.amin()) / IN_FRONT)
    values = torch.cat([-moved[0], torch.ones(1, fine, fine)]).flatten(1)
    sums = torch.zeros(3, side * side)
    for right in (0, 1):
        for below in (0, 1):
            column, row = x.long() + right, y.long() + below
            share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * nearer
            sums.index_add_(1, (row * side + column).flatten(), values * share.flatten())
    sums = sums.reshape(1, 3, side, side)
    back, around = (each[:, :2] / each[:, 2:].clamp_min(1e-20) for each in (sums, blurred(sums, 1.5)))
    return blurred(torch.where(sums[:, 2:] > 1e-9, back, around), SMOOTH * side)


def _grid(side: int) -> Tensor:
    """The places of a picture's pixels, [side, side, 2]."""
    place = torch.arange(side, dtype=torch.float32)
    return torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1)
