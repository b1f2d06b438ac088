"""What every method owes, whatever it does: the contract, one test for all of them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gradstyle.bundles import Bundle, BundleError
from gradstyle.edits import Edit
from gradstyle.methods import BASELINES, METHODS, Method
from gradstyle.methods.method import Losses
from gradstyle.stylegan2 import Codes
from gradstyle.tensors import write_tensors
from tests.support import tiny
from tests.support.inversion_mutations import mutations

TRAINED = [name for name in METHODS if name != "e4e"]
EVERY = METHODS | BASELINES


@pytest.fixture(scope="module", params=EVERY)
def method(request: pytest.FixtureRequest) -> Method[Any]:
    """Shared by the tests of this file: those that change a method make their own."""
    made = tiny.method(request.param)
    made.generator.fingerprint = "here"
    return made


def style_edit(method: Method[Any]) -> Edit:
    channels = sum(method.generator.style_widths)
    return Edit("style", None, torch.randn(channels, generator=torch.Generator().manual_seed(6)))


# ---- pictures


@torch.inference_mode()
def test_edits_that_come_to_nothing_are_the_reconstruction_exactly(method: Method[Any]) -> None:
    inversion, smile = method.invert(tiny.photos()), tiny.an_edit()
    plain = method.reconstruct(inversion)
    style = style_edit(method)
    for nothing in ((), [], 0 * smile, smile - smile, [smile, -smile], [0 * smile, 0 * style], [2 * style, -2 * style]):
        assert torch.equal(method.render(inversion, nothing), plain), nothing
    assert plain.shape == (2, 3, 32, 32) and plain.dtype == torch.float32
    assert tiny.far(method.render(inversion, smile), plain) > 0.05
    assert tiny.far(method.render(inversion, style), plain) > 0.05


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("training", [False, True])
@torch.inference_mode()
def test_before_training_the_picture_is_that_of_the_codes(name: str, training: bool) -> None:
    """So that training begins with what the encoder has learned, whatever a batch's statistics are."""
    made, photo, smile = tiny.method(name, shaken=False).train(training), tiny.photos(), tiny.an_edit()
    codes = made.encoder(photo)[0]
    inversion = made.invert(photo)
    torch.testing.assert_close(made.render(inversion), made.generator(codes), rtol=0, atol=1e-5)
    torch.testing.assert_close(made.render(inversion, smile), made.generator(smile.apply(codes)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["e4e", "hfgi", "styleres", "gradmove", *BASELINES])
@torch.inference_mode()
def test_a_vanishing_edit_is_next_to_none(name: str) -> None:
    """Not so for SDIC, whose reconstruction takes F as it is, and GradStyle, whose edits pass the aligner."""
    made = tiny.method(name)
    inversion = made.invert(tiny.photos())
    assert tiny.far(made.render(inversion, 1e-6 * tiny.an_edit()), made.render(inversion)) < 1e-4


@torch.inference_mode()
def test_edits_of_one_picture_add_up(method: Method[Any]) -> None:
    inversion, smile, pose = method.invert(tiny.photos()), tiny.an_edit(), tiny.an_edit(seed=7)
    together = method.render(inversion, [smile, 2 * pose, style_edit(method)])
    assert tiny.far(method.render(inversion, 2 * pose + style_edit(method) + smile), together) < 1e-4
    assert tiny.far(method.render(inversion, [smile, pose, style_edit(method)]), together) > 0.01


@torch.inference_mode()
def test_the_same_twice(method: Method[Any]) -> None:
    first, second = (method.render_each(method.invert(tiny.photos()), [(), tiny.an_edit()]) for _ in range(2))
    assert torch.equal(first, second)


@torch.inference_mode()
def test_a_batch_gives_what_its_photos_give_alone(method: Method[Any]) -> None:
    photos, edits = tiny.photos(3), [(), tiny.an_edit()]
    together = method.invert(photos)
    for edit in edits:
        drawn = method.render(together, edit)
        for i in range(3):
            alone = method.invert(photos[i : i + 1])
            assert tiny.far(method.render(alone, edit), drawn[i : i + 1]) < 1e-4
            assert tiny.far(method.render(together[i], edit), drawn[i : i + 1]) < 1e-4


@torch.inference_mode()
def test_many_edits_at_once_are_those_edits_one_by_one(method: Method[Any]) -> None:
    inversion = method.invert(tiny.photos())
    kinds = [(), tiny.an_edit(), [0 * tiny.an_edit()], [-tiny.an_edit(), style_edit(method)]]
    alone = [method.render(inversion, kind) for kind in kinds]
    for mix in ([], [0], [2, 0], [1, 3, 1], *product(range(4), repeat=2), [1, 0, 3, 2]):
        drawn = method.render_each(inversion, [kinds[k] for k in mix])
        assert drawn.shape == (2 * len(mix), 3, 32, 32)
        for k, picture in zip(mix, drawn.split(2)):
            assert tiny.far(picture, alone[k]) < 1e-4, (mix, k)
            assert k not in (0, 2) or torch.equal(picture, alone[0]), mix


@torch.inference_mode()
def test_given_codes_take_the_place_of_the_encoders(method: Method[Any]) -> None:
    photo, edit = tiny.photos(), tiny.an_edit(seed=7) if method.name in BASELINES else ()  # unedited, they give it back
    codes = method.encoder(photo)[0]
    as_before = method.render(method.invert(photo, codes), edit)
    assert tiny.far(as_before, method.render(method.invert(photo), edit)) < 1e-5
    moved = method.invert(photo, tiny.an_edit().apply(codes))
    assert tiny.far(method.render(moved, edit), as_before) > 0.01
    styled = method.invert(photo, style_edit(method).apply(codes))
    assert styled.codes.s is not None
    assert tiny.far(method.render(styled, edit), as_before) > 0.01


@torch.inference_mode()
def test_photos_of_any_size(method: Method[Any]) -> None:
    large = tiny.photos(side=128)
    small = nn.functional.avg_pool2d(large, 2)
    assert tiny.far(method.render(method.invert(large)), method.render(method.invert(small))) < 1e-4
    assert method.render(method.invert(tiny.photos(1, side=24)), tiny.an_edit()).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("how", ["autocast", "weights"])
@pytest.mark.parametrize("name", EVERY)
@torch.inference_mode()
def test_bfloat16_stays_close(name: str, how: str) -> None:
    made, photo, edits = tiny.method(name), tiny.photos(), [(), tiny.an_edit()]
    exact = made.render_each(made.invert(photo), edits)
    if how == "weights":
        made.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        drawn = made.render_each(made.invert(photo), edits)
    assert drawn.dtype == torch.float32
    for half, full in zip(drawn.split(2), exact.split(2)):
        assert tiny.psnr(half, full) >= 35


# ---- what an inversion is


@torch.inference_mode()
def test_an_inversion_is_a_value(method: Method[Any], tmp_path: Path) -> None:
    inversion, edits = method.invert(tiny.photos(3)), [(), tiny.an_edit()]
    drawn = method.render_each(inversion, edits)
    assert len(inversion) == 3

    assert torch.equal(method.render_each(inversion.map(torch.clone), edits), drawn)
    twice = method.render(inversion.repeat(2), edits[1])
    assert tiny.far(twice, torch.cat([drawn[3:]] * 2)) < 1e-4
    assert len(inversion[-1]) == 1 and torch.equal(inversion[-1].codes.w, inversion.codes.w[2:])
    with pytest.raises(IndexError, match="holds 3 photos, there is no number 3"):
        inversion[3]

    inversion.save(tmp_path / "photo.safetensors")
    loaded = method.Keeps.load(tmp_path / "photo.safetensors")
    assert torch.equal(method.render_each(loaded, edits), drawn)


@torch.inference_mode()
def test_an_inversion_of_another_method_is_refused(method: Method[Any], tmp_path: Path) -> None:
    file = tmp_path / "photo.safetensors"
    for name in EVERY:
        if name == method.name:
            continue
        other = tiny.method(name).invert(tiny.photos(1))
        theirs, ours = type(other).__name__, method.Keeps.__name__
        with pytest.raises(ValueError, match=f"{method.name} renders a {ours}, got a {theirs}: invert the photo with"):
            method.render(other)
        other.save(file)
        with pytest.raises(ValueError, match=f"holds a {theirs}, not a {ours}: it is of another method"):
            method.Keeps.load(file)


@torch.inference_mode()
def test_a_file_that_is_no_inversion_is_refused(method: Method[Any], tmp_path: Path) -> None:
    file = tmp_path / "photo.safetensors"
    write_tensors(file, {"codes.w": torch.zeros(1, 8, 32)})
    with pytest.raises(ValueError, match="is not a saved inversion"):
        method.Keeps.load(file)
    file.write_bytes(b"not tensors")
    with pytest.raises(ValueError, match=r"photo\.safetensors"):
        method.Keeps.load(file)
    torch.save({"codes": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"but a zip, as PyTorch writes \.pt and \.pth: `gradstyle bundle import`"):
        method.Keeps.load(file)


@torch.inference_mode()
def test_an_inversion_of_another_generator_is_refused(method: Method[Any], tmp_path: Path) -> None:
    file, elsewhere, nowhere = tmp_path / "photo.safetensors", tiny.method(method.name), tiny.method(method.name)
    elsewhere.generator.fingerprint = "elsewhere"
    inversion = method.invert(tiny.photos(1))
    assert inversion.generator == "here" and nowhere.invert(tiny.photos(1)).generator == ""
    inversion.save(file)
    for kept in (inversion, method.Keeps.load(file)):
        with pytest.raises(ValueError, match="is of generator here, this one is elsewhere: invert the photo again"):
            elsewhere.render(kept)
        nowhere.render(kept)  # a generator of no name, as edits have it


@torch.inference_mode()
def test_a_damaged_inversion_is_refused(method: Method[Any], tmp_path: Path) -> None:
    file = tmp_path / "photo.safetensors"
    method.invert(tiny.photos(1)).save(file)
    data = file.read_bytes()
    file.write_bytes(data[:-4] + bytes([data[-4] ^ 1]) + data[-3:])
    with pytest.raises(ValueError, match="damaged or was changed"):
        method.Keeps.load(file)


@torch.inference_mode()
def test_mutated_inversions_are_refused_or_right(method: Method[Any], tmp_path: Path) -> None:
    """By the package's own error. Only one who makes a fitting SHA-256 gets another picture drawn."""
    file, other = tmp_path / "photo.safetensors", tmp_path / "mutated.safetensors"
    inversion = method.invert(tiny.photos(2))
    inversion.save(file)
    plain, refused = method.render(inversion), 0
    for what, data in mutations(file.read_bytes(), 40, seed=1):
        other.write_bytes(data)
        try:
            drawn = method.render(method.Keeps.load(other))
        except (ValueError, OSError):
            refused += 1
            continue
        assert drawn.shape == plain.shape and ("sealed" in what or torch.equal(drawn, plain)), what
    assert refused > 20


# ---- bad input


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (torch.zeros(2, 3, 64, 48), r"square RGB, \[N, 3, side, side\] .* got \[2, 3, 64, 48\]"),
        (torch.zeros(2, 4, 64, 64), r"square RGB, .* got \[2, 4, 64, 64\]"),
        (torch.zeros(2, 1, 64, 64), r"square RGB, .* got \[2, 1, 64, 64\]"),
        (torch.zeros(2, 64, 64, 3), r"square RGB, .* got \[2, 64, 64, 3\]"),
        (torch.zeros(3, 64, 64), r"square RGB, .* got \[3, 64, 64\]"),
        (torch.zeros(0, 3, 64, 64), r"square RGB, .* got \[0, 3, 64, 64\]"),
        (torch.zeros(2, 3, 0, 0), r"square RGB, .* got \[2, 3, 0, 0\]"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), r"floats in \[-1, 1\], got torch.uint8"),
    ],
    ids=lambda value: "x".join(map(str, value.shape)) if isinstance(value, Tensor) else "",
)
def test_what_is_no_photo_is_refused(method: Method[Any], photo: Tensor, message: str, given: bool) -> None:
    with pytest.raises(ValueError, match=message):
        method.invert(photo, Codes(torch.zeros(2, 8, 32)) if given else None)


def test_codes_that_do_not_fit_are_refused(method: Method[Any]) -> None:
    for shape, message in (
        ((3, 8, 32), "2 photos need as many codes, got 3"),
        ((1, 8, 32), "2 photos need as many codes, got 1"),
        ((2, 7, 32), r"given codes are \[7, 32\] for each photo, this 32 px generator takes \[8, 32\]"),
        ((2, 8, 31), r"given codes are \[8, 31\] for each photo, this 32 px generator takes \[8, 32\]"),
    ):
        with pytest.raises(ValueError, match=message):
            method.invert(tiny.photos(2), Codes(torch.zeros(shape)))


@torch.inference_mode()
def test_edits_that_do_not_fit_are_refused(method: Method[Any]) -> None:
    inversion, smile = method.invert(tiny.photos(1)), tiny.an_edit()
    widths = sum(method.generator.style_widths)
    foreign = "edit 'age' is for generator there, this one is here"
    refused = {
        Edit("age", smile.w, generator="there"): foreign,
        0 * Edit("age", smile.w, generator="there"): "generator there, this one is here",  # a slider at rest as well
        Edit("age", torch.ones(7, 32)): r"edit 'age' moves codes \[7, 32\], this 32 px generator takes \[8, 32\]",
        Edit("age", torch.ones(1, 31)): r"edit 'age' moves codes \[1, 31\], this 32 px generator takes \[8, 32\]",
        Edit("age", None, torch.ones(5)): f"edit 'age' moves 5 style channels, this 32 px generator has {widths}",
    }
    for edit, message in refused.items():
        for wanted in (edit, [smile, edit]):
            with pytest.raises(ValueError, match=message):
                method.render(inversion, wanted)
        with pytest.raises(ValueError, match=message):
            method.render_each(inversion, [smile, (), edit])
    for text in ("smile=2", {"smile": 2}, ["smile"]):
        with pytest.raises(ValueError, match=f"{method.name} renders Edit values, got .*smile"):
            method.render(inversion, text)  # type: ignore[arg-type]
    for fits in (Edit("age", smile.w, generator="here"), Edit("age", torch.ones(1, 32))):
        method.render(inversion, fits)


@torch.inference_mode()
def test_an_inversion_of_another_bundle_is_refused(method: Method[Any]) -> None:
    inversion = method.invert(tiny.photos(1))
    larger = replace(inversion, codes=Codes(torch.zeros(1, 12, 32)))
    with pytest.raises(ValueError, match=r"inversion's codes are \[12, 32\] for each photo, this 32 px generator"):
        method.render(larger)


def test_what_it_is_made_of_must_fit(method: Method[Any]) -> None:
    other = "hfgi" if method.name != "hfgi" else "sdic"
    with pytest.raises(
        ValueError, match=f"{method.name} takes a {method.Config.__name__}, got a {other.upper()}Config"
    ):
        EVERY[method.name](tiny.generator(), tiny.encoder(), tiny.CONFIGS[other])
    with torch.device("meta"):
        larger = type(method.encoder)(replace(tiny.ENCODER, codes=9))
    with pytest.raises(ValueError, match=r"encoder gives codes \[9, 32\], the generator takes \[8, 32\]"):
        EVERY[method.name](tiny.generator(), larger, tiny.CONFIGS[method.name])


@pytest.mark.parametrize("name", ["styleres", "sdic", "hfgi"])
@pytest.mark.parametrize("layer", [5, 6, 7])
def test_no_method_works_on_maps_finer_than_half_the_image(name: str, layer: int) -> None:
    with pytest.raises(ValueError, match=rf"layer {layer}: .* layers 0 … 4 of a 32 px generator"):
        tiny.method(name, replace(tiny.CONFIGS[name], layer=layer))


# ---- work


@dataclass(frozen=True)
class Work:
    """How often modules run: the encoder, generator layers up to the last that the method writes to and those
    above it, and the method's own modules."""

    invert: dict[str, int]
    reconstruct: dict[str, int]
    render_codes: dict[str, int]


WORK = {
    "e4e": Work({"encoder.backbone": 1}, {"above": 1}, {"above": 1}),
    "hfgi": Work(
        # An edit is drawn as far as its picture, to align the map to it, and its upper layers then once more.
        {"encoder.backbone": 1, "below": 1, "above": 1, "aligner": 1, "consultation": 1},
        {"above": 1},
        {"below": 1, "above": 2, "aligner": 1, "consultation": 1},
    ),
    "sdic": Work(
        {"encoder.backbone": 1, "below": 1, "above": 1, "discrepancy": 1, "feature": 1, "code": 1},
        {"below": 1, "above": 1},
        {"below": 1, "above": 1},
    ),
    "styleres": Work(
        {"encoder.backbone": 1, "below": 1, "e1": 1, "e2": 1}, {"above": 1}, {"below": 1, "e2": 1, "above": 1}
    ),
    "gradmove": Work(
        {"encoder.backbone": 1, "below": 1, "stages.?.residual": 1, "stages.?.move.describe": 1, "stages.?.fuse": 1},
        {"above": 1},
        {"below": 1, "stages.?.move": 1, "stages.?.move.describe": 1, "stages.?.fuse": 1, "above": 1},
    ),
    "gradstyle": Work(
        {"encoder.backbone": 1, "below": 1, "stages.?.residual": 1, "stages.?.fuse": 1},
        {"above": 1},
        {"below": 1, "stages.?.align": 1, "stages.?.fuse": 1, "above": 1},
    ),
} | dict.fromkeys(BASELINES, Work({"encoder.backbone": 1, "above": 1}, {}, {"above": 1}))
READS_FEATURES = {"styleres": 1, "gradstyle": 1, "gradmove": 1}  # even where codes are given
LAST = {"hfgi": 3, "sdic": 3, "styleres": 3, "gradstyle": 4, "gradmove": 4}  # the last layer written to, if any


def runs(method: Method[Any], work: Callable[[], object]) -> Counter[str]:
    """How often each module ran."""
    counted: Counter[str] = Counter()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: counted.update([name]))
        for name, module in method.named_modules()
    ]
    work()
    for hook in hooks:
        hook.remove()
    return counted


@torch.inference_mode()
def test_nothing_is_computed_twice(method: Method[Any]) -> None:
    work, photo, smile = WORK[method.name], tiny.photos(), tiny.an_edit()
    layers = [f"generator.layers.{k}" for k in range(method.generator.config.layers)]
    groups = {"below": layers[: LAST.get(method.name, -1) + 1], "above": layers[LAST.get(method.name, -1) + 1 :]}
    modules = [name for name, _ in method.named_modules()]
    patterns = {pattern for field in fields(Work) for pattern in getattr(work, field.name)}

    def of(pattern: str) -> list[str]:
        return groups.get(pattern) or [name for name in modules if fnmatchcase(name, pattern)]

    watched = {name for pattern in patterns for name in of(pattern)} | set(layers)

    def check(act: Callable[[], object], wanted: dict[str, int]) -> None:
        counted = {name: count for name, count in runs(method, act).items() if name in watched}
        assert counted == {name: count for pattern, count in wanted.items() for name in of(pattern) if count}

    inversion = method.invert(photo)
    check(lambda: method.invert(photo), work.invert)
    check(
        lambda: method.invert(photo, inversion.codes),
        {**work.invert, "encoder.backbone": READS_FEATURES.get(method.name, 0)},
    )
    check(lambda: method.render(inversion), work.reconstruct)
    check(lambda: method.render(inversion, smile), work.render_codes)
    check(lambda: method.render_each(inversion, [smile, -smile, 2 * smile]), work.render_codes)
    assert not [name for name in runs(method, lambda: method.render(inversion, smile)) if name.startswith("encoder")]


@torch.inference_mode()
def test_an_edit_costs_the_same_however_many_there_are(method: Method[Any]) -> None:
    photo, edits = tiny.photos(1), [k * tiny.an_edit() for k in (1, 2, 3)]

    def flops(work: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    def invert_and_render(times: int) -> None:
        inversion = method.invert(photo)
        for edit in edits[:times]:
            method.render(inversion, edit)

    inversion = method.invert(photo)
    inverting, rendering = flops(lambda: method.invert(photo)), flops(lambda: method.render(inversion, edits[0]))
    assert flops(lambda: invert_and_render(3)) == inverting + 3 * rendering
    assert flops(lambda: method.render_each(inversion, edits)) == 3 * rendering
    assert flops(lambda: method.render_each(inversion, [(), *edits])) == 3 * rendering + flops(
        lambda: method.render(inversion)
    )
    encoding, generating = flops(lambda: method.encoder(photo)), flops(lambda: method.generator(inversion.codes))
    assert inverting >= encoding
    assert rendering >= generating >= flops(lambda: method.render(inversion))


# ---- weights


def test_own_state_is_what_the_method_learned_alone(method: Method[Any]) -> None:
    own = method.own_state()
    assert not [key for key in own if key.startswith(("generator.", "encoder."))]
    whole = {*own, *(f"{part}.{k}" for part in ("generator", "encoder") for k in getattr(method, part).state_dict())}
    assert whole == set(method.state_dict())
    learned = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert learned <= set(own) and bool(learned) == (method.name in TRAINED)

    again = tiny.method(method.name, shaken=False)
    again.load_own(own)
    again.encoder.load_state_dict(method.encoder.state_dict())  # shaken too
    with torch.inference_mode():
        assert torch.equal(again.render(again.invert(tiny.photos())), method.render(method.invert(tiny.photos())))


@pytest.mark.parametrize("name", TRAINED)
def test_weights_that_do_not_fit_are_named(name: str) -> None:
    made = tiny.method(name)
    own, before = made.own_state(), copy.deepcopy(made.state_dict())
    key = next(iter(own))
    lacking = {k: v for k, v in own.items() if k != key}
    escaped, shape = key.replace(".", r"\."), str(list(own[key].shape)).replace("[", r"\[")
    for state, message in (
        (lacking, f"{name}'s; 1 missing: {escaped}"),
        ({**own, "more.weight": torch.zeros(1)}, r"1 unknown: more\.weight"),
        ({**own, "generator.const": torch.zeros(1, 32, 4, 4)}, r"1 unknown: generator\.const"),
        ({**own, key: torch.zeros(9, 9)}, rf"1 of another shape: {escaped} is \[9, 9\], needed {shape}"),
        ({}, rf"{len(own)} missing: {escaped}, "),
    ):
        with pytest.raises(ValueError, match=message):
            made.load_own(state)
    assert all(torch.equal(value, before[k]) for k, value in made.state_dict().items())


# ---- training

# Biases that cancel: before a BatchNorm, which takes the mean off again, and in the difference of two answers.
CANCEL = {
    "sdic": {"code.rows.0.bias", "code.gamma.0.bias", "code.beta.0.bias"},
    "gradmove": {f"stages.{i}.move.differs.2.bias" for i in range(3)},
}


@pytest.mark.parametrize("name", TRAINED)
def test_what_the_method_owns_learns_and_nothing_else_changes(name: str) -> None:
    made = tiny.method(name).train()
    assert made.training and not any(m.training for part in (made.generator, made.encoder) for m in part.modules())
    before = copy.deepcopy(made.state_dict())
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], lr=1e-3)
    for step in range(2):
        losses: Losses = made.training_loss(tiny.photos(4), tiny.context(step, tiny.discriminator()))
        assert losses.terms.keys() <= losses.weights.keys()
        assert all(bool(term.isfinite()) for term in losses.terms.values())
        weighted = sum(losses.weights[term] * value.detach() for term, value in losses.terms.items())
        torch.testing.assert_close(losses.total.detach(), torch.as_tensor(weighted))
        assert losses.fakes is None or bool(losses.fakes.isfinite().all())
        optimizer.zero_grad()
        losses.total.backward()
        for key, parameter in made.named_parameters():
            if key.startswith(("generator.", "encoder.")):
                assert parameter.grad is None, key
            else:
                assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), key
                assert bool(parameter.grad.any()) or key in CANCEL.get(name, ()), key
        optimizer.step()
    learned = dict(made.named_parameters()).keys() - CANCEL.get(name, set())
    for key, value in made.state_dict().items():
        if key.startswith(("generator.", "encoder.")):
            assert torch.equal(value, before[key]), key
        elif key in learned:
            assert not torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_is_the_same_twice(name: str) -> None:
    made = tiny.method(name)
    first, second = (made.training_loss(tiny.photos(), tiny.context(3)).terms for _ in range(2))
    assert first.keys() == second.keys() and all(torch.equal(first[term], second[term]) for term in first)


# ---- in a bundle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """All methods on one generator and one encoder."""
    made = Bundle("all")
    made.put("generator", tiny.generator())
    made.put("encoder", tiny.encoder())
    for name in TRAINED:
        made.put(name, tiny.method(name))
    return made


@torch.inference_mode()
def test_a_bundle_gives_each_method_back(bundle: Bundle, tmp_path: Path) -> None:
    loaded = Bundle.load(bundle.save(tmp_path / "bundle"))
    assert set(loaded.methods) == set(METHODS)  # what is offered; a baseline is there for those who ask
    for name in EVERY:
        made, again = tiny.method(name), loaded.method(name)
        made.encoder.load_state_dict(bundle.encoder().state_dict())
        assert again.config == made.config
        assert torch.equal(
            again.render(again.invert(tiny.photos()), tiny.an_edit()),
            made.render(made.invert(tiny.photos()), tiny.an_edit()),
        )
        assert again.generator is loaded.generator() and again.encoder is loaded.encoder()


def test_a_method_that_a_bundle_lacks(bundle: Bundle) -> None:
    for lacking in TRAINED:
        fewer = Bundle("fewer")
        for part in ("generator", "encoder", *(name for name in TRAINED if name != lacking)):
            fewer.put_state(part, bundle.config(part), bundle.state(part))
        has = ", ".join(name for name in METHODS if name != lacking)
        with pytest.raises(BundleError, match=f"bundle 'fewer' has no {lacking}; it has {has}"):
            fewer.method(lacking)
    with pytest.raises(
        BundleError, match="there is no method 'psp'; methods are gradmove, gradstyle, styleres, sdic, hfgi, e4e, paste"
    ):
        bundle.method("psp")
    bare = Bundle("bare")
    bare.put("generator", tiny.generator())
    for name in ("e4e", "paste"):
        with pytest.raises(BundleError, match=f"bundle 'bare' has no {name}; it has no method"):
            bare.method(name)
