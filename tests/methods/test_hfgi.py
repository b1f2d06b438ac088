"""HFGI against what the published code computed, and what every method owes."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from interop import expected, filled, input_edit, input_photo, input_w_plus
from torch import Tensor, nn

from gradstyle.bundles.published import names
from gradstyle.bundles.published.hfgi import convert
from gradstyle.draws import Draws
from gradstyle.edits import Edit
from gradstyle.encoder import Encoder, EncoderConfig
from gradstyle.methods.hfgi import HFGI, HFGIConfig
from gradstyle.methods.method import TrainingContext, at_encoder_size
from gradstyle.methods.warp import random_perspectives, warp
from gradstyle.stylegan2 import Codes, Generator, GeneratorConfig

LAYER = 2  # 8 px: a quarter of the encoder's 32
TINY = HFGIConfig(layer=LAYER, aligner_widths=(4, 6, 8, 8), consultation_widths=(4, 6, 8), units=2)


def tiny(config: HFGIConfig = TINY) -> HFGI:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(32, 32, 32, 2, channel_base=1024, channel_max=32))
    encoder = Encoder(EncoderConfig(8, 32, 32, (1, 1, 1, 1), (8, 16, 32, 64), feature_width=64, head_width=16))
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, so that a changed statistic would show
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return HFGI(generator, encoder, config).eval()


def photos(count: int = 2, side: int = 32) -> Tensor:
    noise = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return F.interpolate(noise * 0.4, size=(side, side), mode="bicubic").clamp(-1, 1)


def edit(seed: int = 2, **more: Tensor) -> Edit:
    return Edit("smile", 0.5 * torch.randn(8, 32, generator=torch.Generator().manual_seed(seed)), **more)


def context(**changes: object) -> TrainingContext:
    def perceptual(a: Tensor, b: Tensor) -> Tensor:
        return F.l1_loss(a.diff(dim=-1), b.diff(dim=-1))

    def identity(a: Tensor, b: Tensor) -> Tensor:
        flat = [F.adaptive_avg_pool2d(x, 4).flatten(1) for x in (a, b)]
        return 1 - F.cosine_similarity(*flat).mean()

    return TrainingContext(**{"perceptual": perceptual, "identity": identity, "draws": Draws(0), **changes})


def psnr(image: Tensor, reference: Tensor) -> float:
    peak = reference.max() - reference.min()
    return float(10 * torch.log10(peak**2 / (image - reference).square().mean()))


def far(ours: Tensor, theirs: object) -> float:
    """Relative L2 distance."""
    reference = torch.as_tensor(theirs).double()
    return float((ours.double() - reference).norm() / reference.norm())


# ---- the published code


@pytest.fixture(scope="module")
def sections() -> dict[str, dict[str, Tensor]]:
    return {name: filled("hfgi_128", name) for name in ("decoder", "residue", "grid_align")}


@torch.inference_mode()
def test_hfgi_128(sections: dict[str, dict[str, Tensor]]) -> None:
    config, own, _ = convert(sections)
    assert config == HFGIConfig()
    decoder = sections["decoder"] | {"latent_avg": torch.zeros(512)}
    with torch.device("meta"):
        generator = Generator(names.rosinality_generator_config(decoder))
        encoder = Encoder(EncoderConfig(12, units=(1, 1, 1, 1), widths=(4, 8, 8, 8), feature_width=8, head_width=8))
        method = HFGI(generator, encoder, config).eval()
    taken = names.take(generator, decoder, names.rosinality_generator, [r"\.kernel$"])
    generator.load_state_dict(taken, assign=True)
    method.load_own(own, assign=True)
    aligned: list[Tensor] = []
    method.aligner.register_forward_hook(lambda _module, _inputs, out: aligned.append(out))

    wanted = expected("hfgi_128")
    inversion = method.invert(input_photo(), Codes(input_w_plus(12)))
    edited = method.render(inversion, Edit("vector", input_edit(12)[0]))
    assert far(aligned[0][:, :, ::4, ::4], wanted["aligned"]) < 1e-5
    assert far(method.render(inversion), wanted["reconstruction"]) < 1e-5
    assert far(edited, wanted["edited"]) < 1e-5


def test_a_checkpoint_that_lacks_something_is_refused_by_name(sections: dict[str, dict[str, Tensor]]) -> None:
    with pytest.raises(names.Mismatch, match="grid_align"):
        convert({"residue": sections["residue"]})
    aligner = dict(sections["grid_align"])
    gone = aligner.pop("dconv_layer2.1.res_layer.3.weight")
    with pytest.raises(names.Mismatch, match=r"1 missing: dconv_layer2\.1\.res_layer\.3\.weight"):
        convert({**sections, "grid_align": aligner})
    with pytest.raises(names.Mismatch, match=r"1 unknown: surplus"):
        convert({**sections, "grid_align": {**aligner, "dconv_layer2.1.res_layer.3.weight": gone, "surplus": gone}})
    with pytest.raises(names.Mismatch, match=r"condition_scale3\.2\.weight"):
        convert({**sections, "residue": {k: v for k, v in sections["residue"].items() if k[:10] != "condition_"}})
    with pytest.raises(names.Mismatch, match="conv_layer1"):
        convert({**sections, "residue": {"other": gone}})


def test_other_widths_are_told_from_the_weights() -> None:
    method = tiny(dataclasses.replace(TINY, aligner_widths=(4, 6, 8), consultation_widths=(4, 5, 6), units=3))
    index = {"norm0": 0, "conv0": 1, "act": 2, "conv1": 3, "norm1": 4}
    stem = {"conv": 0, "norm": 1, "act": 2}
    branch = {"hidden.weight": "0.weight", "hidden.bias": "0.bias", "out.weight": "2.weight", "bias": "2.bias"}
    published: dict[str, dict[str, Tensor]] = {"grid_align": {}, "residue": {}}
    for name, tensor in method.own_state().items():
        module, where, *path = name.split(".")
        if where == "stem":
            theirs = f"conv_layer1.{stem[path[0]]}.{path[1]}"
        elif where in ("scale", "shift"):
            theirs = f"condition_{where}3.{branch['.'.join(path)]}"
        else:
            level, unit, part, *rest = [word for word in path if word != "units"]
            inside = f"res_layer.{index[part]}" if part in index else "shortcut_layer"
            body = f"conv_layer{int(level) + 2}" if where == "downs" else f"dconv_layer{int(level) + 1}"
            theirs = ".".join([body, unit, inside, *rest])
        published["grid_align" if module == "aligner" else "residue"][theirs] = tensor
    config, own, notes = convert(published)
    assert (config.aligner_widths, config.consultation_widths, config.units) == ((4, 6, 8), (4, 5, 6), 3)
    assert own.keys() == method.own_state().keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in method.own_state().items())
    assert notes == []


# ---- what is computed


@torch.inference_mode()
def test_the_map_is_what_the_codes_lost() -> None:
    method, photo = tiny(), photos(side=64)
    inversion = method.invert(photo)
    codes, _ = method.encoder(photo)
    small = F.avg_pool2d(photo, 2)
    torch.testing.assert_close(inversion.distortion, small - at_encoder_size(method.generator(codes), 32))
    torch.testing.assert_close(inversion.codes.w, codes.w)


@torch.inference_mode()
def test_details_enter_as_scale_and_shift_after_the_layer() -> None:
    method, photo = tiny(), photos()
    consultation = method.consultation
    for branch, value in ((consultation.scale, 0.5), (consultation.shift, -2.0)):
        branch.out.weight.zero_()
        branch.bias.fill_(value)
    inversion = method.invert(photo)
    codes = edit().apply(inversion.codes)
    canvas = method.generator.run(method.generator.start(codes), codes, to=LAYER)
    by_hand = method.generator.run(canvas.replace(canvas.feature * 1.5 - 2), codes).image
    torch.testing.assert_close(method.render(inversion, edit()), by_hand, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_an_edit_aligns_the_unedited_map_to_the_edited_picture() -> None:
    method = tiny()
    inversion = method.invert(photos())
    seen: list[tuple[Tensor, ...]] = []
    method.aligner.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs))
    method.render(inversion, edit())
    ((distortion, image),) = seen
    assert torch.equal(distortion, inversion.distortion)
    codes = edit().apply(inversion.codes)
    torch.testing.assert_close(image, at_encoder_size(method.generator(codes), 32))


# ---- what every method owes


@torch.inference_mode()
def test_zero_edits_are_no_edits() -> None:
    method = tiny()
    inversion = method.invert(photos())
    plain = method.render(inversion)
    assert torch.equal(method.render(inversion, 0 * edit()), plain)
    assert torch.equal(method.render(inversion, [edit() - edit()]), plain)
    assert not torch.allclose(method.render(inversion, edit()), plain, atol=1e-2)
    close = method.render(inversion, 1e-6 * edit())  # the aligner sees the same picture: no jump at zero
    torch.testing.assert_close(close, plain, rtol=0, atol=1e-3 * float(plain.abs().max()))


@torch.inference_mode()
def test_a_batch_gives_what_its_photos_give_alone() -> None:
    method, photo = tiny(), photos(3)
    inversion = method.invert(photo)
    edits = [[], edit(), [2 * edit(3), -edit()]]
    together = method.render_each(inversion, edits)
    alone = torch.cat([method.render(method.invert(photo[i : i + 1]), e) for e in edits for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4 * float(alone.abs().max()))
    torch.testing.assert_close(method.render(inversion[1], edit()), together[4:5], rtol=0, atol=1e-4)
    assert torch.equal(together, method.render_each(method.invert(photo), edits)), "deterministic"


@torch.inference_mode()
def test_style_offsets_are_followed() -> None:
    method = tiny()
    inversion = method.invert(photos())
    offset = torch.randn(sum(method.generator.style_widths), generator=torch.Generator().manual_seed(4))
    assert not torch.allclose(method.render(inversion, Edit("s", None, offset)), method.render(inversion), atol=1e-2)


@torch.inference_mode()
def test_bfloat16_stays_close() -> None:
    method, photo = tiny(), photos()
    codes, _ = method.encoder(photo)
    exact = method.render_each(method.invert(photo, codes), [[], edit()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        automatic = method.render_each(method.invert(photo, codes), [[], edit()])
    method.to(torch.bfloat16)
    half = method.render_each(method.invert(photo, codes), [[], edit()])
    assert psnr(automatic, exact) >= 35
    assert psnr(half, exact) >= 35


@torch.inference_mode()
def test_nothing_is_computed_twice() -> None:
    method, photo = tiny(), photos()
    runs: Counter[str] = Counter()
    named = {"encoder": method.encoder.backbone, "aligner": method.aligner, "consultation": method.consultation}
    named |= {f"layer {i}": layer for i, layer in enumerate(method.generator.layers)}
    for name, module in named.items():
        module.register_forward_hook(lambda _module, _inputs, _out, name=name: runs.update([name]))

    def counted(work: object) -> dict[str, int]:
        runs.clear()
        work()  # type: ignore[operator]
        return dict(runs)

    lower = {f"layer {i}": 1 for i in range(LAYER + 1)}
    upper = {f"layer {i}": 1 for i in range(LAYER + 1, len(method.generator.layers))}
    own = {"aligner": 1, "consultation": 1}
    inversion = method.invert(photo)
    assert counted(lambda: method.invert(photo)) == {"encoder": 1, **own, **lower, **upper}
    assert counted(lambda: method.invert(photo, inversion.codes)) == {**own, **lower, **upper}
    assert counted(lambda: method.render(inversion)) == upper
    # The upper layers draw the edit that the map is aligned to, then the edit with its details.
    assert counted(lambda: method.render(inversion, edit())) == {**own, **lower, **dict.fromkeys(upper, 2)}
    assert counted(lambda: method.render_each(inversion, [edit(), edit(3)])) == counted(
        lambda: method.render(inversion, edit())
    )


def test_own_state_comes_back() -> None:
    method, photo = tiny(), photos()
    again = tiny()
    for parameter in again.consultation.parameters():
        parameter.data.normal_()
    again.load_own(method.own_state())
    with torch.inference_mode():
        assert torch.equal(again.render(again.invert(photo)), method.render(method.invert(photo)))


def test_layers_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"layer 7: this generator's layers are 0 … 6"):
        tiny(dataclasses.replace(TINY, layer=7))
    with pytest.raises(ValueError, match=r"aligner_widths.*\(4,\)"):
        HFGIConfig(aligner_widths=(4,))


@torch.inference_mode()
def test_an_encoder_of_another_size_than_four_times_the_feature() -> None:
    method = tiny(dataclasses.replace(TINY, layer=3))  # 16 px; the consultation works at 8
    assert method.render(method.invert(photos()), edit()).shape == (2, 3, 32, 32)


# ---- training


def test_every_own_parameter_learns_and_nothing_else() -> None:
    method = tiny().train()
    frozen = {
        name: tensor.clone()
        for name, tensor in method.state_dict().items()
        if name.startswith(("generator.", "encoder."))
    }
    own = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(own, 1e-2)
    before = {name: tensor.clone() for name, tensor in method.named_parameters() if tensor.requires_grad}
    for _ in range(2):
        optimizer.zero_grad()
        losses = method.training_loss(photos(), context())
        losses.total.backward()
        missing = [n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert not missing
        optimizer.step()
    assert losses.terms.keys() == losses.weights.keys() == {"pixel", "perceptual", "identity", "alignment"}
    assert {name.split(".")[0] for name in before} == {"aligner", "consultation"}
    assert all(not torch.equal(before[n], p) for n, p in method.named_parameters() if n in before)
    after = method.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())
    assert all(parameter.grad is None for part in (method.generator, method.encoder) for parameter in part.parameters())
    assert not method.generator.training and not method.encoder.training and method.aligner.training


@pytest.mark.parametrize("term", ["pixel", "perceptual", "identity", "alignment"])
def test_each_term_falls_when_it_alone_is_trained(term: str) -> None:
    alone = {name: float(name == term) for name in ("pixel", "perceptual", "identity", "alignment")}
    method = tiny(dataclasses.replace(TINY, **alone)).train()
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 5e-3)
    values = []
    for _ in range(20):
        losses = method.training_loss(photos(), context())
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        values.append(losses.terms[term].item())
    assert values[-1] < 0.8 * values[0], values


def test_alignment_compares_with_the_map_before_the_warp() -> None:
    class Unmoved(nn.Module):
        def forward(self, distortion: Tensor, image: Tensor) -> Tensor:
            return distortion

    method, photo = tiny(), photos()
    method.aligner = Unmoved()  # type: ignore[assignment]
    loss = method.training_loss(photo, context()).terms["alignment"]
    with torch.no_grad():
        distortion = method.invert(photo).distortion
        warped = warp(distortion, random_perspectives(2, Draws(0), 0.15, 0.9))
    assert loss > 0.01
    torch.testing.assert_close(loss, (warped - distortion).abs().mean())
    still = tiny(dataclasses.replace(TINY, probability=0))
    still.aligner = Unmoved()  # type: ignore[assignment]
    assert still.training_loss(photo, context()).terms["alignment"] == 0


def test_training_compares_at_the_encoders_size() -> None:
    method = tiny(dataclasses.replace(TINY, probability=0)).eval()
    photo = photos(side=64)
    with torch.no_grad():
        pixel = method.training_loss(photo, context()).terms["pixel"]
        drawn = method.render(method.invert(photo))
    torch.testing.assert_close(pixel, F.mse_loss(drawn, F.avg_pool2d(photo, 2)), rtol=1e-4, atol=1e-5)
