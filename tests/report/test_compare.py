"""Two runs side by side: what changed is found, what is noise is called so, and what does not compare is refused."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from gradstyle.evaluation.store import Failure, RunFolder, Summary
from gradstyle.metrics.values import Row
from gradstyle.report.changes import paired_test
from gradstyle.report.compare import Comparison, compare, jsonable, markdown
from gradstyle.report.texts import signed
from tests.support import example_run
from tests.support.example_run import moved

COUNT = 60


@pytest.fixture
def before(tmp_path: Path) -> RunFolder:
    return example_run.write(tmp_path / "before", count=COUNT, drawn=0)


def of(comparison: Comparison, verdict: str) -> set[tuple[str, str]]:
    return {(c.method, c.metric) for c in comparison.changes if c.verdict == verdict}


def test_a_run_and_itself_have_no_change(before: RunFolder) -> None:
    found = compare(before.path, before.path)
    assert found.sentence() == "No change: all 15 figures are the same on every photo."
    assert {c.verdict for c in found.changes} == {"no change"} and not found.serious and not found.warnings
    assert {(c.change, c.low, c.high, c.p) for c in found.changes} == {(0.0, 0.0, 0.0, 1.0)}
    assert {c.n for c in found.changes} == {COUNT} == {found.photos}
    means = {(r.method, r.metric): r.mean for r in before.summary().rows}
    assert {(c.method, c.metric): c.before for c in found.changes} == pytest.approx(means, rel=1e-12)


def test_what_is_better_and_what_is_worse(before: RunFolder, tmp_path: Path) -> None:
    by = {("sdic", "identity"): 0.02, ("sdic", "l2"): 0.002, ("e4e", "psnr"): -0.5, ("hfgi", "l2"): -0.001}
    after = example_run.write(tmp_path / "after", count=COUNT, drawn=0, found=moved(before.values(), by, 1.0))
    found = compare(before.path, after.path)
    assert of(found, "better") == {("sdic", "identity"), ("hfgi", "l2")}
    assert of(found, "worse") == {("sdic", "l2"), ("e4e", "psnr")}
    assert len(of(found, "no change")) == 11
    assert found.sentence() == "4 of 15 figures changed by more than noise over 60 photos: 2 worse and 2 better."
    back = compare(after.path, before.path)
    assert of(back, "better") == of(found, "worse") and of(back, "worse") == of(found, "better")


def test_noise_is_not_a_change(before: RunFolder, tmp_path: Path) -> None:
    """Another draw of the same values: nothing is found, in any of several."""
    for seed in range(1, 6):
        after = example_run.write(tmp_path / f"{seed}", count=COUNT, seed=seed, drawn=0)
        found = compare(before.path, after.path)
        assert not found.serious and len(of(found, "noise")) == 15
        assert "No change that is more than noise" in found.sentence()


def test_a_figure_that_is_neither_better_nor_worse_is_changed(tmp_path: Path) -> None:
    found = example_run.values("editing", 20)
    runs = [
        example_run.write(tmp_path / name, "editing", 20, found=values, drawn=0)
        for name, values in (("a", found), ("b", moved(found, {("e4e", "change"): 0.3})))
    ]
    changes = compare(runs[0].path, runs[1].path).serious
    assert {(c.method, c.metric, c.verdict) for c in changes} == {("e4e", "change", "changed")}
    assert {c.condition for c in changes} == set(example_run.KINDS["editing"])


def test_statistics_are_scipys(before: RunFolder, tmp_path: Path) -> None:
    after = example_run.write(tmp_path / "after", count=COUNT, seed=1, drawn=0)
    values = before.values(), after.values()
    photos = sorted(before.record().photos)
    found = compare(before.path, after.path).changes
    for change in found:
        first, second = (np.array([v[change.method, "", change.metric][p] for p in photos]) for v in values)
        assert change.p == pytest.approx(scipy_stats.ttest_rel(second, first).pvalue, rel=1e-9)
        assert change.before == pytest.approx(first.mean()) and change.change == pytest.approx((second - first).mean())
        drawn = scipy_stats.bootstrap((second - first,), np.mean, method="percentile", n_resamples=4000, rng=0)
        width = drawn.confidence_interval.high - drawn.confidence_interval.low
        assert change.low == pytest.approx(drawn.confidence_interval.low, abs=0.06 * width)
        assert change.high == pytest.approx(drawn.confidence_interval.high, abs=0.06 * width)
    ranked = sorted((c.p or 0.0, c.adjusted or 0.0) for c in found)
    falling = [min(1.0, max(p * (15 - j) for j, (p, _) in enumerate(ranked[: i + 1]))) for i in range(15)]
    assert [adjusted for _, adjusted in ranked] == pytest.approx(falling)  # Holm's steps, over all figures at once


def test_small_samples() -> None:
    assert paired_test(np.zeros(5)) == 1.0 and paired_test(np.full(5, 0.1)) == pytest.approx(0.0, abs=1e-12)
    assert paired_test(np.array([0.5])) is None
    assert paired_test(np.array([1.0, 2.0, 4.0])) == pytest.approx(scipy_stats.ttest_1samp([1, 2, 4], 0).pvalue)


def test_other_kinds_and_protocols_are_refused(before: RunFolder, tmp_path: Path) -> None:
    other = example_run.write(tmp_path / "editing", "editing", COUNT, drawn=0)
    with pytest.raises(ValueError, match="one run is of reconstruction, the other of editing"):
        compare(before.path, other.path)
    protocol = {**before.record().protocol, "identity": "arcface", "side": 64}
    other = example_run.write(tmp_path / "arcface", count=COUNT, drawn=0, protocol=protocol)
    with pytest.raises(
        ValueError, match=r"identity: dlib and arcface; side: nothing and 64.*measure one of them again"
    ):
        compare(before.path, other.path)
    with pytest.raises(ValueError, match="is no run"):
        compare(before.path, tmp_path)


def test_choices_that_hardly_matter_are_allowed(before: RunFolder, tmp_path: Path) -> None:
    protocol = {**before.record().protocol, "photos": 30, "shown": 3, "device": "cuda"}
    after = example_run.write(tmp_path / "after", count=COUNT, drawn=0, protocol=protocol)
    assert compare(before.path, after.path).warnings == ("the runs differ in device: nothing and cuda",)


def test_what_two_judges_say_is_not_compared(before: RunFolder, tmp_path: Path) -> None:
    def run(name: str, judge: str, mean: float) -> RunFolder:
        found = {**before.values(), ("sdic", "", "judge_distance"): dict.fromkeys(before.record().photos, mean)}
        bundle = {"name": "faces", "parts": {"generator": "ab", "judge": judge}}
        made = example_run.write(tmp_path / name, count=COUNT, drawn=0, found=found, bundle=bundle)
        rows = (*made.summary().rows, Row("sdic", "", "judge_frechet", mean, None, None, COUNT))
        made.write_summary(Summary(rows=rows))
        return made

    first, other, same = run("first", "one", 0.2), run("other", "two", 0.1), run("same", "one", 0.1)
    assert "different judges" in compare(first.path, other.path).warnings[0]
    assert not [c for c in compare(first.path, other.path).changes if c.metric.startswith("judge")]
    assert [c.metric for c in compare(first.path, same.path).changes if c.metric.startswith("judge")] == [
        "judge_distance",
        "judge_frechet",
    ]


def test_other_data_are_warned_of_and_only_common_photos_count(before: RunFolder, tmp_path: Path) -> None:
    found = {
        key: dict(list(each.items())[10:])
        for key, each in moved(before.values(), {("sdic", "l2"): 0.01}).items()
        if key[0] != "e4e"
    }
    after = example_run.write(
        tmp_path / "after",
        count=COUNT,
        drawn=0,
        found=found,
        photos=tuple(example_run.names(COUNT)[10:]),
        methods=("gradstyle", "sdic", "styleres", "hfgi"),
        data={"name": "other", "fingerprint": "ef" * 32},
        versions={"gradstyle": "0.2.0", "torch": "2.13.0"},
        complete=False,
    )
    found_changes = compare(before.path, after.path)
    told = "\n".join(found_changes.warnings)
    assert "the data differ (drawn faces and other)" in told and "10 photos are in one run alone" in told
    assert f"only {before.path} has e4e" in told and "gradstyle 0.1.0 and 0.2.0" in told and "torch" not in told
    assert f"{after.path} is not complete" in told
    assert found_changes.photos == 50 and {c.n for c in found_changes.changes} == {50}
    assert of(found_changes, "worse") == {("sdic", "l2")} and len(found_changes.changes) == 12
    nothing = example_run.write(
        tmp_path / "nothing", count=2, drawn=0, photos=("x", "y"), failures=(Failure("z", "", "-"),)
    )
    with pytest.raises(ValueError, match="share no photo"):
        compare(before.path, nothing.path)


def test_figures_of_a_whole_set_are_shown_and_not_tested(before: RunFolder, tmp_path: Path) -> None:
    after = example_run.write(tmp_path / "after", count=COUNT, drawn=0)
    for run, mean in ((before, 20.5), (after, 18.3)):
        rows = (*run.summary().rows, Row("sdic", "", "frechet", mean, None, None, COUNT))
        run.write_summary(Summary(rows=rows))
    found = compare(before.path, after.path)
    (change,) = [c for c in found.changes if c.metric == "frechet"]
    assert (change.before, change.after, change.n, change.verdict, change.p) == (20.5, 18.3, 0, "not tested", None)
    assert found.sentence().startswith("No change: all 15 figures")
    assert "| sdic |  | frechet | the set | 20.50 | 18.30 | −2.20 |  | not tested |" in markdown(found)


def test_values_that_are_not_finite_are_left_out_in_pairs(before: RunFolder, tmp_path: Path) -> None:
    found = before.values()
    found["sdic", "", "psnr"][example_run.names(COUNT)[3]] = inf
    after = example_run.write(tmp_path / "after", count=COUNT, drawn=0, found=found)
    changes = {(c.method, c.metric): c for c in compare(before.path, after.path).changes}
    assert changes["sdic", "psnr"].n == COUNT - 1 and changes["sdic", "psnr"].verdict == "no change"


def test_markdown_and_json_say_it_all(before: RunFolder, tmp_path: Path) -> None:
    by = {("sdic", "identity"): 0.02}
    after = example_run.write(tmp_path / "after", count=COUNT, drawn=0, found=moved(before.values(), by, 0.2))
    found = compare(before.path, after.path)
    text, data = markdown(found), json.loads(json.dumps(jsonable(found), allow_nan=False))
    assert found.sentence() in text and data["sentence"] == found.sentence()
    (line,) = [line for line in text.splitlines() if line.endswith("| better |")]
    assert line.startswith("| sdic |  | Identity ↑ | 60 | 0.") and "| p \\< .001 |" in line and "+0.0" in line
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 17 + 12
    assert [(c["method"], c["p"], c["change"]) for c in data["changes"]] == [
        (c.method, c.p, c.change) for c in found.changes
    ]
    assert data["before"]["bundle"]["name"] == "faces-64" and data["photos"] == COUNT


def test_signs() -> None:
    assert [signed(v, 2) for v in (0.5, -0.5, 0.001, -0.001, 0.0)] == ["+0.50", "−0.50", "0.00", "0.00", "0.00"]
