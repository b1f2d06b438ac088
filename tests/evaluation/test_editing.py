"""Edits at fixed and at equal strength: what is interpolated, undone, counted and compared."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gradstyle.bundles import Bundle
from gradstyle.bundles.sliders import Slider
from gradstyle.cli import app
from gradstyle.editor import Editor
from gradstyle.evaluation import sight as sights
from gradstyle.evaluation.editing import editing
from gradstyle.evaluation.ghosts import Ghosts
from gradstyle.evaluation.matching import REACHED, VANISHES, Direction, MeanPath, crossing, fixed, matched, path_of
from gradstyle.evaluation.run import Run
from gradstyle.evaluation.store import RunFolder, Summary
from gradstyle.metrics.attributes import Target, shown, spread, target_of
from gradstyle.metrics.similarity import l2, rounded, sharpness
from gradstyle.metrics.values import Values
from gradstyle.photos import Face
from tests.support import runs, tiny

METHODS = ("gradstyle", "e4e")
SETS = ("judge_frechet", "judge_kernel")  # figures of a set of pictures, not of one
EDITS = {"edits": ["smile", "age"], "steps": (1.0, 2.0), "undone": 3}


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.a_judge().save(tmp_path_factory.mktemp("judge") / "same.safetensors")


@pytest.fixture(scope="module")
def done(bundle: Path, photos: Path, second: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "editing"
    return editing(runs.request(bundle, photos, out, methods=METHODS, options=EDITS, second_judge=str(second)))


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


# ---- equal strength


def ways(low: float = -3, high: float = 3, steps: tuple[float, ...] = (1.0, 2.0, 3.0)) -> list[Direction]:
    return Direction.both(a_target(low, high), steps, "turn", "°", (5.0, 10.0))


def some_paths() -> Values:
    """Two methods, four photos: changes at +1, +2 and +3, and an identity that falls by a tenth an amount."""
    turned: dict[str, dict[str, tuple[float | None, ...]]] = {
        "far": {"p": (4, 8, 12), "q": (10, 2, 14), "r": (2, 4, 6), "s": (6, None, 20)},
        "near": {"p": (5, 6, 7), "q": (1, 3, 5), "r": (0, -1, 1), "s": (2, 5, 8)},
    }
    values: Values = {}
    for method, photos in turned.items():
        for photo, changes in photos.items():
            values.setdefault((method, VANISHES, "id"), {})[photo] = 1.0
            for place, change in enumerate(changes, 1):
                values.setdefault((method, f"smile=+{place}", "id"), {})[photo] = 1 - place / 10
                values.setdefault((method, f"smile=+{place}", "others"), {})[photo] = float(place)
                if change is not None:
                    values.setdefault((method, f"smile=+{place}", "turn"), {})[photo] = change
    return values


def test_a_photos_path_ends_where_its_face_is_lost_and_crosses_a_change_once() -> None:
    up, values = ways()[0], some_paths()
    assert path_of(values, up, "far", "s") == [(VANISHES, 0.0), ("smile=+1", 6.0)]
    first = crossing(path_of(values, up, "far", "q"), 5)  # it comes to 10, goes back to 2 and on to 14
    assert first is not None and (first.before, first.after, first.share) == (VANISHES, "smile=+1", 0.5)
    second = crossing(path_of(values, up, "far", "q"), 11)
    assert second is not None and (second.before, second.share) == ("smile=+2", pytest.approx(9 / 12))
    assert crossing(path_of(values, up, "far", "s"), 7) is None  # not after its face is lost
    assert crossing(path_of(values, up, "near", "r"), 5) is None
    exact = crossing(path_of(values, up, "near", "p"), 5)
    assert exact is not None and (exact.after, exact.share) == ("smile=+1", 1)


def test_photos_are_matched_one_by_one_and_left_out_for_all_that_are_compared() -> None:
    up, values = ways()[0], some_paths()
    found, compared = matched(values, up, ("far", "near"), "pqrs", 5.0, ("id", "others", "unknown"))
    where = "smile=matched:5°"
    assert compared == ["far", "near"]
    assert found["far", where, REACHED.name] == {"p": 1, "q": 1, "r": 1, "s": 1}
    assert found["near", where, REACHED.name] == {"p": 1, "q": 1, "r": 0, "s": 1}
    # far: p at 1.25, q at 0.5, s at 5/6 of the amount; near: p at 1, q at 3, s at 2; r never comes so far with near
    assert found["far", where, "id"] == pytest.approx({"p": 0.875, "q": 0.95, "s": 1 - 0.5 / 6})
    assert found["near", where, "id"] == pytest.approx({"p": 0.9, "q": 0.7, "s": 0.8})
    assert found["far", where, "others"] == pytest.approx({"p": 1.25, "q": 0.5, "s": 5 / 6})  # none without an edit
    assert ("far", where, "unknown") not in found


def test_a_method_that_moves_few_photos_is_not_compared_and_that_is_a_figure() -> None:
    up, values = ways()[0], some_paths()
    found, compared = matched(values, up, ("far", "near"), "pqrs", 7.0, ("id",))
    assert compared == ["far", "near"] and set(found["far", "smile=matched:7°", "id"]) == {"p"}  # of p and q, p and s
    found, compared = matched(values, up, ("far", "near"), "pqrs", 8.0, ("id",))
    where = "smile=matched:8°"
    assert compared == ["far"] and set(found["far", where, "id"]) == {"p", "q"} and ("near", where, "id") not in found
    assert found["near", where, REACHED.name] == {"p": 0, "q": 0, "r": 0, "s": 1}
    found, compared = matched(values, up, ("far", "near"), "pqrs", 13.0, ("id",))
    assert compared == [] and {metric for _, _, metric in found} == {REACHED.name}


def test_the_other_way_changes_count_down() -> None:
    down = ways()[1]
    values: Values = {("m", "smile=-1", "turn"): {"p": -4.0}, ("m", "smile=-2", "turn"): {"p": -8.0}}
    assert path_of(values, down, "m", "p")[1:] == [("smile=-1", 4.0), ("smile=-2", 8.0)]
    assert down.matched(5.0) == "smile=matched:-5°" and down.area(4.321) == "smile=area:-4.32°"


def a_line() -> tuple[MeanPath, Values]:
    path = MeanPath([0.0, 1.0, 0.9, 3.0], [VANISHES, "a", "b", "c"])  # at b it goes back
    values: Values = {
        ("m", VANISHES, "id"): {"p": 1.0, "q": 0.8},
        ("m", "a", "id"): {"p": 0.8, "q": 0.6},
        ("m", "b", "id"): {"p": 9.0, "q": 9.0},
        ("m", "c", "id"): {"p": 0.2, "q": 0.2},
        ("m", "a", "others"): {"p": 1.0, "q": 1.0},
        ("m", "c", "others"): {"p": 2.0, "q": 4.0},
    }
    return path, values


def test_the_area_is_the_mean_on_the_way() -> None:
    path, values = a_line()
    assert path.changes == [0, 1, 3] and path.end == 3
    assert path.area(1.0, values, "m", "id", "pq") == pytest.approx({"p": 0.9, "q": 0.7})
    assert path.area(3.0, values, "m", "id", "pq") == pytest.approx(
        {"p": (0.9 + 2 * 0.5) / 3, "q": (0.7 + 2 * 0.4) / 3}
    )
    assert path.area(2.0, values, "m", "id", "p") == pytest.approx({"p": (0.9 + (0.8 + 0.5) / 2) / 2})
    assert path.area(2.0, values, "m", "others", "p") == pytest.approx({"p": (0.5 + 1.25) / 2})


def test_ways_go_from_the_least_amount() -> None:
    up, down = ways(-2, 3)
    assert up.conditions == ["smile=+1", "smile=+2", "smile=+3"] and down.conditions == ["smile=-1", "smile=-2"]
    assert (up.name, down.name, up.area(0.5), down.matched(10)) == (
        "smile+",
        "smile-",
        "smile=area:+0.5°",
        "smile=matched:-10°",
    )
    assert [way.name for way in ways(0, 3, (1.0,))] == ["smile+"]


# ---- ghosts


def test_sharpness_is_the_root_of_the_laplacians_energy_over_anothers() -> None:
    rows = torch.tensor([[0.0, 1, 0, 0], [0.0, 0, 0, 0], [0.0, 0, 0, 0], [0.0, 0, 0, 0]])
    spot = rows.expand(1, 3, 4, 4) - 0.5
    assert sharpness(spot, spot).tolist() == pytest.approx([1])
    assert sharpness(0.5 * spot, spot).tolist() == pytest.approx([0.5])
    # a ghost of the spot two columns on: by hand, −3 at the spot, 1 beside it and below, edges going on
    ghost = spot + 0.5 * torch.tensor([[0.0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    before = 3**2 + 1 + 1 + 1
    after = 3**2 + 1 + 1 + 1.5**2 + (0.5 * 2) ** 2 + 0.5**2
    assert sharpness(ghost, spot).tolist() == pytest.approx([(after / before) ** 0.5])
    colour = spot * torch.tensor([1.0, 0, 0])[:, None, None]  # in grey, a third
    assert sharpness(colour, spot).tolist() == pytest.approx([1 / 3])


def test_the_discriminator_scores_each_picture_alone_against_its_photo() -> None:
    bundle = Bundle("tiny")
    bundle.put("generator", tiny.generator())
    assert [metric.name for metric in Ghosts(bundle, torch.device("cpu")).metrics] == ["sharpness"]
    own = tiny.discriminator()
    bundle.put("discriminator", own)
    ghosts = Ghosts(bundle, torch.device("cpu"))
    assert [metric.name for metric in ghosts.metrics] == ["discriminator", "sharpness"]
    side = own.config.resolution
    pictures, photos = tiny.photos(4, side), tiny.photos(4, side).flip(0)
    found = ghosts.look(pictures, photos, ghosts.score(photos))["discriminator"]
    with torch.inference_mode():
        alone = [float(own(p[None]) - own(q[None])) for p, q in zip(pictures, photos)]
    assert found.tolist() == pytest.approx(alone, abs=1e-4)
    assert max(alone) - min(alone) > 1e-3


# ---- a run


def test_every_amount_is_measured_within_the_sliders(done: RunFolder) -> None:
    values, record = done.values(), done.record()
    measured = {c for _, c, m in values if m == "judge_change"}
    assert measured == {
        f"{e}={a}" for e, each in {"smile": "-2 -1 +1 +2", "age": "-2 -1 +1"}.items() for a in each.split()
    }
    assert set(record.conditions) == {c for _, c, _ in values}
    assert record.protocol["edits"]["age"] == {
        "attribute": "Young",
        "reverse": True,
        "range": [-2.0, 1.0],
        "change": "judge_change",
        "unit": " sd",
        "goals": [0.5, 1.0, 1.5, 2.0],
        "by": "judge",  # no face is found in these photos
    }
    assert len(values["e4e", "smile=+2", "identity"]) == runs.COUNT
    for (method, condition, metric), each in values.items():
        if metric.startswith("undone"):
            assert method in METHODS and condition in ("smile=-2", "smile=+2", "age=-2", "age=+1")
            assert tuple(each) == record.photos[:3], metric  # of the first few alone


def test_changes_are_those_that_the_judge_sees(done: RunFolder, bundle: Path, photos: Path) -> None:
    """By hand: one edit of one method, from the picture with a vanishing edit, in the data's deviations."""
    judge, editor = runs.a_judge(), Editor(Bundle.load(bundle), "e4e", "cpu")
    run = Run("editing", runs.request(bundle, photos, done.path))
    images = torch.cat([run.photos[batch] for batch in range(run.photos.batches)])
    smile = editor.edits["smile"]
    inversion = editor.invert(images)
    with torch.inference_mode():
        before = judge(rounded(editor.render(inversion, 1e-4 * smile))).double()
        after = judge(rounded(editor.render(inversion, -2 * smile))).double()
        unit = judge(torch.cat([run.sources(b).images for b in range(run.photos.batches)])).double().std(dim=0)
    moved = (after - before) / unit
    found = done.values()
    assert list(found["e4e", "smile=-2", "judge_change"].values()) == pytest.approx(moved[:, 0].tolist(), abs=1e-3)
    others = moved[:, 1:].abs().mean(dim=1)
    assert list(found["e4e", "smile=-2", "judge_others"].values()) == pytest.approx(others.tolist(), abs=1e-3)


class Watch:
    """An onlooker for tests: how bright a picture is; of bright ones, the face is lost. One photo has no face."""

    face = Face((0, 0, 1, 1), np.zeros((68, 2)), 1.0)

    def __init__(self, faceless: int, brightest: float) -> None:
        self.faceless, self.brightest, self.seen = faceless, brightest, 0

    def faces_of(self, images: torch.Tensor) -> list[Face | None]:
        first, self.seen = self.seen, self.seen + len(images)
        return [None if place == self.faceless else self.face for place in range(first, self.seen)]

    def measured(self, onlookers: Any, images: torch.Tensor, places: Any) -> dict[str, torch.Tensor]:
        bright = images.double().mean(dim=(1, 2, 3))
        gone = (bright > self.brightest) | torch.tensor([place is None for place in places])
        return {onlooker.name: bright.where(~gone, torch.nan) for onlooker in onlookers}


def test_what_an_onlooker_sees_is_counted_and_so_is_the_face_that_it_does_not_find(
    bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, ask: runs.Ask
) -> None:
    """By hand: one edit of one method, in deviations among the photos, one of which has no face."""
    asked = ask(methods=("e4e",), options={"edits": ["smile"], "undone": 0})
    run, editor = Run("editing", asked), Editor(Bundle.load(bundle), "e4e", "cpu")
    images = torch.cat([run.photos[batch] for batch in range(run.photos.batches)])
    smile, inversion = editor.edits["smile"], editor.invert(images)
    with torch.inference_mode():
        base, edited = (rounded(editor.render(inversion, a * smile)).double().mean(dim=(1, 2, 3)) for a in (1e-4, 2))
    known = torch.tensor([True, True, False, True, True, True])
    brightest = float(torch.cat([base, edited])[known.repeat(2)].sort().values[-2:].mean())  # of one face, it is lost
    watch = Watch(2, brightest)
    monkeypatch.setattr(sights, "faces_of", watch.faces_of)
    monkeypatch.setattr(sights, "measured", watch.measured)
    done = editing(asked)
    record, values = done.record(), done.values()
    names = record.photos
    assert record.protocol["edits"]["smile"]["change"] == "mesh_mouth"
    own = torch.cat([run.sources(b).images for b in range(run.photos.batches)]).double().mean(dim=(1, 2, 3))
    unit = own[known & (own <= brightest)].std()
    gone = (base > brightest) | (edited > brightest)
    assert int(gone[known].sum()) == 1
    lost = {n: float(g) for n, g, k in zip(names, gone, known) if k}
    assert values["e4e", "smile=+2", "lost"] == lost
    moved = ((edited - base) / unit).tolist()
    found = values["e4e", "smile=+2", "mesh_mouth"]
    assert found == pytest.approx({n: m for n, m in zip(names, moved) if lost.get(n) == 0}, abs=1e-3)
    assert len(values["e4e", "smile=+2", "identity"]) == len(names)  # it is measured all the same
    reached = {c: v for (_, c, m), v in values.items() if m == "reached"}
    assert reached and all(set(each) == set(lost) for each in reached.values())
    assert any("In 1 of 6 photos no face is found even unedited" in note for note in done.summary().notes)
    assert not record.failures[1:]  # the photo that cannot be read, and no other


def test_undoing_is_inverting_again_and_taking_back(done: RunFolder, bundle: Path, photos: Path) -> None:
    editor, run = (
        Editor(Bundle.load(bundle), "gradstyle", "cpu"),
        Run("editing", runs.request(bundle, photos, done.path)),
    )
    smile, first = editor.edits["smile"], run.photos[0][:3]
    inversion = editor.invert(first)
    again = editor.invert(rounded(editor.render(inversion, 2 * smile)))
    back = editor.render(again, -2 * smile)
    found = done.values()["gradstyle", "smile=+2", "undone_l2"]
    assert list(found.values()) == pytest.approx(l2(back, run.sources(0).images[:3]).tolist(), rel=1e-3)
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
        areas = [c for m, c, n in values if (m, n) == (method, metric) and c.startswith(f"{edit[:-1]}=area:{edit[-1]}")]
        assert len(areas) == (curve.area is not None) and curve.unit == " sd"
        if curve.area is not None:
            assert curve.area == pytest.approx(np.mean(list(values[method, areas[0], metric].values())))
            assert curve.until == min(curves[m, edit, metric].change[-1] for m in METHODS)
            assert areas[0].endswith(f"{curve.until:.3g} sd")  # no area without where it ends
    stuck = {c.edit for c in summary.curves if len(c.change) == 1}
    assert all(any(note.startswith(f"{edit}: of ") for note in summary.notes) for edit in stuck)


def test_a_judge_agrees_with_itself(done: RunFolder) -> None:
    agreed = done.summary().agreement
    assert {each["metric"] for each in agreed} == {"judge_change", "judge_others"}
    assert all(each["spearman"] in (1, None) and each["judge"] == each["second"] for each in agreed)


def test_sets_are_of_photos_that_lack_what_the_edit_gives(done: RunFolder) -> None:
    rows = {
        (r.condition, r.metric): r for r in done.summary().rows if r.method == "e4e" and r.metric.startswith("judge_f")
    }
    counts = {condition: row.n for (condition, _), row in rows.items()}
    # of six photos, three smile (1, 3, 5) and three are young (3, 4, 5)
    assert counts == {"smile=-2": 3, "smile=+2": 3, "age=-2": 3, "age=+1": 3}
    assert all(row.mean is not None and row.mean > 0 for row in rows.values())


def test_the_same_command_gives_the_same_digits(done: RunFolder, second: Path, no_costs: None, ask: runs.Ask) -> None:
    asked = ask(methods=METHODS, options=EDITS, second_judge=str(second))

    with pytest.raises(KeyboardInterrupt):
        editing(asked, runs.stop_at(2))
    editing(asked)
    assert runs.files(asked.out) == runs.files(done.path)


def test_batches_side_by_side_give_what_each_gives_alone(
    done: RunFolder, second: Path, monkeypatch: pytest.MonkeyPatch, no_costs: None, ask: runs.Ask
) -> None:
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
        asked = ask(methods=METHODS, options=EDITS, second_judge=str(second))
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


def test_a_teacher_is_no_judge_and_a_file_that_does_not_say_is_said(tmp_path: Path, ask: runs.Ask) -> None:
    files = {}
    for role in ("teacher", "judge", ""):
        network = runs.a_judge(2)
        network.role = role
        files[role] = network.save(tmp_path / f"{role or 'older'}.safetensors")
    for given in ({"judge": str(files["teacher"])}, {"second_judge": str(files["teacher"])}):
        with pytest.raises(ValueError, match=r"teacher.safetensors is a teacher: methods have learned from it"):
            Run("editing", ask(**given))
    notes = {role: Run("editing", ask(second_judge=str(files[role]))).notes for role in ("judge", "")}
    assert notes[""][0].startswith("older.safetensors is of before networks said what they are for")
    assert not any("before networks said" in note for note in notes["judge"])


def test_heads_without_faces_cannot_be_seen_to_turn(photos: Path, ask: runs.Ask) -> None:
    changes = {"edits": ["smile"], "attributes": {"smile": "yaw"}}
    with pytest.raises(ValueError, match="in none of the 6 photos a face is found, so that nothing sees how far"):
        editing(ask(options=changes))


def test_what_editing_needs_is_said(bundle: Path, photos: Path, tmp_path: Path, ask: runs.Ask) -> None:
    bare = runs.a_bundle(tmp_path / "bare", judged=False)
    with pytest.raises(ValueError, match="needs a judge, which tells attributes apart"):
        editing(runs.request(bare, photos, tmp_path / "run"))
    with pytest.raises(ValueError, match="has no edit 'hat'; it has age, smile"):
        editing(ask(options={"edits": ["hat"]}))
    told = CliRunner().invoke(app, ["evaluate", "editing", str(bundle), str(photos), "--attribute", "smile"])
    assert told.exit_code == 1 and "--attribute is EDIT=NAME" in told.output
