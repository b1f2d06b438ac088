"""The ways in which an edit is put into a whole photo, and the prototype of the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gradstyle.editor import Editor
from gradstyle.motion import blurred, sampled
from gradstyle.photos import Aligned, Carrier, Paste, Photo, paste, put
from gradstyle.photos.align import cut
from gradstyle.photos.faces import Pixels
from gradstyle.photos.paste import Change

WAYS = ("carried", "auto", "keep", "crop", "prototype")
STEPS = 6  # of the prototype's path


class Ready:
    """A photo inverted by one method, to be edited in every way."""

    def __init__(self, editor: Editor, photo: Photo) -> None:
        self.editor, self.photo = editor, photo
        self.crop = editor.crops(photo)[0]
        self.inversion = editor.invert(self.crop)

    @cached_property
    def carrier(self) -> Carrier:
        return self.editor.carrier(self.photo, self.crop, self.inversion)

    def edited(self, name: str, amount: float, way: str) -> Pixels:
        editor, photo = self.editor, self.photo
        if way == "carried":
            carry = editor.carry(self.carrier, self.inversion, {name: amount})
            return photo.pixels if carry is None else put(photo.pixels, self.crop.frame, carry)
        steps = STEPS if way == "prototype" else 1
        path = editor.render_each(self.inversion, [{name: amount * step / steps} for step in range(steps + 1)])
        if way == "prototype":
            return prototype(photo, self.crop, path)
        return paste(photo, self.crop, path[0], path[-1], Paste(way)).pixels  # type: ignore[arg-type]


def prototype(photo: Photo, crop: Aligned, path: Tensor, side: int = 256) -> Pixels:
    """The first try at carrying: one flow, two bands, a confidence that fades the photo out for the generator."""
    import cv2  # type: ignore[import-not-found]

    pixel = side / path.shape[-1]
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(1)
    drawn = (F.interpolate(path.cpu(), (side, side), mode="bicubic").clamp(-1, 1) + 1) * 127.5
    greys = [each.mean(dim=0).round().to(torch.uint8).numpy() for each in drawn]

    def found(new: Any, old: Any) -> Tensor:
        return blurred(torch.from_numpy(finder.calc(new, old, None)).permute(2, 0, 1)[None] / side, pixel / 2)

    offset, sure = torch.zeros(1, 2, side, side), torch.ones(1, 1, side, side)
    for old, new in pairwise(greys):
        back, forth = found(new, old), found(old, new)
        error = (back + sampled(forth, back)).norm(dim=1, keepdim=True) * side / pixel
        offset = back + sampled(offset, back)
        sure = sampled(sure, back) * torch.exp(-error.square())
    apart = blurred((drawn[-1:] - sampled(drawn[:1], offset)).abs().mean(dim=1, keepdim=True), pixel)
    sure = blurred(sure * torch.exp(-((apart / 70) ** 2)), pixel / 2)
    own = max(side, round(crop.frame.side))  # the photo's resolution
    offset, sure, drawn = (F.interpolate(x, (own, own), mode="bicubic") for x in (offset, sure, drawn[[0, -1]]))
    whole = torch.from_numpy(cut(photo.pixels, crop.frame, own).transpose(2, 0, 1).copy())[None].float()
    missing = whole - drawn[:1]
    coarse = F.interpolate(missing, (side, side), mode="bilinear", antialias=True)
    coarse = F.interpolate(blurred(coarse, 6 * pixel), (own, own), mode="bicubic")
    result = drawn[1:] + sure.clamp(0.6, 1) * sampled(coarse, offset, "bicubic")
    result = result + sure.clamp(0, 1) * sampled(missing - coarse, offset, "bicubic")
    place = (torch.arange(own) + 0.5) / own
    ramp = (torch.minimum(place, 1 - place) / 0.06).clamp(0, 1)
    edge = torch.minimum(ramp[:, None], ramp[None])[None]
    return put(photo.pixels, crop.frame, Change(edge * (result - whole)[0], 0 * edge, edge, edge))


def whole(editor: Editor, photo: Photo, edits: Mapping[str, float], way: str) -> Pixels:
    """An edit from the photo alone, as a person asks for it."""
    if way == "prototype":
        ((name, amount),) = edits.items()
        return Ready(editor, photo).edited(name, amount, way)
    return editor.edit(photo, edits, how=None if way == "carried" else Paste(way)).pixels  # type: ignore[arg-type]
