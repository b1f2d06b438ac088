"""The pictures of a run as one image, side by side."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..images import to_float
from ..photos import contact_sheet, open_photo, write_picture
from .store import SOURCE, Record

ROWS = 8  # photos of a sheet
LEAST = 96  # pixels of a tile: smaller pictures are enlarged without blur


def write_sheet(folder: Path, record: Record, condition: str, file: str, rows: int = ROWS) -> Path | None:
    """Writes a sheet of one condition: photos down, methods across, white where a picture lacks; None without any."""
    files = {(p.photo, p.method): p.file for p in record.pictures if p.condition == condition or p.method == SOURCE}
    photos = [photo for photo in record.photos if (photo, SOURCE) in files][:rows]
    methods = [m for m in record.methods if any((photo, m) in files for photo in photos)]
    if not photos or not methods:
        return None
    tiles = [[_tile(folder, files.get((photo, name))) for name in (SOURCE, *methods)] for photo in photos]
    side = max(tile.shape[-1] for row in tiles for tile in row if tile is not None)
    blank = torch.ones(3, side, side)
    pictures = [[blank if tile is None else tile for tile in row] for row in tiles]
    sheet = contact_sheet(pictures, ["photo", *methods], max(1, -(-LEAST // side)))
    target = folder / f"{file}.png"
    write_picture(sheet, target)
    return target


def _tile(folder: Path, file: str | None) -> Tensor | None:
    if file is None:
        return None
    pixels = torch.tensor(open_photo(folder / file).pixels)
    return to_float(pixels.permute(2, 0, 1))
