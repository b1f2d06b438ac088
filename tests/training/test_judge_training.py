from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradstyle.losses import FeatureDistance, IdentityLoss, Judge, JudgeConfig, judge_report
from gradstyle.losses.judge import average_precision
from gradstyle.training.launch import Request, export, start
from gradstyle.training.trainable import Budget
from tests.support.pictures import Silent, draw_pictures

SPLIT = 'data.split=["labels.csv", "part", "train"]'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 240)


def request(data: Path, out: Path, *changes: str, kind: str = "judge", **others: object) -> Request:
    inputs = {"labels": "labels.csv"}
    given = {"kind": kind, "data": data, "out": out, "recipe": "tiny", "inputs": inputs, "device": "cpu"}
    return Request(**{**given, "overrides": [SPLIT, *changes], "cache": data.parent / "cache", **others})  # type: ignore[arg-type]


def test_it_learns_what_can_be_seen_and_says_how_well(data: Path, tmp_path: Path):
    outcome = start(request(data, tmp_path / "run", "loop.images=4000", kind="teacher"), Budget(), Silent())
    assert outcome.done
    judge = Judge.open(tmp_path / "run" / "teacher.safetensors")
    assert judge.config.attributes == ("bright", "barred") and judge.config.widths == (8, 12)
    assert judge.role == "teacher"
    assert judge.report["pictures"] == 60  # a quarter, none of which it has learned from
    assert judge.report["balanced_accuracy"] > 0.85 and judge.report["average_precision"] > 0.9
    assert set(judge.report["attributes"]) == {"bright", "barred"}


def test_a_resumed_run_ends_with_the_same_bits(data: Path, tmp_path: Path):
    start(request(data, tmp_path / "whole", "loop.images=128"), Budget(), Silent())
    start(request(data, tmp_path / "parts", "loop.images=128"), Budget(images=64), Silent())
    start(request(data, tmp_path / "parts", resume=True, overrides=(), inputs={}), Budget(), Silent())
    whole, parts = (Judge.open(tmp_path / name / "judge.safetensors") for name in ("whole", "parts"))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_a_run_is_exported_without_its_data(data: Path, tmp_path: Path):
    start(request(data, tmp_path / "run", "loop.images=32"), Budget(), Silent())
    export(tmp_path / "run", tmp_path / "small.safetensors", half=True)
    small = Judge.open(tmp_path / "small.safetensors")
    assert small.config.attributes == ("bright", "barred") and small.role == "judge"


def test_labels_are_needed_and_columns_are_named(data: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="--labels"):
        start(request(data, tmp_path / "a", inputs={}), Budget(), Silent())
    with pytest.raises(ValueError, match="no column 'bigg'"):
        start(request(data, tmp_path / "b", 'attributes=["bigg"]'), Budget(), Silent())


def test_what_it_is_judged_on_is_looked_for_before_it_learns(data: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"it has train, val.*--set validation=VALUE"):
        start(request(data, tmp_path / "a", "validation=test"), Budget(), Silent())
    assert not (tmp_path / "a").exists()
    start(request(data, tmp_path / "b", "validation=none", "loop.images=16"), Budget(), Silent())
    assert Judge.open(tmp_path / "b" / "judge.safetensors").report == {}


def test_distances_of_its_features_stand_in_losses():
    torch.manual_seed(0)
    judge = Judge(JudgeConfig(("a",), 16, (4, 8), 6)).eval()
    image, other = torch.rand(2, 2, 3, 32, 32) * 2 - 1  # of another size than it was made for
    for distance in (FeatureDistance(judge), IdentityLoss(judge.embed, crop=None)):
        image.requires_grad_(True)
        assert distance(image, image).item() == pytest.approx(0, abs=1e-5)
        distance(image, other).backward()
        assert image.grad is not None and image.grad.abs().sum() > 0
        assert all(parameter.grad is None for parameter in judge.parameters())


def test_figures_on_answers_made_by_hand():
    logits = torch.tensor([[2.0, 1.0], [1.0, -1.0], [-1.0, 3.0], [-2.0, 0.5]])
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    report = judge_report(("first", "always"), logits, labels)
    assert list(report.attributes) == ["first"]  # the other has no picture without it
    first = report.attributes["first"]
    assert first.share == 0.5 and first.balanced_accuracy == 0.5
    assert first.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    equal = average_precision(torch.zeros(4), torch.tensor([True, False, False, False]))
    assert equal == pytest.approx(0.25)  # no order among equals


def test_what_a_network_is_for_stays_in_its_file_and_a_teacher_is_no_bundles_judge(tmp_path: Path):
    from gradstyle.bundles import Bundle
    from gradstyle.tensors import read_tensors, write_tensors

    path = Judge(JudgeConfig(("a",), 16, (4, 8), 6), role="teacher").save(tmp_path / "teacher.safetensors")
    teacher = Judge.open(path)
    assert teacher.role == "teacher"
    with pytest.raises(ValueError, match="is a teacher: methods have learned from it"):
        Bundle("tiny").put("judge", teacher)
    state, metadata = read_tensors(path)
    write_tensors(tmp_path / "older.safetensors", state, {k: v for k, v in metadata.items() if k != "role"})
    assert Judge.open(tmp_path / "older.safetensors").role == ""
    write_tensors(tmp_path / "odd.safetensors", state, {**metadata, "role": "critic"})
    with pytest.raises(ValueError, match="a judge or a teacher, not 'critic'"):
        Judge.open(tmp_path / "odd.safetensors")


def test_a_file_that_is_no_judge_is_refused(tmp_path: Path):
    from gradstyle.tensors import write_tensors

    write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="no judge"):
        Judge.open(tmp_path / "x.safetensors")
