"""dlib's 68 landmarks from MediaPipe's 468: what FFHQ's and CelebA's crops were cut by.

Each is the mesh's point for the same spot of the face, and from there a step that is the same in all faces: the
median over photos of the way to where dlib puts it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .mediapipe.mesh import EYES

Points = npt.NDArray[np.float64]

# fmt: off
SAME_SPOT = [
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,  # jaw
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,  # mouth
]
# Across and down, in thousandths of the face's size and in the axes of the line between its eyes.
STEPS = np.array([
    [-21, -1], [-21, 86], [6, 158], [-58, -100], [-55, -32], [10, 61], [-56, 14], [-97, 28],
    [0, 61], [97, 28], [56, 14], [-10, 61], [55, -32], [58, -100], [-6, 158], [21, 86],
    [21, -1], [-25, 42], [31, 8], [79, 24], [79, 43], [42, 103], [-42, 103], [-79, 43],
    [-79, 24], [-31, 8], [25, 42], [0, 45], [0, -15], [0, -49], [0, 17], [-9, 21],
    [10, -7], [0, 29], [-10, -7], [9, 21], [36, 27], [52, 10], [27, 24], [-19, 21],
    [-22, 18], [2, 17], [19, 21], [-27, 24], [-52, 10], [-36, 27], [-2, 17], [22, 18],
    [-19, 13], [-30, 28], [11, 13], [0, 23], [-11, 13], [30, 28], [19, 13], [65, -18],
    [1, 19], [0, 19], [-1, 19], [-65, -18], [-4, 31], [-22, 16], [0, 24], [22, 16],
    [4, 31], [21, 7], [0, 17], [-21, 7],
]) / 1000
# fmt: on


def landmarks_of(mesh: Points) -> Points:
    """Landmarks [68, 2] of a mesh [468, 2 or 3], in the same pixels."""
    points = mesh[SAME_SPOT, :2]
    size = np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean())
    across = np.subtract(*mesh[EYES[::-1], :2])
    across = across / np.linalg.norm(across) * size
    return np.asarray(points + STEPS @ np.stack([across, [-across[1], across[0]]]), np.float64)
