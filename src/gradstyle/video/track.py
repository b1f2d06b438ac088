"""Follows one face from frame to frame, and detects cuts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..photos.faces import SURE, Box, Face, Pixels, Points, face_at, find_faces
from .smooth import Flags, Numbers, Values

Find = Callable[[Pixels], list[Face]]

LEAST_OVERLAP = 0.2  # of a face found there with where the face was
CUT = 24.0  # mean difference of two thumbnails, of 255, above which they may be two shots
CUT_TIMES = 3.0  # and that much above the usual difference of late: a shaking camera is no cut
LATELY = 12  # frames
LONGEST_GAP = 0.4  # seconds that a face may go unseen and count as still there
LONGEST_STEP = 0.6  # of its side: a face that is further off than this is another one
LARGEST_GROWTH = 1.6


class Cuts:
    """Tells from the thumbnails of consecutive frames which are the first of a shot."""

    def __init__(self) -> None:
        self.last: npt.NDArray[np.int16] | None = None
        self.lately: deque[float] = deque(maxlen=LATELY)

    def __call__(self, small: npt.NDArray[np.int16]) -> bool:
        if self.last is None:
            self.last = small
            return True
        difference = float(np.abs(small - self.last).mean())
        usual = float(np.median(self.lately)) if self.lately else 0.0
        self.last = small
        self.lately.append(difference)
        return difference > max(CUT, CUT_TIMES * usual)


class Follower:
    """Follows the largest face of a shot until the shot ends.

    It is looked for where it was in the frame before, by its mesh alone: ten times quicker than in the whole of a 720p
    frame. When it is not there, the whole frame is searched.
    """

    def __init__(self, find: Find = find_faces) -> None:
        self.find = find
        self.last: Points | None = None  # its landmarks

    def __call__(self, pixels: Pixels, cut: bool = False) -> Face | None:
        if cut:
            self.last = None
        found = (self.last is not None and self._near(pixels, self.last)) or self._anywhere(pixels)
        if found is not None:
            self.last = found.landmarks
        return found

    def _anywhere(self, pixels: Pixels) -> Face | None:
        """Finds the largest face of the whole frame, or the one that overlaps most with the last one."""
        found = self.find(pixels)
        if self.last is not None:
            box = bounds(self.last)
            found.sort(key=lambda face: -overlap(face.box, box))  # stable: largest first otherwise
        return found[0] if found else None

    def _near(self, pixels: Pixels, last: Points) -> Face | None:
        eyes = last[42:48].mean(axis=0) - last[36:42].mean(axis=0)
        face = face_at(pixels, last, float(np.arctan2(eyes[1], eyes[0])))
        return face if face.score >= SURE and overlap(face.box, bounds(last)) >= LEAST_OVERLAP else None


def bounds(landmarks: Points) -> Box:
    """Returns the box of the landmarks, which is about the detector's."""
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    return (float(left), float(top), float(right), float(bottom))


def overlap(a: Box, b: Box) -> float:
    """Returns the intersection over the union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (areas - shared)) if areas > shared else 0.0


def runs_of(landmarks: Values, found: Flags, cuts: Flags, times: Values) -> Numbers:
    """Numbers the frames by the face that they show in one shot; −1 where there is none.

    A face that goes unseen for a moment, in a blink of the detector, is there in between.
    """
    runs = np.full(len(found), -1)
    shots = np.cumsum(cuts.astype(np.int64))
    before: int | None = None
    for index in found.nonzero()[0].tolist():
        if before is not None and same_face(before, index, landmarks, shots, times):
            runs[before + 1 : index + 1] = runs[before]
        else:
            runs[index] = index
        before = index
    return runs


def same_face(before: int, after: int, landmarks: Values, shots: Numbers, times: Values) -> bool:
    if shots[before] != shots[after]:
        return False
    if after - before > 1 and times[after] - times[before] > LONGEST_GAP:
        return False
    old, new = (size_of(landmarks[index]) for index in (before, after))
    step = np.linalg.norm(landmarks[after].mean(axis=0) - landmarks[before].mean(axis=0))
    return bool(step <= LONGEST_STEP * max(old, new) and max(old, new) <= LARGEST_GROWTH * min(old, new))


def size_of(landmarks: Any) -> float:
    left, top, right, bottom = bounds(landmarks)
    return float(np.sqrt((right - left) * (bottom - top)))
