"""How near two pictures are, and how near two sets of them: each figure written once, under its own name.

Pictures are float RGB in [−1, 1]. Figures of pairs are computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images import to_float, to_levels

RANGE = 2.0  # from the darkest to the lightest value
WINDOW, SIGMA = 11, 1.5  # of SSIM's Gaussian (Wang et al. 2004)
K1, K2 = 0.01, 0.03
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's five scales (Wang et al. 2003)


def rounded(images: Tensor) -> Tensor:
    """As 8 bits would keep them, which is what a person gets; NaN stays, so that it is not measured as a picture."""
    return to_float(to_levels(images).round())


def l2(images: Tensor, targets: Tensor) -> Tensor:
    """The mean squared difference in [−1, 1], as the field reports it: four times that in [0, 1]."""
    _check(images, targets)
    return (images.double() - targets.double()).square().mean(dim=(1, 2, 3))  # [N]


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB; infinite for an exact copy."""
    return 20 * log10(RANGE) - 10 * l2(images, targets).log10()  # [N]


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): an 11-pixel Gaussian window, each channel alone, their mean."""
    _check(images, targets)
    return _maps(images.double(), targets.double())[0].mean(dim=(1, 2, 3))  # [N]


def scales_of(side: int) -> int:
    """How many of MS-SSIM's five scales hold a window."""
    return next((n for n in range(len(SCALES), 1, -1) if side >> (n - 1) >= WINDOW), 1)


def ms_ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Multi-scale SSIM (Wang et al. 2003). Below 176 pixels there is no room for five scales: it is that of the first
    few, their weights brought to a sum of one, and to be reported as such."""
    _check(images, targets)
    scales = scales_of(min(images.shape[-2:]))
    weights = torch.tensor(SCALES[:scales], dtype=torch.float64) / sum(SCALES[:scales])
    a, b = images.double(), targets.double()
    total = torch.ones(len(a), a.shape[1], dtype=torch.float64, device=a.device)
    for place, weight in enumerate(weights.tolist()):
        if place:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        whole, contrast = _maps(a, b)
        each = whole if place == scales - 1 else contrast
        total = total * each.mean(dim=(2, 3)).clamp(min=0) ** weight
    return total.mean(dim=1)  # [N]


def _maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM, and its contrast and structure without luminance, at every place where the window fits."""
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM's window is {WINDOW} pixels wide, the pictures are {a.shape[-1]}×{a.shape[-2]}")
    near = torch.exp(-((torch.arange(WINDOW, dtype=a.dtype, device=a.device) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    near = (near / near.sum()).expand(a.shape[1], 1, 1, WINDOW)

    def blur(x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(F.conv2d(x, near, groups=channels), near.transpose(2, 3), groups=channels)

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    together = blur(a * b) - mean_a * mean_b
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    contrast = (2 * together + c2) / (variance_a + variance_b + c2)
    return contrast * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1), contrast  # [N, C, H', W']


def laplacian(images: Tensor) -> Tensor:
    """What a picture has of structure from one pixel to the next, each channel alone."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    padded = F.pad(images, (1, 1, 1, 1), "replicate")
    return F.conv2d(padded, kernel.expand(channels, 1, 3, 3), groups=channels)  # [N, C, H, W]


def sharpness(images: Tensor, others: Tensor) -> Tensor:
    """Root of the Laplacian's energy in grey, over that of the other pictures: 1 for pictures as sharp as they."""
    _check(images, others)
    energies = [laplacian(x.double().mean(dim=1, keepdim=True)).square().mean(dim=(1, 2, 3)) for x in (images, others)]
    return (energies[0] / energies[1].clamp_min(1e-12)).sqrt()  # [N]


def _check(images: Tensor, targets: Tensor) -> None:
    if images.shape != targets.shape or images.ndim != 4:
        raise ValueError(f"pictures to compare are [N, C, H, W] alike, got {list(images.shape)}, {list(targets.shape)}")


# ---- sets


def frechet(features: Tensor, others: Tensor) -> float:
    """The Fréchet distance of two Gaussians with the sets' means and covariances. In the features of the Inception
    network it is the FID; in others it is not."""
    a, b = _set(features), _set(others)
    mean = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    cov_a, cov_b = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    root = _root(cov_a)
    # the trace of √(A B) is that of √(√A B √A), which is symmetric
    both = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(mean + cov_a.trace() + cov_b.trace() - 2 * both))


def kernel_distance(features: Tensor, others: Tensor) -> float:
    """The squared maximum mean discrepancy under the kernel (x·y / d + 1)³, unbiased over all pairs; may fall below
    zero. In the features of the Inception network it is the KID."""
    a, b = _set(features), _set(others)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    aa, bb, n, m = kernel(a, a), kernel(b, b), len(a), len(b)
    within = (aa.sum() - aa.trace()) / (n * (n - 1)) + (bb.sum() - bb.trace()) / (m * (m - 1))
    return float(within - 2 * kernel(a, b).mean())


def _root(symmetric: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(symmetric)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _set(features: Tensor) -> Tensor:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"a set is two vectors or more, [N, D], got {list(features.shape)}")
    return features.detach().cpu().double()


# ---- orders


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's: of the ranks, equal values sharing theirs; none where one side does not order anything."""
    if len(a) != len(b) or len(a) < 2:
        return None
    x, y = (_ranks(torch.tensor(list(each), dtype=torch.float64)) for each in (a, b))
    x, y = x - x.mean(), y - y.mean()
    spread = float((x.square().sum() * y.square().sum()).sqrt())
    return float((x * y).sum()) / spread if spread else None


def _ranks(values: Tensor) -> Tensor:
    below = (values[:, None] > values[None]).double().sum(dim=1)
    equal = (values[:, None] == values[None]).double().sum(dim=1)
    return below + (equal + 1) / 2
