"""The verbs, as a person types them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import rich.progress
import torch
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from gradstyle.bundles import Bundle, catalog, download
from gradstyle.bundles.catalog import CatalogEntry
from gradstyle.bundles.sliders import Slider
from gradstyle.cli import app
from gradstyle.cli.app import progress_bar
from gradstyle.editor import Editor
from gradstyle.photos import open_photo, to_photo
from tests.support.bundles import bundle, picture
from tests.support.interop import DATA
from tests.support.unreliable_host import Site, running

NVIDIA = DATA / "nvidia_tiny.pkl"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test in its own folder, with its own home."""
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.fixture
def installed(home: Path) -> str:
    bundle(methods=("styleres", "hfgi")).save(home / "bundles" / "tiny")
    return "tiny"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def good(*arguments: Any) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def error(*arguments: Any) -> str:
    """What a failing command says: one line on stderr (a download's bar may stand before it), and exit code 1."""
    done = run(*arguments)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), (done.output, done.exception)
    *before, line = done.stderr.splitlines()
    assert line.startswith("error: ") and not any("Traceback" in each for each in before)
    return line


def below(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


# ---- help


def alike(a: Any, b: Any) -> bool:
    """To one level of 256: pictures of one batch, and a batch and one alone, are sums in another order."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b).max()) <= 1


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


EVERY = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_help_is_worth_reading(path: tuple[str, ...]) -> None:
    command = EVERY[path]
    text = " ".join(good(*path, "--help").replace("│", " ").split())
    assert command.help and " ".join(command.help.split())[:40] in text
    for parameter in command.params:
        told = getattr(parameter, "help", None)
        assert told or parameter.name == "help" or "completion" in parameter.name, (path, parameter.name)


def test_no_arguments_show_the_verbs() -> None:
    text = run().output
    for verb in ("sample", "edit", "sweep", "compare", "demo", "bundle"):
        assert verb in text


# ---- sample


def test_a_sheet_of_samples(installed: str) -> None:
    text = good("sample", "--bundle", installed, "--count", 6, "--device", "cpu")
    assert "6 pictures of 32 px in samples.png" in text
    sheet = np.asarray(Image.open("samples.png"))
    assert sheet.shape == (3 * 34 + 2, 2 * 34 + 2, 3)  # two columns of three
    generator = Bundle.load(installed).generator()
    with torch.inference_mode():
        images = generator(generator.sample(6, 0.7, seed=0))
    second = sheet[2:34, 36:68].astype(int)
    assert np.abs(second - to_photo(images[1].clamp(-1, 1)).pixels).max() <= 1


def test_a_folder_of_samples_and_seeds(installed: str) -> None:
    arguments = ["sample", "-b", installed, "-n", 3, "--device", "cpu"]
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        good(*arguments, "--out", folder, "--seed", seed)
    assert sorted(p.name for p in Path("a").iterdir()) == ["0-0000.png", "0-0001.png", "0-0002.png"]
    same, again, other = (open_photo(Path(p)).pixels for p in ("a/0-0001.png", "b/0-0001.png", "c/1-0001.png"))
    assert np.array_equal(same, again) and not np.array_equal(same, other)
    good(*arguments, "--out", "tight", "--truncation", 0)
    first, second = (open_photo(Path(f"tight/0-000{i}.png")).pixels for i in (0, 1))
    assert alike(first, second)  # all of them the mean


def test_samples_overwrite_nothing_unless_asked(installed: str) -> None:
    arguments = ["sample", "-b", installed, "-n", 2, "--device", "cpu"]
    good(*arguments)
    Path("folder").mkdir()
    Path("folder/0-0001.png").write_text("mine")
    before = below(Path.cwd())
    assert "samples.png exists; give another --out, or --force" in error(*arguments)
    assert "0-0001.png exists" in error(*arguments, "--out", "folder")
    assert below(Path.cwd()) == before  # the first was not written either
    good(*arguments, "--force", "--seed", 3)
    assert below(Path.cwd()) != before


def test_what_cannot_be_sampled(installed: str) -> None:
    assert "samples.foo: no kind of picture that can be written" in error(
        "sample", "-b", installed, "-o", "samples.foo"
    )
    assert "there is no bundle 'nope'" in error("sample", "--bundle", "nope")
    assert "device is cpu, cuda, cuda:1 … or mps, got 'gpu'" in error("sample", "-b", installed, "--device", "gpu")
    assert run("sample", "-b", installed, "--count", 0).exit_code == 2
    assert list(Path.cwd().iterdir()) == []


# ---- edit, sweep, compare


def test_edit_a_photo(installed: str) -> None:
    picture().save("me.png")
    arguments = ["edit", "me.png", "-b", installed, "--device", "cpu"]
    assert "me-edited.png" in good(*arguments, "--edit", "smile=2", "-e", "pose=-1", "-m", "hfgi")
    assert open_photo("me-edited.png").size == (80, 80)
    good(*arguments, "-e", "smile=1", "-e", "smile=1", "-e", "pose=-1", "-m", "hfgi", "-o", "sums.png")
    assert np.array_equal(open_photo("sums.png").pixels, open_photo("me-edited.png").pixels)
    good(*arguments, "-e", "smile=0", "-o", "again.png")
    assert np.array_equal(open_photo("again.png").pixels, open_photo("me.png").pixels)
    good(*arguments, "-e", "smile=2", "--bare", "-o", "bare.jpg")
    assert open_photo("bare.jpg").size == (32, 32)
    before = below(Path.cwd())
    assert "me-edited.png exists" in error(*arguments, "-e", "smile=1")
    assert "nothing to change: give --edit NAME=AMOUNT" in error(*arguments, "-o", "x.png")
    assert "has no edit 'smyle'; did you mean smile?" in error(*arguments, "-e", "smyle=1", "-o", "x.png")
    assert "an edit is NAME=AMOUNT, such as smile=2, got 'smile'" in error(*arguments, "-e", "smile", "-o", "x.png")
    assert "has no gradstyle; it has styleres, hfgi, e4e" in error(*arguments, "-m", "gradstyle", "-o", "x.png")
    assert "--face is largest, all or a number from 1, got '0'" in error(*arguments, "--face", "0", "-o", "x.png")
    assert "none.png: there is no such file" in error("edit", "none.png", "-b", installed)
    Path("text.jpg").write_text("hello")
    assert "text.jpg: not a picture that can be read" in error("edit", "text.jpg", "-b", installed)
    assert below(Path.cwd()).keys() == before.keys() | {"text.jpg"}


def test_what_was_asked_for_wrongly_is_said_before_what_is_there(installed: str) -> None:
    picture().save("me.png")
    arguments = ["me.png", "-e", "smile=1", "--device", "cpu"]
    for made, verb in (("me-edited.png", "edit"), ("me-compared.png", "compare")):
        good(verb, *arguments, "-b", installed)
        assert "there is no bundle 'nope'" in error(verb, *arguments, "-b", "nope")
        assert "amount of an edit is a number" in error(verb, *arguments, "-b", installed, "-e", "smile=nan")
        assert f"{made} exists" in error(verb, *arguments, "-b", installed)
    assert "has no gradstyle" in error("edit", *arguments, "-b", installed, "-m", "gradstyle")
    assert "has no edit 'smyle'" in error("edit", *arguments, "-b", installed, "-e", "smyle=1")
    good("sweep", "me.png", "smile", "-b", installed, "--device", "cpu")
    assert "has no gradstyle" in error("sweep", "me.png", "smile", "-b", installed, "-m", "gradstyle")


def test_the_picture_says_how_far_it_was_edited(home: Path) -> None:
    made = bundle(methods=("styleres",))
    made.put_edits(made.edits, {"smile": Slider(-1.5, 1.5)})
    made.save(home / "bundles" / "tiny")
    picture().save("me.png")
    good("edit", "me.png", "-b", "tiny", "-e", "smile=99", "-e", "pose=4", "--device", "cpu")
    origin = open_photo("me-edited.png").origin
    assert origin is not None and origin.edited == "smile=+1.5, pose=+4 (e4e, tiny)"
    good("edit", "me.png", "-b", "tiny", "-e", "smile=99", "--beyond", "--device", "cpu", "--force")
    origin = open_photo("me-edited.png").origin
    assert origin is not None and origin.edited == "smile=+99 (e4e, tiny)"


def test_an_edit_that_was_found_wanting_needs_beyond(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bundle(methods=("styleres",))
    made.put_edits(made.edits, {"smile": Slider(-1.5, 1.5)}, {"age": {"reasons": ["it ages no one"]}})
    made.save(home / "bundles" / "tiny")
    picture().save("me.png")
    with monkeypatch.context() as patched:
        patched.setattr(Editor, "invert", None)
        for verb in (
            ("edit", "me.png", "-e", "age=1"),
            ("edit", "me.png", "-e", "age=1", "--bare"),
            ("edit", "me.png", "me.png", "-e", "age=1", "-o", "many"),
            ("compare", "me.png", "-e", "age=1"),
            ("sweep", "me.png", "age"),
            ("video", "me.mp4", "out.mp4", "-e", "age=1"),
        ):
            line = error(*verb, "-b", "tiny")
            said = "age has no slider: it ages no one; --beyond (editor.beyond = True) goes there all the same"
            assert line.strip() == f"error: {said}"
    assert [path.name for path in Path.cwd().iterdir()] == ["me.png"]
    arguments = ("-b", "tiny", "--device", "cpu", "--beyond")
    good("edit", "me.png", "-e", "age=1", *arguments)
    good("compare", "me.png", "-e", "age=1", *arguments)
    good("sweep", "me.png", "age", "--steps", 2, *arguments)
    assert {"me-edited.png", "me-compared.png", "me-age.png"} <= {path.name for path in Path.cwd().iterdir()}


def test_a_sweep_and_a_comparison_stay_in_the_range_too(home: Path) -> None:
    made = bundle(methods=("styleres",))
    made.put_edits(made.edits, {"smile": Slider(-1, 2)})
    made.save(home / "bundles" / "tiny")
    picture().save("me.png")
    pixels: dict[str, Any] = {}
    more = "is more than it is good for: "
    for name, ends, notes in (("own", (), 0), ("far", ("--low", -9, "--high", 9), 2), ("all", ("--beyond",), 0)):
        ends = ("--low", -9, "--high", 9, *ends) if name == "all" else ends
        text = run("sweep", "me.png", "smile", "-b", "tiny", "--steps", 2, "-o", f"{name}.png", *ends).output
        assert text.count(more) == notes
        pixels[name] = open_photo(f"{name}.png").pixels
    assert np.array_equal(pixels["own"], pixels["far"]) and not np.array_equal(pixels["own"], pixels["all"])
    text = run("compare", "me.png", "-e", "smile=9", "-b", "tiny").output
    assert text.count(f"smile=9 {more}2 is used") == 1  # not once a method


def test_an_edit_that_does_nothing_to_a_photo_is_told_beside_its_name(installed: str) -> None:
    picture().save("me.png")
    arguments = ["edit", "me.png", "-b", installed, "--device", "cpu", "--force"]
    done = run(*arguments, "-e", "smile=1e-6")
    assert done.exit_code == 0 and done.stderr == "me.png: smile +1e-06 changes next to nothing in this photo\n"
    assert run(*arguments, "-e", "smile=1").stderr == ""


@pytest.mark.parametrize("name", ["..\\x.png", "CON.png", "com1.jpg", "a:b.png", "x.png.", "a|b"])
def test_what_is_written_has_a_name_that_every_system_takes(installed: str, name: str) -> None:
    picture().save("me.png")
    for verb in (("edit", "me.png", "-e", "smile=1"), ("sample",), ("sweep", "me.png", "smile"), ("bundle", "import")):
        arguments = [*verb, *([NVIDIA] if verb[0] == "bundle" else ["-b", installed]), "--out", name]
        assert "what is written " in error(*arguments)
    assert "what is written " in error("video", "me.mp4", name, "-b", installed, "-e", "smile=1")
    assert "a bundle's name " in error("bundle", "import", NVIDIA, "--name", name)
    assert [path.name for path in Path.cwd().iterdir()] == ["me.png"]


def test_sweep_an_edit(installed: str) -> None:
    picture().save("me.png")
    arguments = ["sweep", "me.png", "smile", "-b", installed, "--device", "cpu", "--steps", 5]
    assert "me-smile.png" in good(*arguments)
    strip = open_photo("me-smile.png")
    assert strip.size == (5 * 34 + 2, 34 + 2 + 14)
    good("edit", "me.png", "-b", installed, "-e", "smile=-3", "--device", "cpu", "--bare")
    assert alike(strip.pixels[16:48, 2:34], open_photo("me-edited.png").pixels)  # from the lowest amount
    good(*arguments, "-o", "me.gif", "--low", 0, "--high", 1)
    with Image.open("me.gif") as moving:
        assert moving.size == (32, 32) and moving.n_frames == 8  # there and back
    assert "did you mean smile?" in error("sweep", "me.png", "smil", "-b", installed)
    assert "me-smile.png exists" in error(*arguments)


def test_compare_methods(installed: str) -> None:
    picture().save("me.png")
    good("compare", "me.png", "-b", installed, "--device", "cpu")
    assert open_photo("me-compared.png").size == (4 * 34 + 2, 34 + 2 + 14)  # the source and three methods
    good("compare", "me.png", "-b", installed, "--device", "cpu", "-e", "smile=2", "-o", "two.png")
    both = open_photo("two.png")
    assert both.size == (4 * 34 + 2, 2 * 34 + 2 + 14)
    good("edit", "me.png", "-b", installed, "-e", "smile=2", "--device", "cpu", "-m", "hfgi", "--bare")
    assert np.array_equal(both.pixels[50:82, 70:102], open_photo("me-edited.png").pixels)
    assert "has no edit 'x'" in error("compare", "me.png", "-b", installed, "-e", "x=2", "-o", "three.png")


# ---- bundle import, info, list


def test_import_info_list(home: Path) -> None:
    here = good("bundle", "list").partition("to pull")[0]
    assert re.search(r"^ ?faces +faces +64 ", here, re.MULTILINE) and "nv" not in here  # what comes with the package
    text = good("bundle", "import", NVIDIA, "--name", "nv", "--domain", "faces", "--licence", "NVIDIA's", "--half")
    assert "a StyleGAN2-ADA network pickle" in text
    assert f"nv: generator, discriminator in {home / 'bundles' / 'nv'}" in text
    loaded = Bundle.load("nv")
    assert (loaded.domain.name, loaded.licence, loaded.origin) == ("faces", "NVIDIA's", "nvidia_tiny.pkl")
    assert loaded.state("generator")["const"].dtype == torch.float16
    told = good("bundle", "info", "nv")
    for word in ("nv", "faces, 32 px", "none: it has no encoder", "NVIDIA's", loaded.fingerprint, "0.1 MB"):
        assert word in told, word
    listed = good("bundle", "list")
    assert "nv" in listed and "generator, discriminator" in listed and "e4e-ffhq" in listed
    good("sample", "-b", "nv", "--device", "cpu")


def test_import_is_told_where_and_overwrites_nothing(home: Path) -> None:
    good("bundle", "import", NVIDIA, "--out", "mine", "--aspect", "4:3")
    assert Bundle.load("mine").domain.aspect == (4, 3) and not (home / "bundles").exists()
    assert "4:3" in good("bundle", "info", "mine")
    assert "mine exists; give another --name or --out, or --force" in error("bundle", "import", NVIDIA, "--out", "mine")
    good("bundle", "import", NVIDIA, "--out", "mine", "--force")
    (Path("mine") / "notes.txt").write_text("mine")
    assert "mine is no bundle, or not only one, and is not replaced" in error(
        "bundle", "import", NVIDIA, "--out", "mine", "--force"
    )
    assert "--aspect is WIDTH:HEIGHT, such as 4:3, got '4x3'" in error("bundle", "import", NVIDIA, "--aspect", "4x3")
    assert "--crop is ffhq, celeba or none, got 'square'" in error("bundle", "import", NVIDIA, "--crop", "square")
    good("bundle", "import", NVIDIA, "--out", "faces", "--crop", "ffhq")
    assert Bundle.load("faces").domain.crop == "ffhq" and "faces cut as ffhq does" in good("bundle", "info", "faces")
    assert "aspect is two numbers" in error("bundle", "import", NVIDIA, "--aspect", "0:3")
    for name in ("../x", ".x", "a/b"):
        assert "a bundle's name is a name without" in error("bundle", "import", NVIDIA, "--name", name)
    assert "none.pt: there is no such file" in error("bundle", "import", "none.pt")
    np.save("smile.npy", np.ones((1, 32), np.float32))
    assert "no generator in smile.npy: a bundle stands on one" in error("bundle", "import", "smile.npy")
    np.save("wide.npy", np.ones((1, 512), np.float32))
    assert "edit 'wide' holds 'w' of [1, 512], needed [1, 32] or [8, 32]" in error(
        "bundle", "import", NVIDIA, "wide.npy"
    )
    good("bundle", "import", NVIDIA, "smile.npy", "--name", "both")
    assert "smile" in good("bundle", "info", "both")


def test_info_lists_the_edits_and_how_far_they_go(home: Path) -> None:
    made = bundle(methods=("styleres",))
    made.put_edits(made.edits, {"smile": Slider(-1.5, 2)}, {"age": {"why": "it moves pose more"}})
    made.save(home / "bundles" / "tiny")
    told = " ".join(good("bundle", "info", "tiny").split())
    assert "smile -1.5 … +2" in told and "pose (of any amount)" in told and "age (found wanting)" in told
    assert "part edits 0.0 MB, sha256" in told and "part generator 0." in told


def test_markup_and_escape_codes_in_names_are_plain_text(home: Path) -> None:
    odd = Path("[bold]x[red] [link=file:etc].pkl")
    odd.write_bytes(NVIDIA.read_bytes())
    assert "[bold]x[red] [link=file:etc]" in good("bundle", "import", odd, "--out", "[red]out")
    assert "[bold]x[red] [link=file:etc]" in good("bundle", "info", "[red]out")
    assert "there is no bundle '[/bold]'" in error("bundle", "info", "[/bold]")


def test_a_broken_bundle_is_listed_as_such(installed: str, home: Path) -> None:
    (home / "bundles" / "bad").mkdir()
    (home / "bundles" / "bad" / "bundle.json").write_text("{[/]")
    text = good("bundle", "list")
    assert "broken" in text and "tiny" in text
    assert "bundle.json: " in error("bundle", "info", "bad")


# ---- zips, as StyleRes is published


def zipped(path: Path, packing: int = zipfile.ZIP_DEFLATED, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("styleres/", b"")
        archive.writestr("__MACOSX/styleres/._network.pkl", b"x")
        for name, data in entries.items():
            archive.writestr(f"styleres/{name.replace('__', '.')}", data)
    return path


def test_a_zip_that_was_fetched_by_hand() -> None:
    packed = zipped(Path("styleres_ffhq.zip"), network__pkl=NVIDIA.read_bytes(), readme__txt=b"hello")
    text = good("bundle", "import", packed, "--out", "out")
    assert "styleres_ffhq.zip: unpacked to network.pkl, which is not needed any more" in text
    assert Path("network.pkl").read_bytes() == NVIDIA.read_bytes()
    assert Bundle.load("out").generator()
    good("bundle", "import", packed, "--out", "again")  # what was unpacked before serves again
    Path("network.pkl").write_text("mine")
    assert "network.pkl differs from what styleres_ffhq.zip holds" in error(
        "bundle", "import", packed, "--out", "third"
    )
    assert Path("network.pkl").read_text() == "mine"


def test_zips_that_are_not_unpacked() -> None:
    two = zipped(Path("two.zip"), a__pkl=b"1", b__pt=b"2")
    assert "two.zip holds 2 checkpoints: unpack it" in error("bundle", "import", two)
    bomb = zipped(Path("bomb.zip"), network__pkl=bytes(20 << 20))
    assert "bytes to 20,971,520: no weights do" in error("bundle", "import", bomb)
    none = zipped(Path("none.zip"), readme__txt=b"hello")
    assert "none.zip: it is a zip archive, but neither" in error("bundle", "import", none)
    hidden = zipped(Path("hidden.zip"))
    with zipfile.ZipFile(hidden, "a") as archive:
        archive.writestr("../.bashrc.pt", b"x")
    assert "a checkpoint with the odd name '.bashrc.pt'" in error("bundle", "import", hidden)
    assert sorted(p.name for p in Path.cwd().iterdir()) == ["bomb.zip", "hidden.zip", "none.zip", "two.zip"]
    out = zipped(Path("out.zip"), zipfile.ZIP_STORED)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("../../up.pkl", NVIDIA.read_bytes())
    good("bundle", "import", out, "--out", "bundle")
    assert Path("up.pkl").exists() and not Path("../../up.pkl").exists()  # beside the zip, and nowhere else


# ---- pull


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A host of a tiny generator, which is all that the catalogue holds; failed attempts are not waited for."""
    data = NVIDIA.read_bytes()
    with running() as site:
        site.serve(data)
        entry = CatalogEntry(
            name="tiny-faces",
            title="a tiny generator",
            kind="generator",
            domain="ffhq",
            resolution=32,
            url=site.url,
            file="tiny.pkl",
            licence="NVIDIA's",
            source="https://example.org/tiny",
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        monkeypatch.setattr(catalog, "CATALOG", (entry,))
        monkeypatch.setattr(catalog, "fetch", partial(download.fetch, attempts=2, sleep=lambda _: None))
        yield site


def offered(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setattr(catalog, "CATALOG", (CatalogEntry(**{**vars(catalog.CATALOG[0]), **changes}),))


def test_a_pull_ends_as_an_installed_bundle(site: Site, home: Path) -> None:
    text = good("bundle", "pull", "tiny-faces")
    assert "a tiny generator — licence: NVIDIA's" in text
    assert f"tiny-faces: generator, discriminator in {home / 'bundles' / 'tiny-faces'}" in text
    pulled = Bundle.load("tiny-faces")
    assert (pulled.domain.name, pulled.domain.crop) == ("ffhq", "ffhq")
    assert (pulled.licence, pulled.origin) == ("NVIDIA's", "https://example.org/tiny")
    good("sample", "-b", "tiny-faces", "--device", "cpu")
    assert "tiny-faces exists; give another --name or --out, or --force" in error("bundle", "pull", "tiny-faces")
    good("bundle", "pull", "tiny-faces", "--force")
    assert len(site.asked) == 1  # the file is kept


def test_a_cut_connection_is_resumed(site: Site) -> None:
    data = NVIDIA.read_bytes()
    site.serve(data, cut=(len(data) // 3, len(data) // 3))
    good("bundle", "pull", "tiny-faces")
    assert [asked.get("Range") for asked in site.asked] == [
        None, f"bytes={len(data) // 3}-", f"bytes={len(data) // 3 * 2}-",
    ]  # fmt: skip


def test_a_host_that_keeps_cutting_is_left_and_the_part_kept(site: Site, home: Path) -> None:
    data = NVIDIA.read_bytes()
    site.serve(data, cut=(1000, 0, 0, 0))
    line = error("bundle", "pull", "tiny-faces")
    assert "did not deliver tiny.pkl: the connection was cut at 1.0 kB" in line and "pull again" in line
    assert not (home / "bundles").exists()
    assert (home / "downloads" / "tiny.pkl.part").stat().st_size == 1000
    site.serve(data)
    good("bundle", "pull", "tiny-faces")
    assert site.asked[-1]["Range"] == "bytes=1000-"


def test_a_wrong_hash_installs_nothing(site: Site, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, sha256="0" * 64)
    assert f"expected {'0' * 64}: it was deleted" in error("bundle", "pull", "tiny-faces")
    assert not (home / "bundles").exists() and below(home) == {}
    mine = hashlib.sha256(NVIDIA.read_bytes()).hexdigest()
    good("bundle", "pull", "tiny-faces", "--sha256", mine)  # one's own pin stands in


def test_a_full_disk_is_said_before_it_is_full(site: Site, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"total": 10**9, "used": 10**9, "free": 5000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    line = error("bundle", "pull", "tiny-faces")
    assert "has 5.0 kB free and" in line and "make room there" in line
    monkeypatch.undo()


def test_a_disk_that_fills_up_while_the_bundle_is_written(
    site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradstyle.bundles import bundle as module

    def full(path: Path, *_: Any, **__: Any) -> str:
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr(module, "write_tensors", full)
    assert "No space left on device" in error("bundle", "pull", "tiny-faces")
    assert list((home / "bundles").iterdir()) == []


def test_what_is_published_in_a_zip(site: Site, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(Path("made.zip"), tiny__pkl=NVIDIA.read_bytes()).read_bytes()
    site.serve(data)
    offered(monkeypatch, file="tiny.zip", member="tiny.pkl", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    good("bundle", "pull", "tiny-faces")
    assert Bundle.load("tiny-faces").generator()


def test_without_a_published_digest_the_files_own_is_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, sha256=None, size=None, domain="cars")
    assert hashlib.sha256(NVIDIA.read_bytes()).hexdigest() in good("bundle", "pull", "tiny-faces")
    assert Bundle.load("tiny-faces").domain.aspect == (4, 3)


def test_directions_and_loss_networks_are_fetched_and_said_where(
    site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, hint in (("directions", "directions need their generator"), ("loss network", "tiny.pkl")):
        offered(monkeypatch, kind=kind)
        text = good("bundle", "pull", "tiny-faces")
        assert str(home / "downloads" / "tiny.pkl") in text and hint in text
    assert not (home / "bundles").exists()
    offered(monkeypatch, kind="generator")
    good("bundle", "pull", "tiny-faces", "--file-only")
    assert not (home / "bundles").exists()


def test_a_published_file_that_is_no_checkpoint(site: Site, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serve(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R." + bytes(100))
    offered(monkeypatch, size=None, sha256=None)
    line = error("bundle", "pull", "tiny-faces")
    assert "tiny.pkl: the pickle asks for 'os.system', which no checkpoint needs; nothing was run" in line
    assert not (home / "bundles").exists()


def test_a_name_that_is_not_in_the_catalogue(site: Site) -> None:
    assert "no published checkpoint is called 'tiny-face'; did you mean tiny-faces?" in error(
        "bundle", "pull", "tiny-face"
    )


def test_ctrl_c_says_what_is_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt("stopped; 5 bytes are kept in x.part: pull again to go on from there")

    monkeypatch.setattr(catalog, "fetch", stopped)
    done = run("bundle", "pull", "tiny-faces")
    assert done.exit_code == 130 and "5 bytes are kept in x.part" in done.stderr


# ---- the program itself


@pytest.mark.skipif(not Path(sys.executable).with_name("gradstyle").exists(), reason="the package is not installed")
@pytest.mark.slow
def test_the_installed_program(installed: str) -> None:
    program = str(Path(sys.executable).with_name("gradstyle"))
    done = subprocess.run([program, "bundle", "info", installed], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "styleres, hfgi, e4e" in done.stdout and done.stderr == ""
    done = subprocess.run([program, "sample", "-b", "nope"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: there is no bundle 'nope'") and done.stderr.count("\n") == 1


def test_a_stage_has_one_bar_however_its_name_and_total_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film's number of frames may grow while it is read; edits are measured one after the other."""
    made: list[str] = []

    class Counted(rich.progress.Progress):
        def add_task(self, description: str, **options: Any) -> rich.progress.TaskID:
            made.append(description)
            return super().add_task(description, **options)

    monkeypatch.setattr(rich.progress, "Progress", Counted)
    with progress_bar() as show:
        for frame in range(10, 13):
            show("finding the face", frame, frame)
        for number, name in enumerate(("smile", "yaw")):
            show(f"measuring {name}", number, 2)
    assert made == ["finding the face", "measuring smile"]
