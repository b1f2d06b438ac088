"""A portrait that comes with the package, so that a first edit needs no download."""

from __future__ import annotations

from pathlib import Path

from ..photo import Photo, open_photo

ASTRONAUT = Path(__file__).parent / "eileen-collins.jpg"
ABOUT = "Eileen Collins, NASA astronaut, 1999. Photo by NASA, in the public domain."


def astronaut() -> Photo:
    """Eileen Collins, as NASA photographed her."""
    return open_photo(ASTRONAUT)
