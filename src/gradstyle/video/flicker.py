"""Measures how much a face flickers from frame to frame."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..photos.faces import Pixels
from .smooth import Values


class Flicker:
    """Sums how far each frame's face is from the mean of its two neighbours, over some frames on end.

    Of an edited face, it is what the edit added that counts: the source's own grain and talking are in both. A face
    is compared by the means of 8 × 8 parts: of single pixels, rounding to whole levels alone makes 0.3 of a level.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.triples = 0
        self._last: deque[dict[str, Values]] = deque(maxlen=3)

    def add(self, faces: dict[str, Pixels]) -> None:
        if not faces:
            self._last.clear()
            return
        parts = {name: _parts(face) for name, face in faces.items()}
        source = parts["source"]
        self._last.append({name: face - source if name != "source" else source for name, face in parts.items()})
        if len(self._last) < 3:
            return
        self.triples += 1
        for name in faces:
            before, here, after = (each[name] for each in self._last)
            self.sums[name] = self.sums.get(name, 0.0) + float(np.abs(here - (before + after) / 2).mean())


def _parts(face: Pixels) -> Values:
    each = max(1, face.shape[0] // 8)
    whole = face[: face.shape[0] // each * each, : face.shape[1] // each * each].astype(np.float32)
    means: Values = whole.reshape(whole.shape[0] // each, each, -1, each, 3).mean(axis=(1, 3))
    return means
