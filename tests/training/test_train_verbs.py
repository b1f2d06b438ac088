"""`gradstyle train`, as a person types it."""

from __future__ import annotations

import os
import pty
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gradstyle.bundles import Bundle
from gradstyle.cli import app
from gradstyle.cli.progress_line import ProgressLine
from gradstyle.training import recipe as recipes
from gradstyle.training.generator_recipe import GeneratorRecipe
from gradstyle.training.run import read_log
from gradstyle.training.trainable import Progress
from tests.support.pictures import draw_pictures, make_teacher


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 24)


def typed(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", *map(str, arguments)])
    return done.exit_code, done.output


def test_a_run_from_the_first_picture_to_its_bundle(data: Path, tmp_path: Path):
    run = tmp_path / "run"
    common = ("--out", run, "--device", "cpu", "--cache", tmp_path / "cache")
    split = ("--split", "labels.csv:part=train")
    code, said = typed("generator", data, "-r", "tiny", "-s", "loop.batch=4", *split, *common, "--images", 8)
    assert code == 0 and "18 pictures of" in said and "8 images seen; go on with --resume" in said
    code, said = typed("generator", data, *common, "--images", 12)
    assert code == 1 and "go on with it by --resume" in said
    code, said = typed("generator", data, *common, "--resume", "--images", 12)
    assert code == 0 and "going on from" in said and "12 images seen" in said
    kept = recipes.build(GeneratorRecipe, recipes.read_toml(run / "recipe.toml"))
    assert kept.loop.batch == 4 and kept.data.split == ("labels.csv", "part", "train")
    assert typed("plot", run)[0] == 0 and (run / "curves.png").is_file()
    assert typed("export", run, "--out", tmp_path / "bundle", "--licence", "for looking at")[0] == 0
    assert Bundle.load(tmp_path / "bundle").licence == "for looking at"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "r1_gama=1"), "did you mean 'r1_gamma'?"),
        (("--set", "loop.batch=many"), "loop.batch: expected int, got 'many'"),
        (("--set", "loop.batch"), "--set takes key=value"),
        (("--recipe", "faces-46"), "did you mean 'faces-64'?"),
    ],
)
def test_mistakes_cost_a_line(data: Path, tmp_path: Path, arguments: tuple[str, str], said: str):
    recipe = () if "--recipe" in arguments else ("--recipe", "tiny")
    code, output = typed("generator", data, "--out", tmp_path / "run", *recipe, *arguments)
    assert code == 1 and said in output and not (tmp_path / "run").exists()


def test_a_chain_is_typed_and_its_result_exported(data: Path, tmp_path: Path):
    folder = tmp_path / "chain"
    code, said = typed("all", "--out", folder)
    assert code == 1 and "give the data, --recipe and --minutes" in said
    code, said = typed(
        "all", data, "--out", folder, "-r", "tiny", "--minutes", 1, "--piece", 0.01, "--device", "cpu",
        "--cache", tmp_path / "cache", "--split", "labels.csv:part=val",
    )  # fmt: skip
    assert code == 0 and "6 pictures of" in said and said.endswith("call again to go on\n")
    assert typed("export", folder, "--out", tmp_path / "whole", "--half")[0] == 0
    assert "generator" in Bundle.load(tmp_path / "whole")
    code, said = typed("export", folder, "--out", tmp_path / "whole")
    assert code == 1 and "exists" in said


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (("join",), "cat chain/export/results.tar.part-* | tar x"),
        (("join", "old", "--out", "whole"), "cat old/results.tar.part-* | tar x"),
        (("all", "--max-file-size", "20kB"), "gradstyle train export chain --out BUNDLE --half"),
        (("all", "--out", "mine", "--largest-file", "20kB"), "gradstyle train export mine --out BUNDLE --half"),
    ],
)
def test_what_took_the_place_of_archive_pieces(arguments: tuple[str, ...], instead: str):
    code, said = typed(*arguments)
    assert code == 1 and instead in said and len(said.splitlines()) == 1
    assert " join " not in typed("--help")[1] and "-size" not in typed("all", "--help")[1]


def test_the_speed_that_is_shown_is_that_of_late():
    line = ProgressLine()
    shown = [line.speed(Progress(step, 100 * step, float(step)), {"images_per_second": 100}) for step in range(1, 30)]
    assert shown == pytest.approx([100] * 29)
    slow = [line.speed(Progress(30 + n, 2900 + 10 * n, 29.0 + n), {"images_per_second": 10}) for n in range(1, 200)]
    assert 90 < slow[0] < 100 and sorted(slow, reverse=True) == slow and slow[-1] == pytest.approx(10, rel=0.05)
    assert line.speed(Progress(1, 8, 2.0), {"images_per_second": 4}) == 4  # another training


# ---- what is refused, and what is lost


def test_a_teacher_that_nothing_reads_is_refused(data: Path, tmp_path: Path):
    teacher = make_teacher(tmp_path / "teacher.safetensors")
    code, said = typed("generator", data, "-r", "tiny", "--out", tmp_path / "run", "--teacher", teacher)
    assert code == 1 and "would not be read, as critic_weight is 0" in said and not (tmp_path / "run").exists()


def test_a_run_without_a_whole_snapshot_is_not_begun_again(data: Path, tmp_path: Path):
    common = ("--out", tmp_path / "run", "--device", "cpu", "--cache", tmp_path / "cache")
    assert typed("generator", data, "-r", "tiny", *common, "--images", 8)[0] == 0
    (snapshot,) = (tmp_path / "run" / "snapshots").iterdir()
    (snapshot / "state.json").write_text("null")
    log = (tmp_path / "run" / "log.jsonl").read_text()
    code, said = typed("generator", data, *common, "--resume", "--images", 16)
    assert code == 1 and "no snapshot of this run is whole" in said and "Put back a copy" in said
    assert (tmp_path / "run" / "log.jsonl").read_text() == log and len(said.splitlines()) == 1


def test_a_terminal_that_closes_ends_a_run_with_a_snapshot(data: Path, tmp_path: Path):
    """What it writes to the terminal fails from then on."""
    pid, terminal = pty.fork()
    if pid == 0:
        run = f"generator {data} -r tiny --out {tmp_path / 'run'} --device cpu --cache {tmp_path / 'cache'}"
        os.execv(sys.executable, [sys.executable, "-m", "gradstyle", "train", *run.split()])
    said = b""
    while b"images  " not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    (step,) = (int(path.name) for path in (tmp_path / "run" / "snapshots").iterdir())
    assert step == list(read_log(tmp_path / "run"))[-1]["step"]
