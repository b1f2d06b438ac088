"""What a face mesh says of a head and its mouth: a judge that no method was trained with.

Edits of pose may have been found with landmarks of the same mesh. All methods share them, so that favours none.

A mesh is [468, 3]: x to the picture's right, y down, z away from the camera, in one unit, as `Face.mesh` is. Its depth
is to scale: over 936 photos, that is the unit of depth in which heads are as wide for their height whether turned or
not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..photos.head import CHIN, FOREHEAD
from ..photos.mediapipe.mesh import EYES, POINTS
from ..photos.mediapipe.symmetry import MIRRORED

Points = npt.NDArray[np.float64]

CORNERS = [61, 291]  # of the mouth, the left one in the picture first
LIPS = [0, 17]  # middle of the upper lip's upper edge, and of the lower lip's lower edge
OPENING = [13, 14]  # middle of the edges at which the lips meet


def head_turn(mesh: Points) -> tuple[float, float]:
    """Yaw and pitch in degrees: yaw turns the nose to the picture's right, pitch lifts it.

    Yaw is of the axis from one half of the face to the other, over all points and their mirror images. Pitch is of the
    line from forehead to chin, as far as it is square to that axis: it is 0 where both are equally near, which for most
    people is a head lifted by some degrees.
    """
    _checked(mesh)
    across = mesh[MIRRORED] - mesh
    across = across * np.sign(across @ np.subtract(*mesh[EYES[::-1]]))[:, None]
    axis = across.mean(axis=0) / np.linalg.norm(across.mean(axis=0))
    down = mesh[CHIN] - mesh[FOREHEAD]
    down = down - (down @ axis) * axis
    yaw, pitch = np.degrees([np.arcsin(axis[2]), np.arctan2(-down[2], np.linalg.norm(down[:2]))]).tolist()
    return yaw, pitch


def mouth_curve(mesh: Points) -> float:
    """How wide a mouth is plus twice how far its corners are lifted, over the distance of the eyes' outer corners.

    Lifted is above the middle of the lips, square to the line between the eyes. A smile makes it larger.
    """
    eyes, corners = _eyes(mesh), mesh[CORNERS, :2]
    up = np.array([eyes[1], -eyes[0]]) / np.linalg.norm(eyes)
    lift = (corners.mean(axis=0) - mesh[LIPS, :2].mean(axis=0)) @ up
    return float((np.linalg.norm(corners[1] - corners[0]) + 2 * lift) / np.linalg.norm(eyes))


def mouth_opening(mesh: Points) -> float:
    """How far the lips are apart, over the distance of the eyes' outer corners."""
    eyes, (upper, lower) = _eyes(mesh), mesh[OPENING, :2]
    return float(np.linalg.norm(lower - upper) / np.linalg.norm(eyes))


def _eyes(mesh: Points) -> Points:
    _checked(mesh)
    left, right = mesh[EYES, :2]
    if not (right != left).any():
        raise ValueError("the eyes of this mesh lie on one point")
    return np.asarray(right - left, np.float64)


def _checked(mesh: Points) -> None:
    if mesh.shape != (POINTS, 3):
        raise ValueError(f"a face's mesh is [{POINTS}, 3], got {list(mesh.shape)}")
