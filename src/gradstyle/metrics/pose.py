"""Where a head looks, from 68 landmarks: an average head turned until its points lie on those found."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

POSE = ("yaw", "pitch")  # as attributes that edits may change
Points = npt.NDArray[np.float64]

# An average head in millimetres, by the number of the landmark: x to the picture's right, y down, z towards the
# camera. Only points that stay in sight and on the same spot of the face while it turns: none of the jaw's outline
# but the chin.
HEAD = {
    8: (0.0, 68.0, -6.0),  # chin
    27: (0.0, -36.0, 4.0),  # between the eyes
    28: (0.0, -24.0, 10.0),
    29: (0.0, -12.0, 17.0),
    30: (0.0, 0.0, 23.0),  # tip of the nose
    31: (-13.0, 11.0, 6.0),
    33: (0.0, 14.0, 12.0),  # under the nose
    35: (13.0, 11.0, 6.0),
    36: (-45.0, -32.0, -16.0),  # outer corner of the eye on the picture's left
    39: (-17.0, -31.0, -7.0),
    42: (17.0, -31.0, -7.0),
    45: (45.0, -32.0, -16.0),
    48: (-25.0, 36.0, -4.0),  # corner of the mouth
    51: (0.0, 28.0, 10.0),
    54: (25.0, 36.0, -4.0),
}
USED = np.array(list(HEAD))
MODEL = np.array(list(HEAD.values())) - np.mean(list(HEAD.values()), axis=0)
TURNS = 20  # steps of the fit; it stands still after about ten


def rotation(yaw: float, pitch: float, roll: float = 0.0) -> Points:
    """Degrees: yaw turns the nose to the picture's right, pitch lifts it, roll turns the picture clockwise."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    nod = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    tilt = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    turned: Points = tilt @ nod @ turn
    return turned


def head_pose(landmarks: Points) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of 68 landmarks [68, 2], by the nearest scaled orthographic view of the head.

    Least squares over rotation, scale and place (Gauss-Newton); the unit of a pixel does not matter.
    """
    if landmarks.shape != (68, 2):
        raise ValueError(f"a face has landmarks [68, 2], got {list(landmarks.shape)}")
    seen = landmarks[USED] - landmarks[USED].mean(axis=0)
    spread = float(np.sqrt(np.square(seen).sum(axis=1).mean()))
    if not spread > 0:
        raise ValueError("these landmarks all lie on one point")
    seen = seen / spread
    angles = np.zeros(3)
    for _ in range(TURNS):
        here = _view(angles, seen)
        slopes = np.stack([(_view(angles + step, seen) - here).ravel() / 1e-4 for step in 1e-4 * np.eye(3)], axis=1)
        change = np.linalg.lstsq(slopes, (seen - here).ravel(), rcond=None)[0]
        angles = np.clip(angles + np.clip(change, -20, 20), -89, 89)
        if np.abs(change).max() < 1e-6:
            break
    yaw, pitch, roll = angles.tolist()
    return yaw, pitch, roll


def _view(angles: Points, seen: Points) -> Points:
    """The head's points in the picture, at the scale that brings them nearest to those seen."""
    flat = (MODEL @ rotation(*angles.tolist()).T)[:, :2]
    flat = flat - flat.mean(axis=0)
    scale = float((flat * seen).sum() / np.square(flat).sum())
    placed: Points = flat * scale
    return placed
