from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from gradstyle.bundles import Bundle
from gradstyle.cli import app
from gradstyle.losses import Judge
from gradstyle.rng import Draws
from gradstyle.stylegan2 import Discriminator
from gradstyle.stylegan2.discriminator import minibatch_deviation
from gradstyle.stylegan2.layers import upsample
from gradstyle.training import recipe as recipes
from gradstyle.training import snapshot
from gradstyle.training.engine import engine_for
from gradstyle.training.generator import GeneratorTraining, lazy_adam
from gradstyle.training.generator_recipe import GeneratorRecipe
from gradstyle.training.images import Images
from gradstyle.training.launch import Request, export, start
from gradstyle.training.painter import Latents
from gradstyle.training.run import read_log
from gradstyle.training.trainable import Batch, Budget, Setup
from tests.support.pair import gradients, of_two_processes
from tests.support.pictures import Silent, draw_pictures, make_bundle, make_teacher


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("data") / "pictures", 32)


@pytest.fixture(scope="module")
def photos(pictures: Path) -> Tensor:
    return Images.open(pictures, 16, cache=None).gather(range(8)).float() / 127.5 - 1


def request(data: Path, out: Path, *changes: str, **others: object) -> Request:
    given = {"kind": "generator", "data": data, "out": out, "recipe": "tiny", "device": "cpu"}
    return Request(**{**given, "overrides": changes, "cache": data.parent / "cache", **others})  # type: ignore[arg-type]


def make(*changes: str, inputs: dict[str, str] | None = None) -> GeneratorTraining:
    recipe = recipes.load(GeneratorRecipe, "generator", "tiny", changes)
    return GeneratorTraining(Setup(recipe, engine_for(recipe.loop, "cpu"), Draws(recipe.loop.seed), None, inputs or {}))


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def changed(module: torch.nn.Module, before: dict[str, Tensor]) -> list[str]:
    return [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]


def alike(a: Tensor, b: Tensor) -> float:
    """How much two runs of random numbers agree, as far as both go."""
    count = min(a.numel(), b.numel())
    return float(torch.corrcoef(torch.stack([a.flatten()[:count], b.flatten()[:count]]))[0, 1].abs())


def test_weights_and_what_is_drawn_with_the_same_seed_are_independent():
    training = make("loop.seed=3")
    drawn: list[Tensor] = []
    training.generator.mapping.register_forward_pre_hook(lambda _, given: drawn.append(given[0]))
    training.generator.sample(32, seed=3)
    z, learned = drawn[0], training.generator.mapping.layers[0].weight.detach()
    trained_on = training.latents(8).z
    assert max(alike(learned, z), alike(learned, trained_on), alike(z, trained_on)) < 0.25  # of 256 numbers: 4 sd
    assert alike(z, 2 * z) == pytest.approx(1)


# ---- what a step does


def test_each_phase_moves_its_own_network_and_all_of_it(photos: Tensor):
    training = make("mixing=1")
    phases = (
        ("generator", lambda: training.train_generator(8)),
        ("discriminator", lambda: training.train_discriminator(photos, training.paint(8))),
    )
    other = {"generator": "discriminator", "discriminator": "generator"}
    for name, phase in phases:
        moving, still = training.modules[name], training.modules[other[name]]
        moved_before, still_before = weights(moving), weights(still)
        phase()
        assert changed(moving, moved_before) == list(moved_before) and not changed(still, still_before)
        assert all(parameter.grad is None for parameter in still.parameters())


def test_regularisation_moves_what_the_penalty_depends_on(photos: Tensor):
    training = make("r1_gamma=10")
    for part, phase in (
        (training.generator, lambda: training.regularise_generator(4)),
        (training.discriminator, lambda: training.regularise_discriminator(photos)),
    ):
        before = weights(part)
        terms = phase()
        moved = set(changed(part, before))
        assert {name for name in before if "weight" in name} - moved <= {"noise_strength"}
        assert all(value > 0 for value in terms.values())
    # The penalty is the squared length of the score's gradient at the photos
    real = photos.clone().requires_grad_(True)
    training.augment.p.fill_(0)
    (slope,) = torch.autograd.grad(training.score(training.discriminator, real).sum(), real)
    told = training.regularise_discriminator(photos)["r1"]
    assert told.item() == pytest.approx(slope.square().sum(dim=(1, 2, 3)).mean().item(), rel=1e-4)


def test_phases_are_due_when_the_recipe_says(photos: Tensor):
    training = make("r1_every=3", "path_every=2")
    found = [set(training.step(Batch(photos, torch.arange(8), step, 8 * step))) for step in range(6)]
    assert ["r1" in terms for terms in found] == [True, False, False, True, False, False]
    assert ["path" in terms for terms in found] == [True, False] * 3
    training = make("r1_gamma=0", "path_weight=0")
    assert not {"r1", "path"} & set(training.step(Batch(photos, torch.arange(8), 0, 0)))


def test_lazy_regularisation_slows_adam():
    plain = lazy_adam(torch.nn.Linear(2, 2), 0.1, None).param_groups[0]
    lazy = lazy_adam(torch.nn.Linear(2, 2), 0.1, 16).param_groups[0]
    assert (plain["lr"], plain["betas"]) == (0.1, (0.0, 0.99))
    assert lazy["lr"] == pytest.approx(0.1 * 16 / 17) and lazy["betas"][1] == pytest.approx(0.99 ** (16 / 17))


def test_the_average_has_the_half_life(photos: Tensor):
    training = make("ema_images=80", "ema_rampup=1e9")
    start = weights(training.average)
    for parameter in training.generator.parameters():
        parameter.data += 1
    for step in range(10):  # 80 pictures
        training.update_average(8 * (step + 1))
    for name, value in training.average.named_parameters():
        assert torch.allclose(value, start[name] + 0.5, atol=1e-5), name
    young = make("ema_images=80", "ema_rampup=0.5")
    first = weights(young.average)["const"]
    young.generator.const.data += 1
    young.update_average(8)  # has seen 8 pictures: a half-life of 4, of which 8 are two
    assert torch.allclose(young.average.const, first + 0.75, atol=1e-5)
    young.warm = True
    young.average.const.data.copy_(first)
    young.update_average(8)
    assert torch.allclose(young.average.const, first + 1 - 0.5**0.1, atol=1e-5)


def test_mixing_takes_the_second_code_from_a_layer_on():
    training = make("mixing=0.75")
    latents = training.latents(4000)
    codes = training.generator.config.codes
    mixed = latents.cut < codes
    assert mixed.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert set(latents.cut[mixed].tolist()) == set(range(1, codes))
    assert (make("mixing=0").latents(100).cut == codes).all()
    few = Latents(latents.z[:2], torch.tensor([codes, 2]), tuple(plane[:2] for plane in latents.noise))
    _, w = training.painter(few)
    first, second = training.generator.map(few.z[1])
    assert torch.allclose(w[1, :2], first.expand(2, -1)) and torch.allclose(w[1, 2:], second.expand(codes - 2, -1))
    assert torch.allclose(w[0], training.generator.map(few.z[0, :1]).expand(codes, -1))


def test_noise_of_a_layer_is_normal_and_of_each_picture():
    noise = make().latents(500).noise
    assert [list(plane.shape[1:]) for plane in noise] == [[1, s, s] for s in (4, 8, 8, 16, 16)]
    assert abs(noise[4].mean().item()) < 0.02 and noise[4].std().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(noise[0][0], noise[0][1])


def test_the_augmentation_is_stronger_when_the_discriminator_is_sure(photos: Tensor):
    for bias, told in ((50.0, 0.82), (-50.0, 0.18)):  # four batches of eight pictures are 0.32 of a hundred
        training = make("augment.p=0.5", "augment.kimg=0.1", "rate=0")
        training.discriminator.score.bias.data.fill_(bias)
        for _ in range(4):
            terms = training.train_discriminator(photos, training.paint(8))
        assert terms["augment_p"].item() == pytest.approx(told)


# ---- one gradient, however the batch is dealt out


def test_groups_are_consecutive_rows():
    training = make()
    image = torch.rand(8, 3, 16, 16)
    each = torch.cat([training.score(training.discriminator, image[i : i + 4]) for i in (0, 4)])
    assert torch.allclose(training.score(training.discriminator, image), each, atol=1e-6)
    other = image.clone()
    other[5] += 1  # seen by its own group alone
    moved = (training.score(training.discriminator, other) - each).abs() > 1e-6
    assert moved.tolist() == [False] * 4 + [True] * 4


def test_a_clamp_lets_gradients_through():
    discriminator = make("networks.activation_clamp=256").discriminator
    discriminator(torch.rand(4, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_the_deviation_of_a_group_is_that_of_its_rows():
    x = torch.randn(8, 5, 4, 4)
    deviation = minibatch_deviation(x, 4)[:, 5]
    for i in range(8):
        rows = x[[j for j in range(8) if j % 2 == i % 2]]
        expected = (rows.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        assert torch.allclose(deviation[i], expected.expand(4, 4), atol=1e-6)


STILL = ("rate=0", "loop.batch=16", "path_every=1", "r1_every=1", "mixing=0.9", "r1_gamma=1")


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys() and len(a) > 100
    return max(((a[key] - b[key]).norm() / a[key].norm().clamp_min(1e-3)).item() for key in a)


PLAIN = ("augment.mode=off", "path_weight=0")  # each part has its own draws, and moves the mean of path lengths


def test_parts_of_a_batch_give_its_gradient(pictures: Path):
    whole = gradients(request(pictures, Path(), *STILL, *PLAIN))
    assert largest_difference(whole, gradients(request(pictures, Path(), *STILL, *PLAIN, "loop.parts=2"))) < 1e-4


def test_two_processes_give_the_gradient_of_one(pictures: Path):
    """Nothing moves, so that the second step compares as the first one does."""
    all_phases = request(pictures, Path(), *STILL, "augment.mode=fixed", "augment.p=0.7")
    in_parts = request(pictures, Path(), *STILL, *PLAIN, "loop.parts=2")
    for alone, joined in zip(map(gradients, (all_phases, in_parts)), of_two_processes([all_phases, in_parts])):
        assert largest_difference(alone, joined) < 1e-4  # halves are summed apart, in float32


def test_accelerate_launches_several_processes(pictures: Path, tmp_path: Path):
    """What two processes log is what one does, over steps that move; and one may go on with the run of two."""
    run, cache = tmp_path / "two", pictures.parent / "cache"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
    launch += ["--mixed_precision=no", "--dynamo_backend=no", "-m", "gradstyle", "train", "generator", str(pictures)]
    launch += ["--recipe=tiny", f"--out={run}", f"--cache={cache}", "--set=loop.images=64", "--images=40"]
    done = subprocess.run(launch, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    start(request(pictures, run, resume=True), Budget(), Silent())
    start(request(pictures, tmp_path / "one", "loop.images=64"), Budget(), Silent())
    two, one = (list(read_log(folder)) for folder in (run, tmp_path / "one"))
    assert len(two) == len(one) == 8
    for mine, other in zip(two, one):
        for name in mine.keys() - {"seconds", "images_per_second"}:
            assert mine[name] == pytest.approx(other[name], rel=2e-3, abs=1e-4), (name, mine["step"])


def test_a_part_holds_whole_groups():
    with pytest.raises(ValueError, match=r"part of a batch is 6 pictures, not a multiple of networks\.group 4"):
        make("loop.batch=12", "loop.parts=2")


# ---- runs


def final(folder: Path) -> dict[str, Tensor]:
    found = snapshot.load_last(folder / "snapshots")
    assert found is not None
    tensors: dict[str, Tensor] = {}
    del found[1]["progress"]["seconds"]
    tensors["tree"] = torch.tensor(list(repr(snapshot.pack(found[1], tensors)).encode()))
    return tensors


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_ends_with_the_same_bits(pictures: Path, tmp_path: Path, precision: str):
    changes = ("loop.images=56", "r1_every=2", "path_every=3", "augment.kimg=0.05", f"loop.precision={precision}")
    start(request(pictures, tmp_path / "whole", *changes), Budget(), Silent())
    for images in (16, 40, 56):
        going_on = () if images > 16 else changes
        start(request(pictures, tmp_path / "parts", *going_on, resume=True), Budget(images=images), Silent())
    assert_same(final(tmp_path / "whole"), final(tmp_path / "parts"))
    whole, parts = (Bundle.load(tmp_path / name / "bundle").generator() for name in ("whole", "parts"))
    codes = whole.sample(2)
    assert torch.equal(whole(codes), parts(codes))


def test_a_critic_looks_through_the_teacher_and_leaves_it_alone(photos: Tensor, tmp_path: Path):
    with pytest.raises(ValueError, match="--teacher"):
        make("critic_weight=1")
    training = make(
        "critic_weight=1", "critic_width=8", inputs={"teacher": str(make_teacher(tmp_path / "teacher.safetensors"))}
    )
    critic = training.critic
    assert critic is not None and not any("teacher" in name for name in training.modules)
    network = critic.eyes[0].network
    heads, teacher = weights(critic.heads), {k: v.clone() for k, v in network.state_dict().items()}
    generator = weights(training.generator)
    training.train_generator(8)
    assert changed(training.generator, generator) == list(generator) and not changed(critic.heads, heads)
    assert training.train_discriminator(photos, training.paint(8))["critic"] > 0
    still = [name for name in heads if not name.endswith("3.bias")]  # whose slopes from real and fake cancel at first
    assert [name for name in changed(critic.heads, heads) if name in still] == still
    assert all(torch.equal(teacher[name], value) for name, value in network.state_dict().items())


def test_the_critic_reaches_the_generator(tmp_path: Path):
    """The weight is all that differs: with it, the gradient is another."""
    teacher = {"teacher": str(make_teacher(tmp_path / "teacher.safetensors"))}
    seen = []
    for weight in (1e-6, 1.0):
        training = make(f"critic_weight={weight}", "critic_width=8", inputs=teacher)
        before = training.generator.state_dict()["mapping.layers.0.weight"].clone()
        training.optimisers["generator"].param_groups[0]["lr"] = 0.0
        caught: list[Tensor] = []
        training.generator.get_parameter("mapping.layers.0.weight").register_hook(
            lambda g, caught=caught: caught.append(g.clone())
        )
        training.train_generator(8)
        assert torch.equal(before, training.generator.state_dict()["mapping.layers.0.weight"])
        seen.append(caught[0])
    assert (seen[0] - seen[1]).norm() > 0.01 * seen[0].norm()


def test_a_run_with_a_critic_resumes_to_the_bit_and_only_with_its_teacher(pictures: Path, tmp_path: Path):
    changes = ("loop.images=40", "critic_weight=1", "critic_width=8", "augment.mode=off")
    given = {"inputs": {"teacher": str(make_teacher(tmp_path / "a.safetensors"))}}
    start(request(pictures, tmp_path / "whole", *changes, **given), Budget(), Silent())
    start(request(pictures, tmp_path / "parts", *changes, **given), Budget(images=16), Silent())
    other = {"inputs": {"teacher": str(make_teacher(tmp_path / "b.safetensors", seed=2))}}
    with pytest.raises(ValueError, match="teacher"):
        start(request(pictures, tmp_path / "parts", resume=True, **other), Budget(), Silent())
    start(request(pictures, tmp_path / "parts", resume=True), Budget(), Silent())
    assert_same(final(tmp_path / "whole"), final(tmp_path / "parts"))


def test_it_learns_what_pictures_look_like(tmp_path: Path):
    """All are orange, some darker: after a while, so is what is generated."""
    folder = tmp_path / "orange"
    folder.mkdir()
    for i in range(8):
        Image.fromarray(np.full((16, 16, 3), (250 - 8 * i, 120 - 8 * i, 20), np.uint8)).save(folder / f"{i}.png")
    changes = ("loop.images=2000", "augment.mode=off", "path_weight=0", "mixing=0", "rate=0.005", "r1_gamma=0.1")
    start(request(folder, tmp_path / "run", *changes, "loop.batch=16"), Budget(), Silent())
    generator = Bundle.load(tmp_path / "run" / "bundle").generator()
    with torch.no_grad():
        images = generator(generator.sample(16))
    colour = images.mean(dim=(0, 2, 3))
    assert torch.allclose(colour, torch.tensor([222.0, 92.0, 20.0]) / 127.5 - 1, atol=0.15)
    assert images.std(dim=(2, 3)).mean() < 0.25  # and even: it starts at 0.9


def test_a_start_is_taken_whole(pictures: Path, tmp_path: Path):
    bundle = make_bundle(tmp_path / "bundle", with_encoder=False)
    generator, discriminator = Bundle.load(bundle).generator(), Bundle.load(bundle).discriminator()
    training = make(inputs={"start": str(bundle)})
    training.begin()
    for module, given in (
        (training.generator, generator),
        (training.average, generator),
        (training.discriminator, discriminator),
    ):
        assert all(torch.equal(value, given.state_dict()[name]) for name, value in module.state_dict().items())
    assert training.warm
    other = make("networks.w_dim=12", inputs={"start": str(bundle)})
    with pytest.raises(ValueError, match=r"the generator of .*bundle is not the recipe's: w_dim 16 \(recipe: 12\)"):
        other.begin()
    lone = Bundle("lone")
    lone.put("generator", generator)
    lone.save(tmp_path / "lone")
    with pytest.raises(ValueError, match="lone holds no discriminator"):
        make(inputs={"start": str(tmp_path / "lone")}).begin()


# ---- a generator that has grown


@pytest.fixture
def grown(tmp_path: Path) -> GeneratorTraining:
    """Of 32 pixels, from a bundle of 16 whose crop is CelebA's, and which has a judge."""
    bundle = Bundle.load(make_bundle(tmp_path / "small", with_encoder=False))
    bundle.domain = dataclasses.replace(bundle.domain, crop="celeba")
    bundle.put("judge", Judge.open(make_teacher(tmp_path / "judge.safetensors")))
    bundle.save(tmp_path / "small", overwrite=True)
    training = make(
        "data.resolution=32", "data.domain.crop=ffhq", "augment.mode=off", "match_weight=1", "match_images=80",
        "critic_weight=0.1", "critic_width=8", "discriminator_weight=0", inputs={"start": str(tmp_path / "small")},
    )  # fmt: skip
    training.begin()
    return training


def test_a_grown_generator_makes_the_smaller_ones_pictures(grown: GeneratorTraining):
    assert grown.smaller is not None
    small, codes = grown.smaller.painter.generator, grown.generator.sample(3, seed=2)
    with torch.no_grad():
        image, before = grown.generator(codes, "none"), small(small.sample(3, seed=2), "none")
    assert torch.allclose(image, upsample(before), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(grown.average.parameters(), grown.generator.parameters()))


def test_a_grown_discriminator_has_the_smaller_ones_blocks_under_new_ones(grown: GeneratorTraining, tmp_path: Path):
    small = Bundle.load(tmp_path / "small").discriminator()
    new = [
        not torch.equal(a, b) for a, b in zip(grown.discriminator.blocks[0].parameters(), small.blocks[0].parameters())
    ]
    assert any(new)
    for block, before in zip(list(grown.discriminator.blocks)[1:], small.blocks, strict=True):
        assert_same(block.state_dict(), before.state_dict())
    assert_same(grown.discriminator.score.state_dict(), small.score.state_dict())


def test_pictures_are_held_to_the_smaller_ones_where_its_crop_lies(grown: GeneratorTraining):
    """A picture that shows there what the smaller generator makes is at no distance, whatever it shows around it."""
    smaller, latents = grown.smaller, grown.latents(2)
    assert smaller is not None
    with torch.no_grad():
        wanted, _ = smaller.painter(latents._replace(noise=latents.noise[:5]))
        left, top, right, bottom = smaller.box
        place = torch.tensor([[1 / (right - left), 0, (1 - left - right) / (right - left)],
                              [0, 1 / (bottom - top), (1 - top - bottom) / (bottom - top)]])  # fmt: skip
        grid = F.affine_grid(place.expand(2, -1, -1), [2, 3, 512, 512], align_corners=False)
        wide = F.grid_sample(wanted, grid, mode="bilinear", padding_mode="border", align_corners=False)
        around = wide.clone()
        around[:, :, :40] = -wide[:, :, :40]  # above the smaller crop, which begins at row 65
        near, same, other = (smaller.distance(image, latents) for image in (wide, around, wide.flip(3)))
    assert near == same and near < 0.25 * other


def test_the_hold_on_the_smaller_generator_falls_to_nothing(photos: Tensor, grown: GeneratorTraining):
    large = F.interpolate(photos, scale_factor=2)
    terms = [grown.step(Batch(large, torch.arange(8), step, step * 40)) for step in range(3)]
    assert ["match" in each for each in terms] == [True, True, False] and grown.match_weight == 0
    assert "discriminator" not in terms[0] and terms[0]["critic"] > 0


def test_what_cannot_grow_says_why(tmp_path: Path):
    bundle = str(make_bundle(tmp_path / "bundle", with_encoder=False))
    with pytest.raises(ValueError, match=r"is \[16, 16\] in the smaller one, here \[16, 12\]"):
        make("data.resolution=32", "networks.w_dim=12", inputs={"start": bundle}).begin()
    large = make("data.resolution=32")
    Bundle.save(large.export("large"), tmp_path / "large")
    with pytest.raises(ValueError, match="makes 32 px, the recipe 16: it cannot shrink"):
        make(inputs={"start": str(tmp_path / "large")}).begin()


def test_discriminators_may_begin_before_the_generator(photos: Tensor):
    training = make("head_start=8", "path_weight=0")
    before = weights(training.generator)
    first, second = (training.step(Batch(photos, torch.arange(8), step, 8 * step)) for step in range(2))
    assert "generator" not in first and "generator" in second and "discriminator" in first
    assert changed(training.generator, before)


def test_discriminators_may_see_what_the_generator_has_just_learned_from(photos: Tensor):
    for fresh, painted in (("true", 2), ("false", 1)):
        training = make(f"fresh_fakes={fresh}", "path_weight=0", "r1_gamma=0")
        calls: list[int] = []
        training.painter.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        training.step(Batch(photos, torch.arange(8), 0, 0))
        assert len(calls) == painted


def test_other_data_cannot_go_on(pictures: Path, tmp_path: Path):
    start(request(pictures, tmp_path / "run", "loop.images=16"), Budget(images=8), Silent())
    other = draw_pictures(tmp_path / "other", 8, seed=5)
    with pytest.raises(ValueError, match=r"other is not the data of .*run, which was .* with 32 pictures, this has 8"):
        start(request(other, tmp_path / "run", resume=True), Budget(), Silent())
    with pytest.raises(ValueError, match=r"has its own recipe, made from tiny: leave --recipe faces-64 out"):
        start(request(pictures, tmp_path / "run", recipe="faces-64", resume=True), Budget(), Silent())
    with pytest.raises(ValueError, match="trains a generator, not a judge"):
        start(request(pictures, tmp_path / "run", kind="judge", resume=True), Budget(), Silent())


def test_the_command_line(pictures: Path, tmp_path: Path):
    run, cache = tmp_path / "run", ["--cache", str(pictures.parent / "cache"), "--device", "cpu"]

    def call(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["train", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    split = ["--split", "labels.csv:part=train"]
    told = call("generator", pictures, "-r", "tiny", "-o", run, "-s", "loop.images=48", "--images", 24, *split, *cache)
    assert "24 images seen; go on with --resume" in told
    assert "exists and is not empty" in call("generator", pictures, "-r", "tiny", "-o", run, *cache, code=1)
    assert "did you mean 'loop.batch'" in call(
        "generator", pictures, "-r", "tiny", "-o", tmp_path / "x", "-s", "bach=1", *cache, code=1
    )
    assert "a new run needs a recipe" in call("generator", pictures, "-o", tmp_path / "x", *cache, code=1)
    told = call("generator", pictures, "-o", run, "--resume", *cache)
    assert "going on from" in told and "the run is done" in told
    assert '"pictures": 24' in (run / "run.json").read_text()  # three quarters of 32

    call("export", run, "-o", tmp_path / "bundle", "--half", "--name", "mine", "--licence", "for tests")
    bundle = Bundle.load(tmp_path / "bundle")
    assert (bundle.name, bundle.licence, set(bundle)) == ("mine", "for tests", {"generator", "discriminator"})
    exact = Bundle.load(run / "bundle").generator()
    codes = exact.sample(2)
    assert torch.allclose(bundle.generator(torch.float32)(codes), exact(codes), atol=0.02)
    sizes = [(folder / "generator.safetensors").stat().st_size for folder in (tmp_path / "bundle", run / "bundle")]
    assert sizes[0] < 0.6 * sizes[1]
    assert "curves in" in call("plot", run) and (run / "curves.png").stat().st_size > 5000


def test_what_is_exported_is_the_average_with_its_mean_code(pictures: Path, tmp_path: Path):
    start(request(pictures, tmp_path / "run", "loop.images=16"), Budget(), Silent())
    bundle = export(tmp_path / "run", tmp_path / "bundle")
    found = snapshot.load_last(tmp_path / "run" / "snapshots")
    assert found is not None
    kept = found[1]["modules"]["average"]
    generator = Bundle.load(tmp_path / "bundle").generator()
    for name, value in generator.named_parameters():
        assert torch.equal(value, kept[name]), name
    z = torch.randn(5000, 16, generator=torch.Generator().manual_seed(9))
    assert torch.allclose(generator.mean_w, generator.map(z).mean(dim=0), atol=0.05)
    assert isinstance(bundle.discriminator(), Discriminator)  # type: ignore[attr-defined]


# ---- killed


def _train_forever(data: Path, out: Path, kill_at: str) -> None:
    """A run with a snapshot at each step; `kill_at` says after which of a snapshot's doings it dies."""
    torch.set_num_threads(1)
    if kill_at:
        place, _, count = kill_at.partition(":")
        module, name = {
            "write": (snapshot, "write_tensors"),
            "sync": (snapshot, "_sync"),
            "rename": (Path, "rename"),
            "drop": (snapshot.shutil, "rmtree"),
        }[place]
        doing, calls = getattr(module, name), []

        def deadly(*args: object, **others: object) -> object:
            result = doing(*args, **others)
            calls.append(None)
            if len(calls) == int(count):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(module, name, deadly)
    changes = ("loop.images=480", "loop.snapshot_minutes=1e-9", "augment.kimg=0.5")
    start(request(data, out, *changes, resume=True), Budget(), Silent())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_twenty_times_a_run_comes_to_the_same_end(pictures: Path, tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["gradstyle.training.generator", "gradstyle.training.launch", "torch.utils.tensorboard"]
    )
    out, chance = tmp_path / "killed", random.Random(4)
    inside = [f"{place}:{count}" for place in ("write", "sync", "rename", "drop") for count in (2, 5)]
    kills = 0
    for kill_at in [*inside, *[""] * 12]:
        before = snapshot.load_last(out / "snapshots")
        process = context.Process(target=_train_forever, args=(pictures, out, kill_at))
        process.start()
        if kill_at:
            process.join(600)
        else:
            deadline = time.monotonic() + 300
            while not snapshot.listed(out / "snapshots") and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.8))
            process.kill()
            process.join()
        kills += process.exitcode == -signal.SIGKILL
        after = snapshot.load_last(out / "snapshots")
        assert after is not None
        if before is not None:  # nothing that was there is lost
            assert after[1]["progress"]["step"] >= before[1]["progress"]["step"]
    assert kills == 20
    process = context.Process(target=_train_forever, args=(pictures, out, ""))
    process.start()
    process.join(600)
    assert process.exitcode == 0
    start(request(pictures, tmp_path / "whole", "loop.images=480", "augment.kimg=0.5"), Budget(), Silent())
    killed, whole = final(tmp_path / "killed"), final(tmp_path / "whole")
    assert_same(killed, whole)
    assert not math.isnan(killed["modules/generator/const"].sum().item())
