"""Prepares pictures for a page: reduced to a screen's size, as data URIs."""

from __future__ import annotations

import base64
import io
import re
from pathlib import PurePath

import numpy as np
from PIL import Image
from torch import Tensor

from ..photos import Photo, to_photo

SCREEN = 1280  # pixels of the longer side of a picture on the page
VIEW = 512  # pixels of the face on the page, at least
THUMB = 96


def reduced(photo: Photo, longest: int = SCREEN) -> Photo:
    """The photo with a longer side of at most so many pixels."""
    scale = max(photo.size) / longest
    if scale <= 1:
        return photo
    size = (max(1, round(photo.size[0] / scale)), max(1, round(photo.size[1] / scale)))
    small = Image.fromarray(photo.pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return Photo(np.asarray(small))


def uri(photo: Photo | Tensor, longest: int = SCREEN, quality: int = 90) -> str:
    """Gives a picture as a data URI: it lies on no disk, and nobody else can ask for it."""
    if isinstance(photo, Tensor):
        photo = to_photo(photo)
    picture, written = Image.fromarray(reduced(photo, longest).pixels), io.BytesIO()
    if max(picture.size) <= 2 * THUMB:  # where JPEG shows
        picture.save(written, "PNG", compress_level=3)
    else:
        picture.save(written, "JPEG", quality=quality, subsampling=0)
    kind = "png" if max(picture.size) <= 2 * THUMB else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"


def plain_name(name: str, otherwise: str = "photo") -> str:
    """The stem of a file's name, with nothing in it that could lead elsewhere or be read as something else."""
    stem = PurePath(name.replace("\\", "/")).name
    stem = stem.rpartition(".")[0] or stem
    return re.sub(r"[^\w\- ]+", "-", stem).strip("- ")[:60] or otherwise
