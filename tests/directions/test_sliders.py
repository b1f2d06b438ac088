"""Sliders: what a bundle keeps of its edits, and what it refuses to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gradstyle.bundles import Bundle, BundleError, Slider
from gradstyle.edits import Edit
from tests.support import tiny

SMILE = Slider(-2.5, 3.0, "face", "corners of the mouth", {"moved": {"Smiling": 1.02}, "monotonic": 0.97})
REASON = {"reasons": ["identity is not kept"], "monotonic": 0.4}


def a_bundle() -> Bundle:
    bundle = Bundle("sliders")
    bundle.put("generator", tiny.generator())
    bundle.put_edits(
        {name: Edit(name, torch.full((1, 32), float(i + 1))) for i, name in enumerate(("smile", "hat", "pca-0"))},
        {"smile": SMILE},
        {"hat": REASON},
    )
    return bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_bundle().save(tmp_path / "sliders")


def test_sliders_are_kept_with_the_edits(folder: Path, tmp_path: Path) -> None:
    read = Bundle.load(folder)
    assert read.sliders == {"smile": SMILE} and read.failed_edits == {"hat": REASON}
    assert set(read.edits) == {"smile", "hat", "pca-0"}
    half = Bundle.load(read.save(tmp_path / "half", torch.float16))
    assert half.sliders == {"smile": SMILE} and half.failed_edits == {"hat": REASON}


def test_edits_are_replaced_with_their_sliders(folder: Path) -> None:
    bundle = Bundle.load(folder)
    bundle.put_edits(bundle.edits)
    assert bundle.sliders == {} and bundle.failed_edits == {} and len(bundle.edits) == 3
    bundle.put_edits({})
    assert bundle.sliders == {} and "edits" not in bundle


def test_a_bundle_from_before_sliders_has_none(folder: Path) -> None:
    spoil(folder, lambda config: config.clear())
    assert Bundle.load(folder).sliders == {} and len(Bundle.load(folder).edits) == 3


def test_an_amount_is_brought_into_the_range() -> None:
    assert [SMILE.clamp(amount) for amount in (-9, -2.5, 1, 3.5)] == [-2.5, -2.5, 1, 3.0]


def test_a_slider_needs_its_edit(folder: Path) -> None:
    bundle = a_bundle()
    for sliders, failed in (({"beard": SMILE}, {}), ({}, {"beard": {}})):
        with pytest.raises(BundleError, match="no edit 'beard' to have a slider; edits are smile, hat, pca-0"):
            bundle.put_edits(bundle.edits, sliders, failed)
    with pytest.raises(ValueError, match="'smile' has a slider and has failed"):
        bundle.put_edits(bundle.edits, {"smile": SMILE}, {"smile": {}})
    assert bundle.sliders == {"smile": SMILE}  # as before
    spoil(folder, lambda config: config["sliders"].update(beard={"low": -1, "high": 1}))
    with pytest.raises(BundleError, match="there is no edit 'beard'"):
        _ = Bundle.load(folder).sliders


@pytest.mark.parametrize(
    ("low", "high"), [(1, 2), (0, 0), (2, -2), (-2, -1), (float("nan"), 1), (-1, float("inf")), (-1e4, 1)]
)
def test_a_range_has_zero_in_it(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="from a low to a high with 0 between"):
        Slider(low, high)


@pytest.mark.parametrize(
    ("report", "cause"),
    [
        ({"moved": float("nan")}, "report.moved is nan"),
        ({"a": {"b": [1, float("inf")]}}, "report.a.b is inf"),
        ({"why": "x" * 2000}, "report.why is a line of at most 1000 characters"),
        ({"why": "\x1b[2J"}, "report.why is a line"),
        ({"x" * 100: 1}, "a name in report is a line of at most 80 characters"),
        ({"all": [0] * 5000}, "at most 2000 values"),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}, "8 deep"),
        ({"of": torch.zeros(1)}, "report.of holds Tensor"),
    ],
)
def test_a_report_is_names_numbers_and_short_texts(report: dict[str, Any], cause: str) -> None:
    for make in (
        lambda: Slider(-1, 1, report=report),
        lambda: a_bundle().put_edits(a_bundle().edits, {}, {"hat": report}),
    ):
        with pytest.raises(ValueError, match=cause):
            make()


def spoil(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    change(manifest["parts"]["edits"]["config"])
    (folder / "bundle.json").write_text(json.dumps(manifest))


def test_hostile_manifests_are_refused_by_name(folder: Path) -> None:
    wrong: list[tuple[str, Any, str]] = [
        ("low", "-1", r"sliders\.smile\.low: expected float, got '-1'"),
        ("low", None, r"sliders\.smile\.low: expected float"),
        ("low", 1.0, r"sliders\.smile: a slider goes from a low"),
        ("high", 1e300, r"config\.sliders\.smile\.high is 1e\+300"),
        ("high", float("nan"), "NaN is not a number"),
        ("high", 10**400, r"config\.sliders\.smile\.high is 1000"),
        ("high", True, "expected float, got True"),
        ("group", "x" * 100_000, "group is a line of at most 80 characters"),
        ("group", "a\nb", "group is a line"),
        ("about", "\u202e" * 3, "about is a line"),
        ("about", 5, "expected str, got 5"),
        ("report", [1], "expected named values"),
        ("report", {"why": "x" * 100_000}, "report.why is a line"),
        ("report", {"all": [0] * 5000}, "5,000 values"),
        ("report", {str(i): {str(j): 0 for j in range(100)} for i in range(100)}, "at most 2000 values"),
        ("code", "print()", "unknown 'code'"),
    ]
    before = (folder / "bundle.json").read_text()
    for name, value, cause in wrong:
        spoil(folder, lambda config, name=name, value=value: config["sliders"]["smile"].update({name: value}))
        with pytest.raises(BundleError, match=cause) as refused:
            Bundle.load(folder)
        assert str(folder / "bundle.json") in str(refused.value) and len(str(refused.value)) < 600
        (folder / "bundle.json").write_text(before)
    for change, cause in (
        (lambda config: config.update(sliders=[]), "sliders: expected named values"),
        (lambda config: config["sliders"].update(smile=3), "sliders.smile: expected named values"),
        (lambda config: config["sliders"].update({"x" * 200: {"low": -1, "high": 1}}), "an edit's name is a line"),
        (lambda config: config["failed"].update(smile={}), "'smile' has a slider and has failed"),
        (lambda config: config["failed"].update(hat={"why": "\x00"}), "report.why is a line"),
        (lambda config: config.update(more=1), "unknown 'more'"),
    ):
        spoil(folder, change)
        with pytest.raises(BundleError, match=cause):
            Bundle.load(folder)
        (folder / "bundle.json").write_text(before)
    assert Bundle.load(folder).sliders == {"smile": SMILE}
