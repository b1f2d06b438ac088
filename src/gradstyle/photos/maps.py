"""Pictures and maps [N, C, S, S] at the side at which motion and tone are found."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..motion import blurred, step_between
from .align import Frame
from .framing import Pixels

LOOKED_AT = 384  # pixels of a crop's side that are enough to find motion, person and wall in it


def as_levels(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float()


def reduced(pixels: Pixels, frame: Frame) -> tuple[Pixels, Frame]:
    """Reduces a large photo and a frame in it to LOOKED_AT: the frame is cut several times."""
    factor = int(frame.side // LOOKED_AT)
    if factor < 2:
        return pixels, frame
    small = np.asarray(Image.fromarray(pixels).reduce(factor))
    return small, Frame((frame.corner + 0.5) / factor - 0.5, frame.across / factor, frame.down / factor)


def inside_of(x: Tensor, side: int) -> Tensor:
    """Cuts the crop's part out of a map of crop and margin."""
    margin = (x.shape[-1] - side) // 2
    return x[..., margin : margin + side, margin : margin + side]


def likeness(photo: Tensor, rendering: Tensor, around: float, noise: float, alike: tuple[float, float]) -> Tensor:
    """Tells how surely a rendering shows what the photo shows, in 0 … 1: their correlation around each place."""

    def mean(x: Tensor) -> Tensor:
        return blurred(x, around * x.shape[-1])

    a, b = (x.mean(dim=1, keepdim=True) for x in (photo, rendering))
    a, b = a - mean(a), b - mean(b)
    correlation = (mean(a * b) + noise) / ((mean(a * a) + noise) * (mean(b * b) + noise)).sqrt()
    return step_between(correlation, *alike)


def structure(image: Tensor) -> Tensor:
    """Returns structure alone, [N, 1, S, S]: neither light nor contrast, which a reconstruction misses."""
    grey, around = image.mean(dim=1, keepdim=True), image.shape[-1] / 16
    apart = grey - blurred(grey, around)
    return 40 * apart / (blurred(apart.square(), around) + 9).sqrt()


def continued(picture: Tensor, known: Tensor) -> Tensor:
    """Fills the unknown places of a picture [1, C, S, S] from known ones beside them, coarser where far."""
    known = step_between(known, 0.9, 1.0)
    if not bool((known > 0).any()):
        return picture
    size = 2 ** ceil(log2(picture.shape[-1]))
    kept = [F.interpolate(x, (size, size), mode="bilinear") for x in (picture * known, known)]
    levels = [kept]
    while levels[-1][0].shape[-1] > 1:
        levels.append([F.avg_pool2d(x, 2) for x in levels[-1]])
    total = levels[-1][0] / levels[-1][1].clamp_min(1e-6)
    for colour, share in reversed(levels[:-1]):
        total = F.interpolate(total, scale_factor=2, mode="bilinear")
        total = blurred(total, 1.0)
        sure = (share * 4).clamp(0, 1)
        total = total + sure * (colour / share.clamp_min(1e-6) - total)
    return F.interpolate(total, picture.shape[-2:], mode="area")
