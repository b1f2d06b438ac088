from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradstyle.training import recipe as recipes
from gradstyle.training.generator_recipe import GeneratorRecipe
from gradstyle.training.launch import trainable
from gradstyle.training.stages import trained

MINIMAL = {"data": {"resolution": 64}, "loop": {"batch": 16}}


def build(*overrides: str, **values: object) -> GeneratorRecipe:
    return recipes.build(GeneratorRecipe, {**MINIMAL, **values}, overrides)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_of_the_package_is_read_whole_and_written_back(name: str):
    tables = recipes.read_toml(recipes.FOLDER / f"{name}.toml")
    kinds = [kind for kind in trained() if kind in tables]
    assert kinds
    for kind in kinds:
        recipe = recipes.load(trainable(kind).Recipe, kind, name)
        written = recipes.to_toml(recipe)
        assert recipes.build(trainable(kind).Recipe, recipes.tomllib.loads(written)) == recipe
        assert recipe.data.resolution == tables["data"]["resolution"]


def test_the_recipes_that_are_promised_are_there():
    assert {"paper-1024", "faces-64", "faces-128", "cars-128", "tiny"} <= set(recipes.names())
    assert recipes.load(GeneratorRecipe, "generator", "cars-128").data.aspect == (4, 3)
    paper = recipes.load(GeneratorRecipe, "generator", "paper-1024")
    assert (paper.rate, paper.r1_gamma, paper.path_weight, paper.mixing, paper.loop.batch) == (0.002, 10, 2, 0.9, 32)
    assert paper.generator.width(0) == 512 and paper.generator.width(16) == 32 and paper.generator.mapping_layers == 8


@pytest.mark.parametrize(
    ("resolution", "batch", "rate", "gamma", "half_life"),
    [(256, 64, 0.0025, 0.2048, 20_000), (1024, 32, 0.002, 6.5536, 10_000), (32, 32, 0.0025, 0.0064, 10_000)],
)
def test_auto_follows_resolution_and_batch(resolution: int, batch: int, rate: float, gamma: float, half_life: float):
    recipe = build(data={"resolution": resolution}, loop={"batch": batch})
    assert recipe.rate == rate
    assert recipe.r1_gamma == pytest.approx(gamma)
    assert recipe.ema_images == half_life
    assert build("r1_gamma=7", data={"resolution": resolution}).r1_gamma == 7.0


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("rate=0.001", "rate", 0.001),
        ("rate=1", "rate", 1.0),
        ("rate=auto", "rate", 0.0025),
        ("loop.batch=64", "loop.batch", 64),
        ("data.mirror=false", "data.mirror", False),
        ("augment.mode=auto", "augment.mode", "auto"),
        ('augment.mode="auto"', "augment.mode", "auto"),
        ("networks.activation_clamp=256", "networks.activation_clamp", 256.0),
        ("networks.activation_clamp=none", "networks.activation_clamp", None),
        ("data.domain.aspect=[4, 3]", "data.domain.aspect", (4, 3)),
        ('data.split=["list.csv", "part", "train"]', "data.split", ("list.csv", "part", "train")),
        ("  loop.images = 5_000 ", "loop.images", 5000),
    ],
)
def test_overrides_are_typed(override: str, path: str, value: object):
    found: object = build(override)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("r1_gama=1", "did you mean 'r1_gamma'"),
        ("loop.bach=1", "did you mean 'loop.batch'"),
        ("batch=1", "did you mean 'loop.batch'"),  # the table is forgotten
        ("loop=3", "unknown key 'loop'"),
        ("loop.batch", "key=value"),
        ("loop.batch=many", "loop.batch: expected int, got 'many'"),
        ("loop.batch=1.5", "loop.batch: expected int, got 1.5"),
        ("loop.batch=0", "batch must be at least 1, got 0"),
        ("data.mirror=yes", "data.mirror: expected bool, got 'yes'"),
        ("augment.mode=on", "expected one of 'off', 'auto', 'fixed', got 'on'"),
        ("rate=fast", "rate: expected"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override: str, told: str):
    with pytest.raises(ValueError, match=re.escape(told)):
        build(override)


def test_an_unknown_key_in_a_file_is_an_error_that_names_the_nearest(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text("[data]\nresolution = 32\n[generator.loop]\nsnapshot_minuts = 3\n")
    with pytest.raises(ValueError, match=r"mine.toml: generator.loop: unknown key 'snapshot_minuts'.*snapshot_minutes"):
        recipes.load(GeneratorRecipe, "generator", file)
    file.write_text("[data]\nresolution = 32\n[generator.loop]\nsnapshot_minutes = 3\n")
    assert recipes.load(GeneratorRecipe, "generator", file, ["loop.batch=4"]).loop.snapshot_minutes == 3.0
    with pytest.raises(ValueError, match=r"has no \[encoder\]; it has data, generator"):
        recipes.load(GeneratorRecipe, "encoder", file)
    file.write_text("[data\n")
    with pytest.raises(ValueError, match="is not TOML"):
        recipes.load(GeneratorRecipe, "generator", file)
    with pytest.raises(ValueError, match=r"no recipe 'faces-46'.*did you mean 'faces-64'"):
        recipes.load(GeneratorRecipe, "generator", "faces-46")


def test_text_survives_toml():
    odd = ('a "quoted" \\ name.csv', "col\tumn", "ümlaut # not a comment")
    recipe = build(data={"resolution": 32, "split": list(odd)})
    assert recipes.build(GeneratorRecipe, recipes.tomllib.loads(recipes.to_toml(recipe))).data.split == odd
