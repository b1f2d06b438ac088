"""One face followed from frame to frame, and the cuts at which another picture begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..faces import FACE, SURE, Box, Face, Pixels, Points, find_faces, landmarks_in
from .smooth import Flags, Numbers, Values

Find = Callable[[Pixels], list[Face]]
Mark = Callable[[Pixels, Box], Points]

VIEW = 2.6  # sides of the face in the window in which it is looked for again
WINDOW = 160  # pixels of that window's side, however large the face; the detector enlarges it to twice that
LEAST_OVERLAP = 0.2  # of a face found there with where the face was
SHAKES = ((0.0, 0.0), (0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05))
CUT = 24.0  # mean difference of two thumbnails, of 255, above which they may be two shots
CUT_TIMES = 3.0  # and that much above the usual difference of late: a shaking camera is no cut
LATELY = 12  # frames
LONGEST_GAP = 0.4  # seconds that a face may go unseen and count as still there
LONGEST_STEP = 0.6  # of its side: a face that is further off than this is another one
LARGEST_GROWTH = 1.6


class Cuts:
    """Told thumbnails of one frame after the other, says which are the first of a shot."""

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
    """The largest face of a shot, followed until the shot ends.

    It is looked for near where it was, in a small window: about five times quicker than in the whole of a 720p frame.
    When it is not there, the whole frame is searched. The landmarks are a mean over several boxes: dlib's answer
    depends on its box, and a detector's box jumps.
    """

    def __init__(self, find: Find = find_faces, mark: Mark = landmarks_in) -> None:
        self.find, self.mark = find, mark
        self.last: Box | None = None

    def __call__(self, pixels: Pixels, cut: bool = False) -> Face | None:
        if cut:
            self.last = None
        found = self._near(pixels, self.last) if self.last is not None else None
        if found is None:
            found = self._anywhere(pixels)
        if found is not None:
            self.last = bounds(found.landmarks)
        return found

    def _anywhere(self, pixels: Pixels) -> Face | None:
        """A face of the whole frame, only if it is sure: there are frames without one."""
        sure = [face for face in self.find(pixels) if face.score >= SURE]
        if self.last is not None:
            sure.sort(key=lambda face: -overlap(face.box, self.last or face.box))  # stable: largest first otherwise
        return self._near(pixels, sure[0].box) or sure[0] if sure else None

    def _near(self, pixels: Pixels, box: Box) -> Face | None:
        window, scale, corner = view(pixels, box)
        found = [(grown(face.box, scale, corner), face.score) for face in self.find(window)]
        share, at, score = max(((overlap(each, box), each, score) for each, score in found), default=(0.0, box, 0.0))
        if share < LEAST_OVERLAP:
            return None
        # Cut out once, at the size at which landmarks are read.
        window, scale, corner = view(pixels, at, round(FACE * VIEW))
        left, top = VIEW / 2 * FACE - FACE / 2, VIEW / 2 * FACE - FACE / 2
        marks = [
            self.mark(window, (left + x * FACE, top + y * FACE, left + (1 + x) * FACE - 1, top + (1 + y) * FACE - 1))
            for x, y in SHAKES
        ]
        return Face(at, (np.mean(marks, axis=0) + 0.5) * scale - 0.5 + corner, score)


def view(pixels: Pixels, box: Box, size: int = WINDOW) -> tuple[Pixels, float, Points]:
    """The part of a frame around a box, reduced or enlarged to a small square; how many of the frame's pixels one of
    its is, and where its first pixel lies."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top, 1.0) * VIEW
    corner = np.array([(left + right - side) / 2, (top + bottom - side) / 2]).round()
    x, y, whole = int(corner[0]), int(corner[1]), max(2, round(side))
    part = Image.fromarray(pixels).crop((x, y, x + whole, y + whole))  # black outside of the frame
    taken = part.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(taken), whole / size, corner


def grown(box: Box, scale: float, corner: Points) -> Box:
    """A box of the window in the frame."""
    left, top, right, bottom = ((edge + 0.5) * scale - 0.5 for edge in box)
    x, y = corner.tolist()
    return (left + x, top + y, right + x, bottom + y)


def bounds(landmarks: Points) -> Box:
    """The box of the landmarks, about the one that the detector draws."""
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    return (float(left), float(top), float(right), float(bottom))


def overlap(a: Box, b: Box) -> float:
    """What two boxes share over what they cover."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (areas - shared)) if areas > shared else 0.0


def runs_of(landmarks: Values, found: Flags, cuts: Flags, times: Values) -> Numbers:
    """Which frames show one and the same face in one shot: a number for each, −1 where there is none.

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
