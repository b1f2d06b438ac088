"""Edits at fixed and at equal strength: what is interpolated, undone, counted and compared."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import tiny
import torch
from typer.testing import CliRunner

from gradstyle.bundles import Bundle
from gradstyle.bundles.sliders import Slider
from gradstyle.cli import app
from gradstyle.editor import Editor
from gradstyle.evaluation.attributes import Scores, Target, shown, spread, target_of
from gradstyle.evaluation.bench import Bench
from gradstyle.evaluation.editing import VANISHES, changes_of, editing, fixed
from gradstyle.evaluation.editing import Path as Line
from gradstyle.evaluation.editing import Way as Direction
from gradstyle.evaluation.metrics import l2, rounded
from gradstyle.evaluation.store import RunFolder, Summary, Values

METHODS = ("gradstyle", "e4e")
SETS = ("judge_frechet", "judge_kernel")  # figures of a set of pictures, not of one
EDITS = {"edits": ["smile", "age"], "steps": (1.0, 2.0), "undone": 3}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.a_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.some_photos(tmp_path_factory.mktemp("photos") / "test")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.a_judge().save(tmp_path_factory.mktemp("judge") / "same.safetensors")


@pytest.fixture(scope="module")
def done(bundle: Path, photos: Path, second: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "editing"
    return editing(runs.request(bundle, photos, out, methods=METHODS, changes=EDITS, second_judge=str(second)))


# ---- what an edit changes


def a_target(low: float = -3, high: float = 3, reverse: bool = False) -> Target:
    return Target("smile", tiny.an_edit(), "Smiling", reverse, low, high)


def test_amounts_stay_within_the_slider() -> None:
    assert a_target().amounts((1, 2, 3)) == [-3, -2, -1, 1, 2, 3]
    assert a_target(-2, 0.5).amounts((1, 2, 3)) == [-2, -1, 0.5]
    assert a_target(0, 3).amounts((1, 2)) == [1, 2]
    assert fixed([-3, -2, -1, 0.5]) == [-2, 0.5]


def test_what_an_edit_changes_is_said_reported_or_known() -> None:
    edit, names = tiny.an_edit(), ("Smiling", "Young", "Wearing_Hat")
    reported = Slider(-1, 1, report={"attribute": "Young", "reverse": True})
    for name, slider, given, wanted in (
        ("smile", None, None, ("Smiling", False)),
        ("AGE", None, None, ("Young", True)),
        ("wearing hat", None, None, ("Wearing_Hat", False)),
        ("pose", None, None, ("yaw", False)),
        ("edit 3", reported, None, ("Young", True)),
        ("edit 3", reported, "-smiling", ("Smiling", True)),
    ):
        found = target_of(name, edit, slider, names, given)
        assert (found.attribute, found.reverse) == wanted
    assert target_of("smile", edit, reported, names, "Smiling").low == -1
    with pytest.raises(ValueError, match="'edit 3' is said to change 'edit_3', which the judge does not see"):
        target_of("edit 3", edit, None, names)


def test_a_standard_deviation_of_what_does_not_vary_moves_nothing() -> None:
    scores = torch.tensor([[1.0, 5.0, 2.0], [3.0, 5.0, torch.nan], [5.0, 5.0, 4.0]], dtype=torch.float64)
    assert spread(scores).tolist() == [2.0, torch.inf, pytest.approx(2**0.5)]


def test_photos_have_an_attribute_by_the_table_before_the_judge() -> None:
    scores = torch.tensor([0.5, -0.5])
    assert shown({"Smiling": [None, True]}, "Smiling", scores) == [None, True]
    assert shown({"Young": [None, True]}, "Smiling", scores) == [True, False]


def test_heads_are_looked_at_only_where_an_edit_turns_them() -> None:
    smile, yaw = a_target(), Target("yaw", tiny.an_edit(), "yaw", False, -3, 3)
    scores, looked = Scores(("Smiling", "Young"), (smile, yaw), tiny.generator()), []

    def pose(images: torch.Tensor) -> torch.Tensor:
        looked.append(len(images))
        return torch.tensor([[10.0, 1.0]]).expand(len(images), 2) * len(looked)

    scores.__dict__["_pose"] = pose
    images, units = tiny.photos(3, 32), [torch.ones(4).double()]
    before, same = scores(images, [torch.zeros(3, 2)]), scores(images, [torch.ones(3, 2)], turned=False)
    turned = scores(images, [torch.ones(3, 2)])
    assert looked == [3, 3]
    smiled = changes_of(smile, scores, before, same, units, ["judge"])
    assert smiled["judge_change"].tolist() == smiled["judge_others"].tolist() == [1, 1, 1]
    assert changes_of(yaw, scores, before, turned, units, ["judge"])["judge_change"].tolist() == [10, 10, 10]
    assert changes_of(yaw, scores, before, same, units, ["judge"])["judge_change"].isnan().all()


# ---- equal strength


def a_line() -> tuple[Line, Values]:
    path = Line([0.0, 1.0, 0.9, 3.0], [VANISHES, "a", "b", "c"])  # at b it goes back
    values: Values = {
        ("m", VANISHES, "id"): {"p": 1.0, "q": 0.8},
        ("m", "a", "id"): {"p": 0.8, "q": 0.6},
        ("m", "b", "id"): {"p": 9.0, "q": 9.0},
        ("m", "c", "id"): {"p": 0.2, "q": 0.2},
        ("m", "a", "others"): {"p": 1.0, "q": 1.0},
        ("m", "c", "others"): {"p": 2.0, "q": 4.0},
    }
    return path, values


def test_values_at_a_change_are_interpolated_photo_by_photo() -> None:
    path, values = a_line()
    assert path.changes == [0, 1, 3] and path.end == 3
    assert path.at(0.5, values, "m", "id", "pq") == pytest.approx({"p": 0.9, "q": 0.7})
    assert path.at(1.0, values, "m", "id", "pq") == pytest.approx({"p": 0.8, "q": 0.6})
    assert path.at(2.0, values, "m", "id", "pq") == pytest.approx({"p": 0.5, "q": 0.4})
    assert path.at(0.5, values, "m", "others", "pq") == pytest.approx({"p": 0.5, "q": 0.5})  # it begins at zero
    assert path.at(3.5, values, "m", "id", "pq") == {}
    assert path.at(0.5, values, "m", "unknown", "pq") == {}


def test_the_area_is_the_mean_on_the_way() -> None:
    path, values = a_line()
    assert path.area(1.0, values, "m", "id", "pq") == pytest.approx({"p": 0.9, "q": 0.7})
    assert path.area(3.0, values, "m", "id", "pq") == pytest.approx(
        {"p": (0.9 + 2 * 0.5) / 3, "q": (0.7 + 2 * 0.4) / 3}
    )
    assert path.area(2.0, values, "m", "id", "p") == pytest.approx({"p": (0.9 + (0.8 + 0.5) / 2) / 2})
    assert path.area(2.0, values, "m", "others", "p") == pytest.approx({"p": (0.5 + 1.25) / 2})


def test_ways_go_from_the_least_amount() -> None:
    up, down = Direction.both(a_target(-2, 3), (1.0, 2.0, 3.0))
    assert up.conditions == ["smile=+1", "smile=+2", "smile=+3"] and down.conditions == ["smile=-1", "smile=-2"]
    assert (up.name, down.name, up.area, down.area) == ("smile+", "smile-", "smile=area:+", "smile=area:-")
    assert [way.name for way in Direction.both(a_target(0, 3), (1.0,))] == ["smile+"]


# ---- a run


def test_every_amount_is_measured_within_the_sliders(done: RunFolder) -> None:
    values, record = done.values(), done.record()
    measured = {c for _, c, m in values if m == "judge_change"}
    assert measured == {
        f"{e}={a}" for e, each in {"smile": "-2 -1 +1 +2", "age": "-2 -1 +1"}.items() for a in each.split()
    }
    assert set(record.conditions) == {c for _, c, _ in values}
    assert record.protocol["edits"]["age"] == {"attribute": "Young", "reverse": True, "range": [-2.0, 1.0]}
    assert len(values["e4e", "smile=+2", "identity"]) == runs.COUNT
    for (method, condition, metric), each in values.items():
        if metric.startswith("undone"):
            assert method in METHODS and condition in ("smile=-2", "smile=+2", "age=-2", "age=+1")
            assert tuple(each) == record.photos[:3], metric  # of the first few alone


def test_changes_are_those_that_the_judge_sees(done: RunFolder, bundle: Path, photos: Path) -> None:
    """By hand: one edit of one method, from the picture with a vanishing edit, in the data's deviations."""
    judge, editor = runs.a_judge(), Editor(Bundle.load(bundle), "e4e", "cpu")
    bench = Bench("editing", runs.request(bundle, photos, done.path))
    images = torch.cat([bench.photos[batch] for batch in range(bench.photos.batches)])
    smile = editor.edits["smile"]
    inversion = editor.invert(images)
    with torch.inference_mode():
        before = judge(rounded(editor.render(inversion, 1e-4 * smile))).double()
        after = judge(rounded(editor.render(inversion, -2 * smile))).double()
        unit = judge(torch.cat([bench.at_resolution(b) for b in range(bench.photos.batches)])).double().std(dim=0)
    moved = (after - before) / unit
    found = done.values()
    assert list(found["e4e", "smile=-2", "judge_change"].values()) == pytest.approx(moved[:, 0].tolist(), abs=1e-3)
    others = moved[:, 1:].abs().mean(dim=1)
    assert list(found["e4e", "smile=-2", "judge_others"].values()) == pytest.approx(others.tolist(), abs=1e-3)


def test_undoing_is_inverting_again_and_taking_back(done: RunFolder, bundle: Path, photos: Path) -> None:
    editor, bench = (
        Editor(Bundle.load(bundle), "gradstyle", "cpu"),
        Bench("editing", runs.request(bundle, photos, done.path)),
    )
    smile, first = editor.edits["smile"], bench.photos[0][:3]
    inversion = editor.invert(first)
    again = editor.invert(rounded(editor.render(inversion, 2 * smile)))
    back = editor.render(again, -2 * smile)
    found = done.values()["gradstyle", "smile=+2", "undone_l2"]
    assert list(found.values()) == pytest.approx(l2(back, bench.at_resolution(0)[:3]).tolist(), rel=1e-3)
    assert smile.w is not None
    away = (again.codes.w - 2 * smile.w - inversion.codes.w).square().mean(dim=(1, 2)).sqrt()
    assert list(done.values()["gradstyle", "smile=+2", "undone_codes"].values()) == pytest.approx(
        away.tolist(), rel=1e-3
    )


def test_a_method_without_a_jump_has_none_and_another_has_one(done: RunFolder) -> None:
    """e4e renders an edit as it reconstructs; GradStyle's streams are two."""
    values = done.values()
    assert max(values["e4e", VANISHES, "jump_l2"].values()) < 1e-5
    assert min(values["e4e", VANISHES, "jump_identity"].values()) > 0.9999
    assert min(values["gradstyle", VANISHES, "jump_l2"].values()) > 1e-4


def test_curves_begin_without_change_and_areas_are_under_them(done: RunFolder) -> None:
    summary, values = done.summary(), done.values()
    curves = {(c.method, c.edit, c.metric): c for c in summary.curves}
    assert {edit for _, edit, _ in curves} == {"smile+", "smile-", "age+", "age-"}
    for (method, edit, metric), curve in curves.items():
        assert curve.change[0] == 0 and len(curve.change) == len(curve.value) == len(curve.low) == len(curve.high)
        assert list(curve.change) == sorted(curve.change)
        if metric == "identity":
            assert curve.value[0] == pytest.approx(np.mean(list(values[method, VANISHES, "identity"].values())))
        condition = f"{edit[:-1]}=area:{edit[-1]}"
        assert (curve.area is not None) == ((method, condition, metric) in values)
        if curve.area is not None:
            assert curve.area == pytest.approx(np.mean(list(values[method, condition, metric].values())))
            assert curve.until == min(curves[m, edit, metric].change[-1] for m in METHODS)
    stuck = {c.edit for c in summary.curves if len(c.change) == 1}
    assert all(any(note.startswith(f"{edit}: of ") for note in summary.notes) for edit in stuck)


def test_a_judge_agrees_with_itself(done: RunFolder) -> None:
    agreed = done.summary().agreement
    assert {each["metric"] for each in agreed} >= {"judge_others"}
    assert all(each["spearman"] in (1, None) and each["judge"] == each["second"] for each in agreed)


def test_sets_are_of_photos_that_lack_what_the_edit_gives(done: RunFolder) -> None:
    rows = {
        (r.condition, r.metric): r for r in done.summary().rows if r.method == "e4e" and r.metric.startswith("judge_f")
    }
    counts = {condition: row.n for (condition, _), row in rows.items()}
    # of six photos, three smile (1, 3, 5) and three are young (3, 4, 5)
    assert counts == {"smile=-2": 3, "smile=+2": 3, "age=-2": 3, "age=+1": 3}
    assert all(row.mean is not None and row.mean > 0 for row in rows.values())


def test_the_same_command_gives_the_same_digits(
    done: RunFolder, bundle: Path, photos: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench, "costs", lambda self: {})
    asked = runs.request(bundle, photos, tmp_path / "run", methods=METHODS, changes=EDITS, second_judge=str(second))

    def stop(what: str, step: int, total: int) -> None:
        if what == "measuring" and step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        editing(asked, stop)
    editing(asked)
    assert runs.files(asked.out) == runs.files(done.path)


def test_batches_side_by_side_give_what_each_gives_alone(
    done: RunFolder, bundle: Path, photos: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench, "costs", lambda self: {})
    inverting, most = set[int](), 0
    both, invert = threading.Barrier(2), Editor.invert

    def watched(self: Editor, photo: Any) -> Any:
        nonlocal most
        if len(photo) == 4 and self.resolution == photo.shape[-1]:  # a whole batch, the first time that it is seen
            both.wait(60)  # for another at the same time
        inverting.add(threading.get_ident())
        most = max(most, torch.get_num_threads())
        return invert(self, photo)

    monkeypatch.setattr(Editor, "invert", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        asked = runs.request(bundle, photos, tmp_path / "run", methods=METHODS, changes=EDITS, second_judge=str(second))
        editing(asked)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert len(inverting) == 2 and most == 1
    here, alone = runs.files(asked.out), runs.files(done.path)
    assert here.keys() == alone.keys()
    for name in here.keys() - {"summary.json"}:  # what is known of a photo, one thread computes
        assert here[name] == alone[name], name
    mine, theirs = RunFolder(asked.out).summary(), done.summary()
    assert without_sets(mine) == without_sets(theirs)
    # All threads share in the sums over a set, which are taken in another order than one thread's.
    assert of_sets(theirs) and of_sets(mine) == pytest.approx(of_sets(theirs), rel=1e-5)


def without_sets(summary: Summary) -> Summary:
    return replace(summary, rows=tuple(row for row in summary.rows if row.metric not in SETS))


def of_sets(summary: Summary) -> dict[tuple[str, str, str], float | None]:
    return {(row.method, row.condition, row.metric): row.mean for row in summary.rows if row.metric in SETS}


def test_what_editing_needs_is_said(bundle: Path, photos: Path, tmp_path: Path) -> None:
    bare = runs.a_bundle(tmp_path / "bare", judged=False)
    with pytest.raises(ValueError, match="needs a judge, which tells attributes apart"):
        editing(runs.request(bare, photos, tmp_path / "run"))
    with pytest.raises(ValueError, match="has no edit 'hat'; it has age, smile"):
        editing(runs.request(bundle, photos, tmp_path / "run", changes={"edits": ["hat"]}))
    told = CliRunner().invoke(app, ["evaluate", "editing", str(bundle), str(photos), "--attribute", "smile"])
    assert told.exit_code == 1 and "--attribute is EDIT=NAME" in told.output
