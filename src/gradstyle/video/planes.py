"""Puts a part of a picture into a copy of a frame, plane by plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def span(flags: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """Returns the range from the first flag that is set to the last."""
    places = np.flatnonzero(flags)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else None


def grown(span: tuple[int, int], most: int) -> tuple[int, int]:
    """Widens a range by the reach of the scaler's filter, to whole chroma pixels."""
    return max(0, span[0] // 8 * 8 - 8), min(most, -(-span[1] // 8) * 8 + 8)


def patched(source: Any, part: Any, top: int, left: int, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """Copies a frame with some rows and columns, rounded outward to chroma pixels, from a part of its format."""
    made = type(source)(source.width, source.height, source.format.name)
    for new, old, patch in zip(made.planes, source.planes, part.planes):
        down, across = round(source.height / old.height), round(source.width / old.width)
        to, fro, over = (_bytes(plane, 1 + (source.format.components[0].bits > 8)) for plane in (new, old, patch))
        to[:] = fro
        here = slice(rows[0] // down, -(-rows[1] // down)), slice(columns[0] // across, -(-columns[1] // across))
        to[here] = over[tuple(slice(s.start - at, s.stop - at) for s, at in zip(here, (top // down, left // across)))]
    made.colorspace, made.color_range = source.colorspace, source.color_range
    return made


def _bytes(plane: Any, each: int) -> npt.NDArray[np.uint8]:
    """Returns a plane's bytes [height, width, bytes of a sample]."""
    lines = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    return lines[:, : plane.width * each].reshape(plane.height, plane.width, each)
