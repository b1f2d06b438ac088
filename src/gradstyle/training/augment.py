"""Adaptive discriminator augmentation (Karras et al. 2020, "Training generative adversarial networks with
limited data", appendix B): 18 transforms, each applied to each picture with probability p, and the controller
that finds p.

Everything is differentiable, twice where R1 on augmented pictures asks for it. The numbers of a picture come
from its own row of random draws, so that several processes do to the joined batch what one would do.

Longer than 300 lines: the whole augmentation pipeline, in the order in which it acts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rng import Draws

BLIT = ("xflip", "rotate90", "xint")
GEOMETRY = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
FILTER = ("band1", "band2", "band3", "band4")
TRANSFORMS = (*BLIT, *GEOMETRY, *COLOR, *FILTER, "noise", "cutout")
PIPELINES: dict[str, tuple[str, ...]] = {
    "b": BLIT,
    "g": GEOMETRY,
    "c": COLOR,
    "f": FILTER,
    "n": ("noise",),
    "cutout": ("cutout",),
    "bg": BLIT + GEOMETRY,
    "bgc": BLIT + GEOMETRY + COLOR,  # the published default: the rest did not help
    "bgcf": BLIT + GEOMETRY + COLOR + FILTER,
    "bgcfn": (*BLIT, *GEOMETRY, *COLOR, *FILTER, "noise"),
    "bgcfnc": TRANSFORMS,
}
COLUMNS = 41  # random numbers of a picture, drawn whether they are used or not

# Strengths, as published
XINT_MAX = 0.125  # of the side
XFRAC_STD = 0.125  # of the side
SCALE_STD = 0.2  # of log2; of the isotropic and the anisotropic scaling
BRIGHTNESS_STD = 0.2
CONTRAST_STD = 0.5  # of log2
SATURATION_STD = 1.0  # of log2
BAND_STD = 1.0  # of log2
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of natural images, low to high: keeps their energy
NOISE_STD = 0.1
CUTOUT_SIZE = 0.5  # of the side

# Lowpass filters of Daubechies' least asymmetric wavelets: orthogonal to their own shifts by two
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
TAPS = len(SYM6)
PAD = TAPS // 2 - 1
DENSE_BELOW = 400  # samples of a row: up to here products with whole matrices take half the time or less
# The filter's centre of mass, measured from its middle, in samples of the doubled grid
LAG = sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6) - (TAPS - 1) / 2


class Augment(nn.Module):
    """`augment(images, draws)`, float [N, 3, S, S] in and out. `p` is a buffer: set it with `p.fill_()`.

    With `percentile`, every transform is applied to every picture, with that percentile of its distribution.
    """

    p: Tensor

    def __init__(self, transforms: str | Sequence[str] = "bgc", p: float = 0.0) -> None:
        super().__init__()
        if isinstance(transforms, str):
            if transforms not in PIPELINES:
                raise ValueError(f"augmentations are {', '.join(PIPELINES)}, got {transforms!r}")
            transforms = PIPELINES[transforms]
        unknown = set(transforms) - set(TRANSFORMS)
        if unknown:
            raise ValueError(f"no such transform: {', '.join(sorted(unknown))}; there are {', '.join(TRANSFORMS)}")
        self.transforms = frozenset(transforms)
        self.register_buffer("p", torch.tensor(float(p)))

    def forward(self, images: Tensor, draws: Draws, percentile: float | None = None) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"augmentation takes RGB squares [N, 3, S, S], got {list(images.shape)}")
        p = float(self.p) if percentile is None else 1.0
        if p <= 0:
            return images
        count, _, side, _ = images.shape
        numbers = _Numbers(draws.uniform(count, COLUMNS), self.transforms, p, percentile)
        inverse = geometry(numbers, side)  # [N, 3, 3]
        matrix, offset = color(numbers)  # [N, 3, 3], [N, 3, 1]
        gains = bands(numbers)  # [N, 4]
        sigma = numbers.noise()  # [N]
        centres, cut = numbers.cutout()  # [N, 2], [N]

        x, on = images.float(), self.transforms
        moved = (inverse != torch.eye(3, dtype=inverse.dtype)).any(dim=2).any(dim=1).nonzero()[:, 0]
        if len(moved):  # resampling in place would change the others by rounding only
            x = x.index_copy(0, moved.to(x.device), warp(x[moved.to(x.device)], inverse[moved]))
        if on & {*COLOR}:
            x = torch.baddbmm(offset.to(x), matrix.to(x), x.flatten(2)).view_as(images)
        if on & {*FILTER}:
            x = filter_bands(x, gains.to(x))
        if "noise" in on:
            x = x + draws.normal(count, 3, side, side).to(x) * sigma.to(x)[:, None, None, None]
        if "cutout" in on:
            x = x * cutout_mask(side, centres, cut)[:, None].to(x)
        return x


# ---- the random numbers


class _Numbers:
    """Columns of uniform numbers, read from left to right: for each transform whether, then what."""

    def __init__(self, uniform: Tensor, transforms: frozenset[str], p: float, percentile: float | None) -> None:
        self.columns = iter(uniform.double().unbind(dim=1))
        self.transforms, self.p, self.percentile = transforms, p, percentile

    def gate(self, transform: str, p: float | None = None) -> Tensor:
        """Which pictures the transform is applied to."""
        u = next(self.columns)
        if transform not in self.transforms:
            return torch.zeros_like(u, dtype=torch.bool)
        return u < (self.p if p is None else p) if self.percentile is None else torch.ones_like(u, dtype=torch.bool)

    def uniform(self) -> Tensor:
        u = next(self.columns)
        return u if self.percentile is None else torch.full_like(u, self.percentile)

    def symmetric(self) -> Tensor:
        return 2 * self.uniform() - 1  # −1 … 1

    def normal(self) -> Tensor:
        return torch.erfinv(self.symmetric().clamp(-1 + 1e-7, 1 - 1e-7)) * math.sqrt(2)

    def flip(self, transform: str) -> Tensor:
        """−1 for every second picture that the transform is applied to."""
        gate = self.gate(transform)
        return torch.where(gate & (self.uniform() >= 0.5), -1.0, 1.0).double()

    def noise(self) -> Tensor:
        gate = self.gate("noise")
        half_normal = torch.erfinv(self.uniform().clamp_max(1 - 1e-7)) * math.sqrt(2)
        return half_normal * NOISE_STD * gate

    def cutout(self) -> tuple[Tensor, Tensor]:
        gate = self.gate("cutout")
        return torch.stack([self.uniform(), self.uniform()], dim=1), gate


# ---- where pixels come from


def geometry(numbers: _Numbers, side: int) -> Tensor:
    """From a place in the result to the place in the picture, in pixels from the centre: [N, 3, 3]."""
    inverse = _scale2d(numbers.flip("xflip"), 1.0)
    pick = numbers.gate("rotate90")
    inverse = inverse @ _rotate2d((numbers.uniform() * 4).floor() * (math.pi / 2) * pick)
    pick = numbers.gate("xint")
    x, y = ((numbers.symmetric() * XINT_MAX * side).round() * pick for _ in range(2))
    inverse = inverse @ _translate2d(-x, -y)
    pick = numbers.gate("scale")
    s = torch.exp2(numbers.normal() * SCALE_STD * pick)
    inverse = inverse @ _scale2d(1 / s, 1 / s)
    # Two rotations, each with a probability such that one or both happen with probability p
    each = 1 - math.sqrt(max(0.0, 1 - numbers.p))
    pick = numbers.gate("rotate", each)
    inverse = inverse @ _rotate2d(numbers.symmetric() * math.pi * pick)
    pick = numbers.gate("aniso")
    s = torch.exp2(numbers.normal() * SCALE_STD * pick)
    inverse = inverse @ _scale2d(1 / s, s)
    pick = numbers.gate("rotate", each)
    angle = numbers.symmetric() * math.pi * pick
    inverse = inverse @ _rotate2d(angle if numbers.percentile is None else torch.zeros_like(angle))
    pick = numbers.gate("xfrac")
    x, y = (numbers.normal() * XFRAC_STD * side * pick for _ in range(2))
    return inverse @ _translate2d(-x, -y)


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """Resample through a grid of twice the density: reflect, double, sample bilinearly, halve.

    Doubling and halving are each other's transpose with an orthogonal filter, so that whole pixels move
    without loss. The filter lags by LAG samples, on the way in and out.
    """
    side = images.shape[2]
    left, right, top, bottom = _margins(inverse, side)
    padded = F.pad(images, (left, right, top, bottom), mode="reflect")
    doubled = double(padded)  # [N, 3, 2·(S + margins), …]
    # Affine from a place in the result, in pixels from its centre, to grid_sample's −1 … 1
    origin = torch.tensor([side / 2 + left, side / 2 + top])
    extent = torch.tensor([padded.shape[3], padded.shape[2]])
    affine = inverse[:, :2] * (2 / extent[:, None])  # [N, 2, 3]
    affine[:, :, 2] += (2 * origin + LAG) / extent - 1
    across, down, shift = affine.to(images)[:, None, None].unbind(dim=-1)  # [N, 1, 1, 2] each
    place = torch.arange(2 * side + TAPS - 2, device=images.device, dtype=images.dtype)
    place = (place - PAD + 0.5 - LAG) / 2 - side / 2
    grid = across * place[:, None] + down * place[:, None, None] + shift  # [N, 2S + …, 2S + …, 2]
    return halve(sample(doubled, grid))


def _margins(inverse: Tensor, side: int) -> tuple[int, int, int, int]:
    """How far the result's corners, and the filters around them, lie outside: left, right, top, bottom."""
    reach = side / 2 + TAPS / 4
    corners = torch.tensor([[-reach, -reach, 1], [reach, -reach, 1], [-reach, reach, 1], [reach, reach, 1]])
    places = inverse[:, :2] @ corners.to(inverse).T  # [N, 2, 4]
    low = -places.amin(dim=(0, 2)) - side / 2 + TAPS / 4 + 1
    high = places.amax(dim=(0, 2)) - side / 2 + TAPS / 4 + 1
    left, top, right, bottom = torch.cat([low, high]).ceil().clamp(0, side - 1).int().tolist()
    return left, right, top, bottom


def double(x: Tensor) -> Tensor:
    """Twice the samples each way, by zeros between and the filter."""
    height, width = x.shape[2:]
    if max(height, width) > DENSE_BELOW:
        return double_by_convolution(x)
    return _doubling(height, x.device, x.dtype).T @ (x @ _doubling(width, x.device, x.dtype))


def halve(x: Tensor) -> Tensor:
    """The transpose of `double`, on samples that reach TAPS/2 − 1 beyond the picture."""
    height, width = x.shape[2:]
    if max(height, width) > 2 * DENSE_BELOW:
        return halve_by_convolution(x)
    return _halving(height, x.device, x.dtype).T @ (x @ _halving(width, x.device, x.dtype))


@lru_cache(maxsize=128)
def _doubling(samples: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What `double` does to a row, as a matrix [samples, 2 · samples]: mostly zeros, and still the faster way."""
    with torch.inference_mode(False):
        rows = torch.eye(samples, dtype=dtype)[:, None]
        return F.conv_transpose1d(rows, _filter(rows) * math.sqrt(2), stride=2, padding=PAD)[:, 0].to(device)


@lru_cache(maxsize=128)
def _halving(samples: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What `halve` does to a row: [samples, (samples − TAPS) / 2 + 1]."""
    with torch.inference_mode(False):
        rows = torch.eye(samples, dtype=dtype)[:, None]
        return F.conv1d(rows, _filter(rows) / math.sqrt(2), stride=2)[:, 0].to(device)


def double_by_convolution(x: Tensor) -> Tensor:
    """What `double` computes; the faster way for large pictures."""
    flat, kernel = x.flatten(0, 1)[:, None], _filter(x) * math.sqrt(2)  # [1, 1, TAPS]
    flat = F.conv_transpose2d(flat, kernel[:, :, None, :], stride=(1, 2), padding=(0, PAD))
    flat = F.conv_transpose2d(flat, kernel[:, :, :, None], stride=(2, 1), padding=(PAD, 0))
    return flat.view(*x.shape[:2], *flat.shape[2:])


def halve_by_convolution(x: Tensor) -> Tensor:
    flat, kernel = x.flatten(0, 1)[:, None], _filter(x) / math.sqrt(2)
    flat = F.conv2d(flat, kernel[:, :, None, :], stride=(1, 2))
    flat = F.conv2d(flat, kernel[:, :, :, None], stride=(2, 1))
    return flat.view(*x.shape[:2], *flat.shape[2:])


def _filter(like: Tensor) -> Tensor:
    return torch.tensor(SYM6, device=like.device, dtype=like.dtype)[None, None]


class _Sample(torch.autograd.Function):
    """Bilinear sampling as a linear map of the picture, differentiable as often as one likes.

    Not every PyTorch that this package runs on differentiates `grid_sample` twice, on every device.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = x.shape
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Scatter.apply(gradient, grid, ctx.shape), None  # type: ignore[no-untyped-call]


class _Scatter(torch.autograd.Function):
    """The transpose of `_Sample`."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        unread = gradient.new_empty(shape)
        bilinear, zeros, only_input = 0, 0, (True, False)
        scattered: Tensor
        scattered, _ = torch.ops.aten.grid_sampler_2d_backward(
            gradient, unread, grid, bilinear, zeros, False, only_input
        )
        return scattered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradient, grid), None, None  # type: ignore[no-untyped-call]


def sample(x: Tensor, grid: Tensor) -> Tensor:
    """`grid_sample`, bilinear, zero outside; no gradient to the grid."""
    sampled: Tensor = _Sample.apply(x, grid)  # type: ignore[no-untyped-call]
    return sampled


def _matrix(rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    like = next(entry for row in rows for entry in row if isinstance(entry, Tensor))
    entries = [torch.as_tensor(e, dtype=like.dtype).expand_as(like) for row in rows for e in row]
    return torch.stack(entries, dim=-1).view(-1, len(rows), len(rows[0]))


def _translate2d(x: Tensor, y: Tensor) -> Tensor:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _scale2d(x: Tensor, y: Tensor | float) -> Tensor:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def _rotate2d(angle: Tensor) -> Tensor:
    return _matrix([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])


# ---- colours


def color(numbers: _Numbers) -> tuple[Tensor, Tensor]:
    """What becomes of a pixel: matrix [N, 3, 3] and offset [N, 3, 1]."""
    grey = torch.full((3, 3), 1 / 3, dtype=torch.float64)  # onto the axis of luma
    rest = torch.eye(3, dtype=torch.float64) - grey
    turn = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)

    def each(x: Tensor) -> Tensor:
        return x[:, None, None]

    pick = numbers.gate("brightness")
    offset = each(numbers.normal() * BRIGHTNESS_STD * pick).expand(-1, 3, 1)
    pick = numbers.gate("contrast")
    c = torch.exp2(numbers.normal() * CONTRAST_STD * pick)
    matrix = each(c) * torch.eye(3, dtype=torch.float64)
    flipped = rest + grey * each(numbers.flip("lumaflip"))
    pick = numbers.gate("hue")
    angle = numbers.symmetric() * math.pi * pick
    turned = grey + rest * each(angle.cos()) + turn * each(angle.sin())
    pick = numbers.gate("saturation")
    s = torch.exp2(numbers.normal() * SATURATION_STD * pick)
    after = (grey + rest * each(s)) @ turned @ flipped
    return after @ matrix, after @ (each(c) * offset)


# ---- bands of frequency


@lru_cache(maxsize=1)
def band_filters() -> Tensor:
    """Four zero-phase filters that add up to the identity: below π/8, to π/4, to π/2, and above. [4, 43]

    An orthogonal pair's power responses add up to one: L + H = 1. The bands are L L(z²) L(z⁴),
    L L(z²) H(z⁴), L H(z²) and H.
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = -low
    high[len(low) // 2] += 1

    def spread(taps: np.ndarray[Any, Any], step: int) -> np.ndarray[Any, Any]:
        wide = np.zeros((len(taps) - 1) * step + 1)
        wide[::step] = taps
        return wide

    lows = np.convolve(low, spread(low, 2))
    filters = [
        np.convolve(lows, spread(low, 4)),
        np.convolve(lows, spread(high, 4)),
        np.convolve(low, spread(high, 2)),
        high,
    ]
    longest = len(filters[0])
    centred = [np.pad(taps, (longest - len(taps)) // 2) for taps in filters]
    return torch.from_numpy(np.stack(centred))


def bands(numbers: _Numbers) -> Tensor:
    """The gain of each band, [N, 4]: one band is amplified, and all scaled to the energy they had."""
    power = torch.tensor(BAND_POWER, dtype=torch.float64)
    gains = None
    for index, name in enumerate(FILTER):
        pick = numbers.gate(name)
        t = torch.ones(len(pick), 4, dtype=torch.float64)
        t[:, index] = torch.exp2(numbers.normal() * BAND_STD * pick)
        t = t / (power * t.square()).sum(dim=1, keepdim=True).sqrt()
        gains = t if gains is None else gains * t
    assert gains is not None
    return gains


def filter_bands(images: Tensor, gains: Tensor) -> Tensor:
    """The gains along the rows, then along the columns."""
    count, channels, side, _ = images.shape
    kernels = (gains @ band_filters().to(gains)).repeat_interleave(channels, dim=0)[:, None, :]
    reach = kernels.shape[2] // 2
    if side <= reach:
        raise ValueError(f"the band filters need pictures above {reach} pixels, got {side}")
    flat = F.pad(images.reshape(1, count * channels, side, side), [reach] * 4, mode="reflect")
    flat = F.conv2d(flat, kernels[:, :, None, :], groups=count * channels)
    flat = F.conv2d(flat, kernels[:, :, :, None], groups=count * channels)
    return flat.view_as(images)


def cutout_mask(side: int, centres: Tensor, cut: Tensor) -> Tensor:
    """Zero in a square around the centre, one elsewhere; [N, S, S]."""
    place = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    inside = (place - centres[:, :, None]).abs() < CUTOUT_SIZE / 2  # [N, 2, S]
    hole = inside[:, 0, None, :] & inside[:, 1, :, None] & cut[:, None, None]
    return ~hole


# ---- the controller


class AdaptiveP:
    """Moves p so that the discriminator is right about reals in `target` of the cases, r = E[sign D(real)].

    p may go from 0 to 1 within `kimg` thousand pictures; it is looked at every `every` batches. Give the scores
    of all processes together, so that they all hold the same p.
    """

    def __init__(self, target: float = 0.6, kimg: float = 500, every: int = 4, p: float = 0.0) -> None:
        if every < 1 or kimg <= 0:
            raise ValueError(f"kimg must be above 0 and every at least 1, got {kimg!r} and {every!r}")
        self.target, self.kimg, self.every, self.p = target, kimg, every, p
        self.signs: float | Tensor = 0.0  # on a GPU a tensor, which is waited for only when it is looked at
        self.seen, self.batches = 0, 0

    def update(self, real_scores: Tensor) -> float:
        """Take in the scores of a batch of reals; returns p."""
        self.signs = self.signs + real_scores.detach().sign().sum()
        self.seen += real_scores.numel()
        self.batches += 1
        if self.batches == self.every:
            r = float(self.signs) / self.seen
            direction = (r > self.target) - (r < self.target)
            self.p = min(1.0, max(0.0, self.p + direction * self.seen / (self.kimg * 1000)))
            self.signs, self.seen, self.batches = 0.0, 0, 0
        return self.p

    def state_dict(self) -> dict[str, float]:
        return {"p": self.p, "signs": float(self.signs), "seen": self.seen, "batches": self.batches}

    def load_state_dict(self, state: dict[str, float]) -> None:
        p, signs = float(state["p"]), float(state["signs"])
        seen, batches = int(state["seen"]), int(state["batches"])
        if not (0 <= p <= 1 and abs(signs) <= seen and 0 <= batches < self.every):
            raise ValueError(f"adaptive augmentation cannot go on from p {p!r} after {batches!r} batches of {seen!r}")
        self.p, self.signs, self.seen, self.batches = p, signs, seen, batches
