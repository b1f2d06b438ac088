"""Pictures as files, as pixels and as the tensors that networks take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, UnidentifiedImageError
from torch import Tensor

from .framing import Framing, decode

LARGEST = 256 << 20  # bytes of a picture file


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as a person sees it: upright, 8-bit RGB."""

    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]  # [H, W, 3]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        write_picture(Image.fromarray(self.pixels), path)


def open_photo(path: str | os.PathLike[str]) -> Photo:
    """Read a picture file of any usual kind."""
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("it is no file" if path.exists() else "there is no such file")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST >> 20} MB, which no photo is")
        return Photo(np.asarray(decode(path.read_bytes())))
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture that can be read") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # Pillow's decoders let through whatever a damaged file makes them raise
        raise ValueError(f"{path}: damaged, or not a picture ({error})") from error


def to_image(photo: Photo, aspect: tuple[int, int] = (1, 1), side: int = 256) -> Tensor:
    """A photo as networks take it: cut to the domain's aspect, padded to the square, [1, 3, side', side'].

    The square is at least `side` wide; a larger photo stays larger, so that each network reduces it itself.
    """
    width, height = photo.size
    framing = Framing(min(max(side, min(width, height)), 4 * side), aspect=aspect[0] / aspect[1])
    square = framing.of(Image.fromarray(photo.pixels))
    return torch.from_numpy(square)[None].float() / 127.5 - 1


def to_photo(image: Tensor, aspect: tuple[int, int] = (1, 1)) -> Photo:
    """One picture [3, H, W] in [−1, 1] as a photo, without the bars that the domain's padding added."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"a picture is [3, side, side], got {list(image.shape)}")
    inside = Framing(image.shape[-1], aspect=aspect[0] / aspect[1]).without_bars(image)
    pixels = ((inside.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Photo(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def save_image(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Write a picture [3, side, side], or the pictures [N, 3, side, side] side by side."""
    images = list(image) if image.ndim == 4 else [image]
    write_picture(Image.fromarray(to_photo(images[0]).pixels) if len(images) == 1 else contact_sheet([images]), path)


def contact_sheet(
    rows: Sequence[Sequence[Tensor]], columns: Sequence[str] = (), scale: int = 1, gap: int = 2
) -> Image.Image:
    """Rows of pictures on white, enlarged `scale` times without blur, with a caption over each column."""
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
    """Before the work: whether a picture can be written under that name."""
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path}: no kind of picture that can be written; end the name in .png, .jpg or .webp")


def write_picture(picture: Image.Image, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a picture file as a whole or not at all. Options are those of Pillow's `save`."""
    path = Path(path)
    check_picture_name(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(partial, **{"quality": 95, **options})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
