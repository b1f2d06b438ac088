"""Says when an edit of a photo failed: it changed next to nothing, or no face is found any more."""

from __future__ import annotations

from math import atan2

from ..motion import lengths
from .align import Aligned
from .carried import MARGIN, Carry
from .faces import is_face_at
from .framing import Pixels

# What is below all three is next to nothing, whatever was wanted.
SLIGHT = 0.001  # of the crop's side: motion
FAINT = 2.0  # levels of 255: tone
HIDDEN = 0.01  # share of a place that is not the photo's


def remark(said: str, carry: Carry | None, before: Pixels, after: Pixels, crop: Aligned) -> str:
    """Returns a remark on an edit that failed; an empty text, if it went well.

    `before` and `after` are the photo's pixels, and the crop says where in them the face was. Both may be a smaller
    copy of the photo.
    """
    if not shows(carry):
        return f"{said} {'change' if ', ' in said else 'changes'} next to nothing in this photo"
    if face_lost(before, after, crop):
        return f"after {said} no face is found where it was: try a smaller amount"
    return ""


def shows(carry: Carry | None) -> bool:
    """Tells whether a carried photo looks different."""
    if carry is None:
        return False
    moved = float(lengths(carry.motion.offset).max()) * (1 + 2 * MARGIN)
    hidden = 1 - float(carry.shown.min())
    return moved >= SLIGHT or float(carry.tone.abs().max()) >= FAINT or hidden >= HIDDEN


def face_lost(before: Pixels, after: Pixels, crop: Aligned) -> bool:
    """Tells whether the crop's face is no longer found after the edit."""
    if crop.face is None:
        return False
    around, (x, y) = crop.face.landmarks, crop.frame.across
    angle = atan2(y, x)
    return not is_face_at(after, around, angle) and is_face_at(before, around, angle)
