"""What a generator paints from while it learns, and the painting in one pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..stylegan2 import Codes, Generator


class Latents(NamedTuple):
    """All that a picture is drawn from."""

    z: Tensor  # [N, 2, z_dim]
    cut: Tensor  # [N], the layer from which the second z rules
    noise: tuple[Tensor, ...]  # a layer [N, 1, S, S]

    def split(self, parts: int) -> list[Latents]:
        noise = zip(*(plane.chunk(parts) for plane in self.noise))
        return [Latents(*part) for part in zip(self.z.chunk(parts), self.cut.chunk(parts), noise)]


class Painter(nn.Module):
    """From latents to pictures in one forward pass, as gradient synchronisation wants it."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Latents) -> tuple[Tensor, Tensor]:
        z = latents.z
        first, second = self.generator.map(z.flatten(0, 1)).reshape(len(z), 2, -1).unbind(dim=1)
        layers = torch.arange(self.generator.config.codes, device=first.device)
        second_rules = (layers >= latents.cut[:, None])[:, :, None]  # [N, codes, 1]
        w = torch.where(second_rules, second[:, None], first[:, None])  # [N, codes, w_dim]
        return self.generator(Codes(w), noise=latents.noise), w
