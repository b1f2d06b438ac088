"""Edits whose truth is known: what the truth is, what is measured against it, and who may win."""

from __future__ import annotations

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
from gradstyle.edits import Edit
from gradstyle.evaluation.evaluators import Evaluators
from gradstyle.evaluation.pairs import TRUTH, Samples, changes_of, pairs, samples
from gradstyle.evaluation.protocol import Protocol
from gradstyle.evaluation.store import RunFolder
from gradstyle.metrics.identity import DlibIdentity
from gradstyle.metrics.similarity import psnr, rounded
from gradstyle.metrics.values import UNEDITED
from gradstyle.photos import open_photo
from gradstyle.report.content import Report
from gradstyle.report.report import write_report
from gradstyle.stylegan2 import Codes
from tests.support import runs, tiny

COUNT = 6
METHODS = ("gradstyle", "e4e", "carried")
EDITED = ("smile=-1.5", "smile=+1.5", "age=-1.5", "age=+1")  # as far as the sliders go


def request(bundle: Path, out: Path, **changes: Any) -> Protocol:
    return runs.request(bundle, Path(), out, **{"data": "", "photos": COUNT, "methods": METHODS} | changes)


@pytest.fixture(scope="module")
def done(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return pairs(request(bundle, tmp_path_factory.mktemp("runs") / "pairs"))


# ---- the pictures


def test_a_stated_share_of_the_codes_is_mixed() -> None:
    generator = tiny.generator()
    for share, wanted in ((0.0, 0), (0.3, 6), (0.5, 10), (1.0, 20)):
        codes, starts = samples(generator, 20, 0.7, share, seed=1)
        assert sum(start < 8 for start in starts) == wanted and min(starts) >= 1
        for w, start in zip(codes.w, starts):
            assert torch.equal(w[:start], w[:1].expand(start, -1))
            assert torch.equal(w[start:], w[-1:].expand(8 - start, -1))
            assert torch.equal(w[0], w[-1]) == (start == 8)
    assert len(set(samples(generator, 50, 0.7, 1.0, seed=1)[1])) == 7  # the second to the last


def test_codes_are_of_the_seed_and_the_truncation() -> None:
    generator = tiny.generator()
    generator.mean_w.normal_(generator=torch.Generator().manual_seed(1))
    first = samples(generator, 4, 1.0, 0.5, seed=0)[0].w
    assert torch.equal(first, samples(generator, 4, 1.0, 0.5, seed=0)[0].w)
    assert not torch.equal(first, samples(generator, 4, 1.0, 0.5, seed=1)[0].w)
    torch.testing.assert_close(samples(generator, 4, 0.6, 0.5, seed=0)[0].w, torch.lerp(generator.mean_w, first, 0.6))


@torch.inference_mode()
def test_pictures_are_those_of_the_codes_as_8_bits_keep_them() -> None:
    generator = tiny.generator()
    made = Samples(generator, 5, 2)
    assert len(made) == 5 and made.batches == 3 and made.names_of(2) == made.names[4:]
    assert torch.equal(made[2], rounded(generator(made.codes[4:])))
    named = [name.partition("-mixed-")[2] for name in made.names]
    assert [int(layer) if layer else 8 for layer in named] == made.layers and "" in named and len(set(named)) > 1
    assert made.about["fingerprint"] != Samples(generator, 5, 2, seed=1).about["fingerprint"]
    with pytest.raises(ValueError, match=r"a share of the pictures, 0 … 1, got 1\.5"):
        Samples(generator, 5, 2, mixed=1.5)


def test_edits_are_the_usual_ones_within_their_sliders() -> None:
    bundle = Bundle("some")
    bundle.put("generator", tiny.generator())
    with pytest.raises(ValueError, match="bundle 'some' has no edits"):
        changes_of(bundle, (), (1.5,))
    edits = {name: Edit(name, tiny.an_edit().w) for name in ("hat", "yaw", "smile")}
    bundle.put_edits(edits, {"smile": Slider(-3, 1), "hat": Slider(-1, 2)})
    assert [c.condition for c in changes_of(bundle, (), (1.5,))] == ["smile=-1.5", "smile=+1", "yaw=-1.5", "yaw=+1.5"]
    assert [c.condition for c in changes_of(bundle, ("all",), (2.0,))] == ["smile=-2", "smile=+1", "hat=-1", "hat=+2"]
    (less, more) = changes_of(bundle, ("yaw",), (1.5,))
    assert more.edit.w is not None and torch.equal(more.edit.w, 1.5 * edits["yaw"].w) and less.condition == "yaw=-1.5"
    with pytest.raises(ValueError, match="has no edit 'beard'; it has "):
        changes_of(bundle, ("beard",), (1.5,))


# ---- the figures


def test_whoever_knows_the_codes_tells_the_truth_and_beats_changing_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_costs: None
) -> None:
    """The truth is G(w + a·d): the codes alone reach it to the last bit, if they are the true ones."""
    asked = request(bundle, tmp_path / "run", methods=("e4e", "paste"))
    known: dict[bytes, Codes] = {}

    def knowing(self: Editor, photo: Any) -> Any:
        if not known:
            true = Samples(self._method.generator, COUNT, asked.batch)
            known.update((true[b].numpy().tobytes(), true.of(b)) for b in range(true.batches))
        return self._method.invert(photo, known[photo.numpy().tobytes()])

    monkeypatch.setattr(Editor, "invert", knowing)
    folder = pairs(asked)
    values, summary = folder.values(), folder.summary()
    for condition in EDITED:
        assert set(values["e4e", condition, "psnr"].values()) == {np.inf}
        assert min(values["paste", condition, "psnr"].values()) > 45  # but for the 8 bits of the picture
        assert max(values[UNEDITED, condition, "psnr"].values()) < 40
        for metric in ("psnr", "identity", "judge_distance"):
            best = summary.row("e4e", condition, metric)
            assert best is not None and best.best


@torch.inference_mode()
def test_the_unedited_picture_is_measured_as_any_answer(done: RunFolder, bundle: Path) -> None:
    opened, values = Bundle.load(bundle), done.values()
    generator, judge = opened.generator(), runs.a_judge()
    codes = samples(generator, COUNT, 0.7, 0.5, seed=0)[0]
    evaluators = Evaluators(32, [DlibIdentity("celeba")], [judge])
    before = evaluators.look(generator(codes))
    for condition in EDITED:
        name, _, amount = condition.partition("=")
        truth = evaluators.look(generator((float(amount) * opened.edits[name]).apply(codes)))
        for metric, wanted in evaluators.compare(before, truth).items():
            found = torch.tensor(list(values[UNEDITED, condition, metric].values()), dtype=torch.float64)
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
        assert torch.equal(psnr(before.images, truth.images).isinf(), torch.zeros(COUNT, dtype=torch.bool))
    assert set(values[UNEDITED, "", "psnr"].values()) == {np.inf}


def test_every_method_and_baseline_answers(done: RunFolder) -> None:
    record, values, summary = done.record(), done.values(), done.summary()
    assert record.complete and record.kind == "pairs" and record.methods == (*METHODS, UNEDITED)
    assert record.conditions == ("", *EDITED) and record.photos[0] == "0000" and len(record.photos) == COUNT
    assert record.data["photos"] == COUNT and record.protocol["truncation"] == 0.7 and record.protocol["mixed"] == 0.5
    assert {(m, c) for m, c, _ in values} == {(m, c) for m in record.methods for c in record.conditions}
    for condition in EDITED:
        row = summary.row(UNEDITED, condition, "psnr")
        assert row is not None and (row.best or row.p is not None)  # it competes
    assert not any(row.best for row in summary.rows if row.method == UNEDITED and not row.condition)
    assert f"{UNEDITED}, the photo as it is" in summary.notes[0]


def test_pictures_of_the_truth_stand_beside_the_methods(done: RunFolder, bundle: Path) -> None:
    record, values = done.record(), done.values()
    files = {(p.photo, p.method, p.condition): done.path / p.file for p in record.pictures}
    for photo in record.photos[:2]:
        source, truth = (
            open_photo(files[photo, who, where]).pixels / 127.5 - 1
            for who, where in (("source", ""), (TRUTH, "smile=+1.5"))
        )
        found = 10 * np.log10(4 / np.mean((source - truth) ** 2))
        assert found == pytest.approx(values[UNEDITED, "smile=+1.5", "psnr"][photo], abs=1e-4)
    report = Report.read(done)
    assert report.methods[-1] == TRUTH and TRUTH not in {row.method for row in done.summary().rows}
    assert write_report(done.path).is_file() and "| unedited |" in (done.path / "report.md").read_text("utf-8")


# ---- the run


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    done: RunFolder, bundle: Path, tmp_path: Path, no_costs: None
) -> None:
    asked = request(bundle, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        pairs(asked, runs.stop_at(6))
    assert len(list((asked.out / "parts").iterdir())) >= 6 and not RunFolder(asked.out).record().complete
    pairs(asked)
    reports = {"report.html", "report.md", "report.json"}
    theirs = {name: data for name, data in runs.files(done.path).items() if name not in reports}
    assert runs.files(asked.out) == theirs
    for change in ({"truncation": 0.6}, {"mixed": 0.4}, {"steps": (1.0,)}, {"edits": ("age",)}):
        with pytest.raises(ValueError, match="holds a run of other methods, photos, networks or choices"):
            pairs(request(bundle, asked.out, options=change))


def test_a_picture_that_fails_costs_the_others_nothing(
    done: RunFolder, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_costs: None
) -> None:
    """And each of its batch is compared with its own truth."""
    invert = Editor.invert

    def failing(self: Editor, photo: Any) -> Any:
        if bool(((photo - bad).flatten(1).abs().amax(dim=1) < 0.02).any()):
            raise RuntimeError("out of memory")
        return invert(self, photo)

    bad = Samples(Bundle.load(bundle).generator(), COUNT, 4)[0][1]
    monkeypatch.setattr(Editor, "invert", failing)
    folder = pairs(request(bundle, tmp_path / "run", methods=("e4e",)))
    (failure,) = folder.record().failures
    assert failure.photo == done.record().photos[1] and failure.reason == "out of memory"
    found, wanted = (each.values()["e4e", "smile=+1.5", "psnr"] for each in (folder, done))
    assert len(found) == COUNT - 1 and all(found[p] == pytest.approx(wanted[p], abs=0.01) for p in found)


def test_the_command(bundle: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "pairs", str(bundle), "--out", str(tmp_path / "run"), "-m", "e4e", "-n", "2"]
    arguments += ["-e", "age", "--amount", "0.5", "--truncation", "0.6", "--mixed", "1"]
    told = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert told.exit_code == 0, told.output
    assert "PSNR (dB) ↑" in told.output and "unedited" in told.output and "MS-SSIM" not in told.output
    record = RunFolder(tmp_path / "run").record()
    assert record.methods == ("e4e", UNEDITED) and record.conditions == ("", "age=-0.5", "age=+0.5")
    asked = Samples(Bundle.load(bundle).generator(), 2, 20, truncation=0.6, mixed=1.0)
    assert record.photos == asked.names and all("-mixed-" in name for name in asked.names)
    assert record.data["fingerprint"] == asked.about["fingerprint"] and (tmp_path / "run" / "report.html").is_file()
