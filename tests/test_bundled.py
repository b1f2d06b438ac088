"""The bundle that comes with the package: whole, small, as its card says, and quick to edit with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import gradstyle
from gradstyle.bundles import Bundle
from gradstyle.bundles.checks import fingerprint
from gradstyle.bundles.places import BUNDLED
from gradstyle.evaluation.alignment import of_edits, under_warps
from gradstyle.files import file_sha256
from gradstyle.methods.gradmove import GradMove
from gradstyle.methods.gradstyle import GradStyle
from gradstyle.photos import align, paste
from gradstyle.photos.portraits import astronaut
from gradstyle.report.card import CARD, FIGURES, figures_block
from gradstyle.stylegan2 import Codes

FACES = BUNDLED / "faces"
MOST = 64 << 20  # bytes
METHODS = ["gradmove", "gradstyle", "styleres", "sdic", "hfgi", "e4e"]


@pytest.fixture(autouse=True)
def no_other_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_it_holds_all_that_it_should_and_is_small() -> None:
    bundle = Bundle.load("faces")
    assert bundle.methods == METHODS
    assert {"generator", "encoder", "discriminator", "judge", "edits"} <= set(bundle)
    assert sum(file.stat().st_size for file in FACES.iterdir()) < MOST
    assert "non-commercial" in bundle.licence
    assert fingerprint(bundle.state("generator")) == bundle.fingerprint
    for name, part in bundle._parts.items():
        assert part.file is not None and file_sha256(part.file) == part.sha256, name


def test_its_card_says_what_its_files_and_figures_say() -> None:
    text = (FACES / CARD).read_text("utf-8")
    assert figures_block(FACES) in text, "run `gradstyle evaluate card` on it again"
    for file in FACES.iterdir():
        if file.suffix in (".safetensors", ".json") and file.name != FIGURES:
            assert file_sha256(file) in text
    assert "non-commercial research" in text and "Known failures" in text
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == ["samples.png"]  # of generated faces, and nothing else is shown


def test_a_portrait_is_edited_where_the_face_is_and_each_method_keeps_more_than_the_codes() -> None:
    photo = astronaut()
    face = photo.faces[0]
    lost = {}
    for method in METHODS:
        editor = gradstyle.load(method=method)
        crop = align(photo, face, editor.bundle.domain, editor.resolution)
        inversion = editor.invert(crop)
        plain = editor.render(inversion)
        lost[method] = (plain - crop.image).square().mean().item()
        name, slider = next(iter(editor.bundle.sliders.items()))
        edited = editor.render(inversion, {name: slider.high or slider.low})
        assert plain.shape == edited.shape == (1, 3, 64, 64) and not torch.equal(plain, edited)
        whole = paste(photo, crop, plain[0], edited[0])
        changed = (whole.pixels != photo.pixels).any(axis=2)
        assert changed.any() and not changed[260:].any()
    assert all(lost[method] < lost["e4e"] for method in METHODS[:-1])


def test_a_file_says_how_far_an_edit_went_not_how_far_it_was_asked_to() -> None:
    editor = gradstyle.load("faces")
    furthest = editor.sliders["smile"].high
    assert editor.edit(astronaut(), {"smile": 99}).edited == f"smile={furthest:+g} (e4e, faces)"


# ---- whether the shipped weights do what their methods are for


@pytest.fixture(scope="module")
def samples() -> Codes:
    return Bundle.load("faces").generator().sample(32, 0.7, seed=1)


@pytest.mark.parametrize("name, most", [("gradstyle", 0.7), ("gradmove", 0.6)])
def test_what_is_aligned_lies_nearer_to_where_it_belongs_under_warps(name: str, most: float, samples: Codes) -> None:
    method = Bundle.load("faces").method(name)
    assert isinstance(method, GradStyle | GradMove)
    found = under_warps(method, method.generator(samples).clamp(-1, 1))
    assert found.together < most and max(found.ratios) < 1, found.ratios


@pytest.mark.parametrize("name", ["smile", "age", "yaw"])
@torch.inference_mode()
def test_gradmove_comes_nearer_to_the_truth_of_an_edit_than_gradstyle(name: str, samples: Codes) -> None:
    bundle = Bundle.load("faces")
    edit, generator, moving = 1.5 * bundle.edits[name], bundle.generator(), bundle.method("gradmove")
    before, truth = generator(samples).clamp(-1, 1), generator(edit.apply(samples)).clamp(-1, 1)

    def off(method: str) -> float:
        drawn = bundle.method(method).render(bundle.method(method).invert(before), edit).clamp(-1, 1)
        return float((drawn - truth).square().mean())

    assert off("gradmove") < 0.85 * off("gradstyle")
    assert isinstance(moving, GradMove) and of_edits(moving, samples, edit).together < 1


@torch.inference_mode()
def test_gradmove_goes_from_no_edit_to_a_vanishing_one_without_a_step(samples: Codes) -> None:
    bundle = Bundle.load("faces")
    method = bundle.method("gradmove")
    inversion = method.invert(method.generator(samples).clamp(-1, 1))
    apart = method.render(inversion, 0.01 * bundle.edits["yaw"]) - method.render(inversion)
    assert 10 * torch.log10(4 / apart.square().mean()) > 35  # dB


@pytest.mark.parametrize("name", ["gradmove", "gradstyle"])
@torch.inference_mode()
def test_each_stage_comes_nearer_to_the_photo(name: str, samples: Codes) -> None:
    method = Bundle.load("faces").method(name)
    photos = method.generator(samples).clamp(-1, 1)
    inversion, errors = method.invert(photos), list[float]()
    for kept in range(len(method.stages) + 1):
        canvas = method.generator.start(inversion.codes)
        for number, stage in enumerate(method.stages):
            canvas = method.generator.run(canvas, inversion.codes, to=stage.layer)
            canvas = canvas.replace(stage.fuse(canvas.feature, (number < kept) * inversion.residuals[number])[0])
        image = method.generator.run(canvas, inversion.codes).image
        errors.append(float((image.clamp(-1, 1) - photos).square().mean()))
    assert errors == sorted(errors, reverse=True), errors
