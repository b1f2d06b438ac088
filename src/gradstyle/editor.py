"""A bundle, ready to edit photos with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .bundles import Bundle, BundleError
from .edits import Edit, Edits
from .methods import Inversion, Method
from .photos import Photo, to_image, to_photo

if TYPE_CHECKING:
    from .photos.video import Options, Report, Tell

Wanted = Edits | Mapping[str, float] | str


class Editor:
    """Invert a photo once, render it edited as often as wanted.

    Edits are `Edit` values, names with amounts (`{"smile": 2}`), or a text such as `"smile=2, age=-1"`.
    """

    def __init__(
        self,
        bundle: Bundle,
        method: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not bundle.methods:
            raise BundleError(f"bundle {bundle.name!r} cannot edit photos: it has no encoder")
        self.bundle = bundle
        self.device = device_of(device)
        self.dtype = dtype
        self.edits = bundle.edits
        self._method: Method[Any] = bundle.method(method or bundle.methods[0], dtype, self.device)
        for part in (self._method.generator, self._method.encoder):  # up to half as fast again on a CPU
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def method(self) -> str:
        return self._method.name

    @property
    def resolution(self) -> int:
        return self.bundle.resolution

    @torch.inference_mode()
    def invert(self, photo: Photo | Tensor) -> Inversion:
        """Everything that depends on the photo alone. A tensor is [N, 3, side, side] in [−1, 1]."""
        if isinstance(photo, Photo):
            photo = to_image(photo, self.bundle.domain.aspect, self._method.encoder.config.input_size)
        if photo.ndim == 3:
            photo = photo[None]
        inversion: Inversion = self._method.invert(photo.to(self.device, torch.float32))
        return inversion

    @torch.inference_mode()
    def render(self, inversion: Inversion, edits: Wanted = ()) -> Tensor:
        """The edited pictures, [N, 3, resolution, resolution] in [−1, 1]; without edits the reconstruction."""
        return self._method.render(inversion, self.find(edits)).clamp(-1, 1)

    @torch.inference_mode()
    def render_each(self, inversion: Inversion, edits: Sequence[Wanted]) -> Tensor:
        """One picture for every entry of `edits`, in one batch."""
        return self._method.render_each(inversion, [self.find(entry) for entry in edits]).clamp(-1, 1)

    def edit(self, photo: Photo, edits: Wanted = ()) -> Photo:
        """A photo edited, in one go."""
        wanted = self.find(edits)  # a wrong name costs no inversion
        return to_photo(self.render(self.invert(photo), wanted)[0], self.bundle.domain.aspect)

    def edit_video(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        edits: Wanted,
        options: Options | None = None,
        tell: Tell | None = None,
    ) -> Report:
        """Edit the largest face of a video. `tell` is called with what is being done, frames so far and in all."""
        from .photos.video import Options, edit_video

        note = f"edited with GradStyle: {', '.join(_named(self.find(edits)))} ({self.method}, {self.bundle.name})"
        return edit_video(
            Path(source),
            Path(target),
            self._method,
            self.find(edits),
            self.bundle.domain,
            options or Options(),
            tell or (lambda what, done, total: None),
            note=note,
        )

    def load_inversion(self, path: str | os.PathLike[str]) -> Inversion:
        """Read an inversion that this editor's method has saved."""
        loaded: Inversion = self._method.Keeps.load(Path(path))
        return loaded.map(lambda x: _channels_last(x.to(self.device)))

    def find(self, edits: Wanted) -> Edits:
        """Edits from whatever form they were given in."""
        if isinstance(edits, str):
            edits = parse_edits(edits)
        if isinstance(edits, Mapping):
            return [amount * self.edit_named(name) for name, amount in edits.items()]
        return edits

    def edit_named(self, name: str) -> Edit:
        """One of the bundle's edits, as far as its direction was stored."""
        if name in self.edits:
            return self.edits[name]
        near = get_close_matches(name, self.edits, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(self.edits) or 'none'}"
        raise ValueError(f"bundle {self.bundle.name!r} has no edit {name!r}; {hint}")


def load(
    bundle: str | os.PathLike[str] | Bundle = "faces",
    method: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Editor:
    """An editor from a bundle's folder or name. Without a method, the first that the bundle has."""
    return Editor(bundle if isinstance(bundle, Bundle) else Bundle.load(bundle), method, device, dtype)


def _named(edits: Edits) -> list[str]:
    return [edit.name for edit in ([edits] if isinstance(edits, Edit) else edits)]


def parse_edits(text: str) -> dict[str, float]:
    """`"smile=2, age=-1"` as names and amounts; a name that comes again adds up. An empty text is no edit."""
    wanted: dict[str, float] = {}
    for part in text.split(",") if text.strip() else ():
        name, _, amount = (word.strip() for word in part.partition("="))
        try:
            number = float(amount)
        except ValueError:
            raise ValueError(f"an edit is NAME=AMOUNT, such as smile=2, got {part.strip()!r}") from None
        if not isfinite(number):
            raise ValueError(f"the amount of an edit is a number, got {part.strip()!r}")
        wanted[name] = wanted.get(name, 0.0) + number
    return wanted


def device_of(wanted: torch.device | str | None) -> torch.device:
    """The device that was asked for, if it is there; else a CUDA device, Apple's GPU, or the CPU."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted is None:
        return torch.device(next(name for name, found in there.items() if found))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ValueError(f"device is cpu, cuda, cuda:1 … or mps, got {str(wanted)!r}") from None
    if not there.get(device.type, True) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(
            f"there is no device {str(device)!r} here; {', '.join(n for n, found in there.items() if found)}"
        )
    return device


def _channels_last(x: Tensor) -> Tensor:
    """Maps in the order in which the networks work, so that a saved inversion gives the same bits."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
