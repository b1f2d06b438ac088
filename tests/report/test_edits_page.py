"""docs/edits.md: its Python runs, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.main import get_command

from gradstyle.cli import app
from gradstyle.directions import bench as benches
from tests.support import measured

PAGE = (Path(__file__).parents[2] / "docs" / "edits.md").read_text(encoding="utf-8")


def test_the_pages_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(benches, "CODES", 6)
    measured.bundle("faces").save(tmp_path / "faces")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block.replace("samples=2000", "samples=160"), "docs/edits.md", "exec", dont_inherit=True), names)
    assert "light" in names["bundle"].edits and set(names["reports"]) == {"light"}
    assert names["both"].name == "2 * light - light" and torch.allclose(names["both"].w, names["edits"]["light"].w)


def test_the_pages_commands_are_there_with_their_options() -> None:
    commands = get_command(app).commands["directions"].commands  # type: ignore[attr-defined]
    shown = re.findall(r"gradstyle directions ([\w-]+)((?:[^`\n]|\\\n)*)", PAGE)
    assert {verb for verb, _ in shown} >= {"find", "report", "ganspace", "sefa", "name", "from-photos", "words", "save"}
    for verb, rest in shown:
        known = {option for parameter in commands[verb].params for option in parameter.opts}
        assert set(re.findall(r"(?<= )--[\w-]+", rest)) <= known, verb
