"""Edits photos and videos with a bundle."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .bundles import Bundle
from .edits import Edit, Edits, combine
from .methods import Inversion, Method
from .photos import Aligned, Carrier, Carry, Face, Paste, Photo, align, paste, put, remark, to_image, to_photo

if TYPE_CHECKING:
    from .progress import Progress
    from .video import Options, VideoReport

Wanted = Edits | Mapping[str, float] | str
Which = Literal["largest", "all"] | int  # of a photo's faces; numbers count from 1, from left to right


class EditWarning(UserWarning):
    """An edit failed on a photo: nothing of it is to be seen, or no face is found any more."""


class Editor:
    """Inverts a photo once, and renders it with any edits.

    Edits are `Edit` values, names with amounts (`{"smile": 2}`), or a text such as `"smile=2, age=-1"`.
    """

    def __init__(
        self,
        bundle: Bundle,
        method: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.bundle = bundle
        self.device = device_of(device)
        self.dtype = dtype
        self.edits, self.sliders, self.failed_edits = bundle.edits, bundle.sliders, bundle.failed_edits
        self.beyond = False  # whether amounts may go beyond the sliders' ranges, and edits may have failed
        self._method: Method[Any] = bundle.method(method or bundle.usual_method, dtype, self.device)
        for part in (self._method.generator, self._method.encoder):  # up to half as fast again on a CPU
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def method(self) -> str:
        return self._method.name

    @property
    def resolution(self) -> int:
        return self.bundle.resolution

    @torch.inference_mode()
    def invert(self, photo: Photo | Aligned | Tensor) -> Inversion:
        """Inverts a crop, or a photo or tensor that is cut as training photos are.

        A tensor is [N, 3, side, side] in [−1, 1].
        """
        if isinstance(photo, Aligned):
            photo = photo.image
        elif isinstance(photo, Photo):
            photo = to_image(photo, self.bundle.domain.aspect, self._method.encoder.config.input_size)
        if photo.ndim == 3:
            photo = photo[None]
        inversion: Inversion = self._method.invert(photo.to(self.device, torch.float32))
        return inversion

    @torch.inference_mode()
    def render(self, inversion: Inversion, edits: Wanted = ()) -> Tensor:
        """Renders the edited pictures, [N, 3, resolution, resolution] in [−1, 1]; without edits the reconstruction."""
        return self._method.render(inversion, self.find(edits)).clamp(-1, 1)

    @torch.inference_mode()
    def render_each(self, inversion: Inversion, edits: Sequence[Wanted]) -> Tensor:
        """Renders one picture for every entry of `edits`, in one batch."""
        return self._method.render_each(inversion, [self.find(entry) for entry in edits]).clamp(-1, 1)

    def edit(
        self,
        photo: Photo,
        edits: Wanted = (),
        face: Which = "largest",
        aligned: bool = False,
        how: Paste | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Photo:
        """Returns the whole photo with its faces edited; pixels that the edit leaves alone stay to the bit.

        The photo is carried along the motion of the edit; `how` pastes the change between two renderings instead.
        `aligned` says that the photo itself is cut as the training photos were. No edits, or only zero ones, give the
        photo back. Where a photo is carried and the edit fails on a face, `tell` is called with a line that says so;
        without it, the line is an `EditWarning`.
        """
        wanted = self.find(edits)  # a wrong name costs no inversion
        if combine(wanted) is None:
            return photo
        crops = self.crops(photo, face, aligned)
        for crop in crops:
            inversion = self.invert(crop)
            if how is None:
                carry = self.carry(self.carrier(photo, crop, inversion), inversion, wanted)
                before = photo.pixels
                photo = photo if carry is None else replace(photo, pixels=put(before, crop.frame, carry))
                if line := remark(self._said(edits, wanted, " "), carry, before, photo.pixels, crop):
                    (tell or _warn)(line if len(crops) == 1 else f"face {_number(crop, crops)}: {line}")
            else:
                before, after = self.render_each(inversion, [(), wanted])
                photo = paste(photo, crop, before, after, how)
        return replace(photo, edited=f"{self._said(edits, wanted)} ({self.method}, {self.bundle.name})")

    @torch.inference_mode()
    def carrier(self, photo: Photo, crop: Aligned, inversion: Inversion) -> Carrier:
        """Prepares a face of a photo to be carried along any edit."""
        return Carrier.of(photo, crop, self.render(inversion)[0])

    @torch.inference_mode()
    def carry(self, carrier: Carrier, inversion: Inversion, edits: Wanted) -> Carry | None:
        """Returns how edits carry the photo, for `put(photo.pixels, crop.frame, carry)`; None if nothing changes."""
        return carrier.edited(lambda entries: self.render_each(inversion, entries), self.find(edits))

    def draw(self, photo: Photo, edits: Wanted = (), face: Which = "largest", aligned: bool = False) -> Photo:
        """Returns the generator's own rendering of a face, edited; without edits the reconstruction."""
        wanted = self.find(edits)
        (crop,) = self.crops(photo, 1 if face == "all" else face, aligned)
        drawn = to_photo(self.render(self.invert(crop), wanted)[0], self.bundle.domain.aspect)
        return replace(drawn, edited=f"{self._said(edits, wanted)} ({self.method}, {self.bundle.name})")

    def crops(self, photo: Photo, face: Which = "largest", aligned: bool = False) -> list[Aligned]:
        """Cuts out the chosen faces as the bundle's training photos were; in a domain without faces, the photo."""
        side, domain = max(self._method.encoder.config.input_size, self.resolution), self.bundle.domain
        if aligned or domain.crop == "none":
            return [align(photo, None, domain, side)]
        return [align(photo, each, domain, side) for each in _meant(photo.faces, face)]

    def edit_video(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        edits: Wanted,
        options: Options | None = None,
        tell: Progress | None = None,
    ) -> VideoReport:
        """Edits the largest face of a video. `tell` is called with what is being done, frames so far and in all."""
        from .video import Options, edit_video

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
        """Reads an inversion that this editor's method has saved."""
        loaded: Inversion = self._method.Keeps.load(Path(path))
        return loaded.map(lambda x: _channels_last(x.to(self.device)))

    def find(self, edits: Wanted) -> Edits:
        """Converts names with amounts, or a text, to `Edit` values."""
        if isinstance(edits, str):
            edits = parse_edits(edits)
        if isinstance(edits, Mapping):
            return [self._named(name, amount) for name, amount in edits.items()]
        return edits

    def _named(self, name: str, amount: float) -> Edit:
        edit = self.within(name, amount) * self.edit_named(name)
        if amount and (why := self.refusal(name)):
            raise ValueError(why)
        return edit

    def refusal(self, name: str) -> str:
        """Returns why an edit is refused by its name: it has no slider. Empty if accepted, as all with `beyond`."""
        if self.beyond or name not in self.failed_edits:
            return ""
        reasons = self.failed_edits[name].get("reasons")
        why = "; ".join(map(str, reasons)) if isinstance(reasons, list | tuple) else ""
        return (
            f"{name} has no slider: {why or 'nobody says why'}; --beyond (editor.beyond = True) goes there all the same"
        )

    def within(self, name: str, amount: float) -> float:
        """Clamps an amount to the range of the bundle's slider, unless `beyond` is set.

        Edits without a measured slider, and `Edit` values, are not clamped.
        """
        slider = None if self.beyond else self.sliders.get(name)
        return amount if slider is None else slider.clamp(amount)

    def _said(self, edits: Wanted, wanted: Edits, between: str = "=") -> str:
        """Describes edits, with clamped amounts, for people and for files."""
        if isinstance(edits, str):
            edits = parse_edits(edits)
        if isinstance(edits, Mapping):
            reached = {name: self.within(name, amount) for name, amount in edits.items()}
            return ", ".join(f"{name}{between}{amount:+g}" for name, amount in reached.items() if amount)
        return ", ".join(edit.name for edit in ([wanted] if isinstance(wanted, Edit) else wanted))

    def edit_named(self, name: str) -> Edit:
        """Returns one of the bundle's edits, at amount 1."""
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
    """Loads an editor from a bundle's folder or name. Without a method, the bundle's usual one."""
    return Editor(bundle if isinstance(bundle, Bundle) else Bundle.load(bundle), method, device, dtype)


def _named(edits: Edits) -> list[str]:
    return [edit.name for edit in ([edits] if isinstance(edits, Edit) else edits)]


def parse_edits(text: str) -> dict[str, float]:
    """Parses `"smile=2, age=-1"` to names and amounts; repeated names add up. An empty text is no edit."""
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


def _meant(faces: list[Face], which: Which) -> list[Face]:
    if not faces:
        raise ValueError(
            "no face is found in it; if it is cut as the bundle's training photos are, say --aligned (aligned=True)"
        )
    if which == "all":
        return faces
    if which == "largest":
        return faces[:1]
    ordered = sorted(faces, key=_across)
    if not (isinstance(which, int) and 1 <= which <= len(ordered)):
        found = f"it has {len(faces)} faces, 1 … {len(faces)} from left to right" if faces[1:] else "it has one face"
        raise ValueError(f"a face is largest, all or a number, got {which!r}; {found}")
    return [ordered[which - 1]]


def _across(face: Face) -> float:
    return face.box[0] + face.box[2]


def _number(crop: Aligned, crops: Sequence[Aligned]) -> int:
    """Returns the number of a crop's face, from left to right."""
    return 1 + sum(
        each.face is not None and crop.face is not None and _across(each.face) < _across(crop.face) for each in crops
    )


def _warn(line: str) -> None:
    warnings.warn(line, EditWarning, stacklevel=3)  # of where `edit` is called


def device_of(wanted: torch.device | str | None) -> torch.device:
    """Returns the requested device, if there is one; without a request a CUDA device, Apple's GPU, or the CPU."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted is None:
        return torch.device(next(name for name, found in there.items() if found))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ValueError(f"device is cpu, cuda, cuda:1 … or mps, got {str(wanted)!r}") from None
    if not there.get(device.type, True) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"there is no device {str(device)!r} here; {', '.join(n for n in there if there[n])}")
    return device


def _channels_last(x: Tensor) -> Tensor:
    """Stores maps in the networks' memory format, so that a saved inversion gives the same bits."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
