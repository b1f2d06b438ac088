"""SDIC: its released layout, what it computes, what its losses train, wrong values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.methods.sdic import SDIC, CodeCompensation, SDICConfig
from gradstyle.published import names
from gradstyle.published.sdic import convert
from gradstyle.stylegan2 import Codes
from tests.support import tiny
from tests.support.interop import load_manifest

TINY: SDICConfig = tiny.CONFIGS["sdic"]


def method(config: SDICConfig = TINY, shaken: bool = True) -> SDIC:
    made = tiny.method("sdic", config, shaken)
    assert isinstance(made, SDIC)
    return made


# ---- the released layout


def of_faces() -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the released layout, for 12 codes."""
    return {
        section: {key: entry["shape"] for key, entry in entries.items()}
        for section, entries in load_manifest("sdic_128").items()
    }


def blank(shapes: dict[str, dict[str, list[int]]]) -> dict[str, dict[str, Tensor]]:
    """Weights without numbers, and without taking memory."""
    return {s: {k: torch.zeros(()).expand(shape) for k, shape in part.items()} for s, part in shapes.items()}


def test_the_released_layout_has_the_published_shapes() -> None:
    sections = blank(of_faces())
    config, own, notes = convert(sections)
    assert config == replace(SDICConfig(), shift_width=12)
    assert notes == ["90 weights that no pass uses were left out"]
    assert len(own) == len(sections["DIP"]) + len(sections["SAF"]) - 90


def of_cars() -> dict[str, dict[str, Tensor]]:
    """The released layout for 16 codes: 18 channels and 144 → 72 → 16."""
    sections = of_faces()
    saf = sections["SAF"]
    for key, shape in saf.items():
        if key.startswith("condition_shift3."):
            saf[key] = [{12: 18}.get(n, n) for n in shape]
        if key.startswith("aff1d."):
            saf[key] = [{96: 144, 48: 72, 12: 16}.get(n, n) for n in shape]
    return blank(sections)


def test_published_layout_of_cars() -> None:
    config, own, _ = convert(of_cars())
    assert config == replace(SDICConfig(), shift_width=18)
    with torch.device("meta"):
        module = CodeCompensation(config, codes=16, w_dim=512)
    module.load_state_dict({k.removeprefix("code."): v for k, v in own.items() if k.startswith("code.")}, assign=True)
    assert module(torch.zeros(1, 3, 256, 256), torch.ones(1, 16, 512)).shape == (1, 16, 512)


@pytest.mark.parametrize(
    ("section", "change", "named"),
    [
        ("DIP", {"desc.bias": None}, "desc.bias"),
        ("DIP", {"hourglass_fusion.CGF_16.semantic.1.bias": None}, "CGF_16.semantic.1.bias"),
        ("DIP", {"hourglass_fusion.agg_0.0.bn.weight": torch.zeros(3)}, "agg_0.0.bn.weight is"),
        ("SAF", {"aff1d.att2.0.bias": None}, "aff1d.att2.0.bias"),
        ("SAF", {"condition_shift3.0.weight": None}, "condition_shift3.0.weight"),
        ("SAF", {"aff3.weight": torch.zeros(3)}, "unknown: aff3.weight"),
        ("SAF", {"att.1.weight": torch.full((512, 512, 3, 3), torch.nan)}, "att.1.weight holds values"),
        ("SAF", None, "missing: SAF"),
    ],
)
def test_wrong_checkpoints_are_refused_by_name(
    section: str, change: dict[str, Tensor | None] | None, named: str
) -> None:
    sections = of_cars()
    if change is None:
        del sections[section]
    for key, value in (change or {}).items():
        sections[section].pop(key, None)
        if value is not None:
            sections[section][key] = value
    with pytest.raises(names.Mismatch, match=named):
        convert(sections)


# ---- what is computed


@torch.inference_mode()
def test_an_edit_moves_the_compensated_codes_and_keeps_what_was_added() -> None:
    made, edit = method(), tiny.an_edit()
    generator, codes = made.generator, made.encoder(tiny.photos())[0]
    inversion = made.invert(tiny.photos())
    assert tiny.far(inversion.codes.w, codes.w) > 0.01
    g7 = generator.run(generator.start(codes), codes, to=3).feature
    assert torch.allclose(inversion.feature - inversion.added, g7, atol=1e-5)
    moved = Codes(inversion.codes.w + edit.w)
    canvas = generator.run(generator.start(moved), moved, to=3)
    image = generator.run(canvas.replace(inversion.feature - g7 + canvas.feature), moved).image
    assert tiny.far(made.render(inversion, edit), image) < 1e-5


# ---- training


@pytest.mark.parametrize("term", ["pixel", "perceptual", "identity", "feature", "code"])
def test_each_term_falls_when_it_is_trained_alone(term: str) -> None:
    none = dict.fromkeys(("pixel", "perceptual", "identity", "feature", "code"), 0.0)
    at_rest = term not in ("feature", "code")  # these two are zero before anything is learned
    made = method(replace(TINY, **(none | {term: 1.0})), shaken=not at_rest).train()
    values = tiny.training(made, lambda: made.training_loss(tiny.photos(), tiny.context()), term, 3e-3)
    assert sum(values[-3:]) < 0.9 * sum(values[:3]), values


@torch.no_grad()
def test_terms_are_what_they_say() -> None:
    made = method()
    losses, inversion = made.training_loss(tiny.photos(), tiny.context()), made.invert(tiny.photos())
    codes = made.encoder(tiny.photos())[0]
    g7 = made.generator.run(made.generator.start(codes), codes, to=3).feature
    assert losses.fakes is None  # no discriminator judges SDIC
    assert losses.weights == {"pixel": 1, "perceptual": 0.8, "identity": 0.1, "feature": 0.4, "code": 0.1}
    wanted = F.interpolate(tiny.photos(), size=32, mode="area")
    assert losses.terms["pixel"].item() == pytest.approx(F.mse_loss(made.reconstruct(inversion), wanted).item())
    assert losses.terms["feature"].item() == pytest.approx(F.mse_loss(inversion.feature, g7).item(), rel=1e-4)
    assert losses.terms["code"].item() == pytest.approx(F.mse_loss(inversion.codes.w, codes.w).item(), rel=1e-4)
    for silent in (made.feature.down[-1][-1], made.code.gamma[-1], made.code.beta[-1]):
        silent.weight.zero_()
    losses = made.training_loss(tiny.photos(), tiny.context())
    assert losses.terms["feature"] == losses.terms["code"] == 0
    assert torch.equal(made.render(made.invert(tiny.photos())), made.generator(codes))


# ---- wrong values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"planes": 44}, "planes is halved 3 times and must be a multiple of 8, got 44"),
        ({"working_size": 100}, "working_size is halved 3 times and must be a multiple of 8, got 100"),
        ({"volume_widths": (8, 16)}, "photo_widths and volume_widths hold one width a size"),
        ({"photo_widths": (16, 0, 96, 160)}, r"photo_widths must be from 1 to 4096, got \(16, 0, 96, 160\)"),
        ({"map_widths": ()}, r"map_widths one a halving, got .* and \(\)"),
        ({"head_units": 0}, "head_units must be from 1 to 99, got 0"),
        ({"shift_side": 1 << 20}, "shift_side must be from 1 to 4096, got 1048576"),
        ({"shift_width": 0}, "shift_width must be from 1 to 4096, or None for one a code, got 0"),
    ],
)
def test_wrong_configs_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SDICConfig(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": 2}, "the map shrinks from 32 px to 16 in 1 halvings, layer 2 has 8"),
        ({"map_widths": (8, 8)}, "the map shrinks from 32 px to 8"),
        ({"shift_side": 3, "shift_width": 7}, "7 shift channels of 3² pixels do not make two rows or more of 32"),
    ],
)
def test_configs_that_do_not_fit_the_generator_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(replace(TINY, **change))
