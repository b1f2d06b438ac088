"""A second discriminator, which looks through the eyes of a network that already knows the domain.

Frozen features tell a generator what a plain discriminator takes long to learn (Sauer et al. 2021; Kumari et al.
2022): what hair, glasses and a mouth are. Beside the plain discriminator, which sees texture, it makes few
pictures go further.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class FeatureCritic(nn.Module):
    """One head a feature map; a head scores patches. Spectral norms hold it back, as no R1 reaches it."""

    def __init__(self, inputs: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(channels, width, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 4, stride=2, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, 1, 3, padding=1)),
            )
            for channels in inputs
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([head(x).flatten(1) for head, x in zip(self.heads, maps)], dim=1)  # [N, patches]

    def weights(self, maps: Sequence[Tensor]) -> Tensor:
        """What each patch counts, so that every head counts alike."""
        counts = [(x.shape[2] // 2) * (x.shape[3] // 2) for x in maps]
        return torch.cat([torch.full((n,), 1 / (n * len(counts))) for n in counts]).to(maps[0].device)  # [patches]


def critic_loss(real: Tensor, fake: Tensor, weights: Tensor) -> Tensor:
    """The hinge: a score beyond 1 on the right side counts no more. All [N, patches] but weights [patches]."""
    return ((F.relu(1 - real) + F.relu(1 + fake)) * weights).sum(dim=1).mean()


def critic_generator_loss(fake: Tensor, weights: Tensor) -> Tensor:
    return -(fake * weights).sum(dim=1).mean()
