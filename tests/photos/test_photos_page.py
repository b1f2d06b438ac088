"""docs/photos.md: its commands and its Python run as they stand there."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from gradstyle.bundles import Domain
from gradstyle.cli import app
from gradstyle.photos import framing, photo
from gradstyle.photos.legs import STEPS
from tests.support.bundles import bundle
from tests.support.odd_files import portrait

PAGE = (Path(__file__).parents[2] / "docs" / "photos.md").read_text(encoding="utf-8")


def test_commands_and_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path / "home"))
    made = bundle(Domain("faces", crop="celeba"))
    edits = {**made.edits, "yaw": made.edits["pose"], "blond": made.edits["age"]}
    made.put_edits({name: replace(edit, name=name) for name, edit in edits.items()}, made.sliders)
    made.save(tmp_path / "home" / "bundles" / "faces")
    monkeypatch.chdir(tmp_path)
    two = Image.new("RGB", (400, 200))
    two.paste(portrait(), (0, 0))
    two.paste(portrait(), (200, 0))
    for name, picture in (("me.jpg", portrait()), ("crop.png", portrait()), ("party.jpg", two)):
        picture.save(name)
    for name in ("holiday/deep/1.jpg", "scans/1.png", "extra.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        portrait().save(name)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
    commands = [line for kind, block in blocks if not kind for line in block.splitlines()]
    assert len(commands) >= 9
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "gradstyle"
        done = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
        assert done.exit_code == 0, (command, done.output)
    for name in ("me-edited.jpg", "holiday-edited/deep/1.jpg", "smiling/1.png", "smiling/extra.jpg", "nameless.jpg"):
        assert Path(name).is_file(), name
    names: dict[str, object] = {}
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "docs/photos.md", "exec", dont_inherit=True), names)
    assert {"smile.jpg", "serious.jpg", "smile--2.jpg", "smile-2.jpg"} <= {path.name for path in Path().glob("*.jpg")}


def test_its_figures_are_the_codes() -> None:
    assert f"more than {framing.MOST_PIXELS // 10**6} million pixels ({photo.MOST_FROM_CAMERAS // 10**6} from" in PAGE
    assert f"rendered in {['no', 'one', 'two', 'three', 'four', 'five', 'six'][STEPS]} steps" in PAGE
