"""The bundle that comes with the package: whole, small, as its card says, and quick to edit with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import gradstyle
from gradstyle.bundles import Bundle
from gradstyle.bundles.bundle import BUNDLED, fingerprint
from gradstyle.evaluation.card import CARD, FIGURES, figures_block
from gradstyle.files import file_sha256
from gradstyle.photos import align, paste
from gradstyle.photos.portraits import astronaut

FACES = BUNDLED / "faces"
MOST = 64 << 20  # bytes
METHODS = ["gradstyle", "styleres", "sdic", "hfgi", "e4e"]


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
