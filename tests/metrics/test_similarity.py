"""Every figure against its reference, of a copy, of noise, and of what is in between."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from gradstyle.metrics import similarity
from tests.support import tiny


def pairs(side: int = 64) -> tuple[Tensor, Tensor]:
    """From slightly to wholly different."""
    photos = tiny.photos(4, side)
    noise = torch.randn(photos.shape, generator=torch.Generator().manual_seed(1))
    return photos, similarity.rounded(photos + noise * torch.tensor([0.01, 0.1, 0.5, 3.0])[:, None, None, None])


def arrays(images: Tensor) -> list[np.ndarray]:
    return [image.permute(1, 2, 0).double().numpy() for image in images]


def test_pairs_agree_with_scikit_image() -> None:
    photos, others = pairs()
    each = list(zip(arrays(others), arrays(photos)))
    psnr = [peak_signal_noise_ratio(b, a, data_range=2) for a, b in each]
    ssim = [
        structural_similarity(
            a, b, data_range=2, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in each
    ]
    assert np.abs(similarity.psnr(others, photos).numpy() - psnr).max() < 1e-6
    assert np.abs(similarity.l2(others, photos).numpy() - [np.mean((a - b) ** 2) for a, b in each]).max() < 1e-6
    assert np.abs(similarity.ssim(others, photos).numpy() - ssim).max() < 1e-6  # 1e-4 is asked for


def reference_ms_ssim(a: np.ndarray, b: np.ndarray, weights: list[float]) -> float:
    """The published formula on one channel, with scipy's filter."""
    product = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            a, b = (x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3)) for x in (a, b))

        def blur(x: np.ndarray) -> np.ndarray:
            return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

        ma, mb = blur(a), blur(b)
        va, vb, cab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
        c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
        contrast = (2 * cab + c2) / (va + vb + c2)
        luminance = (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        product *= max(0.0, float((contrast * (luminance if scale == len(weights) - 1 else 1)).mean())) ** weight
    return product


@pytest.mark.parametrize(("side", "scales"), [(64, 3), (176, 5)])
def test_ms_ssim_is_the_published_formula(side: int, scales: int) -> None:
    assert similarity.scales_of(side) == scales
    photos, others = (images[:2] for images in pairs(side))
    weights = [w / sum(similarity.SCALES[:scales]) for w in similarity.SCALES[:scales]]
    wanted = [
        np.mean([reference_ms_ssim(a[..., c], b[..., c], weights) for c in range(3)])
        for a, b in zip(arrays(others), arrays(photos))
    ]
    assert np.abs(similarity.ms_ssim(others, photos).numpy() - wanted).max() < 1e-6


def test_a_copy_is_perfect_and_noise_is_bad() -> None:
    photos = similarity.rounded(tiny.photos(3))
    noise = torch.rand(photos.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1
    for better, measure, perfect, bad in (
        (1, similarity.psnr, inf, 10),
        (1, similarity.ssim, 1, 0.1),
        (1, similarity.ms_ssim, 1, 0.3),
        (-1, similarity.l2, 0, 0.3),
    ):
        assert torch.allclose(measure(photos, photos), torch.tensor(perfect, dtype=torch.float64), atol=1e-12)
        assert bool((better * measure(noise, photos) < better * bad).all()), measure.__name__


def test_figures_fall_as_pictures_part() -> None:
    photos, others = pairs()
    for measure in (similarity.psnr, similarity.ssim, similarity.ms_ssim):
        assert (measure(others, photos).diff() < 0).all()
    assert (similarity.l2(others, photos).diff() > 0).all()


def test_pictures_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, C, H, W\] alike"):
        similarity.ssim(torch.zeros(1, 3, 32, 32), torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="window is 11 pixels wide"):
        similarity.ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


# ---- sets


def two_sets(count: int = 300, width: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    mix = torch.randn(width, width, generator=draw)
    a = torch.randn(count, width, generator=draw)
    return a, torch.randn(count // 2, width, generator=draw) @ mix + 0.5


def test_frechet_distance_is_the_published_formula() -> None:
    a, b = two_sets()
    x, y = a.double().numpy(), b.double().numpy()
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(cov_x @ cov_y).real
    wanted = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(cov_x + cov_y - 2 * root)
    assert similarity.frechet(a, b) == pytest.approx(wanted, rel=1e-9)
    assert similarity.frechet(a, a) == pytest.approx(0, abs=1e-9)
    shifted = a + torch.tensor([3.0, 0, 0, 0, 0, 0])
    assert similarity.frechet(a, shifted) == pytest.approx(9, rel=1e-5)


def test_kernel_distance_is_the_published_formula() -> None:
    a, b = (each[:20] for each in two_sets())
    k = lambda x, y: float((x.double() @ y.double() / len(x) + 1) ** 3)  # noqa: E731
    within = [np.mean([k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    wanted = sum(within) - 2 * np.mean([k(x, y) for x in a for y in b])
    assert similarity.kernel_distance(a, b) == pytest.approx(wanted, rel=1e-9)


def test_kernel_distance_is_zero_on_average_for_one_distribution() -> None:
    draw = torch.Generator().manual_seed(4)
    sets = [torch.randn(2, 50, 4, generator=draw) for _ in range(40)]
    same = [similarity.kernel_distance(a, b) for a, b in sets]
    assert abs(np.mean(same)) < 3 * np.std(same) / 40**0.5 and min(same) < 0
    assert np.mean([similarity.kernel_distance(a, b + 1) for a, b in sets]) > 10 * np.std(same)


def test_one_vector_is_no_set() -> None:
    with pytest.raises(ValueError, match="two vectors or more"):
        similarity.frechet(torch.zeros(1, 4), torch.zeros(5, 4))


def test_rank_correlation_agrees_with_scipy() -> None:
    draw = np.random.default_rng(5)
    for _ in range(20):
        a, b = draw.integers(0, 4, 6).tolist(), draw.normal(size=6).tolist()
        if len(set(a)) > 1:
            assert similarity.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert similarity.rank_correlation([1, 2, 3], [4, 5, 9]) == 1
    assert similarity.rank_correlation([1, 1, 1], [4, 5, 9]) is None
    assert similarity.rank_correlation([1], [2]) is None
