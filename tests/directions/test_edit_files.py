"""Edits as files: composed, kept, and refused where they do not belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gradstyle.bundles import Bundle, BundleError, Slider
from gradstyle.directions import load_edit, save_edit
from gradstyle.directions.files import KIND, add, open_edits
from gradstyle.edits import Edit
from gradstyle.tensors import write_tensors
from tests.support import tiny


def bundle(name: str = "here", seed: int = 0) -> Bundle:
    made = Bundle(name)
    made.put("generator", tiny.generator(seed))
    channels = sum(tiny.generator().style_widths)
    ways = {"a": Edit("a", tiny.an_edit(seed=1).w), "b": Edit("b", tiny.an_edit(seed=2).w, torch.ones(channels))}
    made.put_edits(ways, {"a": Slider(-1, 2, "face", "an a", {"moved": 1.1})})
    return made


def test_a_sum_is_saved_and_loaded(tmp_path: Path) -> None:
    here = bundle()
    a, b = here.edits["a"], here.edits["b"]
    both = 2 * a - b
    path = save_edit(tmp_path / "sum.safetensors", both, here)
    edit, slider = load_edit(path, here)
    assert edit.name == "2 * a - b" and edit.generator == here.fingerprint and slider is None
    assert torch.equal(edit.w, both.w) and torch.equal(edit.s, both.s)
    codes = tiny.generator().sample(2)
    assert torch.equal(edit.apply(codes).w, both.apply(codes).w)
    torch.testing.assert_close((edit + b).apply(codes).w, (2 * a).apply(codes).w)  # it goes on adding
    into = bundle()
    add(into, {edit.name: (edit, None)})
    assert torch.equal(into.edits["2 * a - b"].w, both.w) and into.sliders["a"].high == 2


def test_its_slider_goes_with_it(tmp_path: Path) -> None:
    here = bundle()
    path = save_edit(tmp_path / "a.safetensors", here.edits["a"], here, here.sliders["a"])
    assert load_edit(path, here)[1] == here.sliders["a"]
    into = bundle()
    with pytest.raises(BundleError, match="has an edit 'a' already"):
        add(into, open_edits(path, into))
    add(into, {"c": load_edit(path, into)})
    assert into.sliders["c"] == here.sliders["a"] and into.edits["c"].name == "c"


def test_another_generator_is_refused_with_both_names(tmp_path: Path) -> None:
    here, there = bundle("here"), bundle("there", seed=5)
    path = save_edit(tmp_path / "a.safetensors", here.edits["a"], here)
    assert load_edit(path)[0].generator == here.fingerprint  # anyone may look
    both = rf"generator {here.fingerprint} \(of bundle 'here'\); bundle 'there' has generator {there.fingerprint}"
    for use in (lambda: load_edit(path, there), lambda: open_edits(path, there)):
        with pytest.raises(BundleError, match=both):
            use()
    with pytest.raises(
        BundleError, match=f"for generator {here.fingerprint}.*'there' has generator {there.fingerprint}"
    ):
        save_edit(tmp_path / "b.safetensors", here.edits["a"], there)
    with pytest.raises(ValueError, match="names no generator"):
        save_edit(tmp_path / "b.safetensors", Edit("free", torch.ones(1, 32)))
    same = bundle("the same generator under another name")
    assert load_edit(path, same)[0].w.equal(here.edits["a"].w)


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    here = bundle()
    path = save_edit(tmp_path / "new" / "a.safetensors", here.edits["a"], here)
    with pytest.raises(ValueError, match="exists"):
        save_edit(path, here.edits["b"], here)
    save_edit(path, here.edits["b"], here, overwrite=True)
    assert load_edit(path)[0].name == "b"
    with pytest.raises(ValueError, match=r"an edit is a \.safetensors file, got 'a.pt'"):
        save_edit(tmp_path / "a.pt", here.edits["a"], here)


def test_files_of_anyones_making_are_refused_with_their_cause(tmp_path: Path) -> None:
    good = {"kind": KIND, "name": "a", "generator": "0123", "bundle": "here"}
    w = {"w": torch.ones(1, 32)}
    wrong = [
        ({**good, "kind": "x"}, w, "is no edit's file"),
        ({}, w, "is no edit's file"),
        ({**good, "name": "x" * 500}, w, "short names"),
        ({**good, "bundle": "\x1b[2J"}, w, "short names"),
        ({**good, "name": ""}, w, "an edit has a name"),
        (good, {"v": torch.ones(3)}, r"it holds \['v'\]"),
        (good, {"w": torch.ones(3)}, r"\[codes, w_dim\], got \[3\]"),
        (good, {"w": torch.full((1, 32), float("inf"))}, "not finite"),
        ({**good, "slider": "["}, w, "its slider cannot be read"),
        ({**good, "slider": "[" * 100_000}, w, "its slider cannot be read"),
        ({**good, "slider": json.dumps({"low": 1, "high": 2})}, w, "from a low to a high with 0 between"),
        ({**good, "slider": json.dumps({"low": -1, "high": 2, "code": "x"})}, w, "unknown 'code'"),
    ]
    for i, (told, tensors, cause) in enumerate(wrong):
        path = tmp_path / f"{i}.safetensors"
        write_tensors(path, tensors, told)
        with pytest.raises(ValueError, match=cause) as refused:
            load_edit(path)
        assert str(path) in str(refused.value) and len(str(refused.value)) < 800


def test_published_directions_go_into_the_bundle_of_their_generator(tmp_path: Path) -> None:
    here = bundle()
    boundary = np.random.default_rng(0).normal(size=(1, 32)).astype(np.float32)
    np.save(tmp_path / "beard.npy", boundary)
    add(here, open_edits(tmp_path / "beard.npy", here))
    edit = here.edits["beard"]
    assert edit.generator == here.fingerprint and "beard" not in here.sliders
    torch.testing.assert_close(
        edit.apply(tiny.generator().sample(1)).w, tiny.generator().sample(1).w + torch.tensor(boundary)
    )
    np.save(tmp_path / "wide.npy", np.ones((1, 48), np.float32))
    with pytest.raises(BundleError, match=r"edit 'wide' holds 'w' of \[1, 48\], needed \[1, 32\]"):
        add(here, open_edits(tmp_path / "wide.npy", here))  # made for a generator with other codes
    assert replace(edit).name == "beard"
