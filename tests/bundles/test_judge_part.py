"""The network that evaluates is a part of the bundle, with how well it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gradstyle.bundles import Bundle, BundleError
from gradstyle.cli import app
from gradstyle.losses import Judge, JudgeConfig
from tests.support import tiny

REPORT = {"pictures": 1963, "balanced_accuracy": 0.8412, "attributes": {"Smiling": {"share": 0.48}}}


def a_judge() -> Judge:
    torch.manual_seed(0)
    judge = Judge(JudgeConfig(("Smiling", "Young"), 32, (4, 6), 8), REPORT)
    tiny.shake(judge)
    return judge.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bundle = Bundle("judged")
    bundle.put("generator", tiny.generator())
    bundle.put("encoder", tiny.encoder())
    bundle.put("judge", a_judge())
    return bundle.save(tmp_path / "judged")


@torch.inference_mode()
def test_a_judge_comes_back_with_its_report(saved: Path) -> None:
    again = Bundle.load(saved)
    assert "judge" in again and "judge" not in again.methods
    judge, photos = again.judge(), tiny.photos(2, 32)
    assert torch.equal(judge(photos), a_judge()(photos))
    assert judge.report == REPORT and judge.config == a_judge().config
    assert not judge.training and not any(p.requires_grad for p in judge.parameters())
    assert again.judge() is judge


def test_a_judge_replaced_leaves_built_networks_alone(saved: Path) -> None:
    again = Bundle.load(saved)
    generator, first = again.generator(), again.judge()
    again.put("judge", a_judge())
    assert again.generator() is generator
    assert again.judge() is not first


def test_the_command_says_how_well_it_judges(saved: Path) -> None:
    told = CliRunner().invoke(app, ["bundle", "info", str(saved)], env={"COLUMNS": "200"}).output
    assert "2 attributes, balanced accuracy 84.1% on 1,963 pictures" in " ".join(told.split())


def test_a_bundle_without_a_judge_says_so() -> None:
    with pytest.raises(BundleError, match="bundle 'x' has no judge"):
        Bundle("x").judge()


def test_shapes_that_no_judge_has_are_refused(saved: Path) -> None:
    manifest = json.loads((saved / "bundle.json").read_text())
    manifest["parts"]["judge"]["config"]["network"]["widths"] = [4, 7]
    (saved / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="the weights do not fit"):
        Bundle.load(saved).judge()
