"""Holds the bundles of a studio and their networks; one render runs at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..bundles import Bundle, Slider
from ..editor import Editor, device_of
from ..methods import Inversion
from ..photos import Aligned, Carrier, Carry, Photo, to_photo
from .cache import Shelf
from .line import Line

V = TypeVar("V")
UNMEASURED = 3.0  # how far a slider goes where the bundle says nothing of any of its edits
TRUNCATION = 0.6  # of generated faces to start from: usual ones, which all edits suit


class Engine:
    """Makes editors by bundle and method when first used, and stores what is computed with them."""

    def __init__(
        self,
        bundles: Sequence[str | os.PathLike[str] | Bundle],
        device: torch.device | str | None = None,
        memory: int = 512 << 20,
        pixels: int = 60_000_000,
    ) -> None:
        self.bundles: dict[str, Bundle] = {}
        for given in bundles:
            bundle = given if isinstance(given, Bundle) else Bundle.load(given)
            if not bundle.methods:
                raise ValueError(f"bundle {bundle.name!r} cannot edit photos: it has no encoder")
            if bundle.name in self.bundles:
                raise ValueError(f"two bundles are called {bundle.name!r}; `gradstyle bundle info` names them")
            self.bundles[bundle.name] = bundle
        if not self.bundles:
            raise ValueError("a studio needs a bundle at least")
        self.device = device_of(device)
        self.shelf = Shelf(memory)
        self.pixels = Line(pixels)  # of photos that are worked on at once, at their full size
        self.sliders: dict[str, dict[str, Slider]] = {name: _sliders(b) for name, b in self.bundles.items()}
        self._editors: dict[tuple[str, str], Editor] = {}
        self._lane = ThreadPoolExecutor(1, "gradstyle-engine", self._begin)
        self._thread = 0

    @property
    def first(self) -> str:
        return next(iter(self.bundles))

    def _begin(self) -> None:
        self._thread = threading.get_ident()

    def alone(self, work: Callable[[], V]) -> V:
        """Done after whatever was asked for before. Two renders at once take longer than one after the other, each;
        and every thread that computes keeps working memory of its own, so there is one for all visitors."""
        return work() if threading.get_ident() == self._thread else self._lane.submit(work).result()

    def bundle(self, name: str) -> Bundle:
        if not isinstance(name, str) or name not in self.bundles:
            raise ValueError(f"there is no bundle {str(name)[:80]!r} here; there are {', '.join(self.bundles)}")
        return self.bundles[name]

    def editor(self, bundle: str, method: str = "") -> Editor:
        """All editors of a bundle share its generator and its encoder."""
        opened = self.bundle(bundle)
        method = opened.usual_method if method == "" else method
        if method not in opened.methods:
            raise ValueError(
                f"bundle {bundle!r} has no method {str(method)[:80]!r}; it has {', '.join(opened.methods)}"
            )

        def made() -> Editor:
            if (bundle, method) not in self._editors:
                self._editors[bundle, method] = Editor(opened, method, self.device)
            return self._editors[bundle, method]

        return self._editors.get((bundle, method)) or self.alone(made)

    def crop_side(self, bundle: str) -> int:
        """Pixels of the square that an inversion starts from."""
        opened = self.bundle(bundle)
        return max(int(opened.config("encoder").input_size), opened.resolution)

    def invert(self, bundle: str, method: str, image: Tensor) -> Inversion:
        editor = self.editor(bundle, method)
        return self.alone(lambda: editor.invert(image))

    def render(
        self, bundle: str, method: str, inversion: Inversion, edits: Sequence[Mapping[str, float]]
    ) -> list[Tensor]:
        """One picture [3, side, side] for every entry of `edits`."""
        editor = self.editor(bundle, method)
        return self.alone(lambda: list(editor.render_each(inversion, edits).cpu()))

    def carrier(self, bundle: str, method: str, photo: Photo, crop: Aligned, inversion: Inversion) -> Carrier:
        editor = self.editor(bundle, method)
        return self.alone(lambda: editor.carrier(photo, crop, inversion))

    def carry(
        self, bundle: str, method: str, carrier: Carrier, inversion: Inversion, amounts: Mapping[str, float]
    ) -> Carry | None:
        """How a photo is carried along an edit."""
        editor = self.editor(bundle, method)
        return self.alone(lambda: editor.carry(carrier, inversion, amounts))

    def generate(self, bundle: str, seed: int) -> Photo:
        """Renders a generated face."""
        opened = self.bundle(bundle)

        def drawn() -> Tensor:
            generator = opened.generator(device=self.device)  # its weights are not made under inference mode
            with torch.inference_mode():
                image: Tensor = generator(generator.sample(1, TRUNCATION, seed))[0].clamp(-1, 1)
            return image

        photo = to_photo(self.alone(drawn), opened.domain.aspect)
        return Photo(np.ascontiguousarray(photo.pixels))


def _sliders(bundle: Bundle) -> dict[str, Slider]:
    """Gives the bundle's sliders; without any report, every edit over a usual range."""
    known = bundle.sliders
    if known or bundle.failed_edits:
        return known
    return {name: Slider(-UNMEASURED, UNMEASURED, about="of no measured range") for name in bundle.edits}
