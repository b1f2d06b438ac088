"""Whether two pictures show the same person, by the embeddings of a face network."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .frozen import Frozen


def face_crop(images: Tensor) -> Tensor:
    """What ArcFace sees of an aligned portrait: rows 35–223 and columns 32–220 of 256, pooled to 112."""
    if images.shape[-2:] != (256, 256):
        images = F.adaptive_avg_pool2d(images, 256)
    return F.adaptive_avg_pool2d(images[:, :, 35:223, 32:220], 112)  # [N, 3, 112, 112]


class IdentityLoss(Frozen):
    """1 − ⟨F(x), F(y)⟩, F the unit embedding of what `crop` cuts out; no gradient goes to the targets."""

    def __init__(self, embed: Callable[[Tensor], Tensor], crop: Callable[[Tensor], Tensor] | None = face_crop) -> None:
        super().__init__()
        self.embed, self.crop = embed, crop
        self.freeze()

    def embedding(self, images: Tensor) -> Tensor:
        seen = images if self.crop is None else self.crop(images)
        return F.normalize(self.embed(seen).float(), dim=1)  # [N, D]

    def similarity(self, images: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.embedding(targets)
        return (self.embedding(images) * wanted).sum(dim=1)  # [N]

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return (1 - self.similarity(images, targets)).mean()
