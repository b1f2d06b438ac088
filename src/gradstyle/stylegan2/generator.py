"""The StyleGAN2 generator (Karras et al. 2020), as a walk over a canvas.

Layer 0 is the 4×4 convolution; layer 2i−1 doubles the size to 2^(i+2) pixels and layer 2i is the second
convolution there. Layer k reads code k; the ToRGB that follows layer 2i reads code 2i+1.

Longer than 300 lines: the walk, the layers that it goes through and sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rng import stream
from .codes import Codes
from .layers import SQRT2, EqualLinear, activate, channels_at, check_resolution, smooth, upsample

MEAN_SAMPLES = 10_000  # of which a mean code is the mean
Noise = Literal["constant", "random", "none"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Every shape of a generator; the defaults are those of FFHQ at 1024 pixels (config F)."""

    resolution: int = 1024
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    activation_clamp: float | None = None  # StyleGAN2-ADA's half-precision networks clamp at 256

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        for name in ("z_dim", "w_dim", "channel_base", "channel_max"):
            if not 1 <= getattr(self, name) <= 1 << 20:
                raise ValueError(f"{name} must be from 1 to 2^20, got {getattr(self, name)!r}")
        if not 0 <= self.mapping_layers <= 64:
            raise ValueError(f"mapping_layers must be from 0 (no mapping network) to 64, got {self.mapping_layers!r}")
        if self.activation_clamp is not None and not self.activation_clamp > 0:
            raise ValueError(f"activation_clamp is a positive number or nothing, got {self.activation_clamp!r}")
        if self.channel_base < self.resolution:
            raise ValueError(f"channel_base {self.channel_base} leaves no channel at {self.resolution} pixels")

    @property
    def layers(self) -> int:
        """Convolutions: 2·log2(R) − 3."""
        return 2 * int(math.log2(self.resolution)) - 3

    @property
    def codes(self) -> int:
        """Codes of W+: one a layer and one for the last ToRGB."""
        return self.layers + 1

    def side(self, layer: int) -> int:
        """Pixels along the side of layer `layer`'s map."""
        return 4 << ((layer + 1) // 2)

    def width(self, layer: int) -> int:
        """Channels of layer `layer`'s map; layer −1 is the learned constant."""
        return channels_at(self.side(max(layer, 0)), self.channel_base, self.channel_max)


@dataclass(frozen=True)
class Canvas:
    """A picture between two layers: what has been painted so far, and the feature that goes on."""

    feature: Tensor  # [N, width(layer), side(layer), side(layer)]
    rgb: Tensor | None  # [N, 3, ...] of all ToRGBs before this layer's own
    layer: int  # the last layer that ran; −1: none yet
    noise: Noise | tuple[Tensor, ...] = "constant"
    random: torch.Generator | None = None
    finished: bool = False  # the last ToRGB has been applied

    def replace(self, feature: Tensor) -> Canvas:
        """The same canvas with another feature: how a method writes into the generator."""
        if feature.shape != self.feature.shape:
            raise ValueError(
                f"after layer {self.layer} the feature is {list(self.feature.shape)}, got {list(feature.shape)}"
            )
        return replace(self, feature=feature)

    @property
    def image(self) -> Tensor:
        if not self.finished or self.rgb is None:
            raise ValueError(f"the canvas stopped after layer {self.layer}: run it to the end before its image is read")
        return self.rgb


class MappingNetwork(nn.Module):
    """z to w: normalise, then layers of equal width."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        widths = [config.z_dim] + [config.w_dim] * config.mapping_layers
        self.layers = nn.ModuleList(
            EqualLinear(i, o, lr_multiplier=config.mapping_lr_multiplier, activation=True) for i, o in pairwise(widths)
        )

    def forward(self, z: Tensor) -> Tensor:
        w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            w = layer(w)
        return w  # [N, w_dim]


class StyledLayer(nn.Module):
    """A modulated convolution, noise, bias, leaky ReLU.

    One kernel a sample is never built: the style scales the input, the demodulation scales the output.
    """

    noise: Tensor

    def __init__(self, config: GeneratorConfig, layer: int) -> None:
        super().__init__()
        inputs, outputs, side = config.width(layer - 1), config.width(layer), config.side(layer)
        self.up = layer % 2 == 1
        self.clamp = config.activation_clamp
        self.affine = EqualLinear(config.w_dim, inputs, bias_init=1.0)
        # A layer that doubles the size keeps its kernel for a *transposed* convolution, as both published
        # namings do: seen as a plain convolution on an upsampled map, it is flipped.
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.weight_gain = 1 / math.sqrt(inputs * 9)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(side, side))
        self._energy: tuple[Any, Tensor] | None = None  # of which weights, and what it is

    def energy(self) -> Tensor:
        """Of the kernels between each two channels, [O, I]. Kept as long as nothing learns and the weights stay: for
        a single small picture it takes as long as all convolutions together."""
        weight = self.weight
        learning = weight.requires_grad and torch.is_grad_enabled()
        if learning or weight.is_inference() or weight.is_meta or torch.compiler.is_compiling():
            return self._measured_energy()
        of = weight.data_ptr(), weight._version, weight.dtype, weight.device
        kept = self._energy
        if kept is None or kept[0] != of:
            with torch.inference_mode(False), torch.no_grad():  # found while editing, it must still serve training
                kept = self._energy = of, self._measured_energy()
        return kept[1]

    def _measured_energy(self) -> Tensor:
        return (self.weight.float() * self.weight_gain).square().sum(dim=(2, 3))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        # The style is brought to at most 1 on the way in and restored on the way out, so that half
        # precision cannot overflow in between; demodulation cancels the factor.
        peak = style.detach().abs().amax(dim=1, keepdim=True).clamp_min(1e-8)  # [N, 1]
        demodulation = torch.rsqrt(style.square() @ self.energy().T + 1e-8)  # [N, O]
        x = x * (style * (self.weight_gain / peak)).to(x.dtype)[:, :, None, None]
        weight = self.weight.to(x.dtype)
        if self.up:
            x = smooth(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), padding=1, gain=4)
        else:
            x = F.conv2d(x, weight, padding=1)
        scale = (demodulation * peak * SQRT2).to(x.dtype)[:, :, None, None]
        x = torch.addcmul((self.bias * SQRT2).to(x.dtype)[:, None, None], x, scale)
        if noise is not None:
            x = x + (noise * (self.noise_strength.float() * SQRT2)).to(x.dtype)
        return activate(x, self.clamp)


class ToRGB(nn.Module):
    """Paint a feature: a modulated 1×1 convolution without demodulation, accumulated in float32."""

    def __init__(self, config: GeneratorConfig, layer: int) -> None:
        super().__init__()
        inputs = config.width(layer)
        self.clamp = config.activation_clamp
        self.affine = EqualLinear(config.w_dim, inputs, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs))
        self.weight_gain = 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        weight = self.weight.float() * (style * self.weight_gain)[:, None, :]  # [N, 3, I]
        rgb = torch.matmul(weight.to(x.dtype), x.flatten(2)).reshape(len(x), 3, *x.shape[2:]).float()
        rgb = rgb + self.bias.float()[:, None, None]
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


class Generator(nn.Module):
    """Mapping and synthesis. `generator(codes)` is a whole picture; `start` and `run` are the walk.

    Codes and styles are computed in float32 whatever the weights' precision; features are in the weights'
    (or autocast's), and the image is float32.
    """

    mean_w: Tensor

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        self.fingerprint = ""  # names these weights where edits are kept; a bundle sets it
        self.mapping = MappingNetwork(config)
        self.const = nn.Parameter(torch.randn(1, config.width(-1), 4, 4))
        self.layers = nn.ModuleList(StyledLayer(config, layer) for layer in range(config.layers))
        self.to_rgb = nn.ModuleList(ToRGB(config, layer) for layer in range(0, config.layers, 2))
        self.register_buffer("mean_w", torch.zeros(config.w_dim))

    # ---- codes

    def map(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """Z to W, pulled towards the mean code by `truncation` (1 leaves it, 0 gives the mean)."""
        if z.ndim != 2 or z.shape[1] != self.config.z_dim:
            raise ValueError(f"z must have the shape [pictures, {self.config.z_dim}], got {list(z.shape)}")
        if not self.config.mapping_layers:
            raise ValueError("this generator came without its mapping network: it edits photos but cannot sample")
        with _float32_math(self.mean_w):
            w: Tensor = self.mapping(z.to(self.mean_w.device, torch.float32))
        return w if truncation == 1 else torch.lerp(self.mean_w.float(), w, truncation)  # [N, w_dim]

    def codes(self, w: Tensor) -> Codes:
        """The same w for every layer."""
        return Codes(w[:, None].expand(-1, self.config.codes, -1))

    def sample(self, count: int, truncation: float = 1.0, seed: int = 0) -> Codes:
        """Codes of random pictures; the same seed gives the same pictures on every device."""
        z = torch.randn(count, self.config.z_dim, generator=stream("samples", seed))
        return self.codes(self.map(z, truncation))

    @torch.no_grad()
    def estimated_mean(self) -> Tensor:
        """The mean code, as the mapping network gives it: `mean_w` keeps what training found."""
        z = torch.randn(MEAN_SAMPLES, self.config.z_dim, generator=stream("mean code"))
        return self.map(z).mean(dim=0)  # [w_dim]

    @property
    def style_widths(self) -> tuple[int, ...]:
        """The sizes of the style vectors in the order in which they act: layer 0, its ToRGB, layer 1, 2, …"""
        widths: list[int] = []
        for layer in range(self.config.layers):
            widths.append(self.config.width(layer - 1))
            if layer % 2 == 0:
                widths.append(self.config.width(layer))
        return tuple(widths)

    def styles(self, codes: Codes) -> list[Tensor]:
        """All style vectors of some codes, each [N, width], in the order of `style_widths`."""
        self._check(codes)
        every: list[Tensor] = []
        for layer in range(self.config.layers):
            every.append(self._style(codes, layer))
            if layer % 2 == 0:
                every.append(self._style(codes, layer, rgb=True))
        return every

    def _style(self, codes: Codes, layer: int, rgb: bool = False) -> Tensor:
        module = self.to_rgb[layer // 2] if rgb else self.layers[layer]
        assert isinstance(module, StyledLayer | ToRGB)
        with _float32_math(codes.w):
            style: Tensor = module.affine(codes.w[:, layer + rgb].float())
        if codes.s is None:
            return style
        index = layer + (layer + 1) // 2 + rgb  # ToRGBs that came before stand in between
        start = sum(self.style_widths[:index])
        return style + codes.s[:, start : start + style.shape[1]].float()  # [N, width]

    # ---- the walk

    def start(
        self,
        codes: Codes,
        noise: Noise | Sequence[Tensor] = "constant",
        random: torch.Generator | None = None,
    ) -> Canvas:
        """A canvas before layer 0. `noise` may be one tensor a layer, `random` is where drawn noise comes from."""
        self._check(codes)
        if not isinstance(noise, str):
            noise = tuple(noise)
            if len(noise) != self.config.layers:
                raise ValueError(f"noise needs one tensor for each of {self.config.layers} layers, got {len(noise)}")
        elif noise not in ("constant", "random", "none"):
            raise ValueError(f"noise is 'constant', 'random', 'none' or tensors, got {noise!r}")
        const = self.const.to(_compute_dtype(self.const))
        return Canvas(const.expand(len(codes), -1, -1, -1), None, -1, noise, random)

    def run(self, canvas: Canvas, codes: Codes, to: int | None = None) -> Canvas:
        """Run on to layer `to`'s activation, before the ToRGB that follows it; without `to`, to the image."""
        last = self.config.layers - 1
        end = last if to is None else to
        if canvas.finished:
            raise ValueError("this canvas holds a finished image: start a new one")
        if not canvas.layer <= end <= last:
            raise ValueError(f"a canvas at layer {canvas.layer} can run to layers {canvas.layer}–{last}, not {to}")
        self._check_canvas(canvas)
        feature, rgb = canvas.feature, canvas.rgb
        for layer in range(canvas.layer + 1, end + 1):
            if layer > 0 and layer % 2 == 1:
                rgb = self._paint(feature, rgb, codes, layer - 1)
            noise = self._noise(canvas, layer, feature)
            feature = self.layers[layer](feature, self._style(codes, layer), noise)
        if to is None:
            rgb = self._paint(feature, rgb, codes, last)
        return Canvas(feature, rgb, end, canvas.noise, canvas.random, finished=to is None)

    def forward(
        self,
        codes: Codes,
        noise: Noise | Sequence[Tensor] = "constant",
        random: torch.Generator | None = None,
    ) -> Tensor:
        return self.run(self.start(codes, noise, random), codes).image  # [N, 3, resolution, resolution]

    def _paint(self, feature: Tensor, rgb: Tensor | None, codes: Codes, layer: int) -> Tensor:
        painted: Tensor = self.to_rgb[layer // 2](feature, self._style(codes, layer, rgb=True))
        return painted if rgb is None else upsample(rgb) + painted

    def _noise(self, canvas: Canvas, layer: int, feature: Tensor) -> Tensor | None:
        if isinstance(canvas.noise, tuple):
            return canvas.noise[layer]
        if canvas.noise == "none":
            return None
        if canvas.noise == "constant":
            return self.get_buffer(f"layers.{layer}.noise").float()
        side = self.config.side(layer)
        where = feature.device if canvas.random is None else canvas.random.device
        return torch.randn(len(feature), 1, side, side, generator=canvas.random, device=where).to(feature.device)

    def _check_canvas(self, canvas: Canvas) -> None:
        """A canvas may come from a file, or from another generator."""
        layer, shapes = canvas.layer, self.config
        if layer < -1 or (isinstance(canvas.noise, tuple) and len(canvas.noise) != shapes.layers):
            raise ValueError(f"this generator has layers −1 … {shapes.layers - 1}, the canvas is of others ({layer})")
        feature = [shapes.width(layer), *[shapes.side(layer)] * 2]
        painted = shapes.side(max(layer - 2 + layer % 2, 0))  # the RGB of the last even layer before
        found = list(canvas.feature.shape[1:]), None if canvas.rgb is None else list(canvas.rgb.shape[1:])
        if found != (feature, [3, painted, painted] if layer > 0 else None):
            raise ValueError(f"after layer {layer} a canvas holds a feature {feature} and its RGB, got {found}")

    def _check(self, codes: Codes) -> None:
        expected = [self.config.codes, self.config.w_dim]
        if list(codes.w.shape[1:]) != expected:
            raise ValueError(
                f"a {self.config.resolution} px generator takes codes [pictures, {expected[0]}, {expected[1]}], "
                f"got {list(codes.w.shape)}"
            )
        if codes.s is not None and codes.s.shape[1] != sum(self.style_widths):
            raise ValueError(f"its style space has {sum(self.style_widths)} channels, the offset {codes.s.shape[1]}")


def _compute_dtype(weight: Tensor) -> torch.dtype:
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _float32_math(like: Tensor) -> torch.autocast:
    """Keeps autocast away from codes and styles: they are small, and their precision shows."""
    return torch.autocast(like.device.type, enabled=False)
