"""A bundle, ready to edit photos with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .bundles import Bundle, BundleError
from .edits import Edit, Edits
from .methods import Inversion, Method
from .photos import Photo, to_image, to_photo

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
            raise BundleError(f"bundle {bundle.name!r} cannot edit: it has no encoder")
        self.bundle = bundle
        self.device = torch.device(device) if device is not None else best_device()
        self.dtype = dtype
        self.edits = bundle.edits
        self._method: Method[Any] = bundle.method(method or bundle.methods[0], dtype)
        self._method.to(self.device)

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
        return to_photo(self.render(self.invert(photo), edits)[0], self.bundle.domain.aspect)

    def load_inversion(self, path: Path) -> Inversion:
        """Read an inversion that this editor's method has saved."""
        loaded: Inversion = self._method.Keeps.load(path)
        return loaded.map(lambda x: x.to(self.device))

    def find(self, edits: Wanted) -> Edits:
        """Edits from whatever form they were given in."""
        if isinstance(edits, str):
            edits = parse_edits(edits)
        if isinstance(edits, Mapping):
            return [amount * self._named(name) for name, amount in edits.items()]
        return edits

    def _named(self, name: str) -> Edit:
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


def parse_edits(text: str) -> dict[str, float]:
    """`"smile=2, age=-1"` as names and amounts."""
    wanted = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        try:
            wanted[name.strip()] = float(amount)
        except ValueError:
            raise ValueError(f"an edit is NAME=AMOUNT, such as smile=2, got {part.strip()!r}") from None
    return wanted


def best_device() -> torch.device:
    """A CUDA device if there is one, Apple's GPU if there is that, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
