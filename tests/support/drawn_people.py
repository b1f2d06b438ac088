"""Pictures by formula, of waves and of something like a person, for networks that must answer as they did before."""

from __future__ import annotations

from typing import Any

import numpy as np


def drawn_people(side: int) -> Any:
    """Bytes [3, side, side, 3]: waves; a head with eyes and mouth over shoulders; the same, smaller and turned."""
    return np.stack([_waves(side), _person(side, (0.5, 0.4), 0.5, 0.0), _person(side, (0.42, 0.5), 0.35, 0.4)])


def _waves(side: int) -> Any:
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(3 * (c + 2) * x + (5 - c) * y + c) * np.cos(4 * y - 2 * x * c) for c in range(3)]
    return _bytes(127.5 + 127.5 * np.stack(waves, axis=-1))


def _person(side: int, middle: tuple[float, float], size: float, angle: float) -> Any:
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    x, y = (x - middle[0]) / size, (y - middle[1]) / size
    x, y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    picture = np.stack([90 + 40 * x, 120 + 30 * y, 140 - 20 * x], axis=-1)
    for at, radii, colour in (
        ((0.0, 1.35), (0.95, 0.75), (40, 60, 110)),  # shoulders
        ((0.0, -0.08), (0.47, 0.62), (70, 45, 30)),  # hair
        ((0.0, 0.5), (0.2, 0.35), (190, 140, 115)),  # neck
        ((0.0, 0.0), (0.38, 0.52), (225, 175, 150)),  # face
        ((-0.16, -0.1), (0.08, 0.035), (250, 250, 250)),
        ((0.16, -0.1), (0.08, 0.035), (250, 250, 250)),
        ((-0.16, -0.1), (0.035, 0.035), (60, 40, 30)),
        ((0.16, -0.1), (0.035, 0.035), (60, 40, 30)),
        ((-0.16, -0.2), (0.1, 0.02), (70, 45, 30)),
        ((0.16, -0.2), (0.1, 0.02), (70, 45, 30)),
        ((0.0, 0.1), (0.05, 0.06), (205, 150, 125)),  # nose
        ((0.0, 0.27), (0.15, 0.045), (180, 80, 80)),  # mouth
    ):
        distance = np.hypot((x - at[0]) / radii[0], (y - at[1]) / radii[1])
        cover = np.clip((1 - distance) * min(radii) * size * side + 0.5, 0, 1)[..., None]
        picture = picture * (1 - cover) + np.array(colour) * cover
    return _bytes(picture)


def _bytes(picture: Any) -> Any:
    return picture.round().clip(0, 255).astype(np.uint8)
