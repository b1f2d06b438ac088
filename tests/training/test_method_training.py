from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gradstyle.bundles import Bundle, Slider
from gradstyle.edits import Edit
from gradstyle.images import to_float
from gradstyle.losses.perceptual import vgg16
from gradstyle.methods import METHODS as method_types
from gradstyle.training import recipe as recipes
from gradstyle.training import snapshot
from gradstyle.training.images import Images
from gradstyle.training.launch import Request, export, start, trainable
from gradstyle.training.lookahead import Lookahead
from gradstyle.training.recipe import from_json, read_toml, to_toml
from gradstyle.training.trainable import Batch, Budget
from gradstyle.training.watch import Diverged
from tests.support.interop import filled
from tests.support.pair import gradients, of_two_processes
from tests.support.pictures import Silent, draw_pictures, make_bundle, make_teacher
from tests.support.same import assert_same

METHODS = ("gradmove", "gradstyle", "styleres", "sdic", "hfgi")


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
    rate = {"gradmove": 0.003, "gradstyle": 0.003, "styleres": 0.003}.get(kind, 0.03)
    changes = ("loop.images=320", f"rate={rate}", "freeze_statistics=true", "data.mirror=false")
    assert start(request(place, kind, tmp_path / "run", *changes), Budget(), meter).done
    assert ("discriminator" in meter.terms[0]) == (kind in ("gradmove", "gradstyle", "styleres"))

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


@pytest.mark.parametrize("kind", METHODS)
def test_a_resumed_run_ends_with_the_same_bits(kind: str, place: Path, tmp_path: Path):
    goal = "loop.images=72"
    start(request(place, kind, tmp_path / "whole", goal), Budget(), Silent())
    start(request(place, kind, tmp_path / "parts", goal), Budget(images=32), Silent())
    start(request(place, kind, tmp_path / "parts", resume=True), Budget(), Silent())
    states = [snapshot.load_last(tmp_path / name / "snapshots") for name in ("whole", "parts")]
    assert_same(*(each[1] | {"progress": None} for each in states if each))


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_goes_on_from_that_of_another_bundle(kind: str, place: Path, tmp_path: Path):
    asked = request(place, kind, tmp_path / "first", "loop.images=8")
    start(asked, Budget(), Silent())
    learned = Bundle.load(tmp_path / "first" / "bundle").state(kind)
    still = ("loop.images=8", "rate=0", "freeze_statistics=true", "loop.seed=5")
    again = request(place, kind, tmp_path / "second", *still)
    again.inputs["start"] = str(tmp_path / "first" / "bundle")  # type: ignore[index]
    start(again, Budget(), Silent())
    assert_same(learned, Bundle.load(tmp_path / "second" / "bundle").state(kind))
    again = dataclasses.replace(again, out=tmp_path / "third", inputs={**asked.inputs, "start": str(place / "bundle")})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=f"bundle holds no {kind} to begin with; it has generator, "):
        start(again, Budget(), Silent())


def test_gradmove_begins_with_what_it_has_in_common_with_gradstyle(place: Path, tmp_path: Path):
    still = ("loop.images=8", "freeze_statistics=true", "rate=0", "loop.seed=5")
    start(request(place, "gradstyle", tmp_path / "gradstyle", "loop.images=8"), Budget(), Silent())
    theirs = Bundle.load(tmp_path / "gradstyle" / "bundle").state("gradstyle")
    shared = {key: value for key, value in theirs.items() if ".align." not in key}
    assert any(value.any() for key, value in shared.items() if ".residual.out." in key)  # they have learned

    begun = {}
    for name in ("alone", "after"):
        asked = request(place, "gradmove", tmp_path / name, *still)
        if name == "after":
            asked.inputs["start"] = str(tmp_path / "gradstyle" / "bundle")  # type: ignore[index]
        start(asked, Budget(), Silent())
        begun[name] = Bundle.load(tmp_path / name / "bundle").state("gradmove")
    movers = {key: value for key, value in begun["alone"].items() if ".move." in key}
    assert_same(begun["after"], shared | movers)

    both = Bundle.load(tmp_path / "gradstyle" / "bundle")  # where there is a gradmove, that is what goes on
    own = Bundle.load(tmp_path / "alone" / "bundle")
    both.put_state("gradmove", own.config("gradmove"), begun["alone"])
    both.save(tmp_path / "both")
    asked = request(place, "gradmove", tmp_path / "again", *still)
    asked.inputs["start"] = str(tmp_path / "both")  # type: ignore[index]
    start(asked, Budget(), Silent())
    assert_same(begun["alone"], Bundle.load(tmp_path / "again" / "bundle").state("gradmove"))

    narrower = request(place, "gradmove", tmp_path / "narrower", *still, "config.residual_width=4")
    narrower.inputs["start"] = str(tmp_path / "gradstyle" / "bundle")  # type: ignore[index]
    with pytest.raises(ValueError, match="of another shape"):
        start(narrower, Budget(), Silent())


def test_a_bundle_with_edits_keeps_them_and_their_sliders(place: Path, tmp_path: Path):
    bundle = Bundle.load(place / "bundle")
    edits = {name: Edit(name, torch.ones(6, 16)) for name in ("smile", "age")}
    bundle.put_edits(edits, {"smile": Slider(-1.0, 2.0, "face")}, {"age": {"reasons": ["it does nothing"]}})
    bundle.save(tmp_path / "edited")
    asked = request(place, "hfgi", tmp_path / "run", "loop.images=8")
    asked.inputs["bundle"] = str(tmp_path / "edited")  # type: ignore[index]
    start(asked, Budget(), Silent())
    made = Bundle.load(tmp_path / "run" / "bundle")
    assert {*made} == {*bundle, "hfgi"} and {*made.edits} == {"smile", "age"}
    assert made.sliders == bundle.sliders and made.failed_edits == bundle.failed_edits


def _train_and_die(place: Path, out: Path, writes: int) -> None:
    """A run with a snapshot at each step, killed when so many have been written but not yet renamed."""
    torch.set_num_threads(1)
    write, calls = snapshot.write_tensors, []

    def deadly(*args: object, **others: object) -> object:
        result = write(*args, **others)  # type: ignore[arg-type]
        calls.append(None)
        if len(calls) == writes:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    snapshot.write_tensors = deadly  # type: ignore[assignment]
    asked = request(place, "gradstyle", out, "loop.images=72", "loop.snapshot_minutes=1e-9")
    start(dataclasses.replace(asked, resume=True), Budget(), Silent())


def test_a_method_killed_while_it_writes_comes_to_the_same_end(place: Path, tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gradstyle.training.method", "gradstyle.training.launch"])
    steps = []
    for writes in (1, 3, 4, 0):  # the last is left alive
        process = context.Process(target=_train_and_die, args=(place, tmp_path / "killed", writes))
        process.start()
        process.join(120)
        assert process.exitcode == (-signal.SIGKILL if writes else 0)
        last = snapshot.load_last(tmp_path / "killed" / "snapshots")
        steps.append(last[1]["progress"]["step"] if last else 0)
    assert steps == [0, 2, 5, 9]  # one interval is lost each time and no more
    start(request(place, "gradstyle", tmp_path / "whole", "loop.images=72"), Budget(), Silent())
    states = [snapshot.load_last(tmp_path / name / "snapshots") for name in ("killed", "whole")]
    assert_same(*(each[1] | {"progress": None} for each in states if each))


def test_published_networks_stand_in_the_losses(place: Path, tmp_path: Path):
    """Files with the published names and shapes, as large as those: VGG16 and its heads, ArcFace's IR-SE-50."""
    torch.manual_seed(0)
    vgg = {name: torch.randn_like(value) * 0.05 for name, value in vgg16().state_dict().items()}
    torch.save({f"features.{name}": value for name, value in vgg.items()}, tmp_path / "vgg16.pth")
    widths = enumerate((64, 128, 256, 512, 512))
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in widths}, tmp_path / "heads.pth")
    torch.save(filled("arcface", "state_dict"), tmp_path / "arcface.pth")
    asked = request(place, "hfgi", tmp_path / "run", "loop.images=2", "loop.batch=2", "losses.perceptual=vgg")
    files = {"perceptual": "vgg16.pth", "heads": "heads.pth", "identity": "arcface.pth"}
    inputs = {"bundle": str(place / "bundle"), **{name: str(tmp_path / file) for name, file in files.items()}}
    meter = Silent()
    assert start(dataclasses.replace(asked, inputs=inputs), Budget(), meter).done
    (terms,) = meter.terms
    assert terms["perceptual"] > 1e-4 and terms["identity"] > 1e-4
    made = Bundle.load(tmp_path / "run" / "bundle").state("hfgi")
    assert all(bool(value.isfinite().all()) for value in made.values())
    assert sum(value.numel() for value in made.values()) < 1e6  # they are not kept with the method


def test_a_run_does_not_go_on_with_another_teacher(place: Path, tmp_path: Path):
    start(request(place, "hfgi", tmp_path / "run"), Budget(images=8), Silent())
    other = make_teacher(tmp_path / "other.safetensors", seed=2)
    asked = request(place, "hfgi", tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r"--teacher .*other\.safetensors is not the file that this run began with"):
        start(dataclasses.replace(asked, inputs={**asked.inputs, "teacher": str(other)}), Budget(), Silent())  # type: ignore[dict-item]
    moved = (place / "teacher.safetensors").read_bytes()
    (tmp_path / "moved.safetensors").write_bytes(moved)
    inputs = {**asked.inputs, "teacher": str(tmp_path / "moved.safetensors")}
    assert start(dataclasses.replace(asked, inputs=inputs), Budget(images=16), Silent()).progress.images == 16


def test_two_processes_have_the_gradient_of_one(place: Path, tmp_path: Path):
    generator_alone = make_bundle(tmp_path / "alone", with_encoder=False)
    encoder = request(place, "encoder", tmp_path, "freeze_statistics=true", "loss.first_delta=1")
    encoder.inputs["bundle"] = str(generator_alone)  # type: ignore[index]
    # An aligner's error is taken in sizes of the residuals that each process has, which are not those of the other.
    gradstyle = request(place, "gradstyle", tmp_path, "adversary.r1_every=1", "config.weight_aligner=0")
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
    for kind in ("gradmove", "gradstyle"):
        lookahead = made[kind]
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


@pytest.mark.parametrize("kind", ["gradmove", "styleres"])
def test_random_edits_need_a_generator_that_samples(kind: str, place: Path, tmp_path: Path):
    make_bundle(tmp_path / "deaf", mapping_layers=0)
    asked = request(place, kind, tmp_path / "run")
    with pytest.raises(ValueError, match="random edits"):
        start(Request(**{**vars(asked), "inputs": {"bundle": str(tmp_path / "deaf")}}), Budget(), Silent())
    assert not (tmp_path / "run").exists()


def test_an_adversary_is_needed_where_the_loss_has_one(place: Path, tmp_path: Path):
    from gradstyle.training.frozen_inputs import copied

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
