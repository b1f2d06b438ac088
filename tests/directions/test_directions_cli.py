"""gradstyle directions, from the command line, on a tiny bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gradstyle.bundles import Bundle
from gradstyle.cli import app
from gradstyle.directions import bench as benches
from gradstyle.losses import Judge, JudgeConfig
from tests.support import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a bundle, a teacher, a judge and photos."""
    folder = tmp_path_factory.mktemp("directions")
    made = Bundle("toy")
    made.put("generator", tiny.generator())
    made.put("encoder", tiny.encoder())
    made.save(folder / "toy")
    for seed, name in enumerate(("teacher", "judge")):
        torch.manual_seed(seed)
        Judge(JudgeConfig(("Odd", "Even"), 32, (4, 6), 8)).save(folder / f"{name}.safetensors")
    for kind, colour in (("with", "tomato"), ("without", "teal")):
        (folder / kind).mkdir()
        for i in range(4):
            picture = Image.effect_noise((40, 40), 40 + 9 * i).convert("RGB")
            Image.blend(picture, Image.new("RGB", (40, 40), colour), 0.6).save(folder / kind / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benches, "DATA", 32)
        patch.setattr(benches, "CODES", 6)
        patch.setenv("GRADSTYLE_HOME", str(folder / "home"))
        patch.chdir(folder)
        yield folder


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["directions", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_a_set_is_found_and_reported(place: Path) -> None:
    find = ["find", "odd=Odd", "even=-Even", "--bundle", "toy", "--scorer", "teacher.safetensors", "--cache", "scores"]
    find += ["--judge", "judge.safetensors", "--samples", "200", "--out", "found"]
    said = run(*find)
    assert "odd: " in said and "even: " in said and len(list((place / "scores").iterdir())) == 1
    found = Bundle.load("found")
    assert set(found.edits) == {"odd", "even"} == set(found.sliders) | set(found.failed_edits)
    assert Bundle.load("toy").edits == {}
    assert "found exists" in run(*find, code=1)
    table = run("report", "--bundle", "found")
    assert "| `odd` | Odd |" in table and "| `even` | −Even |" in table and "judged by judge.safetensors" in table
    run("report", "--bundle", "found", "--out", "table.md")
    assert (place / "table.md").read_text().startswith("| edit |")
    assert "table.md exists" in run("report", "--bundle", "found", "--out", "table.md", code=1)
    assert "does not know Beard; it knows Odd, Even" in run(
        "interfacegan", "b=Beard", "--bundle", "toy", "--scorer", "teacher.safetensors", code=1
    )


def test_components_are_drawn_and_named(place: Path) -> None:
    said = run(
        "ganspace", "--bundle", "toy", "--count", "3", "--samples", "100", "--sheet", "pca.png", "--out", "named"
    )
    assert "pca-0 … pca-2 in named" in said
    with Image.open(place / "pca.png") as sheet:
        assert sheet.width > 15 * 96 and sheet.height > 3 * 96  # three people, five amounts; three rows
    run("sefa", "--bundle", "named", "--count", "2", "--samples", "100", "--layers", "2-4", "--sheet", "sefa.png")
    run(
        "name",
        "pca-1",
        "beard",
        "--bundle",
        "named",
        "--layers",
        "1-3",
        "--reverse",
        "--high",
        "1.5",
        "--group",
        "hair",
    )
    named = Bundle.load("named")
    assert set(named.edits) == {"pca-0", "pca-1", "pca-2", "sefa-0", "sefa-1", "beard"}
    slider = named.sliders["beard"]
    assert (slider.low, slider.high, slider.group) == (-2, 1.5, "hair") and "pca-1, reversed, codes 1-3" in slider.about
    assert torch.equal(named.edits["beard"].w[2], -named.edits["pca-1"].w[0]) and not named.edits["beard"].w[0].any()
    assert "has an edit 'beard' already" in run("name", "pca-0", "beard", "--bundle", "named", code=1)
    assert "has no edit 'pca-9'" in run("name", "pca-9", "x", "--bundle", "named", code=1)
    assert "pca.png exists" in run("ganspace", "--bundle", "toy", "--sheet", "pca.png", "--out", "more", code=1)

    run("save", "beard=2, pca-0=-1", "--bundle", "named", "--name", "grim", "--out", "grim.safetensors")
    run("add", "grim.safetensors", "--bundle", "toy", "--out", "other")
    grim = Bundle.load("other").edits["grim"]
    torch.testing.assert_close(grim.w, 2 * named.edits["beard"].w - named.edits["pca-0"].w)


def test_photos_give_an_edit_and_those_that_cannot_be_read_cost_no_other(place: Path) -> None:
    (place / "with" / "broken.png").write_bytes(b"no picture")
    said = run("from-photos", "red", "--with", "with", "--without", "without", "--bundle", "toy", "--out", "photos")
    assert "broken.png: not a picture that can be read" in said and "4 photos with it, 4 without" in said
    read = Bundle.load("photos")
    assert read.edits["red"].w.shape == (8, 32)
    assert read.sliders["red"].report["told_apart"] == 1.0
    (place / "none").mkdir(exist_ok=True)
    assert "none holds no photos" in run(
        "from-photos", "x", "--with", "with", "--without", "none", "--bundle", "toy", "--out", "none-made", code=1
    )
    assert "'red'; choose another name" in run(
        "from-photos", "red", "--with", "with", "--without", "without", "--bundle", "photos", code=1
    )


def test_every_verb_explains_itself() -> None:
    said = run("--help")
    for verb in (
        "find",
        "interfacegan",
        "ganspace",
        "sefa",
        "from-photos",
        "words",
        "calibrate",
        "save",
        "add",
        "report",
    ):
        assert verb in said
