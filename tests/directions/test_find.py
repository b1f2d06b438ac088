"""A whole set of edits, on a generator whose pictures can be measured without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradstyle.bundles import Bundle
from gradstyle.directions import FoundEdits, FunctionScorer, find, measure_edits
from gradstyle.directions import bench as benches
from gradstyle.directions.layers import layer_effects
from gradstyle.directions.report import Thresholds
from gradstyle.directions.wishes import Wish, wishes
from gradstyle.edits import Edit
from gradstyle.report.edits import markdown, provenance
from tests.support import measured

WANTED = {"light": "Bright", "blue": "-Red"}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benches, "DATA", 96)
        yield


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return measured.bundle()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def found(bundle: Bundle, cache: Path) -> FoundEdits:
    return find(bundle, WANTED, measured.TEACHER, measured.JUDGE, 600, 3, codes=16, cache=cache)


def test_edits_do_what_they_say_by_one_standard_deviation(bundle: Bundle, found: FoundEdits) -> None:
    assert list(found.edits) == list(found.sliders) == list(found.reports) == ["light", "blue"]
    generator, fresh = bundle.generator(), bundle.generator().sample(24, 0.7, 99)
    with torch.no_grad():
        data = measured.shown(generator(generator.sample(200, 1.0, 98))).std(dim=0)
        before = measured.shown(generator(fresh))
        for (name, edit), column, sign in zip(found.edits.items(), (0, 2), (1, -1)):
            report = found.reports[name]
            assert edit.generator == bundle.fingerprint and edit.name == name
            assert report["independent"] and report["judge"] == "judge" and report["reasons"] == []
            assert report["taught"] == pytest.approx(1, abs=0.1) and report["monotonic"] >= 0.9
            slider = found.sliders[name]
            assert slider.low <= -1 and slider.high >= 1 and slider.report == report
            after = measured.shown(generator(edit.apply(fresh)))
            moved = sign * float((after - before)[:, column].mean() / data[column])
            assert 0.75 < moved < 1.3  # on codes that nobody had seen
            assert report["moved"] == pytest.approx(moved, abs=0.3)


def test_the_same_seed_gives_the_same_edits(bundle: Bundle, found: FoundEdits, cache: Path) -> None:
    again = find(bundle, WANTED, measured.TEACHER, None, 600, 3, codes=4, layers=(0, 7), cache=cache)
    whole = found.edits["light"].w
    mine = again.edits["light"].w
    assert whole is not None and mine is not None
    rows = [row / row.norm() for row in (whole[whole.abs().sum(dim=1).argmax()], mine[0])]
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-5, atol=1e-6)
    assert again.reports["light"]["independent"] is False and again.reports["light"]["judge"] == "teacher"


def test_what_is_not_good_enough_gets_no_slider_but_a_reason(bundle: Bundle, cache: Path) -> None:
    how = {"codes": 4, "limits": Thresholds(moves=9.0), "layers": (0, 7), "cache": cache}
    failed = find(bundle, {"light": "Bright"}, measured.TEACHER, measured.JUDGE, 600, 3, **how)  # type: ignore[arg-type]
    assert failed.sliders == {} and "less than 9" in failed.reports["light"]["reasons"][0] and "light" in failed.edits
    into = measured.bundle()
    into.put_edits({"hat": Edit("hat", torch.ones(1, 32))})
    failed.put(into)
    assert set(into.edits) == {"light", "hat"} and into.sliders == {} and set(into.failed_edits) == {"light"}
    table = markdown(into)
    assert "| no slider |" in table and "- `light`: amount 1 moves Bright by" in table


def test_what_nothing_shows_is_not_found_in_it(bundle: Bundle) -> None:
    draw = torch.Generator().manual_seed(0)
    dice = FunctionScorer(lambda x: torch.randn(len(x), generator=draw), ("Dice",), "", "dice")
    nothing = find(bundle, {"luck": "Dice"}, dice, None, 200, 0, codes=8, share=0.2)
    assert nothing.sliders == {} and nothing.reports["luck"]["reasons"]


def test_found_edits_and_their_table_survive_the_disk(bundle: Bundle, found: FoundEdits, tmp_path: Path) -> None:
    into = measured.bundle()
    found.put(into)
    read = Bundle.load(into.save(tmp_path / "toy"))
    assert read.sliders == found.sliders
    for name, edit in found.edits.items():
        torch.testing.assert_close(read.edits[name].w, edit.w)
    rows = markdown(read).splitlines()
    assert rows[2].startswith("| `light` | Bright |") and rows[3].startswith("| `blue` | −Red |") and len(rows) == 4
    assert "600 samples of seed 3, scored by teacher; judged by judge on 16 other codes." in provenance(read)
    with pytest.raises(ValueError, match="no edit of bundle 'toy' was measured"):
        markdown(bundle)


def test_an_edit_of_any_origin_can_be_measured(found: FoundEdits, cache: Path) -> None:
    into = measured.bundle()
    backwards = replace(-7 * found.edits["light"], name="x")  # turned around, and of another length
    into.put_edits({"x": backwards})
    again = measure_edits(into, {"x": "Bright"}, measured.TEACHER, measured.JUDGE, 96, 3, codes=8, cache=cache)
    cosine = torch.cosine_similarity(again.edits["x"].w.flatten(), found.edits["light"].w.flatten(), dim=0)  # type: ignore[union-attr]
    assert float(cosine) > 0.999 and again.reports["x"]["taught"] == pytest.approx(1, abs=0.15)
    assert again.sliders["x"].high >= 1 and again.edits["x"].generator == into.fingerprint
    with pytest.raises(ValueError, match="has no edit 'y'; it has x"):
        measure_edits(into, {"y": "Bright"}, measured.TEACHER)


def test_effects_are_measured_code_by_code(bundle: Bundle) -> None:
    generator = bundle.generator()
    bench = benches.EditBench(generator, measured.TEACHER, dict.fromkeys(measured.NAMES, 0.1), codes=6)
    way = torch.randn(32, generator=torch.Generator().manual_seed(0))
    own, others = layer_effects(bench, way, "Bright", bench.codes)
    assert own.shape == (8,) and others.shape == (8, 2)
    step = torch.zeros(8, 32)
    step[3] = way
    with torch.no_grad():
        pictures = [measured.shown(generator(Edit("", s).apply(bench.codes))).mean(dim=0) for s in (-step, step)]
    torch.testing.assert_close(own[3], (pictures[1] - pictures[0])[0] / 2 / 0.1, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(others[3], (pictures[1] - pictures[0])[1:] / 2 / 0.1, rtol=1e-3, atol=1e-4)


def test_labels_give_directions_but_cannot_say_what_edits_do(bundle: Bundle, tmp_path: Path) -> None:
    scores = measured.shown(bundle.generator()(bundle.generator().sample(120, 1.0, 0))).detach()
    lines = [f"{i},{float(value > 0):.0f}" for i, value in enumerate(scores[:, 0] - scores[:, 0].median())]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["picture,Bright", *lines]))
    blind = find(bundle, {"light": "Bright"}, table, None, 120, share=0.3)
    assert blind.sliders == {} and "nothing here can see Bright" in blind.reports["light"]["reasons"][0]
    assert blind.reports["light"]["accuracy"] > 0.6 and blind.edits["light"].w is not None


def test_what_was_asked_for_is_understood_or_refused(bundle: Bundle) -> None:
    assert wishes(["a=B", "c=-D", "yaw"]) == [Wish("a", "B"), Wish("c", "D", True), Wish("yaw", "yaw")]
    for texts in ([], ["a=B", "a=C"], ["=B"], ["a=-"]):
        with pytest.raises(ValueError, match="edit is"):
            wishes(texts)
    with pytest.raises(ValueError, match="teacher does not know Beard; it knows Bright, Left, Red"):
        find(bundle, {"beard": "Beard"}, measured.TEACHER)
    with pytest.raises(ValueError, match="a scorer is needed"):
        find(bundle, {"beard": "Beard"})
    with pytest.raises(ValueError, match="this is no generator of faces"):
        find(bundle, ["yaw"])
    with pytest.raises(ValueError, match=r"a judge's file, a table \(.csv\), or a FunctionScorer, got 5"):
        find(bundle, {"a": "B"}, 5)  # type: ignore[arg-type]
