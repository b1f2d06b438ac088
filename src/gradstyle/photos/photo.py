"""Reads and writes pictures, as files, as pixels and as the tensors that networks take."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..files import replacing
from ..images import to_8_bits, to_float
from ..version import __version__
from . import framing
from .framing import Framing, Pixels, kinds, plain
from .metadata import Origin, in_srgb, origin_of, save_options, suffix_of

if TYPE_CHECKING:
    from .faces import Face

HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # brands of its container

LARGEST = 256 << 20  # bytes of a picture file
MOST_FROM_CAMERAS = 120_000_000  # pixels of the kinds that cameras write; others have framing.MOST_PIXELS
FROM_CAMERAS = ("JPEG", "MPO", "HEIF")


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as a person sees it: upright, 8-bit RGB."""

    pixels: Pixels  # [H, W, 3]
    origin: Origin | None = None  # the file it was read from
    edited: str = ""  # how it was edited since, in words that its file will bear

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def faces(self) -> list[Face]:
        """The faces in it, largest first; they are detected on first use."""
        from .faces import find_faces

        return find_faces(self.pixels, thorough=True)

    def save(self, path: str | os.PathLike[str], strip: bool = False) -> None:
        """Writes it with its file's profile and metadata, or with `strip` without; the edit is always recorded."""
        path = Path(path)
        check_picture_name(path)
        kind = Image.registered_extensions()[path.suffix.lower()]
        picture = self._picture(kind, strip)
        history = "; ".join(filter(None, [self.origin.edited if self.origin and not strip else "", self.edited]))
        write_picture(picture, path, **save_options(kind, self.origin, history, f"GradStyle {__version__}", strip))

    def _picture(self, kind: str, strip: bool) -> Image.Image:
        picture, origin = Image.fromarray(self.pixels), self.origin
        if origin is None:
            return picture
        if origin.rgba is not None and kind in ("PNG", "WEBP", "TIFF", "AVIF"):
            picture = _under_alpha(self.pixels, origin.rgba)
        elif origin.mode in ("1", "L", "LA") or origin.mode.startswith("I"):
            return picture.convert("L")
        return in_srgb(picture, origin.icc) if strip and origin.icc and picture.mode == "RGB" else picture


def open_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads a picture file of any usual kind, as large as it is."""
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("it is no file" if path.exists() else "there is no such file")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST >> 20} MB, which no photo is")
        return _read(path.read_bytes())
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture that can be read") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Image.DecompressionBombError:
        raise ValueError(f"{path}: a decompression bomb, or larger than any photo: reduce it") from None
    except Exception as error:  # Pillow's decoders let through whatever a damaged file makes them raise
        raise ValueError(f"{path}: damaged, or not a picture ({error})") from error


def suffix_for(path: Path) -> str | None:
    """Returns the suffix that a photo will be written with, by its first bytes; None if it is no picture."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = file.read(12)
            file.seek(0)
            with Image.open(file, formats=_kinds(head)) as picture:
                return suffix_of(picture.format or "")
    except Exception:  # whatever a damaged file makes Pillow's readers raise: opening it as a photo tells why
        return None


def pixels_in(path: str | os.PathLike[str]) -> int:
    """Returns the number of pixels by a picture's header; 0 if it is no picture."""
    try:
        with Path(path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_kinds(file.read(16))) as picture:
                return picture.width * picture.height
    except Exception:  # whatever a damaged header makes Pillow's readers raise
        return 0


def _read(data: bytes) -> Photo:
    if not data:
        raise ValueError("it is empty: not a picture that can be read")
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is large, which is looked after here, and that tags are broken
        with Image.open(io.BytesIO(data), formats=_kinds(data)) as picture:
            _fit(picture, notes)
            picture.load()
            try:
                ImageOps.exif_transpose(picture, in_place=True)
            except Exception as error:  # whatever a damaged block makes the reader raise
                notes.append(f"its EXIF is broken, so that which side is up is not known ({error})")
            rgba = picture.convert("RGBA") if picture.has_transparency_data and picture.mode != "F" else None
            origin = origin_of(picture, data, notes, rgba)
            upright = picture
    if origin.mode == "CMYK" and origin.icc:
        return Photo(np.asarray(in_srgb(upright, origin.icc)), origin)
    return Photo(np.asarray(plain(upright, rgba)), origin)


def _fit(picture: ImageFile.ImageFile, notes: list[str]) -> None:
    """Limits the size of a picture before its pixels are allocated."""
    width, height = picture.size
    most = MOST_FROM_CAMERAS if picture.format in FROM_CAMERAS else framing.MOST_PIXELS
    if width * height > most:
        picture.draft(None, (width // 2, height // 2))
        notes.append(f"it is {width}×{height}, and was read at half its size")
    if picture.width * picture.height > most:
        raise ValueError(f"it is {width}×{height}, more than {most // 10**6} million pixels: reduce it")
    if ";16" in str(picture.tile) or picture.mode.startswith("I;16"):
        notes.append("its 16 bits a channel become 8")
    if picture.format in ("GIF", "PNG", "WEBP", "AVIF") and (frames := getattr(picture, "n_frames", 1)) > 1:
        notes.append(f"it is the first of {frames} pictures in its file")


def _kinds(data: bytes) -> list[str]:
    """Returns Pillow's readers for photos, or HEIC's if it is one and its reader is installed."""
    if data[4:8] != b"ftyp" or data[8:12] not in HEIC:
        return kinds()
    try:
        import pillow_heif
    except ImportError:
        raise ValueError('it is a HEIC photo: pip install "gradstyle[heic]" reads those') from None
    pillow_heif.register_heif_opener(thumbnails=False)
    return ["HEIF"]


def _under_alpha(pixels: Pixels, rgba: Image.Image) -> Image.Image:
    """Returns the RGBA picture that shows these pixels on white; unchanged pixels keep their colours under alpha."""
    raw = np.array(rgba)
    before = np.asarray(plain(rgba, rgba))
    changed = (pixels != before).any(axis=-1) & (raw[..., 3] > 0)
    alpha = raw[changed][:, 3:].astype(np.float32) / 255
    raw[changed, :3] = ((pixels[changed] - 255 * (1 - alpha)) / alpha).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(raw)


def to_image(photo: Photo, aspect: tuple[int, int] = (1, 1), side: int = 256) -> Tensor:
    """Turns a photo into what networks take: cut to the domain's aspect, padded to the square, [1, 3, side', side'].

    The square is at least `side` wide; a larger photo stays larger, so that each network reduces it itself.
    """
    width, height = photo.size
    framing = Framing(min(max(side, min(width, height)), 4 * side), aspect=aspect[0] / aspect[1])
    square = framing.of(Image.fromarray(photo.pixels))
    return to_float(torch.from_numpy(square)[None])


def to_photo(image: Tensor, aspect: tuple[int, int] = (1, 1)) -> Photo:
    """Turns a picture [3, H, W] in [−1, 1] into a photo, without the bars of the domain's padding."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"a picture is [3, side, side], got {list(image.shape)}")
    inside = Framing(image.shape[-1], aspect=aspect[0] / aspect[1]).without_bars(image)
    pixels = to_8_bits(inside.detach())
    return Photo(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def save_image(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Writes a picture [3, side, side], or the pictures [N, 3, side, side] side by side."""
    images = list(image) if image.ndim == 4 else [image]
    write_picture(Image.fromarray(to_photo(images[0]).pixels) if len(images) == 1 else contact_sheet([images]), path)


def contact_sheet(
    rows: Sequence[Sequence[Tensor]], columns: Sequence[str] = (), scale: int = 1, gap: int = 2
) -> Image.Image:
    """Draws rows of pictures on white, enlarged `scale` times without blur, with a caption over each column."""
    pictures = [[Image.fromarray(to_photo(image).pixels) for image in row] for row in rows]
    if not any(pictures):
        raise ValueError("a sheet needs a picture at least, got none")
    width = max(picture.width for row in pictures for picture in row) * scale + gap
    height = max(picture.height for row in pictures for picture in row) * scale + gap
    top = 14 if columns else 0
    sheet = Image.new("RGB", (width * max(map(len, rows)) + gap, height * len(rows) + gap + top), "white")
    draw = ImageDraw.Draw(sheet)
    for x, caption in enumerate(columns):
        draw.text((gap + x * width, 1), caption, fill="black")
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            if scale > 1:
                picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
            sheet.paste(picture, (gap + x * width, top + gap + y * height))
    return sheet


def check_picture_name(path: Path) -> None:
    """Checks that a picture can be written under that name."""
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path}: no kind of picture that can be written; end the name in .png, .jpg or .webp")


def write_picture(picture: Image.Image, path: str | os.PathLike[str], **options: Any) -> None:
    """Writes a picture file atomically. Options are those of Pillow's `save`."""
    path = Path(path)
    check_picture_name(path)
    quality = {} if path.suffix.lower() in (".tif", ".tiff") else {"quality": 95}
    kind = Image.registered_extensions()[path.suffix.lower()]
    with replacing(path) as partial:
        picture.save(partial, format=kind, **{**quality, **options})
