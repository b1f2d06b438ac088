"""Amounts stay where their slider was found good, unless someone says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gradstyle.bundles import Bundle, Domain, Slider
from gradstyle.cli import app
from gradstyle.editor import Editor
from gradstyle.edits import Edit
from tests.support import tiny


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    made = Bundle("ranges", Domain())
    made.put("generator", tiny.generator())
    made.put("encoder", tiny.encoder())
    ways = {"smile": tiny.an_edit(0.3, 1), "hat": tiny.an_edit(0.3, 2)}
    made.put_edits({n: Edit(n, e.w) for n, e in ways.items()}, {"smile": Slider(-1, 2)})
    return made


def test_names_are_brought_into_the_range_and_values_are_not(bundle: Bundle) -> None:
    editor = Editor(bundle, device="cpu")
    smile, hat = editor.edits["smile"], editor.edits["hat"]
    for amount, used in ((1.5, 1.5), (9.0, 2.0), (-9.0, -1.0)):
        (found,) = editor.find({"smile": amount})
        assert torch.equal(found.w, (used * smile).w)
    (far,) = editor.find("hat=9")
    assert torch.equal(far.w, (9 * hat).w)  # it has no slider
    assert editor.find([9 * smile])[0].w.equal((9 * smile).w)
    editor.beyond = True
    assert torch.equal(editor.find("smile=9")[0].w, (9 * smile).w)


def test_the_command_says_so_and_goes_there_when_told(bundle: Bundle, tmp_path: Path) -> None:
    folder = bundle.save(tmp_path / "ranges")
    Image.effect_noise((80, 80), 90).convert("RGB").save(tmp_path / "me.png")
    made = {}
    for name, options in {"two": ["smile=2"], "nine": ["smile=9"], "far": ["smile=9", "--beyond"]}.items():
        out = tmp_path / f"{name}.png"
        done = CliRunner().invoke(
            app,
            ["edit", str(tmp_path / "me.png"), "--bundle", str(folder), "--bare", "--out", str(out), "-e", *options],
        )
        assert done.exit_code == 0, done.output
        assert ("smile=9 is more than it is good for: 2 is used" in done.output) == (name == "nine")
        made[name] = Image.open(out).tobytes()
    assert made["two"] == made["nine"] != made["far"]
