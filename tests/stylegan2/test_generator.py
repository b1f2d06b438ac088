"""The walk over the canvas, codes and styles, precision, noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gradstyle.published import names
from gradstyle.stylegan2 import Codes, Generator, GeneratorConfig
from gradstyle.stylegan2.generator import StyledLayer
from gradstyle.stylegan2.layers import fir_kernel
from tests.support.interop import filled, input_mean_w, input_w_plus

CONFIG = GeneratorConfig(64, z_dim=32, w_dim=48, mapping_layers=2, channel_base=1024, channel_max=64)


def tiny(config: GeneratorConfig = CONFIG, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    generator = Generator(config).eval()
    with torch.no_grad():  # as if trained: noise that counts, biases that are not zero
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
            elif name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
        generator.mean_w.normal_()
    return generator


def psnr(a: Tensor, b: Tensor, peak: float = 2.0) -> float:
    return 10 * math.log10(peak**2 / float((a.double() - b.double()).square().mean()))


@torch.inference_mode()
def test_any_split_is_the_whole_run() -> None:
    generator = tiny()
    codes = Codes(torch.randn(2, 10, 48))
    whole = generator(codes)
    for first in range(9):
        for second in range(first, 9):
            canvas = generator.run(generator.start(codes), codes, to=first)
            canvas = generator.run(canvas, codes, to=second)
            assert canvas.layer == second
            assert list(canvas.feature.shape[1:]) == [CONFIG.width(second), CONFIG.side(second), CONFIG.side(second)]
            torch.testing.assert_close(generator.run(canvas, codes).image, whole, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_torgb_after_a_layer_sees_the_feature_as_it_then_stands() -> None:
    generator, codes = tiny(), Codes(torch.randn(1, 10, 48))
    canvas = generator.run(generator.start(codes), codes, to=8)  # the last layer: only its ToRGB is left
    silent = canvas.replace(torch.zeros_like(canvas.feature))
    bias = generator.to_rgb[-1].bias
    before = generator.run(generator.run(generator.start(codes), codes, to=7), codes, to=7)
    assert before.rgb is not None and canvas.rgb is not None
    torch.testing.assert_close(canvas.rgb, before.rgb)  # layer 8's ToRGB has not run yet
    from gradstyle.stylegan2.layers import upsample

    torch.testing.assert_close(generator.run(silent, codes).image, upsample(canvas.rgb) + bias[:, None, None])


@torch.inference_mode()
def test_a_replaced_feature_reaches_what_follows_and_nothing_before() -> None:
    generator, codes = tiny(), Codes(torch.randn(1, 10, 48))
    canvas = generator.run(generator.start(codes), codes, to=5)
    other = canvas.replace(canvas.feature + 1)
    assert other.rgb is canvas.rgb
    assert not torch.allclose(generator.run(other, codes).image, generator.run(canvas, codes).image, atol=1e-2)


def test_wrong_walks_say_what_is_wrong() -> None:
    generator, codes = tiny(), Codes(torch.randn(1, 10, 48))
    canvas = generator.run(generator.start(codes), codes, to=5)
    with pytest.raises(ValueError, match="can run to layers 5–8, not 4"):
        generator.run(canvas, codes, to=4)
    with pytest.raises(ValueError, match="can run to layers 5–8, not 9"):
        generator.run(canvas, codes, to=9)
    with pytest.raises(ValueError, match="stopped after layer 5"):
        _ = canvas.image
    with pytest.raises(ValueError, match=r"feature is \[1, 32, 32, 32\], got \[1, 32, 32, 31\]"):
        canvas.replace(canvas.feature[..., 1:])
    with pytest.raises(ValueError, match="finished image"):
        generator.run(generator.run(canvas, codes), codes)
    with pytest.raises(ValueError, match=r"takes codes \[pictures, 10, 48\], got \[1, 9, 48\]"):
        generator(Codes(torch.randn(1, 9, 48)))
    with pytest.raises(ValueError, match=r"z must have the shape \[pictures, 32\], got \[1, 31\]"):
        generator.map(torch.randn(1, 31))
    with pytest.raises(ValueError, match="power of two from 16 to 1024, got 48"):
        GeneratorConfig(48)


@torch.inference_mode()
def test_each_layer_runs_once() -> None:
    generator, codes = tiny(), Codes(torch.randn(1, 10, 48))

    def work(to: int | None) -> int:
        with FlopCounterMode(display=False) as counter:
            generator.run(generator.start(codes), codes, to=to)
        return counter.get_total_flops()

    canvas = generator.run(generator.start(codes), codes, to=4)
    with FlopCounterMode(display=False) as counter:
        generator.run(canvas, codes)
    assert counter.get_total_flops() + work(4) == work(None)


@torch.inference_mode()
def test_a_sample_does_not_depend_on_its_batch() -> None:
    generator = tiny()
    codes = Codes(torch.randn(4, 10, 48), torch.randn(4, sum(generator.style_widths)) * 0.1)
    together = generator(codes)
    for i in range(4):
        torch.testing.assert_close(generator(codes[i]), together[i : i + 1], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_modulated_convolution_equals_one_kernel_a_sample() -> None:
    """The definition: build each sample's kernel, demodulate it, convolve; upsampling is transposed, then filtered."""
    generator = tiny()
    for index in (2, 3):
        layer = generator.layers[index]
        x, w = torch.randn(2, CONFIG.width(index - 1), 8, 8), torch.randn(2, 48)
        style = torch.nn.functional.linear(w, layer.affine.weight / math.sqrt(48), layer.affine.bias)
        kernel = layer.weight * style[:, None, :, None, None] / math.sqrt(CONFIG.width(index - 1) * 9)
        kernel = kernel / (kernel.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
        wanted = []
        for sample, k in zip(x, kernel):
            if index % 2 == 0:
                out = torch.nn.functional.conv2d(sample[None], k, padding=1)
            else:
                out = torch.nn.functional.conv_transpose2d(sample[None], k.transpose(0, 1), stride=2)
                taps = (fir_kernel(x.device, x.dtype) * 4).expand(len(k), -1, -1, -1)
                out = torch.nn.functional.conv2d(out, taps, padding=1, groups=len(k))
            out = out + layer.bias[:, None, None]
            wanted.append(torch.nn.functional.leaky_relu(out, 0.2) * math.sqrt(2))
        torch.testing.assert_close(layer(x, style, None), torch.cat(wanted), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_styles_and_offsets_are_one_space() -> None:
    generator = tiny()
    codes, other = Codes(torch.randn(2, 10, 48)), Codes(torch.randn(2, 10, 48))
    styles, wanted = generator.styles(codes), generator.styles(other)
    assert tuple(style.shape[1] for style in styles) == generator.style_widths
    assert len(styles) == 9 + 5
    # The styles of `other`, reached from `codes` by an offset in S alone, give the picture of `other`.
    moved = Codes(codes.w, torch.cat(wanted, dim=1) - torch.cat(styles, dim=1))
    torch.testing.assert_close(generator(moved), generator(other), rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.cat(generator.styles(moved), 1), torch.cat(wanted, 1), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_layer_k_reads_code_k() -> None:
    """Layer k reads code k, and the ToRGB after layer 2i reads code 2i + 1."""
    generator = tiny()
    codes = Codes(torch.randn(1, 10, 48))
    styles = generator.styles(codes)
    order = [
        (0, 0),
        (0, 1),
        (1, 1),
        (2, 2),
        (2, 3),
        (3, 3),
        (4, 4),
        (4, 5),
        (5, 5),
        (6, 6),
        (6, 7),
        (7, 7),
        (8, 8),
        (8, 9),
    ]
    for code in range(10):
        w = codes.w.clone()
        w[:, code] += 1
        changed = [not torch.equal(a, b) for a, b in zip(styles, generator.styles(Codes(w)))]
        assert changed == [reads == code for _, reads in order]


@torch.inference_mode()
def test_noise() -> None:
    generator, codes = tiny(), Codes(torch.randn(2, 10, 48))
    constant, none = generator(codes), generator(codes, "none")
    assert torch.equal(constant, generator(codes))
    assert not torch.allclose(constant, none, atol=1e-3)
    one, same = (generator(codes, "random", torch.Generator().manual_seed(3)) for _ in range(2))
    other = generator(codes, "random", torch.Generator().manual_seed(4))
    assert torch.equal(one, same) and not torch.allclose(one, other, atol=1e-3)
    buffers = [generator.get_buffer(f"layers.{k}.noise") for k in range(9)]
    torch.testing.assert_close(generator(codes, buffers), constant)
    with pytest.raises(ValueError, match="got 'loud'"):
        generator(codes, "loud")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="each of 9 layers, got 8"):
        generator(codes, buffers[1:])


@torch.inference_mode()
def test_truncation() -> None:
    generator = tiny()
    z = torch.randn(3, 32)
    w = generator.map(z)
    torch.testing.assert_close(generator.map(z, 0.0), generator.mean_w.expand(3, -1))
    torch.testing.assert_close(generator.map(z, 0.5), (w + generator.mean_w) / 2)
    assert torch.equal(generator.sample(3, 0.7, seed=5).w, generator.sample(3, 0.7, seed=5).w)
    without = Generator(GeneratorConfig(16, 8, 8, 0, 256, 16))
    with pytest.raises(ValueError, match="without its mapping network"):
        without.sample(1)


@torch.inference_mode()
def test_bfloat16_on_published_weights() -> None:
    state = filled("rosinality_64", "g_ema") | {"latent_avg": input_mean_w()}
    with torch.device("meta"):
        generator = Generator(names.rosinality_generator_config(state)).eval()
    generator.load_state_dict(names.take(generator, state, names.rosinality_generator, [r"\.kernel$"]), assign=True)
    codes = Codes(input_w_plus(10)[:1])
    exact = generator(codes)
    with torch.autocast("cpu", torch.bfloat16):
        assert psnr(generator(codes), exact) >= 35
    assert psnr(generator.to(torch.bfloat16)(codes), exact) >= 35


@torch.inference_mode()
def test_float16_does_not_overflow() -> None:
    generator = tiny(GeneratorConfig(32, 32, 32, 2, 1024, 32, activation_clamp=256))
    codes = Codes(torch.randn(2, 8, 32) * 30)  # styles of a size that would overflow if they met the weights first
    exact = generator(codes)
    half = generator.to(torch.float16)(codes)
    assert bool(torch.isfinite(half).all())
    assert psnr(half, exact, float(exact.max() - exact.min())) >= 35


def test_what_depends_on_the_weights_alone_is_found_once_and_again_when_they_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, measure = [], StyledLayer._measured_energy

    def counting(self: StyledLayer) -> Tensor:
        found.append(self)
        return measure(self)

    def drawn(of: Generator) -> int:
        """How much is found anew for one picture, which is right in any case."""
        found.clear()
        with torch.inference_mode():
            image = of(codes)
        count = len(found)
        again = tiny(of.config)
        again.load_state_dict(of.state_dict())
        with torch.inference_mode():
            assert torch.equal(image, again.to(next(of.parameters()).dtype)(codes))
        return count

    monkeypatch.setattr(StyledLayer, "_measured_energy", counting)
    generator, codes = tiny().requires_grad_(False), Codes(torch.randn(1, 10, 48))
    layers = len(generator.layers)
    assert [drawn(generator) for _ in range(3)] == [layers, 0, 0]
    generator.load_state_dict(tiny(seed=1).state_dict())
    assert [drawn(generator) for _ in range(2)] == [layers, 0]
    with torch.no_grad():
        generator.layers[2].weight.mul_(2)
    assert [drawn(generator) for _ in range(2)] == [1, 0]
    with torch.inference_mode():
        generator.layers[3].weight.add_(1)
    assert [drawn(generator) for _ in range(2)] == [1, 0]
    generator.to(torch.bfloat16)
    assert [drawn(generator) for _ in range(2)] == [layers, 0]
    generator.to(torch.float32)

    found.clear()
    codes.w.requires_grad_()
    generator(codes).sum().backward()  # what was found while editing serves those who learn on a frozen generator
    assert len(found) == layers and codes.w.grad is not None
    generator(codes).sum().backward()
    assert len(found) == layers
    generator.requires_grad_(True)
    generator(codes)
    assert len(found) == 2 * layers  # one that learns finds it anew each time


def test_the_whole_generator_learns() -> None:
    generator = tiny()
    image = generator(generator.codes(generator.map(torch.randn(2, 32))), "random")
    image.square().mean().backward()
    without = [name for name, parameter in generator.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(bool(p.grad.abs().sum() > 0) for p in generator.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("resolution", [16, 128])
@torch.inference_mode()
def test_other_resolutions(resolution: int) -> None:
    config = GeneratorConfig(resolution, 16, 16, 1, channel_base=1024, channel_max=16)
    image = Generator(config)(Codes(torch.randn(1, config.codes, 16)))
    assert list(image.shape) == [1, 3, resolution, resolution]
    assert config.codes == 2 * math.log2(resolution) - 2
