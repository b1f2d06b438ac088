"""The pages say what is so: their Python runs, their tables are the code's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gradstyle.bundles import Bundle
from gradstyle.edits import Edit
from gradstyle.methods import METHODS, Method
from gradstyle.methods.gradstyle import GradStyleConfig, Stage
from tests.support import tiny

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """All Python of the page, run from top to bottom beside a bundle and a photo; gives the names that it defines."""
    folder, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    bundle = Bundle("my-bundle")
    bundle.put("generator", tiny.generator())
    bundle.put("encoder", tiny.encoder())
    for name in METHODS:
        if name != "e4e":
            bundle.put(name, tiny.method(name))
    directions = {"smile": tiny.an_edit(seed=1), "yaw": tiny.an_edit(seed=2)}
    bundle.put_edits({name: Edit(name, edit.w) for name, edit in directions.items()})
    bundle.save(folder / "my-bundle")
    Image.new("RGB", (80, 80), "teal").save(folder / "me.jpg")
    names: dict[str, Any] = {}
    os.chdir(folder)
    try:
        for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
            exec(compile(block, "docs/methods.md", "exec", dont_inherit=True), names)
        yield names
    finally:
        os.chdir(before)


def test_the_snippets_write_what_they_say(said: dict[str, Any]) -> None:
    assert {path.name for path in Path().glob("*.png")} == {"again.png", "smile.png", "steps.png"}
    with Image.open("steps.png") as steps:
        assert 5 * 32 <= steps.width < 6 * 32  # five pictures side by side
    assert said["picture"].shape == (1, 3, 32, 32)
    assert said["pictures"].shape == (6, 3, 32, 32)
    assert torch.equal(said["nearer"].codes.w, said["inversion"].codes.w) and len(said["first"]) == 1


@pytest.fixture
def plain(said: dict[str, Any]) -> Method[Any]:
    """The page's own method."""
    made: Method[Any] = said["Plain"](tiny.generator(), tiny.encoder(), said["PlainConfig"](layer=3))
    return made.eval()


@torch.inference_mode()
def test_the_pages_method_is_one(plain: Method[Any], tmp_path: Path) -> None:
    photos, edit = tiny.photos(), tiny.an_edit()
    inversion = plain.invert(photos)
    drawn = plain.render_each(inversion, [(), edit, 0 * edit])
    assert torch.equal(drawn[4:], drawn[:2]) and tiny.far(drawn[2:4], drawn[:2]) > 0.05
    inversion.save(tmp_path / "photo.safetensors")
    assert torch.equal(plain.render(plain.Keeps.load(tmp_path / "photo.safetensors")), drawn[:2])
    assert tiny.far(plain.render(plain.invert(photos[:1]), edit), drawn[2:3]) < 1e-4
    assert plain.own_state().keys() == {"add.weight", "add.bias"}
    with pytest.raises(ValueError, match="square RGB"):
        plain.invert(photos[:, :, 1:])
    with pytest.raises(ValueError, match="layers 0 … 4"):
        type(plain)(tiny.generator(), tiny.encoder())  # its default is for larger generators


def test_the_pages_method_learns(plain: Method[Any]) -> None:
    values = tiny.training(plain.train(), lambda: plain.training_loss(tiny.photos(), tiny.context()), "pixel", 1e-2)
    assert values[-1] < 0.9 * values[0]


def test_every_method_has_a_row() -> None:
    for name in METHODS:
        assert f"\n| `{name}` |" in PAGE and f"\n| {name} |" in PAGE  # what it keeps, what it costs


def test_gradstyles_choices_are_the_codes() -> None:
    (section,) = (part for part in PAGE.split("\n## ") if part.startswith("What GradStyle's paper leaves open"))
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section, re.MULTILINE))
    config = GradStyleConfig()
    assert rows.keys() == {field.name for field in fields(config)}
    for name, default in rows.items():
        assert eval(default, {"Stage": Stage}) == getattr(config, name), name
