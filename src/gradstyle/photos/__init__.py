"""Photos in and out: any picture file, its faces, their crops, and the edit pasted back into the whole."""

from .align import Aligned, Frame, align, aligned_by, frame_of
from .faces import Face, face_at, find_faces
from .mediapipe import person_mask
from .paste import Paste, paste
from .photo import Photo, check_picture_name, contact_sheet, open_photo, save_image, to_image, to_photo, write_picture

__all__ = [
    "Aligned",
    "Face",
    "Frame",
    "Paste",
    "Photo",
    "align",
    "aligned_by",
    "check_picture_name",
    "contact_sheet",
    "face_at",
    "find_faces",
    "frame_of",
    "open_photo",
    "paste",
    "person_mask",
    "save_image",
    "to_image",
    "to_photo",
    "write_picture",
]
