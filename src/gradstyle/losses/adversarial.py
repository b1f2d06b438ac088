"""The game between generator and discriminator, as StyleGAN2 plays it."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Non-saturating (Goodfellow et al. 2014): −log σ(D(fake))."""
    return F.softplus(-fake_scores).mean()


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """−log σ(D(real)) − log(1 − σ(D(fake)))."""
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


def r1_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """|∇D|² at real pictures (Mescheder et al. 2018); they must require gradients before they are scored."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(dim=1).mean()


class LazyR1:
    """γ/2 · R1 on every so-manieth step only, times as strong."""

    def __init__(self, gamma: float = 10.0, every: int = 16) -> None:
        if every < 1:
            raise ValueError(f"R1 is due every so many steps, at least 1, got {every!r}")
        self.gamma, self.every = gamma, every

    def due(self, step: int) -> bool:
        return self.gamma > 0 and step % self.every == 0

    def __call__(self, scores: Tensor, images: Tensor) -> Tensor:
        return r1_penalty(scores, images) * (self.gamma / 2 * self.every)


class PathLength(nn.Module):
    """(|Jᵀy| − a)², a the running mean of that length (Karras et al. 2020, eq. 4); y is unit normal noise."""

    mean: Tensor

    def __init__(self, decay: float = 0.01) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """`w` are the codes [N, codes, D] that the pictures were made from."""
        noise = torch.randn_like(images) if noise is None else noise.to(images)
        y = noise / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
        lengths = gradient.float().square().sum(dim=2).mean(dim=1).sqrt()  # [N]
        seen = lengths.detach().mean()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(seen)
            seen = seen / dist.get_world_size()
        self.mean.lerp_(seen, self.decay)
        return (lengths - self.mean).square().mean()
