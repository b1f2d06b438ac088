"""gradstyle evaluate report and compare, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gradstyle.cli import app
from tests.support import example_run
from tests.support import runs as tiny_runs
from tests.support.example_run import moved


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: before, after with one figure better, and one of another kind."""
    folder = tmp_path_factory.mktemp("runs")
    before = example_run.write(folder / "before", count=30, drawn=1)
    better = moved(before.values(), {("sdic", "identity"): 0.05}, 0.2)
    example_run.write(folder / "after", count=30, drawn=0, found=better, data={"name": "other", "fingerprint": "0"})
    example_run.write(folder / "editing", "editing", 5, drawn=0)
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_report_writes_the_page_once_more(runs: Path) -> None:
    code, said, _ = run("report", runs / "before")
    assert code == 0 and said.strip() == str(runs / "before" / "report.html")
    assert (runs / "before" / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert (runs / "before" / "report.md").is_file() and (runs / "before" / "report.json").is_file()
    assert not [path for path in (runs / "before").iterdir() if path.name.startswith(".")]


def test_report_of_no_run_is_an_error_in_a_line(tmp_path: Path) -> None:
    code, _, said = run("report", tmp_path)
    assert code == 1 and said.startswith("error: ") and "is no run of `gradstyle evaluate`" in said


def test_compare_says_what_changed(runs: Path) -> None:
    code, said, _ = run("compare", runs / "before", runs / "after")
    warning, head, line, last = said.splitlines()
    assert code == 0 and warning.startswith("warning: the data differ (drawn faces and other)")
    assert head.split()[:3] == ["method", "metric", "photos"] and line.split()[:3] == ["sdic", "Identity", "↑"]
    assert line.endswith("better") and last == "1 of 15 figures changed by more than noise over 30 photos: 1 better."
    _, every, _ = run("compare", runs / "before", runs / "after", "--all")
    assert len(every.splitlines()) == 1 + 1 + 15 + 1 and every.count("no change") == 14


def test_compare_of_a_run_with_itself(runs: Path) -> None:
    sentence = "No change: all 15 figures are the same on every photo.\n"
    assert run("compare", runs / "before", runs / "before") == (0, sentence, "")


def test_compare_refuses_other_kinds(runs: Path) -> None:
    code, _, said = run("compare", runs / "before", runs / "editing")
    assert code == 1 and said.startswith("error: one run is of reconstruction, the other of editing")


def test_compare_writes_markdown_and_json(runs: Path, tmp_path: Path) -> None:
    for name in ("deep/changes.md", "changes.json"):
        code, said, _ = run("compare", runs / "before", runs / "after", "--out", tmp_path / name)
        assert code == 0 and said.splitlines()[-1] == str(tmp_path / name)
    assert "1 of 15 figures changed" in (tmp_path / "deep" / "changes.md").read_text("utf-8")
    assert json.loads((tmp_path / "changes.json").read_text("utf-8"))["photos"] == 30
    code, _, said = run("compare", runs / "before", runs / "after", "--out", tmp_path / "changes.json")
    assert code == 1 and "exists" in said
    assert run("compare", runs / "before", runs / "after", "--out", tmp_path / "changes.json", "--force")[0] == 0
    code, _, said = run("compare", runs / "before", runs / "after", "--out", tmp_path / "changes.txt")
    assert code == 1 and ".md or .json" in said and not (tmp_path / "changes.txt").exists()


def test_a_run_in_which_everything_failed_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_runs.a_bundle(tmp_path / "bundle", crop="none", judged=False)
    photos = tiny_runs.some_photos(tmp_path / "photos", count=2)
    monkeypatch.setattr("gradstyle.evaluation.measurement._wrong", lambda outcome: "l2 is nan")
    code, said, errors = run("reconstruction", bundle, photos, "-m", "e4e", "--out", tmp_path / "run")
    assert code == 1 and "e4e failed on 2 photos" in said
    assert errors.splitlines()[-1].startswith("error: every method failed on every photo")
