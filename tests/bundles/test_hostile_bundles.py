"""Whatever a bundle or a checkpoint holds: one clear error that names file and cause, and nothing else happens."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from gradstyle.bundles.bundle import CONFIGS
from gradstyle.cli import app
from gradstyle.published import PublishedFileError, names, open_published
from tests.support import tiny
from tests.support.bundles import full
from tests.support.hostile_bundles import hostile_bundles, use
from tests.support.hostile_files import hostile_files, text
from tests.support.project import ROOT

HOSTILE = hostile_bundles()
FILES = hostile_files(Path("marker"))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = full().save(tmp_path_factory.mktemp("good") / "all")
    use(folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "all"))


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below, its size and when it was written."""
    found = (path.lstat() for path in sorted(folder.rglob("*")))
    names = sorted(str(path) for path in folder.rglob("*"))
    return dict(zip(names, ((s.st_size, s.st_mtime_ns) for s in found)))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_with_its_cause(name: str, folder: Path, tmp_path: Path) -> None:
    spoil, cause = HOSTILE[name]
    spoil(folder)
    before, start = everything(tmp_path), time.monotonic()
    with pytest.raises(ValueError, match=cause) as caught:
        use(folder)
    message = str(caught.value)
    assert message.startswith(
        (f"{folder / 'bundle.json'}: ", *(f"{folder / part}.safetensors: " for part in [*CONFIGS, "edits"]))
    )
    assert len(message) < 4000 and "\n" not in message
    assert everything(tmp_path) == before
    assert time.monotonic() - start < 60


# ---- checkpoints that look like ones we know


def ones(*shape: int) -> Tensor:
    """A large tensor of one stored value."""
    return torch.ones(1).expand(shape)


def generator(**changes: Any) -> dict[str, Any]:
    """A generator in the PyTorch naming, with some of its weights replaced."""
    state = {names.rosinality_generator(key): value for key, value in tiny.generator().state_dict().items()}
    return {**state, **{key.replace("__", "."): value for key, value in changes.items()}}


def many(pattern: str, count: int, value: Any) -> dict[str, Any]:
    return {pattern.format(i): value for i in range(count)}


def trees() -> Iterator[tuple[str, Any, str]]:
    """Name, what the file holds, and what the error has to say."""
    one, row = torch.ones(1), torch.ones(1, 32)
    yield "texts", {"g_ema": generator(input__input="x")}, "'input.input' is missing"
    yield "no_names", {"g_ema": {1: one, (2, 3): one, None: one}}, "is missing"
    yield "empty_section", {"g_ema": {}}, "is missing"
    yield "sections_of_lists", {"state_dict": {"decoder.x": [one], "encoder.y": None}}, "is missing|KeyError"
    yield "scalar", {"g_ema": generator(input__input=torch.tensor(1.0))}, "looks like a StyleGAN2 checkpoint"
    yield "flat_kernel", {"g_ema": generator(convs__0__conv__blur__kernel=torch.tensor(1.0))}, "looks like"
    yield "zero_kernel", {"g_ema": generator(convs__0__conv__blur__kernel=torch.zeros(4, 4))}, "a filter other than"
    yield "nan", {"g_ema": generator(style__1__bias=torch.full((32,), float("nan")))}, r"style\.1\.bias holds values"
    yield "integers", {"g_ema": generator(style__1__bias=torch.ones(32).int())}, r"style\.1\.bias is of torch\.int32"
    yield "complex", {"g_ema": generator(style__1__bias=torch.ones(32) * 1j)}, r"is of torch\.complex64"
    yield "float8", {"g_ema": generator(style__1__bias=torch.ones(32).to(torch.float8_e4m3fn))}, "looks like"
    yield "wide", {"g_ema": generator(input__input=ones(1, 1 << 16, 4, 4))}, "follow no rule"
    yield "mapping", {"g_ema": generator(**many("style__{}__weight", 9000, row))}, "mapping_layers must be from 0"
    no_mean = generator(style__1__weight=ones(32, 1 << 15))
    no_mean.pop("latent_avg")
    yield "z_dim", {"g_ema": no_mean}, "too large to estimate one"
    yield "sides", {"g_ema": generator(**many("convs__{}__conv__weight", 5000, ones(1, 64, 32, 3, 3)))}, "looks like"
    yield "blocks", {"g_ema": generator(), "d": many("convs.{}.conv1.0.weight", 9000, one)}, "looks like"
    yield "crowd", {"g_ema": many("style.{}.weight", 20_000, one)}, "holds 20,000 weights in one place"
    yield "mean", {"g_ema": generator(), "latent_avg": torch.ones(5)}, r"latent_avg is \[5\], needed \[8, 32\]"
    yield "mean_text", {"g_ema": generator(), "latent_avg": "x"}, "latent_avg is str"
    names_ = {f"{'y' * 5000}.{i}": one for i in range(40)}
    yield "long_names", {"g_ema": {**generator(), **names_}}, "40 unknown: yyy.* and 30 more"
    yield "controls", {"g_ema": generator(**{"\x1b[2J\n": one})}, "1 unknown"
    decoder = {f"decoder.{key}": value for key, value in generator().items()}
    codes = {"latent_avg": torch.zeros(8, 32)}
    heads = many("encoder.styles.{}.linear.weight", 5000, row)
    yield "heads", {"state_dict": decoder | heads, **codes}, "gives 5000 codes, the generator takes 8"
    encoder = many("encoder.styles.{}.linear.weight", 8, row) | many("encoder.body.{}.res_layer.1.weight", 9000, one)
    yield "units", {"state_dict": decoder | encoder, **codes}, "backbone of 9000 units is not known"
    wide = {
        "conv_layer1.0.weight": ones(1, 6, 3, 3),
        **many("conv_layer2.{}.res_layer.1.weight", 4000, ones(1, 1, 3, 3)),
    }
    hfgi = {f"grid_align.{key}": value for key, value in wide.items()}
    hfgi |= {f"residue.{key}": value for key, value in wide.items()} | {"residue.condition_scale3.2.weight": one}
    yield "hfgi_units", {"state_dict": decoder | hfgi, **codes}, "HFGI or SDIC checkpoint, but"
    yield "hfgi_text", {"state_dict": decoder | {"residue.x": one}, **codes}, "lacks"
    yield "sdic", {"state_dict": decoder | {"SAF.x": one, "DIP.x": one}, **codes}, "is missing|1 missing"
    yield "styleres", {"generator_smooth": {"synthesis.b64.modify_feature_x": one}}, "looks like a StyleRes checkpoint"
    block = "synthesis.b16.modify_feature_"
    units = many(block + "extraction.convs.{}.res_layer.0.weight", 4000, ones(2, 2, 3, 3))
    first = {f"{block}alignment.first_layer.weight": ones(2, 34, 1, 1), f"{block}gates.down1.weight": ones(2, 32, 3, 3)}
    smooth = {names.nvidia_generator(key): value for key, value in tiny.generator().state_dict().items()}
    yield "styleres_units", {"generator_smooth": smooth | units | first}, "looks like a StyleRes checkpoint"
    yield "face", {"input_layer.0.weight": one, "output_layer.3.weight": one}, "an IR backbone of 0 units is not known"
    yield "components", {"comp": ones(1 << 20, 1)}, r"its comp is \[1048576, 1\], not 1 to 4096 components"
    yield "no_components", {"comp": torch.zeros(0, 1, 512)}, r"its comp is \[0, 1, 512\]"
    yield "nan_direction", torch.full((1, 512), float("inf")), "holds values that are not finite"
    yield "unknown", {"\x1b[2J" * 50: one, "b": {}}, "not a checkpoint that is known here; it holds 2 entries"
    yield "number", 5, "not a checkpoint that is known here; it holds a int"


TREES = {name: (tree, cause) for name, tree, cause in trees()}


@pytest.mark.parametrize("name", TREES)
def test_a_checkpoint_that_does_not_add_up_is_refused_with_its_cause(name: str, tmp_path: Path) -> None:
    tree, cause = TREES[name]
    torch.save(tree, tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.pt").stat().st_size < 8 << 20
    with pytest.raises(PublishedFileError, match=cause) as caught:
        open_published(tmp_path / "checkpoint.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'checkpoint.pt'}: ")
    assert len(str(caught.value)) < 4000


@pytest.mark.parametrize("name", ["_modules", "b4", "state", "clamp", "c_dim", "group"])
def test_an_nvidia_network_that_does_not_add_up(name: str, tmp_path: Path) -> None:
    states = {
        "_modules": b"}" + text("_modules") + b"K\x05s",
        "b4": b"}" + text("_modules") + b"}" + text("b4") + b"K\x05s" + b"s",
        "state": b"}",
        "clamp": b"}" + text("conv_clamp") + b"]s",
        "c_dim": b"}" + text("c_dim") + b"K\x05s",
        "group": b"}" + text("_modules") + b"}" + text("b4") + b"Ns" + b"s",
    }
    meta = b"}(" + text("class_name") + text("D") + text("state") + states[name] + b"u"
    network = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n" + meta + b"\x85R"
    for key in ("G_ema", "D"):
        path = tmp_path / "network.pkl"
        path.write_bytes(b"\x80\x02}" + text(key) + network + b"s.")
        with pytest.raises(PublishedFileError, match=r"network\.pkl: it looks like a StyleGAN2-ADA pickle, but"):
            open_published(path)


def test_hostile_bundles_and_checkpoints_together_stay_under_a_gibibyte(good: Path, tmp_path: Path) -> None:
    for name, (spoil, _) in HOSTILE.items():
        if name.startswith(("shape", "deep", "large", "many", "long", "huge", "over", "sparse")):
            spoil(Path(shutil.copytree(good, tmp_path / "one" / name)))
            (tmp_path / "one" / name).rename(tmp_path / name)
    (tmp_path / "one").rmdir()
    for name, (tree, _) in TREES.items():
        torch.save(tree, tmp_path / f"{name}.pt")
    command = [sys.executable, "-m", "tests.support.hostile_bundles", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    refused, before, peak = (int(word) for word in done.stdout.split())
    assert refused == len(list(tmp_path.iterdir()))
    assert peak < 1024, (before, peak)


# ---- on the command line


@pytest.mark.parametrize(
    "name",
    ["system_2.pkl", "exec_4.pkl", "eval_2.pkl", "open_4.pkl", "nested_4.pkl", "in_zip.pt", "in_legacy.pt",
     "in_storage.pkl", "in_state.pkl", "objects.npy", "objects.npz", "control.pkl", "cut_100.pt", "ratio.pt",
     "many_bombs.npz", "path_0.zip", "storage_huge.pt", "huge.npy", "length.safetensors", "past.safetensors",
     "empty.pt", "page.pkl", "pointer.pt", "other.zip"],
)  # fmt: skip
def test_importing_a_hostile_file_is_one_line_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, _ = FILES[name]
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    before = everything(tmp_path)
    one_error(["bundle", "import", str(tmp_path / name)], re.escape(str(tmp_path / name)))
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["value_9", "controls", "edit_11", "deep"])
def test_errors_hold_no_escape_codes(name: str, folder: Path, tmp_path: Path) -> None:
    if name in HOSTILE:
        HOSTILE[name][0](folder)
        one_error(["bundle", "info", str(folder)], "bundle.json|edits.safetensors")
    else:
        torch.save(TREES[name][0], tmp_path / "x.pt")
        one_error(["bundle", "import", str(tmp_path / "x.pt"), "--out", str(tmp_path / "out")], r"x1b\[2J\\n")


def one_error(arguments: list[str], says: str) -> None:
    """The command fails with one line on stderr."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and re.search(says, line) and line.isprintable()
