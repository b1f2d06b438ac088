"""Photos in and out: any picture file, its faces, their crops, and the edit pasted back into the whole."""

from .align import Aligned, Frame, align, aligned_by, frame_of
from .faces import Face, find_faces, landmarks_in
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
    "find_faces",
    "frame_of",
    "landmarks_in",
    "open_photo",
    "paste",
    "save_image",
    "to_image",
    "to_photo",
    "write_picture",
]
