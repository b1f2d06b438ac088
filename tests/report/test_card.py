from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gradstyle.bundles import Bundle
from gradstyle.cli import app
from gradstyle.evaluation.store import RunFolder, Summary
from gradstyle.files import file_sha256
from gradstyle.metrics.values import Metric, Row
from gradstyle.report.card import BEGIN, CARD, END, FIGURES, figures_block, write_card
from gradstyle.stylegan2 import Generator, GeneratorConfig
from tests.support.example_run import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = Bundle("tiny")
    bundle.put("generator", Generator(GeneratorConfig(16, 8, 8, 1, channel_base=64, channel_max=8)))
    return bundle.save(tmp_path / "tiny")


def measured(folder: Path, at: Path, kind: str = "reconstruction", **changes: object) -> RunFolder:
    parts = {"generator": file_sha256(folder / "generator.safetensors")}
    of = {"name": "tiny", "fingerprint": Bundle.load(folder).fingerprint, "resolution": 16, "parts": parts}
    return write(at, kind, drawn=0, **{"bundle": of, **changes})  # type: ignore[arg-type]


def test_the_card_holds_every_figure_and_keeps_the_prose(folder: Path, tmp_path: Path) -> None:
    (folder / CARD).write_text(f"# Faces\n\nBy people.\n\n{BEGIN}\nold\n{END}\n\nAlso by people.\n")
    runs = [measured(folder, tmp_path / kind, kind) for kind in ("reconstruction", "editing")]
    card = write_card(folder, [run.path for run in runs])
    text = card.read_text()
    assert text.startswith("# Faces\n\nBy people.\n\n") and text.endswith("\n\nAlso by people.\n") and "old" not in text
    assert figures_block(folder) in text
    for run in runs:
        for row in run.summary().rows:
            assert row.mean is None or f"{row.mean:.4g}" in text
    row = runs[0].summary().row("gradstyle", "", "psnr")
    assert row is not None and f"{row.mean:.4g} [{row.low:.4g}, {row.high:.4g}]" in text
    for file in ("bundle.json", "generator.safetensors"):
        assert file_sha256(folder / file) in text
    assert json.loads((folder / FIGURES).read_text())[0]["photos"] == 12
    assert write_card(folder, [run.path for run in runs]).read_text() == text


def test_identity_stands_beside_how_far_the_edit_went_and_how_many_photos_are_fewer(
    folder: Path, tmp_path: Path
) -> None:
    metrics = (Metric("identity", "ID"), Metric("mesh_yaw", "Yaw"))
    protocol = {"edits": {"yaw": {"change": "mesh_yaw"}}}
    run = measured(folder, tmp_path / "run", "editing", metrics=metrics, protocol=protocol)
    rows = [("yaw=+2", "identity", 0.9, 12), ("yaw=+2", "mesh_yaw", 6.5, 11), ("yaw=matched:5°", "identity", 0.8, 7)]
    run.write_summary(Summary(rows=tuple(Row("e4e", c, m, value, None, None, n) for c, m, value, n in rows)))
    text = write_card(folder, [run.path]).read_text()
    assert "| yaw=+2 | – | – | – | – | 0.9 at 6.5 |" in text
    assert "| yaw=+2 | – | – | – | – | 6.5 (11 photos) |" in text
    assert "| yaw=matched:5° | – | – | – | – | 0.8 (7 photos) |" in text


def test_a_changed_file_or_figure_no_longer_agrees(folder: Path, tmp_path: Path) -> None:
    text = write_card(folder, [measured(folder, tmp_path / "run").path]).read_text()
    kept = (folder / FIGURES).read_text()
    figures = json.loads(kept)
    figures[0]["rows"][0]["mean"] += 1
    (folder / FIGURES).write_text(json.dumps(figures))
    assert figures_block(folder) not in text
    (folder / FIGURES).write_text(kept)
    assert figures_block(folder) in text
    manifest = folder / "bundle.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert figures_block(folder) not in text


def test_runs_that_do_not_belong_are_refused_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    wrong = {
        "other": {"bundle": {"name": "x", "fingerprint": "0" * 16, "parts": {}}},
        "older": {"bundle": {"name": "x", "fingerprint": Bundle.load(folder).fingerprint, "parts": {"generator": "0"}}},
    }
    for name, changes in wrong.items():
        with pytest.raises(ValueError, match="of another bundle"):
            write_card(folder, [measured(folder, tmp_path / name, **changes).path])
    with pytest.raises(ValueError, match="not complete"):
        write_card(folder, [measured(folder, tmp_path / "half", complete=False).path])
    (folder / CARD).write_text("# No marks\n")
    with pytest.raises(ValueError, match="between one line"):
        write_card(folder, [measured(folder, tmp_path / "good").path])
    assert (folder / CARD).read_text() == "# No marks\n"


def test_the_verb(folder: Path, tmp_path: Path) -> None:
    run = measured(folder, tmp_path / "run")
    done = CliRunner().invoke(app, ["evaluate", "card", str(folder), str(run.path)])
    assert done.exit_code == 0 and done.stdout.strip() == str(folder / CARD)
    assert "PSNR" in (folder / CARD).read_text()
