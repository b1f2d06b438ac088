"""Photos in and out."""

from .photo import Photo, check_picture_name, contact_sheet, open_photo, save_image, to_image, to_photo, write_picture

__all__ = [
    "Photo",
    "check_picture_name",
    "contact_sheet",
    "open_photo",
    "save_image",
    "to_image",
    "to_photo",
    "write_picture",
]
