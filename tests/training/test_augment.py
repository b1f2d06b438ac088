from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.rng import Draws
from gradstyle.training import augment
from gradstyle.training.augment import (
    BAND_POWER,
    PIPELINES,
    SYM6,
    TRANSFORMS,
    AdaptiveP,
    Augment,
    band_filters,
    double,
    double_by_convolution,
    halve,
    halve_by_convolution,
    sample,
)

SIDE = 64


def smooth(count: int = 2, side: int = SIDE, seed: int = 0) -> Tensor:
    """Pictures without detail that resampling would lose."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, side, mode="bicubic", align_corners=True).clamp(-1, 1)


def alone(transform: str, percentile: float, images: Tensor) -> Tensor:
    return Augment([transform])(images, Draws(), percentile)


def blob(x: float, y: float, width: float = 4.0, height: float = 4.0) -> Tensor:
    """A soft spot at (x, y), in pixels from the centre."""
    place = torch.arange(SIDE) + 0.5 - SIDE / 2
    spot = torch.exp(-(((place - x) / width) ** 2)[None] / 2 - (((place - y) / height) ** 2)[:, None] / 2)
    return spot.expand(1, 3, -1, -1)


def moments(image: Tensor) -> tuple[float, float, float, float]:
    """Centre and spread of a spot: x, y, along x, along y."""
    place = torch.arange(SIDE, dtype=torch.float64) + 0.5 - SIDE / 2
    mass = image[0, 0].double() / image[0, 0].double().sum()
    x, y = (mass.sum(0) * place).sum(), (mass.sum(1) * place).sum()
    wide = (mass.sum(0) * (place - x) ** 2).sum().sqrt()
    high = (mass.sum(1) * (place - y) ** 2).sum().sqrt()
    return x.item(), y.item(), wide.item(), high.item()


# ---- the whole


def test_there_are_the_paper_s_18():
    assert len(TRANSFORMS) == len(set(TRANSFORMS)) == 18
    assert PIPELINES["bgcfnc"] == TRANSFORMS
    assert len(PIPELINES["bgc"]) == 12


def test_at_zero_nothing_happens():
    images = smooth()
    assert Augment("bgcfnc", p=0)(images, Draws()) is images


def test_p_is_how_often():
    torch.manual_seed(0)
    images = smooth(1, 16).expand(4000, -1, -1, -1)
    for p in (0.2, 0.7):
        changed = (Augment(["contrast"], p)(images, Draws(1)) != images).flatten(1).any(1)
        assert changed.float().mean().item() == pytest.approx(p, abs=0.03)
    mirrored = Augment(["xflip"], 1.0)(images, Draws(1))
    turned = (mirrored - images).abs().flatten(1).amax(1) > 0.01
    assert turned.float().mean().item() == pytest.approx(0.5, abs=0.03)
    images = smooth(1, 32).expand(1000, -1, -1, -1)
    rotated = (Augment(["rotate"], 0.4)(images, Draws(2)) - images).abs().flatten(1).amax(1) > 1e-3
    assert rotated.float().mean().item() == pytest.approx(0.4, abs=0.05)  # by one rotation or the other or both


def test_the_same_seed_gives_the_same_and_another_another():
    images, augment = smooth(4, 32), Augment("bgcfnc", 0.8)
    once = augment(images, Draws(3))
    assert torch.equal(once, augment(images, Draws(3)))
    assert not torch.equal(once, augment(images, Draws(4)))
    assert augment.state_dict()["p"] == 0.8


def test_processes_together_do_what_one_does():
    images, augment = smooth(6, 32), Augment("bgcfnc", 0.8)
    alone = Draws(5)
    shared = [Draws(5, rank=rank, world=2) for rank in range(2)]
    for _ in range(3):
        parts = [augment(part, draws) for part, draws in zip(images.split(3), shared)]
        torch.testing.assert_close(torch.cat(parts), augment(images, alone), atol=1e-5, rtol=0)


def test_the_numbers_of_one_transform_do_not_depend_on_the_others():
    images = smooth(8, 32)
    one = Augment(["brightness"], 0.5)(images, Draws(6))
    more = Augment(["brightness", "xflip"], 0.5)(images, Draws(6))
    torch.testing.assert_close(one.mean(dim=(2, 3)), more.mean(dim=(2, 3)), atol=1e-3, rtol=0)


def test_wrong_requests_are_quoted():
    with pytest.raises(ValueError, match="got 'everything'"):
        Augment("everything")
    with pytest.raises(ValueError, match="no such transform: blur"):
        Augment(["blur"])
    with pytest.raises(ValueError, match=r"got \[1, 3, 8, 9\]"):
        Augment("bgc", 1.0)(torch.zeros(1, 3, 8, 9), Draws())
    with pytest.raises(ValueError, match="got 16"):
        Augment("f", 1.0)(torch.zeros(1, 3, 16, 16), Draws())


# ---- pixels moved


def test_xflip():
    images = smooth()
    assert torch.equal(alone("xflip", 0.2, images), images)
    torch.testing.assert_close(alone("xflip", 0.8, images), images.flip(3), atol=0.04, rtol=0)


def test_quarter_turns():
    images = smooth()
    assert torch.equal(alone("rotate90", 0.1, images), images)
    for quarter, percentile in enumerate([0.3, 0.6, 0.9], start=1):
        expected = torch.rot90(images, quarter, (2, 3))
        torch.testing.assert_close(alone("rotate90", percentile, images), expected, atol=0.04, rtol=0)


def test_whole_pixels_move_without_loss():
    images = torch.rand(2, 3, SIDE, SIDE) * 2 - 1  # the finest detail there is
    moved = alone("xint", 0.75, images)  # half of an eighth of the side: 4 pixels
    torch.testing.assert_close(moved[:, :, 4:, 4:], images[:, :, :-4, :-4], atol=2e-5, rtol=0)
    torch.testing.assert_close(moved[:, :, :4, 4:], images[:, :, 1:5, :-4].flip(2), atol=2e-5, rtol=0)


def test_fractions_of_pixels():
    percentile = 0.5 + 0.5 * math.erf(3.7 / (0.125 * SIDE) / math.sqrt(2))  # 3.7 pixels
    x, y, wide, high = moments(alone("xfrac", percentile, blob(-5, 2)))
    assert (x, y) == pytest.approx((-1.3, 5.7), abs=0.03)
    assert (wide, high) == pytest.approx((4, 4), abs=0.1)


def test_scaling():
    up = 0.5 + 0.5 * math.erf(1 / math.sqrt(2))  # one deviation: 2 ** 0.2
    x, y, wide, high = moments(alone("scale", up, blob(-5, 6)))
    factor = 2**0.2
    assert (x, y) == pytest.approx((-5 * factor, 6 * factor), abs=0.05)
    assert (wide, high) == pytest.approx((4 * factor, 4 * factor), abs=0.1)
    _, _, wide, high = moments(alone("aniso", up, blob(0, 0)))
    assert (wide, high) == pytest.approx((4 * factor, 4 / factor), abs=0.1)


def test_rotation():
    a_sixth = 0.5 + 1 / 6  # of −π … π: 60 degrees
    x, y, *_ = moments(alone("rotate", a_sixth, blob(10, 0)))
    assert math.hypot(x, y) == pytest.approx(10, abs=0.05)
    assert abs(math.degrees(math.atan2(y, x))) == pytest.approx(60, abs=0.3)


def test_what_comes_in_from_outside_is_reflected():
    assert alone("rotate", 0.625, torch.ones(1, 3, 32, 32)).min() > 0.99


@pytest.mark.parametrize(("height", "width"), [(20, 31), (12, 12), (64, 5)])
def test_products_with_matrices_are_the_convolutions(height: int, width: int):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(double(x), double_by_convolution(x))
    wide = F.pad(double(x), [6, 6, 6, 6])
    torch.testing.assert_close(halve(wide), halve_by_convolution(wide))


def test_large_pictures_are_convolved(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augment, "_doubling", None)
    monkeypatch.setattr(augment, "_halving", None)
    x = torch.randn(1, 1, 8, augment.DENSE_BELOW + 1)
    assert double(x).shape == (1, 1, 16, 2 * x.shape[3])
    assert halve(F.pad(double(x), [5, 5, 5, 5])).shape == x.shape


def test_doubling_is_orthogonal():
    taps = torch.tensor(SYM6, dtype=torch.float64)
    for shift in range(1, 6):
        assert abs(float(taps[2 * shift :] @ taps[: -2 * shift])) < 1e-10
    x = torch.rand(1, 2, 20, 20, dtype=torch.float64)
    wide = F.pad(double(x), [len(SYM6) // 2 - 1] * 4)
    torch.testing.assert_close(halve(wide)[:, :, 3:-3, 3:-3], x[:, :, 3:-3, 3:-3])


# ---- colours


def test_brightness_and_contrast():
    images = smooth()
    one = 0.5 + 0.5 * math.erf(1 / math.sqrt(2))
    torch.testing.assert_close(alone("brightness", one, images), images + 0.2, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone("contrast", one, images), images * 2**0.5, atol=1e-5, rtol=0)


def test_luma_is_turned_over_and_colour_kept():
    images = smooth()
    luma = images.mean(dim=1, keepdim=True)
    torch.testing.assert_close(alone("lumaflip", 0.9, images), images - 2 * luma, atol=1e-5, rtol=0)
    assert torch.equal(alone("lumaflip", 0.1, images), images)


def test_hue_turns_the_channels():
    images = smooth()
    third = alone("hue", 0.5 + 1 / 3, images)  # 120 degrees: red to green to blue
    torch.testing.assert_close(third, images[:, [2, 0, 1]], atol=1e-5, rtol=0)


def test_saturation():
    images = smooth()
    luma = images.mean(dim=1, keepdim=True)
    half = 0.5 - 0.5 * math.erf(1 / math.sqrt(2))
    torch.testing.assert_close(alone("saturation", half, images), luma + (images - luma) / 2, atol=1e-5, rtol=0)


# ---- bands, noise, cutout


def test_bands_add_up_and_lie_where_they_should():
    filters = band_filters()
    total = torch.zeros(filters.shape[1], dtype=torch.float64)
    total[filters.shape[1] // 2] = 1
    torch.testing.assert_close(filters.sum(0), total, atol=1e-9, rtol=0)
    torch.testing.assert_close(filters, filters.flip(1))
    response = torch.fft.rfft(F.pad(filters, (0, 1024 - filters.shape[1]))).abs()  # 0 … π in 513 steps
    for band, frequency in enumerate([0, 96, 192, 420]):
        assert response[:, frequency].argmax() == band
        assert response[band, frequency] > 0.7
    for low, edge in enumerate([64, 128, 256]):  # π/8, π/4, π/2
        assert response[low, edge].item() == pytest.approx(response[low + 1, edge].item(), abs=1e-6)


@pytest.mark.parametrize("band", [1, 2, 3, 4])
@pytest.mark.parametrize("period", [32, 12, 6, 2.5])
def test_a_band_is_amplified_and_the_energy_kept(band: int, period: float):
    amplify = 0.5 + 0.5 * math.erf(1 / math.sqrt(2))  # twice
    wave = (torch.arange(128) * (2 * math.pi / period)).cos()
    inner = alone(f"band{band}", amplify, (wave * wave[:, None]).expand(1, 3, -1, -1))[..., 32:-32, 32:-32]
    gains = torch.ones(4, dtype=torch.float64)
    gains[band - 1] = 2
    gains /= (torch.tensor(BAND_POWER) * gains.square()).sum().sqrt()
    # What the four filters pass of that frequency, weighed, along rows and along columns
    taps = gains @ band_filters()
    place = torch.arange(len(taps)) - len(taps) // 2
    gain = (taps * (place * (2 * math.pi / period)).cos()).sum() ** 2
    torch.testing.assert_close(
        inner, (gain * wave * wave[:, None])[32:-32, 32:-32].expand(1, 3, -1, -1).float(), atol=1e-4, rtol=0
    )
    if band == [32, 12, 6, 2.5].index(period) + 1:
        assert gain > 1.1


def test_noise():
    one = math.erf(1 / math.sqrt(2))  # of a half normal
    added = alone("noise", one, torch.full((4, 3, 64, 64), 0.3)) - 0.3
    assert added.std().item() == pytest.approx(0.1, rel=0.02)
    assert added.mean().item() == pytest.approx(0, abs=0.003)


def test_cutout():
    images = torch.ones(1, 3, SIDE, SIDE)
    expected = images.clone()
    expected[:, :, 16:48, 16:48] = 0
    assert torch.equal(alone("cutout", 0.5, images), expected)
    expected = images.clone()
    expected[:, :, :16, :16] = 0
    assert torch.equal(alone("cutout", 0.0, images), expected)


# ---- gradients


def test_gradients_flow_through_everything():
    images = smooth(2, 32).requires_grad_()
    augmented = Augment("bgcfnc", 1.0)(images, Draws(7))
    assert augmented.isfinite().all()
    augmented.square().mean().backward()
    assert images.grad is not None and images.grad.isfinite().all()
    assert (images.grad.abs().flatten(1).sum(1) > 0).all()


def test_sampling_is_a_linear_map_that_differentiates_twice():
    torch.manual_seed(0)
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(1, 3, 3, 2, dtype=torch.float64) * 2.4 - 1.2
    torch.testing.assert_close(sample(x, grid), F.grid_sample(x, grid, align_corners=False))
    assert torch.autograd.gradcheck(lambda x: sample(x, grid), x)
    assert torch.autograd.gradgradcheck(lambda x: sample(x, grid) ** 2, x)


def test_r1_goes_through_the_augmentation():
    images = smooth(1, 32).requires_grad_()
    weight = torch.rand(3, 32, 32, requires_grad=True)
    scores = (Augment("bgcf", 1.0)(images, Draws(8)) * weight).square().sum(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), weight)
    assert second.isfinite().all() and second.abs().sum() > 0


# ---- the controller


def test_p_follows_the_signs():
    control = AdaptiveP(target=0.6, kimg=1, every=4)
    sure, unsure = torch.ones(10), torch.tensor([1.0] * 7 + [-1.0] * 3)  # r is 1 and 0.4
    for expected in (0, 0, 0, 0.04, 0.04, 0.04, 0.04, 0.08):
        assert control.update(sure) == pytest.approx(expected)
    for _ in range(4):
        control.update(unsure)
    assert control.p == pytest.approx(0.04)
    for _ in range(40):
        control.update(unsure)
    assert control.p == 0
    for _ in range(200):
        control.update(sure)
    assert control.p == 1


def test_the_published_speed_is_500_kimg_from_zero_to_one():
    control = AdaptiveP()
    for _ in range(500_000 // 64 // 4 * 4):
        control.update(torch.ones(64))
    assert control.p == pytest.approx(1, abs=0.001)


def test_the_controller_resumes():
    control = AdaptiveP(kimg=1)
    for batch in range(6):
        control.update(torch.ones(3 + batch))
    other = AdaptiveP(kimg=1)
    other.load_state_dict(control.state_dict())
    assert control.state_dict()["batches"] == 2
    for scores in (torch.ones(3), -torch.ones(2)):
        control.update(scores)
        other.update(scores)
    assert other.p == control.p > 0
    with pytest.raises(ValueError, match="got 0 and 4"):
        AdaptiveP(kimg=0)
