"""Photos in and out: any picture file, its faces, their crops, and the edit pasted back into the whole."""

from ..motion import Motion, motion_along
from .align import Aligned, Frame, align, aligned_by, frame_of
from .carried import Carry, put_carried
from .carry import Carrier
from .faces import Face, face_at, find_faces
from .legs import legs_of
from .mediapipe import person_mask
from .outcome import remark
from .paste import Paste, paste, put
from .photo import (
    Photo,
    check_picture_name,
    contact_sheet,
    open_photo,
    pixels_in,
    save_image,
    suffix_for,
    to_image,
    to_photo,
    write_picture,
)

__all__ = [
    "Aligned",
    "Carrier",
    "Carry",
    "Face",
    "Frame",
    "Motion",
    "Paste",
    "Photo",
    "align",
    "aligned_by",
    "check_picture_name",
    "contact_sheet",
    "face_at",
    "find_faces",
    "frame_of",
    "legs_of",
    "motion_along",
    "open_photo",
    "paste",
    "person_mask",
    "pixels_in",
    "put",
    "put_carried",
    "remark",
    "save_image",
    "suffix_for",
    "to_image",
    "to_photo",
    "write_picture",
]
