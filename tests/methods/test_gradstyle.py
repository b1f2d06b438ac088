"""GradStyle, equation by equation. Each test fails when its equation is broken."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.edits import Edit
from gradstyle.methods.gradstyle import (
    Aligner,
    GateFusion,
    GradStyle,
    GradStyleConfig,
    Stage,
    StageModules,
    stages_kept,
)
from gradstyle.methods.method import Losses, fit
from gradstyle.methods.warp import random_perspectives, warp
from tests.support import tiny

STAGES = (Stage(1, "c3"), Stage(3, "p2"), Stage(4, "p1"))  # 8, 16 and 16 px
CONFIG = GradStyleConfig(STAGES, residual_width=16, residual_units=2, blocks=2, head_width=16, keep=30)


def method(config: GradStyleConfig = CONFIG, shaken: bool = True) -> GradStyle:
    torch.manual_seed(0)
    made = GradStyle(tiny.generator(), tiny.encoder(), config)
    if shaken:
        tiny.shake(made)
    return made.eval()


def stages(made: GradStyle) -> list[StageModules]:
    return [stage for stage in made.stages if isinstance(stage, StageModules)]


# ---- eq. 1-2: the residual of photo and feature


@torch.inference_mode()
def test_a_residual_has_the_features_shape_and_depends_on_both() -> None:
    made = method()
    codes, taps = made.encoder(tiny.photos())
    canvas = made.generator.run(made.generator.start(codes), codes, to=3)
    stage = stages(made)[1]
    residual = stage.lacking(taps, canvas.feature)
    assert residual.shape == canvas.feature.shape
    other = made.encoder(tiny.photos(seed=9))[1]
    assert not torch.allclose(stage.lacking(other, canvas.feature), residual, atol=1e-4)
    assert not torch.allclose(stage.lacking(taps, canvas.feature + 1), residual, atol=1e-4)


@torch.inference_mode()
def test_streams_meet_the_generator_after_each_stages_layer() -> None:
    """f̃_m is what the next stage starts from (eq. 1): an independent walk with the same modules agrees."""
    made, photo = method(), tiny.photos()
    codes, taps = made.encoder(photo)
    canvas = made.generator.start(codes)
    for stage in stages(made):
        canvas = made.generator.run(canvas, codes, to=stage.layer)
        f = canvas.feature
        residual = stage.lacking(taps, f)
        gate = torch.sigmoid(stage.fuse.gate(torch.cat([f, residual], dim=1)))
        canvas = canvas.replace(f + gate * residual)
    wanted = made.generator.run(canvas, codes).image
    torch.testing.assert_close(made.render(made.invert(photo)), wanted, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_training_starts_from_the_generators_own_picture() -> None:
    made, photo = method(shaken=False), tiny.photos()
    codes = made.encoder(photo)[0]
    torch.testing.assert_close(made.render(made.invert(photo)), made.generator(codes), rtol=0, atol=1e-5)


# ---- eq. 3-5: gate and fusion


@torch.inference_mode()
def test_gate_and_fusion() -> None:
    torch.manual_seed(0)
    fuse = GateFusion(6)
    feature, residual = torch.randn(2, 6, 8, 8), torch.randn(2, 6, 8, 8)
    fused, added = fuse(feature, residual)
    gate = added / residual
    assert gate.shape == residual.shape  # one value for each element of F
    assert float(gate.min()) > 0 and float(gate.max()) < 1
    torch.testing.assert_close(fused, feature + added)
    assert torch.equal(fuse(feature, torch.zeros_like(residual))[0], feature)
    gate_of_other = fuse(feature + 1, residual)[1] / residual
    assert not torch.allclose(gate, gate_of_other, atol=1e-3)  # the gate reads the feature too


def test_l1_counts_what_was_added() -> None:
    made = method()
    captured: list[Tensor] = []
    for stage in stages(made):
        stage.fuse.register_forward_hook(lambda _m, _i, out: captured.append(out[1].detach()))
    losses = made.training_loss(tiny.photos(), tiny.context())
    assert [len(added) for added in captured] == [2 * len(tiny.photos())] * 3  # both streams are one batch
    reconstruction = [added.chunk(2)[0] for added in captured]  # the editing stream's do not count
    torch.testing.assert_close(losses.terms["gate"].detach(), sum(added.abs().mean() for added in reconstruction))


def test_the_gate_is_one_object_in_both_streams_and_learns_from_both() -> None:
    made, photo = method(), tiny.photos()
    gate = stages(made)[1].fuse.gate.weight
    uses: Counter[int] = Counter()
    for i, stage in enumerate(stages(made)):
        stage.fuse.register_forward_hook(lambda _m, _i, _o, i=i: uses.update([i]))
    inversion = made.invert(photo)
    made.render(inversion, tiny.an_edit())
    assert uses == {0: 2, 1: 2, 2: 2}

    def gradient(stream: str) -> Tensor:
        captured: list[Tensor] = []
        handle = made.stages[1].fuse.register_forward_hook(lambda _m, _i, out: captured.append(out[0]))
        made.training_loss(photo, tiny.context())
        handle.remove()
        (found,) = torch.autograd.grad(captured[0].chunk(2)[stream == "editing"].sum(), gate)
        return found

    assert float(gradient("reconstruction").abs().sum()) > 0
    assert float(gradient("editing").abs().sum()) > 0


@pytest.mark.parametrize("fewer", [0.0, 0.5])
def test_side_by_side_the_streams_learn_what_each_would_learn_alone(fewer: float) -> None:
    """Eq. 10-15 written out, one stream after the other; photos have all stages, or the first few of them."""
    made, photo = method(replace(CONFIG, fewer_stages=fewer)), tiny.photos(4)
    learning = [weight for weight in made.parameters() if weight.requires_grad]
    together = made.training_loss(photo, tiny.context())
    gradients = torch.autograd.grad(together.total, learning)

    context, config, generator = tiny.context(), made.config, made.generator
    kept = stages_kept(len(photo), 3, fewer, context.draws)
    assert (kept < 3).any() == bool(fewer) and (kept == 3).any()
    warps = random_perspectives(len(photo), context.draws, config.warp_distortion, config.warp_probability)
    with torch.no_grad():
        codes, _ = made.encoder(photo)
    whole = made.invert(photo, codes).residuals
    there = [(kept > number).float()[:, None, None, None] for number in range(3)]
    residuals = [residual * some for residual, some in zip(whole, there)]
    canvas, shift, added = generator.start(codes), torch.zeros(()), torch.zeros(())
    for stage, residual in zip(stages(made), residuals):
        canvas = generator.run(canvas, codes, to=stage.layer)
        aligned = stage.aligned(warp(residual.detach(), warps), canvas.feature)
        shift = shift + (aligned - residual.detach()).abs().mean() / residual.detach().abs().mean()
        canvas = canvas.replace(stage.fuse(canvas.feature, aligned)[0])
    edited = generator.run(canvas, codes).image
    canvas = generator.start(codes)
    for stage, residual in zip(stages(made), residuals):
        canvas = generator.run(canvas, codes, to=stage.layer)
        fused, more = stage.fuse(canvas.feature, residual)
        canvas, added = canvas.replace(fused), added + more.abs().mean()
    images = generator.run(canvas, codes).image, edited
    target = fit(photo, generator.config.resolution)
    alone = {
        "gate": added,
        "aligner": shift,
        "l2": sum((image - target).square().mean() for image in images),
        "perceptual": sum(context.perceptual(image, target) for image in images),
        "identity": sum(context.identity(image, target) for image in images),
    }
    assert set(alone) == set(together.terms) - {"adversarial"}
    for name, term in alone.items():
        torch.testing.assert_close(together.terms[name], term, msg=name)
    if "adversarial" in together.terms:
        alone["adversarial"] = sum(F.softplus(-context.discriminator(image)).mean() for image in images)
    wanted = torch.autograd.grad(Losses(alone, together.weights).total, learning)
    for gradient, single in zip(gradients, wanted):
        torch.testing.assert_close(gradient, single, rtol=1e-3, atol=1e-6)


# ---- eq. 6-9: the aligner


@torch.inference_mode()
def test_the_aligner_is_made_of_the_residual_alone() -> None:
    """The edited feature steers; with no residual there is nothing for it to place but biases and positions."""
    torch.manual_seed(0)
    aligner = Aligner(16, CONFIG)
    feature, other, residual = torch.randn(3, 1, 16, 8, 8)
    assert aligner(residual, feature).shape == residual.shape
    assert not torch.allclose(aligner(residual, feature), aligner(residual, other), atol=1e-4)
    zero = torch.zeros_like(residual)
    amplified = aligner(residual * 100, feature) - aligner(zero, feature)
    assert float(amplified.abs().mean()) > 10 * float((aligner(zero, feature) - aligner(zero, other)).abs().mean())


@torch.inference_mode()
def test_order_does_not_matter_without_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradstyle.methods import gradstyle

    torch.manual_seed(0)
    aligner = Aligner(16, CONFIG)
    feature, residual = torch.randn(2, 16, 8, 8), torch.randn(2, 16, 8, 8)
    shuffled = residual.flatten(2)[:, :, torch.randperm(64)].reshape(residual.shape)
    assert not torch.allclose(aligner(shuffled, feature), aligner(residual, feature), atol=1e-3)
    monkeypatch.setattr(gradstyle, "sinusoidal_positions", lambda h, w, c, device: torch.zeros(h * w, c))
    torch.testing.assert_close(aligner(shuffled, feature), aligner(residual, feature), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_only_the_best_keys_are_heard() -> None:
    """μ: at 1 key of 64 a block's answer is one value of the residual, at 100 % a mean of all."""
    torch.manual_seed(0)
    one, all_ = Aligner(16, replace(CONFIG, keep=1.0, blocks=1)), Aligner(16, replace(CONFIG, keep=100.0, blocks=1))
    all_.load_state_dict(one.state_dict())
    feature, residual = torch.randn(1, 16, 8, 8), torch.randn(1, 16, 8, 8)
    attention = one.blocks[0].attention
    tokens = residual.flatten(2).transpose(1, 2)
    found = attention(feature.flatten(2).transpose(1, 2), tokens, tokens)
    assert not torch.allclose(one(residual, feature), all_(residual, feature), atol=1e-3)
    assert len(torch.unique((found[0] * 1e4).round(), dim=0)) <= 64


# ---- eq. 10-15: training


def test_the_editing_stream_sees_warped_residuals_and_is_asked_for_the_unwarped() -> None:
    made, photo = method(), tiny.photos(4)
    seen: list[tuple[Tensor, Tensor]] = []
    for stage in stages(made):
        assert stage.align is not None
        stage.align.register_forward_hook(lambda _m, i, out: seen.append((i[0].detach(), out.detach())))
    context = tiny.context(seed=7)
    losses = made.training_loss(photo, context)
    truths, draws = made.invert(photo).residuals, tiny.context(seed=7).draws
    assert bool((stages_kept(4, 3, CONFIG.fewer_stages, draws) == 3).all())
    warps = random_perspectives(4, draws, CONFIG.warp_distortion, CONFIG.warp_probability)
    assert not torch.allclose(warps[0], torch.eye(3))
    for (warped, _), truth in zip(seen, truths):
        torch.testing.assert_close(warped, warp(truth.detach(), warps), rtol=0, atol=1e-5)
    wanted = sum((out - truth).abs().mean() / truth.abs().mean() for (_, out), truth in zip(seen, truths))
    torch.testing.assert_close(losses.terms["aligner"].detach(), wanted.detach(), rtol=1e-4, atol=1e-6)


def test_no_gradient_of_the_editing_stream_reaches_the_residual_networks() -> None:
    made, photo = method(), tiny.photos()
    images: list[Tensor] = []
    run = made.generator.run

    def watched(canvas, codes, to=None):  # type: ignore[no-untyped-def]
        out = run(canvas, codes, to)
        if to is None:
            images.append(out.image)
        return out

    made.generator.run = watched  # type: ignore[method-assign]
    losses = made.training_loss(photo, tiny.context())
    (both,) = images
    reconstruction, edited = both.chunk(2)
    residual_networks = [p for stage in stages(made) for p in stage.residual.parameters()]
    aligners = [p for stage in stages(made) for p in stage.align.parameters()]  # type: ignore[union-attr]

    def reaches(value: Tensor, parameters: list[torch.nn.Parameter]) -> bool:
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        return any(g is not None and bool(g.abs().sum() > 0) for g in found)

    assert reaches(reconstruction.sum(), residual_networks) and not reaches(reconstruction.sum(), aligners)
    assert reaches(edited.sum(), aligners) and not reaches(edited.sum(), residual_networks)
    assert reaches(losses.terms["aligner"], aligners) and not reaches(losses.terms["aligner"], residual_networks)


def test_each_loss_term_is_what_its_equation_says() -> None:
    judge = tiny.discriminator()
    made, photo = method(), tiny.photos(2)
    losses = made.training_loss(photo, tiny.context(judge=judge))
    assert losses.fakes is not None and not losses.fakes.requires_grad
    reconstruction, edited = losses.fakes.split(2)
    target = torch.nn.functional.interpolate(photo, size=(32, 32), mode="area")
    torch.testing.assert_close(reconstruction, made.render(made.invert(photo)).detach(), rtol=0, atol=1e-5)
    both = [(image, target) for image in (reconstruction, edited)]
    wanted = {
        "l2": sum((a - b).square().mean() for a, b in both),  # eq. 11
        "perceptual": sum(tiny.coarse(a, b) for a, b in both),  # eq. 12
        "identity": sum(tiny.who(a, b) for a, b in both),  # eq. 13
        "adversarial": sum(-torch.sigmoid(judge(a)).log().mean() for a, _ in both),  # eq. 14
    }
    for name, value in wanted.items():
        torch.testing.assert_close(losses.terms[name].detach(), value.detach(), rtol=1e-4, atol=1e-6)
    weights = {"l2": 1, "perceptual": 0.8, "identity": 0.1, "adversarial": 0.01, "gate": 0.1, "aligner": 0.1}
    total = sum(weights[name] * term for name, term in losses.terms.items())  # eq. 15
    torch.testing.assert_close(losses.total, total)


@pytest.mark.slow
def test_the_losses_fall() -> None:
    made = method(shaken=False).train()
    optimiser = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], lr=3e-3)
    history = []
    for _ in range(25):
        optimiser.zero_grad()
        losses = made.training_loss(tiny.photos(), tiny.context(0))
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.terms["l2"].detach()))
    assert history[-1] < 0.7 * history[0]


# ---- work is counted


def test_the_shared_part_of_both_streams_runs_once_in_training() -> None:
    made, photo = method(), tiny.photos()
    ran: dict[int, list[int]] = {}
    for k, layer in enumerate(made.generator.layers):
        layer.register_forward_hook(lambda _m, _i, out, k=k: ran.setdefault(k, []).append(len(out)))
    made.training_loss(photo, tiny.context())
    one, both = [len(photo)], [2 * len(photo)]
    assert ran == {0: one, 1: one, 2: both, 3: both, 4: both, 5: both, 6: both}


# ---- choices and ablations


@pytest.mark.parametrize(
    "change",
    [
        {"with_grm": False},
        {"with_gam": False},
        {"stages": STAGES[:1]},
        {"stages": STAGES[2:]},
        {"keep": 100.0},
        {"stages": (Stage(0, "c3"), Stage(1, "c2"), Stage(3, "p2"), Stage(4, "c1"))},
    ],
)
def test_ablations_run_and_learn(change: dict[str, object]) -> None:
    made = method(replace(CONFIG, **change)).train()  # type: ignore[arg-type]
    losses = made.training_loss(tiny.photos(), tiny.context(0, tiny.discriminator()))
    losses.total.backward()
    unused = [name for name, p in made.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []
    with torch.no_grad():
        assert made.render(made.invert(tiny.photos()), tiny.an_edit()).shape == (2, 3, 32, 32)


@torch.inference_mode()
def test_without_the_aligner_residuals_are_added_as_they_lie() -> None:
    made = method(replace(CONFIG, with_gam=False))
    inversion = made.invert(tiny.photos())
    nowhere = Edit("nowhere", torch.full((8, 32), 1e-9))
    torch.testing.assert_close(made.render(inversion, nowhere), made.render(inversion), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_without_the_grm_the_encoders_feature_takes_the_residuals_place() -> None:
    made = method(replace(CONFIG, with_grm=False))
    codes, taps = made.encoder(tiny.photos())
    canvas = made.generator.run(made.generator.start(codes), codes, to=1)
    stage = stages(made)[0]
    wanted = stage.residual.from_tap(torch.nn.functional.interpolate(taps.c3, size=(8, 8), mode="bilinear"))
    torch.testing.assert_close(stage.lacking(taps, canvas.feature), wanted)
    torch.testing.assert_close(stage.lacking(taps, canvas.feature + 1), wanted)


def test_wrong_stages_are_refused() -> None:
    for stages_ in ((), (Stage(3, "p2"), Stage(1, "c3")), (Stage(1, "c3"), Stage(1, "p2"))):
        with pytest.raises(ValueError, match="rising layers"):
            GradStyleConfig(stages_)
    with pytest.raises(ValueError, match=r"layer 5: a method works on maps of at most half the image's side"):
        method(replace(CONFIG, stages=(Stage(5, "p1"),)))


@pytest.mark.slow
def test_the_aligner_learns_to_undo_warps_that_it_has_not_seen() -> None:
    """Maps of a tiny generator; `benchmarks/aligner.py` measures it on a trained one."""
    made = tiny.generator()

    def maps(seed: int) -> tuple[Tensor, Tensor]:
        codes = made.sample(16, seed=seed)
        feature = made.run(made.start(codes, noise="none"), codes, to=3).feature
        residual = torch.nn.functional.avg_pool2d(feature, 3, stride=1, padding=1)
        return feature, residual

    def loss(aligner: Aligner, seed: int, warps: Tensor) -> Tensor:
        with torch.no_grad():
            feature, truth = maps(seed)
        return (aligner(warp(truth, warps), feature) - truth).abs().mean()

    torch.manual_seed(0)
    aligner = Aligner(32, replace(CONFIG, blocks=2, head_width=32))
    optimiser = torch.optim.Adam(aligner.parameters(), 3e-3)
    draws = tiny.context().draws
    for seed in range(60):
        optimiser.zero_grad()
        loss(aligner, seed, random_perspectives(16, draws)).backward()
        optimiser.step()
    warps = random_perspectives(16, tiny.context(seed=99).draws)
    with torch.no_grad():
        _, truth = maps(1000)
        left_as_it_lies = (warp(truth, warps) - truth).abs().mean()
        assert loss(aligner, 1000, warps) < 0.6 * left_as_it_lies
