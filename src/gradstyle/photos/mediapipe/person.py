"""Where the person is in a photo, by MediaPipe's selfie segmentation."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..framing import Pixels
from .graph import network

SIDE = 256  # pixels of the square that the network sees: the whole photo, squeezed into it


def person_mask(pixels: Pixels, size: tuple[int, int] | None = None) -> Tensor:
    """How surely each pixel of a photo [H, W, 3] is a person's, [1, 1, H, W] in 0 … 1.

    `size` is the mask's height and width, if not the photo's.
    """
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    image = torch.from_numpy(np.array(small).transpose(2, 0, 1))[None].float() / 255
    (mask,) = network("person")(image)
    height, width = size or pixels.shape[:2]
    return F.interpolate(mask, (height, width), mode="bilinear", align_corners=False).clamp(0, 1)
