"""Photos in and out."""

from .photo import Photo, contact_sheet, open_photo, save_image, to_image, to_photo

__all__ = ["Photo", "contact_sheet", "open_photo", "save_image", "to_image", "to_photo"]
