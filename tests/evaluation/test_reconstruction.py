"""One protocol for every method: nothing is averaged away, and an interrupted run ends as an uninterrupted one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from typer.testing import CliRunner

from gradstyle.bundles import Bundle
from gradstyle.cli import app
from gradstyle.editor import Editor
from gradstyle.evaluation.evaluators import Evaluators
from gradstyle.evaluation.photos import counted, reason
from gradstyle.evaluation.reconstruction import reconstruction
from gradstyle.evaluation.run import Run
from gradstyle.evaluation.store import RunFolder
from gradstyle.losses import LPIPS, FeatureDistance
from gradstyle.losses.inception import Inception
from gradstyle.methods import BASELINES
from gradstyle.metrics import similarity
from gradstyle.metrics.identity import DlibIdentity
from gradstyle.photos import open_photo
from gradstyle.report.content import Report
from tests.support import runs


@pytest.fixture(scope="module")
def done(bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return reconstruction(runs.request(bundle, photos, tmp_path_factory.mktemp("runs") / "whole"))


def test_every_method_is_measured_on_every_photo_that_can_be_read(done: RunFolder) -> None:
    record, values = done.record(), done.values()
    assert record.complete and record.methods == runs.MEASURED
    assert record.photos == ("0.png", "2.png", "4.png", "6.png", "8.png", "10.png")
    names = {metric.name for metric in record.metrics}
    assert {"identity", "ssim", "l2", "psnr", "ms_ssim", "judge_distance"} <= names
    for (method, condition, metric), each in values.items():
        assert tuple(each) == record.photos and condition == "" and method in runs.MEASURED and metric in names
    (broken,) = record.failures
    assert (broken.photo, broken.method) == (runs.BROKEN, "") and "cannot identify" in broken.reason
    assert "0x" not in broken.reason
    baselines, note = done.summary().notes
    assert baselines.startswith("Baselines, to be beaten: e4e, the codes alone; paste, ") and "carried, " in baselines
    assert note.startswith(f"1 photo cannot be read and left out of every method ({runs.BROKEN}: ")


def test_figures_are_those_of_the_pictures(done: RunFolder) -> None:
    values, pictures = done.values(), done.record().pictures
    sources = {p.photo: open_photo(done.path / p.file).pixels / 127.5 - 1 for p in pictures if p.method == "source"}
    for picture in (p for p in pictures if p.method != "source"):
        ours, theirs = open_photo(done.path / picture.file).pixels / 127.5 - 1, sources[picture.photo]
        ssim = structural_similarity(
            ours, theirs, data_range=2, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        found = {name: values[picture.method, "", name][picture.photo] for name in ("ssim", "psnr", "l2")}
        assert found["ssim"] == pytest.approx(ssim, abs=1e-4)
        with np.errstate(divide="ignore"):  # of a copy
            psnr = peak_signal_noise_ratio(theirs, ours, data_range=2)
        assert found["psnr"] == pytest.approx(psnr, abs=1e-4)
        assert found["l2"] == pytest.approx(np.mean((ours - theirs) ** 2), abs=1e-6)
    assert len(done.record().pictures) == 2 * (1 + len(runs.MEASURED))


def test_the_summary_is_of_the_values(done: RunFolder) -> None:
    values, summary = done.values(), done.summary()
    for row in summary.rows:
        if "frechet" in row.metric or "kernel" in row.metric:
            assert row.mean is not None and row.n == runs.COUNT and row.low is None
            continue
        assert row.mean == pytest.approx(np.mean(list(values[row.method, "", row.metric].values())))
        if np.isinf(row.mean):
            assert row.metric == "psnr" and row.method in BASELINES and row.low is None
            continue
        assert row.low is not None and row.high is not None and row.low <= row.mean <= row.high
    assert {row.metric for row in summary.rows} == {metric.name for metric in done.record().metrics}
    assert set(done.costs()) == set(runs.MEASURED)
    assert all(cost["seconds"] > 0 and cost["peak_memory_mb"] >= 0 for cost in done.costs().values())


def test_a_baseline_that_gives_the_photo_back_is_nobodys_rival(done: RunFolder) -> None:
    """Its reconstruction is perfect by construction: methods are compared with each other."""
    rows, values = done.summary().rows, done.values()
    for name in BASELINES:
        assert set(values[name, "", "psnr"].values()) == {np.inf} and set(values[name, "", "l2"].values()) == {0.0}
        assert not any(row.best or row.p is not None for row in rows if row.method == name)
    for metric in done.record().metrics:
        ours = {row.method: row for row in rows if row.metric == metric.name and row.method in runs.METHODS}
        means = {m: -row.mean if metric.better == "lower" else row.mean for m, row in ours.items() if row.mean}
        (best,) = (m for m, row in ours.items() if row.best)
        assert means[best] == max(means.values())
        tested = {m for m, row in ours.items() if row.p is not None}
        assert tested == (set() if metric.name in ("judge_frechet", "judge_kernel") else set(ours) - {best})
    report = Report.read(done)
    (table,) = report.tables()
    assert table.note.endswith("are compared with nobody: paste, carried.")
    assert report.findings() and not {name for name, _ in report.findings()} & set(BASELINES)
    assert not any("which is not tested" in text for _, text in report.findings() if "distance" not in text)


def test_set_distances_are_of_all_photos(done: RunFolder, bundle: Path, photos: Path) -> None:
    judge, editor = runs.a_judge(), Editor(Bundle.load(bundle), "e4e", "cpu")
    images = torch.stack([torch.tensor(open_photo(photos / name).pixels) for name in done.record().photos])
    images = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # enlarged for the encoder, and back
    with torch.inference_mode():
        again = similarity.rounded(editor.render(editor.invert(images)))
        wanted = similarity.frechet(judge.embed(again), judge.embed(images))
    row = done.summary().row("e4e", "", "judge_frechet")
    assert row is not None and row.mean == pytest.approx(wanted, rel=1e-2)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    done: RunFolder, monkeypatch: pytest.MonkeyPatch, no_costs: None, ask: runs.Ask
) -> None:
    asked, every = ask(), len(runs.MEASURED)
    inverted: list[int] = []
    invert = Editor.invert

    def counting(self: Editor, photo: Any) -> Any:
        inverted.append(len(photo))
        return invert(self, photo)

    monkeypatch.setattr(Editor, "invert", counting)

    with pytest.raises(KeyboardInterrupt):
        reconstruction(asked, runs.stop_at(every))
    assert not RunFolder(asked.out).record().complete and len(inverted) == every
    (asked.out / "parts" / "00002.json").write_text("{")  # cut short by a full disk, say
    (asked.out / "parts" / "00003.safetensors").unlink()
    inverted.clear()
    reconstruction(asked)
    assert inverted == [4, 4, *[2] * every]  # the two damaged parts, and the second batch
    assert runs.files(asked.out) == runs.files(done.path)
    inverted.clear()
    reconstruction(asked)
    assert inverted == []


def test_a_method_that_fails_on_a_photo_costs_the_others_nothing(
    done: RunFolder, photos: Path, monkeypatch: pytest.MonkeyPatch, no_costs: None, ask: runs.Ask
) -> None:
    render, invert = Editor.render, Editor.invert

    def failing(self: Editor, photo: Any) -> Any:
        if self.method == "sdic" and bool((photo[:, 0, 0, 0] == bad).any()):
            raise RuntimeError("out of memory")
        return invert(self, photo)

    def spoiling(self: Editor, inversion: Any, edits: Any = ()) -> Tensor:
        images = render(self, inversion, edits)
        return images * torch.nan if self.method == "hfgi" and len(images) < 3 else images  # the last batch

    bad = float(open_photo(photos / "2.png").pixels[0, 0, 0]) / 127.5 - 1
    monkeypatch.setattr(Editor, "invert", failing)
    monkeypatch.setattr(Editor, "render", spoiling)
    folder = reconstruction(ask())
    record, values, summary, before = folder.record(), folder.values(), folder.summary(), done.values()
    failed = {(f.photo, f.method): f.reason for f in record.failures if f.method}
    assert set(failed) == {("2.png", "sdic"), ("8.png", "hfgi"), ("10.png", "hfgi")}
    assert failed["2.png", "sdic"] == "out of memory" and " is nan" in failed["8.png", "hfgi"]
    assert set(values["sdic", "", "l2"]) == {"0.png", "4.png", "6.png", "8.png", "10.png"}
    assert values["e4e", "", "l2"] == before["e4e", "", "l2"]  # to the digit
    alone = values["sdic", "", "l2"]["4.png"]  # its batch was done one by one
    assert alone == pytest.approx(before["sdic", "", "l2"]["4.png"], rel=1e-3)
    row = summary.row("e4e", "", "l2")
    shared = ["0.png", "4.png", "6.png"]  # that every method has
    assert row is not None and row.n == 3 and row.missing == 0
    assert row.mean == pytest.approx(np.mean([values["e4e", "", "l2"][p] for p in shared]))
    assert any("hfgi failed on 2 photos, which count for no method" in note for note in summary.notes)


def test_a_folder_of_another_run_is_not_gone_on_with(
    done: RunFolder, photos: Path, tmp_path: Path, ask: runs.Ask
) -> None:
    shutil.copytree(done.path, tmp_path / "run")
    for change in ({"seed": 1}, {"methods": ("e4e",)}, {"batch": 3}, {"photos": 4}):
        with pytest.raises(ValueError, match="holds a run of other methods, photos, networks or choices"):
            reconstruction(ask(**change))
    reconstruction(ask(methods=("e4e",), photos=2, force=True))
    assert RunFolder(tmp_path / "run").record().methods == ("e4e",)
    assert {key[0] for key in RunFolder(tmp_path / "run").values()} == {"e4e"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "novel.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        reconstruction(ask("mine", force=True))


def test_what_is_not_there_is_said_before_anything_is_measured(tmp_path: Path, ask: runs.Ask) -> None:
    for change, said in (
        ({"methods": ("pti",)}, "has no pti; it has gradmove, gradstyle, styleres, sdic, hfgi, e4e, paste, carried"),
        ({"second_judge": "x"}, "No such file|not a readable"),
        ({"lpips": "alex.pth"}, "LPIPS needs the backbone's weights and its linear heads"),
        ({"data": str(tmp_path)}, "no pictures in"),
    ):
        with pytest.raises((ValueError, OSError), match=said):
            reconstruction(ask(**change))
    assert not (tmp_path / "run").exists()


def test_without_a_judge_and_a_known_crop_the_rest_is_measured(photos: Path, tmp_path: Path) -> None:
    bare = runs.a_bundle(tmp_path / "bare", crop="none", judged=False)
    folder = reconstruction(runs.request(bare, photos, tmp_path / "run", methods=("e4e",), photos=3))
    assert [metric.name for metric in folder.record().metrics] == ["ssim", "l2", "psnr", "ms_ssim"]
    notes = " ".join(folder.summary().notes)
    assert "no judge in the bundle" in notes and "No identity by dlib's network" in notes


def test_two_judges_are_compared(tmp_path: Path, ask: runs.Ask) -> None:
    other = runs.a_judge(7).save(tmp_path / "other.safetensors")
    folder = reconstruction(ask(second_judge=str(other)))
    (agreed,) = folder.summary().agreement  # of the methods: both judges find a copy perfect
    means = {
        name: [row.mean for m in runs.METHODS if (row := folder.summary().row(m, "", f"{name}_distance"))]
        for name in ("judge", "judge2")
    }
    assert agreed["spearman"] == pytest.approx(similarity.rank_correlation(means["judge"], means["judge2"]))
    assert means["judge"] != means["judge2"] and agreed["methods"] == len(runs.METHODS)


@torch.inference_mode()
def test_every_figure_of_a_copy_is_perfect_and_of_noise_bad() -> None:
    judge = runs.a_judge()
    evaluators = Evaluators(32, [DlibIdentity("celeba")], [judge], LPIPS("alex"))
    seen = evaluators.look(F.interpolate(torch.rand(3, 3, 4, 4) * 2 - 1, size=(32, 32), mode="bilinear"))
    noise = evaluators.look(torch.rand(3, 3, 32, 32) * 2 - 1)
    same, other = evaluators.compare(seen, seen), evaluators.compare(noise, seen)
    perfect = {"higher": {"psnr": torch.inf}, "lower": {}}
    for metric in evaluators.pair_metrics:
        best = perfect[metric.better].get(metric.name, 1.0 if metric.better == "higher" else 0.0)
        assert torch.allclose(same[metric.name], torch.full((3,), best, dtype=torch.float64)), metric.name
        worse = other[metric.name] < best if metric.better == "higher" else other[metric.name] > best
        assert bool(worse.all()), metric.name
    pictures = noise.images, seen.images
    assert torch.allclose(other["judge_distance"], FeatureDistance(judge).distance(*pictures).double(), atol=1e-6)
    assert evaluators.lpips is not None
    assert torch.allclose(other["lpips"], evaluators.lpips.distance(*pictures).double(), atol=1e-6)


def test_photos_are_taken_in_the_order_of_their_numbers() -> None:
    names = ["a/10.jpg", "a/9.jpg", "a/010.jpg", "b.jpg", "a/1b2.jpg"]
    assert sorted(names, key=counted)[:2] == ["a/1b2.jpg", "a/9.jpg"]
    assert (
        reason(ValueError("cannot identify <_io.BytesIO object at 0x7f32>")) == "cannot identify <_io.BytesIO object>"
    )


def test_the_command(bundle: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "reconstruction", str(bundle), str(photos), "--out", str(tmp_path / "run"), "-m", "e4e"]
    told = CliRunner().invoke(app, [*arguments, "--photos", "3", "--split", "all", "--device", "cpu"])
    assert told.exit_code == 0, told.output
    assert "SSIM ↑" in told.output and "e4e" in told.output and "2 photos" in told.output
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["photos"] == ["0.png", "2.png"] and record["failures"][0]["photo"] == runs.BROKEN
    refused = CliRunner().invoke(app, [*arguments, "--preset", "celeba-hq-1000"])
    assert refused.exit_code == 1 and "generators of 1024 px, this bundle has 32 px" in refused.output.replace("\n", "")


def test_the_fid_is_of_the_network_that_defines_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_costs: None, ask: runs.Ask
) -> None:
    """With a small network in its place: whose vectors are compared, and under which name."""
    torch.manual_seed(0)
    mix = torch.randn(48, 5)
    monkeypatch.setattr(Inception, "forward", lambda self, images: F.adaptive_avg_pool2d(images, 4).flatten(1) @ mix)
    monkeypatch.setattr(Inception, "open", classmethod(lambda cls, path: cls.__new__(cls)))
    monkeypatch.setattr(Inception, "__call__", Inception.forward, raising=False)
    monkeypatch.setattr(Inception, "to", lambda self, device: self)
    (tmp_path / "inception.pth").write_bytes(b"x")
    asked = ask(methods=("e4e",), inception=str(tmp_path / "inception.pth"))
    folder = reconstruction(asked)
    row, kid = folder.summary().row("e4e", "", "fid"), folder.summary().row("e4e", "", "kid")
    run = Run("reconstruction", asked)
    sources = torch.cat([run.sources(batch).images for batch in range(run.photos.batches)])
    images = torch.cat([run.photos[batch] for batch in range(run.photos.batches)])
    editor = run.editors["e4e"]
    again = similarity.rounded(editor.render(editor.invert(images)))
    sets = [F.adaptive_avg_pool2d(each, 4).flatten(1) @ mix for each in (again, sources)]
    assert row is not None and kid is not None and row.n == runs.COUNT
    assert row.mean == pytest.approx(similarity.frechet(*sets), rel=1e-3)
    assert kid.mean == pytest.approx(similarity.kernel_distance(*sets), rel=1e-3)
    titles = {metric.name: metric.title for metric in folder.record().metrics}
    assert titles["fid"] == "FID" and "FID" not in titles["judge_frechet"]
    assert folder.record().protocol["networks"]["inception"]
