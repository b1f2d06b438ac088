"""HFGI: its released layout, what it computes, what its losses train."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradstyle.methods.hfgi import HFGI, HFGIConfig
from gradstyle.methods.method import at_encoder_size
from gradstyle.methods.warp import random_perspectives, warp
from gradstyle.published import names
from gradstyle.published.hfgi import convert
from tests.support import tiny
from tests.support.interop import load_manifest

TINY: HFGIConfig = tiny.CONFIGS["hfgi"]
LAYER = TINY.layer  # 16 px: a quarter of the encoder's 64


def method(config: HFGIConfig = TINY, shaken: bool = True) -> HFGI:
    made = tiny.method("hfgi", config, shaken)
    assert isinstance(made, HFGI)
    return made


# ---- the released layout


@pytest.fixture
def sections() -> dict[str, dict[str, Tensor]]:
    """Names and shapes without numbers, and without taking memory."""
    return {
        section: {key: torch.zeros(()).expand(entry["shape"]) for key, entry in entries.items()}
        for section, entries in load_manifest("hfgi_128").items()
    }


def test_the_released_layout_has_the_published_shapes(sections: dict[str, dict[str, Tensor]]) -> None:
    config, own, notes = convert(sections)
    assert config == HFGIConfig() and notes == []
    assert len(own) == len(sections["residue"]) + len(sections["grid_align"])


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
    with pytest.raises(ValueError, match=r"aligner_widths.*\(4,\)"):
        HFGIConfig(aligner_widths=(4,))


def test_other_widths_are_told_from_the_weights() -> None:
    made = method(dataclasses.replace(TINY, aligner_widths=(4, 6, 8), consultation_widths=(4, 5, 6), units=3))
    index = {"norm0": 0, "conv0": 1, "act": 2, "conv1": 3, "norm1": 4}
    stem = {"conv": 0, "norm": 1, "act": 2}
    branch = {"hidden.weight": "0.weight", "hidden.bias": "0.bias", "out.weight": "2.weight", "bias": "2.bias"}
    published: dict[str, dict[str, Tensor]] = {"grid_align": {}, "residue": {}}
    for name, tensor in made.own_state().items():
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
    assert own.keys() == made.own_state().keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in made.own_state().items())
    assert notes == []


# ---- what is computed


@torch.inference_mode()
def test_the_map_is_what_the_codes_lost() -> None:
    made, photo = method(), tiny.photos(side=128)
    inversion = made.invert(photo)
    codes, _ = made.encoder(photo)
    small = F.avg_pool2d(photo, 2)
    torch.testing.assert_close(inversion.distortion, small - at_encoder_size(made.generator(codes), 64))
    torch.testing.assert_close(inversion.codes.w, codes.w)


@torch.inference_mode()
def test_details_enter_as_scale_and_shift_after_the_layer() -> None:
    made, photo = method(), tiny.photos()
    consultation = made.consultation
    for branch, value in ((consultation.scale, 0.5), (consultation.shift, -2.0)):
        branch.out.weight.zero_()
        branch.bias.fill_(value)
    inversion = made.invert(photo)
    codes = tiny.an_edit().apply(inversion.codes)
    canvas = made.generator.run(made.generator.start(codes), codes, to=LAYER)
    by_hand = made.generator.run(canvas.replace(canvas.feature * 1.5 - 2), codes).image
    torch.testing.assert_close(made.render(inversion, tiny.an_edit()), by_hand, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_an_edit_aligns_the_unedited_map_to_the_edited_picture() -> None:
    made = method()
    inversion = made.invert(tiny.photos())
    seen: list[tuple[Tensor, ...]] = []
    made.aligner.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs))
    made.render(inversion, tiny.an_edit())
    ((distortion, image),) = seen
    assert torch.equal(distortion, inversion.distortion)
    codes = tiny.an_edit().apply(inversion.codes)
    torch.testing.assert_close(image, at_encoder_size(made.generator(codes), 64))


@torch.inference_mode()
def test_an_encoder_of_another_size_than_four_times_the_feature() -> None:
    made = method(dataclasses.replace(TINY, layer=2))  # 8 px; the consultation works at 16
    assert made.render(made.invert(tiny.photos()), tiny.an_edit()).shape == (2, 3, 32, 32)


# ---- training


@pytest.mark.parametrize("term", ["pixel", "perceptual", "identity", "alignment"])
def test_each_term_falls_when_it_alone_is_trained(term: str) -> None:
    alone = {name: float(name == term) for name in ("pixel", "perceptual", "identity", "alignment")}
    made = method(dataclasses.replace(TINY, **alone), shaken=False).train()
    values = tiny.training(made, lambda: made.training_loss(tiny.photos(), tiny.context()), term, 5e-3)
    assert values[-1] < 0.8 * values[0], values


def test_alignment_compares_with_the_map_before_the_warp() -> None:
    class Unmoved(nn.Module):
        def forward(self, distortion: Tensor, image: Tensor) -> Tensor:
            return distortion

    made, photo = method(), tiny.photos()
    made.aligner = Unmoved()  # type: ignore[assignment]
    losses = made.training_loss(photo, tiny.context())
    assert losses.weights == {"pixel": 1, "perceptual": 0.8, "identity": 0.1, "alignment": 0.1}
    loss = losses.terms["alignment"]
    with torch.no_grad():
        distortion = made.invert(photo).distortion
        warped = warp(distortion, random_perspectives(2, tiny.context().draws, 0.15, 0.9))
    assert loss > 0.01
    torch.testing.assert_close(loss, (warped - distortion).abs().mean())
    still = method(dataclasses.replace(TINY, probability=0))
    still.aligner = Unmoved()  # type: ignore[assignment]
    assert still.training_loss(photo, tiny.context()).terms["alignment"] == 0


def test_training_compares_at_the_encoders_size() -> None:
    made = method(dataclasses.replace(TINY, probability=0)).eval()
    photo = tiny.photos(side=128)
    with torch.no_grad():
        pixel = made.training_loss(photo, tiny.context()).terms["pixel"]
        drawn = F.interpolate(made.render(made.invert(photo)), size=(64, 64), mode="bilinear")
    torch.testing.assert_close(pixel, F.mse_loss(drawn, F.avg_pool2d(photo, 2)), rtol=1e-4, atol=1e-5)
