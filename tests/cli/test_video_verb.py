"""gradstyle video, as a person types it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gradstyle.bundles import Domain
from gradstyle.cli import app
from gradstyle.cli.video import lines
from gradstyle.video import VideoReport
from gradstyle.video import edit as module
from tests.support.bundles import bundle
from tests.support.films import heard, seen, write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a film of one aligned face, and a bundle installed."""
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path / "home"))
    bundle(Domain("faces", (1, 1), "celeba")).save(tmp_path / "home" / "bundles" / "tiny")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("me.mp4"), 6, lambda index: (64.0, 64.0, 90.0), (128, 128), tone=True)
    return tmp_path / "here"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["video", *(str(argument) for argument in arguments), "--bundle", "tiny"])


def error(*arguments: Any) -> str:
    done = run(*arguments)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), (done.output, done.exception)
    (line,) = done.stderr.splitlines()
    return line


def test_a_film_is_edited(here: Path) -> None:
    done = run("me.mp4", "out/b.mp4", "--edit", "smile=3", "-e", "pose=-1", "--aligned")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "6 of 6 frames edited" in done.stdout and done.stdout.splitlines()[-1] == "out/b.mp4"
    assert "flicker, in levels of 255: the source's face " in done.stdout
    assert len(seen(here / "out/b.mp4")[0]) == 6 and heard(here / "out/b.mp4") == heard(here / "me.mp4")
    assert [path.name for path in (here / "out").iterdir()] == ["b.mp4"]
    assert "b.mp4 exists" in error("me.mp4", "out/b.mp4", "-e", "smile=3", "--aligned")
    before = (here / "out/b.mp4").stat().st_mtime_ns
    assert run("me.mp4", "out/b.mp4", "-e", "smile=3", "--aligned", "--force").exit_code == 0
    assert (here / "out/b.mp4").stat().st_mtime_ns > before


def test_what_is_wrong_is_one_line(here: Path) -> None:
    assert "no kind of video that is written" in error("me.mp4", "b.gif", "-e", "smile=1")
    assert "there is no such file" in error("you.mp4", "b.mp4", "-e", "smile=1")
    assert "has no edit 'smil'; did you mean smile?" in error("me.mp4", "b.mp4", "-e", "smil=1")
    assert "say --edit NAME=AMOUNT" in error("me.mp4", "b.mp4")
    assert "is the source itself" in error("me.mp4", "me.mp4", "-e", "smile=1", "--force")
    Path("note.mp4").write_text("no film")
    assert "note.mp4: not a video" in error("note.mp4", "b.mp4", "-e", "smile=1")
    assert sorted(path.name for path in here.iterdir()) == ["me.mp4", "note.mp4"]


def test_a_stopped_run_says_that_it_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "join", stopped)
        done = run("me.mp4", "b.mp4", "-e", "smile=1", "--aligned")
    assert done.exit_code == 130 and "the same command goes on" in done.stderr
    assert not Path("b.mp4").exists()
    done = run("me.mp4", "b.mp4", "-e", "smile=1", "--aligned")
    assert done.exit_code == 0 and "6 of 6 frames edited, 6 of them by an earlier run" in done.stdout


def test_all_that_happened_is_told() -> None:
    report = VideoReport(
        1200, 1000, 3, 240, {"source": 1, "frame by frame": 3, "smoothed": 2}, {}, ("vorbis",), ("data",), 7
    )
    told = "\n".join(lines(report))
    for part in (
        "1,000 of 1,200 frames of 3 shots edited, 240 of them by an earlier run",
        "7 further frames could not be decoded",
        "the source's face 1.00; the edit adds 3.00 frame by frame, 2.00 smoothed",
        "holds no vorbis",
        "left behind: data",
    ):
        assert part in told
