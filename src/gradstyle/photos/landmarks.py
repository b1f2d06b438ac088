"""dlib's 68 landmarks from MediaPipe's 468: what FFHQ's and CelebA's crops were cut by.

Each is the mesh's point for the same spot of the face, and from there a step that is the same in all faces: the
median over photos of the way to where dlib puts it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

EYES = [33, 263]  # of the mesh: the outer corners, the left one in the picture first
# fmt: off
SAME_SPOT = [
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,  # mouth
]
# Across and down, in thousandths of the face's size and in the axes of the line between its eyes.
STEPS = np.array([
    [-32, 274], [-22, 83], [4, 157], [-58, -97], [-53, -29], [11, 63], [-54, 18], [-94, 35],
    [0, 64], [94, 35], [54, 18], [-11, 63], [53, -29], [58, -97], [-4, 157], [22, 83],
    [32, 274], [48, 126], [32, 6], [78, 22], [80, 41], [43, 99], [-43, 99], [-80, 41],
    [-78, 22], [-32, 6], [-48, 126], [0, 45], [0, -15], [0, -50], [0, 19], [-10, 22],
    [9, -6], [0, 30], [-9, -6], [10, 22], [34, 27], [51, 11], [26, 24], [-19, 20],
    [-22, 17], [1, 18], [19, 20], [-26, 24], [-51, 11], [-34, 27], [-1, 18], [22, 17],
    [-20, 13], [-31, 26], [11, 13], [0, 24], [-11, 13], [31, 26], [20, 13], [64, -17],
    [1, 17], [0, 17], [-1, 17], [-64, -17], [-6, 31], [-22, 15], [0, 23], [22, 15],
    [6, 31], [20, 7], [0, 14], [-20, 7],
]) / 1000
# fmt: on


def landmarks_of(mesh: Points) -> Points:
    """Landmarks [68, 2] of a mesh [468, 2 or 3], in the same pixels."""
    points = mesh[SAME_SPOT, :2]
    size = np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean())
    across = np.subtract(*mesh[EYES[::-1], :2])
    across = across / np.linalg.norm(across) * size
    return np.asarray(points + STEPS @ np.stack([across, [-across[1], across[0]]]), np.float64)
