"""A new method is one file and one line: all rooms know it from the method itself."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.pictures import draw_pictures
from tests.support.project import ROOT

METHOD = '''
from dataclasses import dataclass

import torch
from torch import nn

from gradstyle.methods.method import Inversion, Learning, Losses, Method, fit


@dataclass(frozen=True)
class TintConfig:
    pixel: float = 1.0


@dataclass(frozen=True)
class TintInversion(Inversion):
    colour: torch.Tensor  # [N, 3, 1, 1]


class Tint(Method[TintInversion]):
    """The codes' picture, and the mean colour that it lacks."""

    name, Config, Keeps = "tint", TintConfig, TintInversion
    learning = Learning({"optimiser": "ranger", "rate": 0.02, "losses": {"perceptual": "vgg"}})

    def __init__(self, generator, encoder, config=None):
        super().__init__(generator, encoder, config)
        self.tint = nn.Conv2d(3, 3, 1)

    def invert(self, photo, codes=None):
        codes = self.codes_of(photo, codes)
        lacks = fit(photo, self.generator.config.resolution) - self.generator(codes)
        colour = self.tint(lacks.mean(dim=(2, 3), keepdim=True))
        return TintInversion(codes, colour, generator=self.generator.fingerprint)

    def reconstruct(self, inversion):
        return self.render_codes(inversion, inversion.codes)

    def render_codes(self, inversion, codes):
        return self.generator(codes) + inversion.colour

    def training_loss(self, photo, context):
        error = self.reconstruct(self.invert(photo)) - fit(photo, self.generator.config.resolution)
        return Losses({"pixel": error.square().mean()}, {"pixel": self.config.pixel})
'''
REGISTRATION = """
from gradstyle.methods import METHODS

from .tint import Tint

METHODS[Tint.name] = Tint
"""
# What a person does with it, in a process whose methods are these.
DRIVER = """
import json, sys
from pathlib import Path
from typer.testing import CliRunner
import new_methods
from gradstyle.bundles import Bundle
from gradstyle.cli import app
from gradstyle.report.content import KNOWN
from gradstyle.studio.engine import Engine
from gradstyle.training import recipe as recipes
from gradstyle.training.launch import trainable
from tests.support import runs
from tests.support.pictures import make_bundle

place, told = Path(sys.argv[1]), {}

def typed(name, *arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, (name, done.output, done.exception)
    told[name] = done.output

make_bundle(place / "bundle")
few = ["--recipe", "tiny", "--device", "cpu", "--cache", place / "cache"]
typed("verbs", "train", "--help")
typed("train", "train", "tint", place / "data", "--out", place / "run", "--bundle", place / "bundle",
      *few, "--images", 8, "--set", "loop.batch=4")
typed("export", "train", "export", place / "run", "--out", place / "trained", "--force")
images = [f"--set={stage}.loop.images=16" for stage in
          ("generator", "encoder", "gradstyle", "gradmove", "styleres", "sdic", "hfgi", "tint")]
typed("chain", "train", "all", place / "data", "--out", place / "chain", "--minutes", 90, *few, *images,
      "--set", "tint.loop.batch=4")
told["stages"] = json.loads((place / "chain" / "chain.json").read_text())["done"]
trained = Bundle.load(place / "chain" / "bundle")
again = Bundle.load(trained.save(place / "again"))
told["bundle"] = [again.methods, type(again.method("tint")).__name__, again.config("tint").pixel]
told["weights"] = sorted(again.state("tint"))
photo = place / "data" / "000.png"
typed("edit", "edit", photo, "--bundle", place / "again", "--method", "tint", "--aligned", "--bare",
      "--out", place / "edited.png")
told["studio"] = Engine([again], "cpu").bundle(again.name).methods
tested = runs.some_photos(place / "photos")
typed("evaluate", "evaluate", "reconstruction", place / "again", tested, "--out", place / "evaluated",
      "--device", "cpu", "--method", "tint", "--method", "e4e")
typed("card", "evaluate", "card", place / "again", place / "evaluated")
told["tables"] = [file.read_text() for file in (place / "again" / "README.md", place / "evaluated" / "report.md")]
told["known"] = list(KNOWN)
told["recipe"] = recipes.to_toml(recipes.load(trainable("tint").Recipe, "tint", "tiny"))
(place / "told.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("place")
    draw_pictures(place / "data", 16)
    (place / "new_methods").mkdir()
    (place / "new_methods" / "__init__.py").write_text(REGISTRATION)
    (place / "new_methods" / "tint.py").write_text(METHOD)
    (place / "driver.py").write_text(DRIVER)
    paths = [str(place), str(ROOT), *sys.path]
    code = f"import runpy, sys; sys.path[:0] = {paths!r}; runpy.run_path({str(place / 'driver.py')!r})"
    subprocess.run([sys.executable, "-c", code, str(place)], check=True)
    return json.loads((place / "told.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("verb", ["verbs", "train", "export", "chain", "edit", "evaluate", "card"])
def test_each_verb_takes_it(told: dict[str, Any], verb: str):
    output = told[verb]  # it has succeeded
    if verb == "verbs":
        assert "Train tint on the generator and encoder of a bundle." in output
    if verb == "train":
        assert "8 images seen; go on with --resume" in output


def test_it_is_a_stage_of_the_chain_and_a_part_of_its_bundle(told: dict[str, Any]):
    assert told["stages"] == ["generator", "encoder", "gradstyle", "gradmove", "styleres", "sdic", "hfgi", "tint"]
    assert told["bundle"] == [["gradmove", "gradstyle", "styleres", "sdic", "hfgi", "e4e", "tint"], "Tint", 1.0]
    assert told["weights"] == ["tint.bias", "tint.weight"]
    assert told["studio"] == told["bundle"][0]


def test_its_recipe_has_its_own_defaults(told: dict[str, Any]):
    lines = told["recipe"].splitlines()
    assert {'optimiser = "ranger"', "rate = 0.02", 'perceptual = "vgg"', "pixel = 1.0"} <= set(lines)


def test_tables_have_it(told: dict[str, Any]):
    assert "tint" in told["known"]
    assert all("| tint |" in table for table in told["tables"])
