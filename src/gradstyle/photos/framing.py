"""Decodes photo files, and fits photos of any size into the square that a network takes, and back."""

from __future__ import annotations

import functools
import io
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from torch import Tensor

Crop = Literal["center", "pad", "none"]
Pixels = npt.NDArray[np.uint8]
KINDS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA")
MOST_PIXELS = 50_000_000  # a JPEG of more is read at half its size
REDUCING_GAP = 3.0  # Pillow first halves a large picture down to no less than this times the goal


def decode(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decodes a picture as a person sees it: upright, 8-bit RGB, transparency on white.

    With `at_least`, a JPEG may be decoded at a half, a quarter or an eighth, its sides not below that.
    """
    with Image.open(io.BytesIO(data), formats=kinds()) as picture:
        width, height = picture.size
        if at_least is not None or width * height > MOST_PIXELS:
            picture.draft(None, (at_least, at_least) if at_least else (width // 2, height // 2))
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"it is {width}×{height}, more than {MOST_PIXELS // 10**6} million pixels: reduce it")
        ImageOps.exif_transpose(picture, in_place=True)
        picture.load()
    return plain(picture)


def plain(picture: Image.Image, rgba: Image.Image | None = None) -> Image.Image:
    """Converts an upright picture to 8-bit RGB, transparency on white. `rgba` is the same in that mode, if any."""
    if picture.mode == "F":
        raise ValueError("its pixels are floats of no known range: save it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        return Image.fromarray(_from_16_bits(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        drawn = rgba or picture.convert("RGBA")
        picture = Image.new("RGB", drawn.size, "white")
        picture.paste(drawn, mask=drawn.getchannel("A"))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _from_16_bits(values: npt.NDArray[np.integer[Any]]) -> Pixels:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"its pixels go from {low} to {high}, not from 0 to 65535")
    narrow = np.empty(values.shape, np.uint8)
    for row, wide in zip(narrow, values):
        row[:] = (wide.astype(np.uint32) + 128) // 257
    return narrow


@functools.cache
def kinds() -> list[str]:
    """Lists Pillow's readers for photos; others, such as EPS's, start other programs."""
    Image.init()
    return [kind for kind in KINDS if kind in Image.OPEN]


@dataclass(frozen=True)
class Framing:
    """How a photo fills a square: which part of it is kept, and the black bars around what is not square."""

    resolution: int
    crop: Crop = "center"  # center: cut to `aspect`; none: it must have that aspect; pad: keep all of it
    aspect: float = 1.0  # width over height of what is kept; cars are 4/3

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise ValueError(f"resolution must be at least 1, got {self.resolution!r}")
        if self.crop not in get_args(Crop):
            raise ValueError(f"crop is one of {', '.join(get_args(Crop))}, got {self.crop!r}")
        if self.aspect <= 0:
            raise ValueError(f"aspect is width over height, above zero, got {self.aspect!r}")

    @property
    def rule(self) -> str:
        return repr(sorted(asdict(self).items()))

    def __call__(self, data: bytes) -> Pixels:
        """Decodes a file's bytes to [3, resolution, resolution]."""
        return self.of(decode(data, at_least=round(REDUCING_GAP * self.resolution)))

    def of(self, picture: Image.Image) -> Pixels:
        """Fits an RGB picture into [3, resolution, resolution]."""
        rows, columns = self.inside(self.resolution, picture.size)
        filled = picture.resize(
            (columns.stop - columns.start, rows.stop - rows.start),
            Image.Resampling.LANCZOS,
            box=self.kept(*picture.size),
            reducing_gap=REDUCING_GAP,
        )
        square = np.zeros((3, self.resolution, self.resolution), np.uint8)
        square[:, rows, columns] = np.asarray(filled).transpose(2, 0, 1)
        return square

    def kept(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Returns left, top, right and bottom of the part of a photo that fills the square."""
        if self.crop == "pad":
            return (0, 0, width, height)
        if self.crop == "none" and abs(width - height * self.aspect) > max(1, self.aspect):
            raise ValueError(
                f"it is {width}×{height}, not {self.aspect:.4g} times as wide as high: "
                "say center or pad to have it cut or padded"
            )
        w = min(width, height * self.aspect)
        h = min(height, width / self.aspect)
        left, top = (width - w) / 2, (height - h) / 2
        return (left, top, left + w, top + h)

    def inside(self, side: int, size: tuple[int, int] | None = None) -> tuple[slice, slice]:
        """Returns the rows and columns of a square of `side` pixels that the photo fills; the rest is black bars."""
        if self.crop == "pad" and size is None:
            raise ValueError("with crop 'pad' the bars depend on the photo: give its (width, height)")
        aspect = size[0] / size[1] if self.crop == "pad" and size else self.aspect
        width = max(1, round(side * min(1, aspect)))
        height = max(1, round(side * min(1, 1 / aspect)))
        left, top = (side - width) // 2, (side - height) // 2
        return slice(top, top + height), slice(left, left + width)

    def without_bars(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Cuts the black bars off squares [..., S, S] of any side."""
        if images.shape[-1] != images.shape[-2]:
            raise ValueError(f"bars are cut off squares, got {images.shape[-1]}×{images.shape[-2]} pixels")
        rows, columns = self.inside(images.shape[-1], size)
        return images[..., rows, columns]
