from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pair import gradients, of_two_processes
from pictures import Silent, draw_pictures, make_bundle, make_teacher
from test_encoder_training import assert_same

from gradstyle.bundles import Bundle
from gradstyle.methods import METHODS as method_types
from gradstyle.training import recipe as recipes
from gradstyle.training import snapshot
from gradstyle.training.data import Images, to_float
from gradstyle.training.launch import Request, export, start, trainable
from gradstyle.training.lookahead import Lookahead
from gradstyle.training.loop import Batch, Budget, Diverged
from gradstyle.training.recipe import from_json, read_toml, to_toml

METHODS = ("gradstyle", "styleres", "sdic", "hfgi")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    draw_pictures(folder / "data", 16)
    make_bundle(folder / "bundle")
    make_teacher(folder / "teacher.safetensors")
    return folder


def request(place: Path, kind: str, out: Path, *changes: str, resume: bool = False) -> Request:
    inputs = {"bundle": str(place / "bundle"), "teacher": str(place / "teacher.safetensors")}
    recipe = "" if resume else "tiny"
    return Request(kind, place / "data", out, recipe, changes, inputs, resume, place / "cache", "cpu")


@pytest.mark.parametrize("kind", METHODS)
def test_each_method_learns_and_joins_the_bundle(kind: str, place: Path, tmp_path: Path):
    meter = Silent()
    rate = {"gradstyle": 0.003, "styleres": 0.003}.get(kind, 0.03)
    changes = ("loop.images=320", f"rate={rate}", "freeze_statistics=true", "data.mirror=false")
    assert start(request(place, kind, tmp_path / "run", *changes), Budget(), meter).done
    assert ("discriminator" in meter.terms[0]) == (kind in ("gradstyle", "styleres"))

    given, made = Bundle.load(place / "bundle"), Bundle.load(tmp_path / "run" / "bundle")
    assert set(made) == {*given, kind}
    for part in given:  # frozen whole: parameters, statistics
        assert_same(given.state(part), made.state(part), part)
    method = made.method(kind)
    photos = to_float(Images.open(place / "data", 16, cache=None).gather(range(16)))
    torch.manual_seed(0)
    untrained = method_types[kind](given.generator(), given.encoder(), method.config).eval()
    with torch.no_grad():
        errors = [float(F.mse_loss(each.render(each.invert(photos)), photos)) for each in (untrained, method)]
    assert errors[1] < 0.9 * errors[0], errors
    assert list((tmp_path / "run" / "previews").glob("*.png"))


@pytest.mark.parametrize("kind", ["gradstyle", "sdic"])  # with a discriminator, with BatchNorm
def test_a_resumed_run_ends_with_the_same_bits(kind: str, place: Path, tmp_path: Path):
    goal = "loop.images=72"
    start(request(place, kind, tmp_path / "whole", goal), Budget(), Silent())
    start(request(place, kind, tmp_path / "parts", goal), Budget(images=32), Silent())
    start(request(place, kind, tmp_path / "parts", resume=True), Budget(), Silent())
    states = [snapshot.load_last(tmp_path / name / "snapshots") for name in ("whole", "parts")]
    assert_same(*(each[1] | {"progress": None} for each in states if each))


def test_two_processes_have_the_gradient_of_one(place: Path, tmp_path: Path):
    generator_alone = make_bundle(tmp_path / "alone", with_encoder=False)
    encoder = request(place, "encoder", tmp_path, "freeze_statistics=true", "loss.first_delta=1")
    encoder.inputs["bundle"] = str(generator_alone)  # type: ignore[index]
    gradstyle = request(place, "gradstyle", tmp_path, "adversary.r1_every=1")
    together = of_two_processes([encoder, gradstyle])
    for asked, shared in zip((encoder, gradstyle), together):
        whole = gradients(asked)
        assert whole.keys() == shared.keys()
        assert any(name.startswith("1.discriminator") for name in whole)
        for name, gradient in whole.items():
            difference = (shared[name] - gradient).norm() / gradient.norm().clamp_min(1e-6)
            assert difference < 1e-5, (asked.kind, name, float(difference))


def test_optimisers_are_the_papers(place: Path, tmp_path: Path):
    asked = {kind: recipes.load(trainable(kind).Recipe, kind, "tiny") for kind in METHODS}
    weights = [torch.nn.Parameter(torch.zeros(1))]
    made = {kind: recipe.make_optimiser(weights) for kind, recipe in asked.items()}  # type: ignore[attr-defined]
    lookahead = made["gradstyle"]
    assert isinstance(lookahead, Lookahead) and isinstance(lookahead.optimizer, torch.optim.Adam)
    assert (lookahead.k, lookahead.alpha) == (5, 0.5)
    assert type(made["styleres"]) is torch.optim.Adam and made["styleres"].defaults["betas"] == (0.9, 0.99)
    for kind in ("sdic", "hfgi"):
        ranger = made[kind]
        assert isinstance(ranger, Lookahead) and isinstance(ranger.optimizer, torch.optim.RAdam)


def test_styleres_halves_its_rate(place: Path):
    kind = trainable("styleres")
    training = object.__new__(kind)
    training.recipe = dataclasses.replace(  # type: ignore[type-var]
        recipes.load(kind.Recipe, "styleres", "tiny"), halve_at=(10, 20)
    )
    photos = torch.zeros(1, 3, 16, 16)
    assert [training.rate(Batch(photos, photos, step, 0)) for step in (9, 10, 20)] == [1, 0.5, 0.25]


def test_styleres_refuses_a_generator_that_cannot_sample(place: Path, tmp_path: Path):
    make_bundle(tmp_path / "deaf", mapping_layers=0)
    asked = request(place, "styleres", tmp_path / "run")
    with pytest.raises(ValueError, match="random edits"):
        start(Request(**{**vars(asked), "inputs": {"bundle": str(tmp_path / "deaf")}}), Budget(), Silent())
    assert not (tmp_path / "run").exists()


def test_an_adversary_is_needed_where_the_loss_has_one(place: Path, tmp_path: Path):
    from gradstyle.training.standing import copied

    copied(Bundle.load(place / "bundle"), "bare", ("generator", "encoder"), "x").save(tmp_path / "bare")
    asked = request(place, "gradstyle", tmp_path / "run", "loop.images=8")
    asked.inputs["bundle"] = str(tmp_path / "bare")  # type: ignore[index]
    with pytest.raises(ValueError, match="--discriminator"):
        start(asked, Budget(), Silent())
    asked.inputs["discriminator"] = str(place / "bundle")  # type: ignore[index]
    assert start(asked, Budget(), Silent()).done


def test_divergence_names_the_term_and_leaves_the_last_good_snapshot(place: Path, tmp_path: Path):
    start(request(place, "hfgi", tmp_path / "run"), Budget(images=16), Silent())
    with pytest.raises(Diverged, match=r"step \d+: \w+ is .*000000002"):
        start(request(place, "hfgi", tmp_path / "run", "rate=1e20", resume=True), Budget(), Silent())
    bundle = export(tmp_path / "run", tmp_path / "bundle")
    assert "hfgi" in list(bundle)


def test_recipes_are_typed_and_kept_whole(place: Path, tmp_path: Path):
    kind = trainable("gradstyle")
    recipe = recipes.load(kind.Recipe, "gradstyle", "tiny", ["config.keep=50", "loop.batch=4"])
    assert recipe.config.keep == 50.0  # type: ignore[attr-defined]
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert from_json(kind.Recipe, read_toml(tmp_path / "recipe.toml"), "recipe") == recipe
    with pytest.raises(ValueError, match=r"config\.residual_width"):
        recipes.load(kind.Recipe, "gradstyle", "tiny", ["config.residual_widht=8"])
    with pytest.raises(ValueError, match="expected int"):
        recipes.load(kind.Recipe, "gradstyle", "tiny", ["config.residual_width=wide"])


@pytest.mark.parametrize("name", [name for name in recipes.names() if name != "tiny"])
def test_every_recipe_reads(name: str):
    tables = read_toml(recipes.FOLDER / f"{name}.toml")
    for kind in ("teacher", "judge", "encoder", *METHODS):
        if kind in tables:
            recipes.load(trainable(kind).Recipe, kind, name)
