"""e4e as a method, and how its encoder learns."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import torch
from torch import Tensor, nn

from gradstyle.encoder import Encoder
from gradstyle.methods.e4e import (
    E4E,
    CodePool,
    EncoderLoss,
    EncoderLossConfig,
    LatentDiscriminator,
    LatentDiscriminatorLoss,
    delta_norm,
    deltas_at,
)
from gradstyle.methods.method import TrainingContext
from gradstyle.rng import Draws
from gradstyle.stylegan2 import Codes, Generator
from tests.support import tiny

TERMS = ("pixel", "perceptual", "identity", "delta", "adversarial")


def parts() -> tuple[Generator, Encoder]:
    return tiny.generator().eval(), tiny.encoder().eval()


def context(**changes: object) -> TrainingContext:
    torch.manual_seed(7)
    return dataclasses.replace(tiny.context(judge=LatentDiscriminator(32)), **changes)


# ---- the method


@torch.inference_mode()
def test_the_picture_is_that_of_the_codes() -> None:
    generator, encoder = parts()
    method, photo, edit = E4E(generator, encoder), tiny.photos(), tiny.an_edit()
    inversion = method.invert(photo)
    codes, _ = encoder(photo)
    assert torch.equal(method.render(inversion), generator(codes))
    assert torch.equal(method.render(inversion, edit), generator(Codes(codes.w + edit.w)))
    assert method.own_state() == {}


@torch.inference_mode()
def test_given_codes_spare_the_encoder() -> None:
    method, photo = E4E(*parts()), tiny.photos()
    ran: list[str] = []
    method.encoder.backbone.register_forward_hook(lambda *_: ran.append("encoder"))
    codes = method.invert(photo).codes
    assert ran == ["encoder"]
    method.invert(photo, codes)
    assert ran == ["encoder"]


def test_the_method_itself_has_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match="gradstyle train encoder"):
        E4E(*parts()).training_loss(tiny.photos(), context())


# ---- deltas


def test_deltas_come_one_at_a_time() -> None:
    steps = {0: 0, 19_999: 0, 20_000: 1, 21_999: 1, 22_000: 2, 52_000: 17, 54_000: 17, 10**6: 17}
    assert {step: deltas_at(step, 17) for step in steps} == steps
    assert deltas_at(0, 9, first=0, every=1) == 1
    assert deltas_at(5, 9, first=4, every=1) == 2


def test_delta_norm_of_known_codes() -> None:
    deltas = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[0.0, 0.0], [1.0, 0.0]]])  # lengths 5, 2 and 0, 1
    assert delta_norm(deltas) == 4
    assert delta_norm(deltas[:, :0]) == 0


# ---- the encoder's loss


def encoder_loss(step: int, **changes: object) -> tuple[EncoderLoss, TrainingContext]:
    generator, encoder = parts()
    config = dataclasses.replace(EncoderLossConfig(first_delta=10, delta_every=2), **changes)
    return EncoderLoss(generator, encoder.train(), config), context(step=step)


@pytest.mark.parametrize(("step", "on"), [(0, 0), (10, 1), (13, 2), (1000, 7)])
def test_heads_learn_when_their_delta_is_on(step: int, on: int) -> None:
    loss, surroundings = encoder_loss(step)
    frozen = {name: tensor.clone() for name, tensor in loss.generator.state_dict().items()}
    losses = loss(tiny.photos(), surroundings)
    assert losses.terms.keys() == losses.weights.keys() == set(TERMS)
    assert losses.weights == {"pixel": 1, "perceptual": 0.8, "identity": 0.1, "delta": 2e-4, "adversarial": 0.1}
    assert (losses.terms["delta"] > 0) == (on > 0)
    losses.total.backward()
    learning = [all(p.grad is not None and p.grad.any() for p in head.parameters()) for head in loss.encoder.heads]
    assert learning == [i <= on for i in range(8)]
    assert all(p.grad is not None and p.grad.any() for p in loss.encoder.backbone.parameters())
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in loss.generator.state_dict().items())
    assert all(parameter.grad is None for parameter in loss.generator.parameters())


def test_the_delta_term_is_what_the_heads_add() -> None:
    loss, surroundings = encoder_loss(12)
    encoder = loss.encoder.eval()
    encoder.mean_codes.normal_()  # differs from code to code, and is no delta
    term = loss(tiny.photos(), surroundings).terms["delta"]
    taps = encoder.features(tiny.photos())
    by_hand = sum(encoder.heads[i](taps["c3"]).norm(dim=1) for i in (1, 2)).mean()
    torch.testing.assert_close(term, by_hand)


def test_every_different_code_must_pass_the_discriminator() -> None:
    loss, surroundings = encoder_loss(12)
    loss.encoder.eval()
    losses = loss(tiny.photos(), surroundings)
    with torch.no_grad():
        w = loss.encoder.codes(loss.encoder.features(tiny.photos()), deltas=2).w
        scores = torch.stack([surroundings.discriminator(w[:, i]) for i in range(3)])
    torch.testing.assert_close(losses.terms["adversarial"], torch.log1p(torch.exp(-scores)).mean())
    without_mean = w - loss.encoder.mean_codes
    torch.testing.assert_close(without_mean[:, 3], without_mean[:, 0])
    with pytest.raises(ValueError, match="LatentDiscriminator"):
        loss(tiny.photos(), context(discriminator=None))


def test_fakes_are_one_of_the_different_codes_of_each_photo() -> None:
    loss, surroundings = encoder_loss(12)
    loss.encoder.eval()
    with torch.no_grad():
        w = loss.encoder.codes(loss.encoder.features(tiny.photos()), deltas=2).w
        chosen: set[tuple[int, ...]] = set()
        for _ in range(40):
            fakes = loss(tiny.photos(), surroundings).fakes
            assert fakes is not None
            same = (fakes[:, None] == w[:, :3]).all(dim=2)  # [N, 3]
            assert same.sum(dim=1).tolist() == [1, 1]
            chosen.add(tuple(same.int().argmax(dim=1).tolist()))
    assert len(chosen) == 9


@pytest.mark.parametrize("term", TERMS)
def test_each_term_falls_when_it_alone_is_trained(term: str) -> None:
    loss, surroundings = encoder_loss(1000, **{name: float(name == term) for name in TERMS})
    values = tiny.training(loss.encoder, lambda: loss(tiny.photos(), surroundings), term, 1e-3)
    assert values[-1] < 0.9 * values[0], values


# ---- the latent discriminator


def test_a_pool_fills_and_then_swaps_half() -> None:
    pool = CodePool(3)
    codes = torch.arange(8.0)[:, None]
    never, always = torch.tensor([[0.9, 0.0]]), torch.tensor([[0.1, 0.5]])
    assert torch.equal(pool.exchange(codes[:3], always.expand(3, 2)), codes[:3]), "kept and given back while it fills"
    assert torch.equal(pool.exchange(codes[3:4], never), codes[3:4])
    assert pool.codes.flatten().tolist() == [0, 1, 2]
    # place 0.5 of three is the middle: each of the two takes what lies there and leaves its own
    assert pool.exchange(codes[4:6], always.expand(2, 2)).flatten().tolist() == [1, 4]
    assert pool.codes.flatten().tolist() == [0, 5, 2]

    pool, seen = CodePool(50), []
    draws = Draws(0)
    for step in range(500):
        given = pool.exchange(torch.full((8, 1), float(step)), draws.uniform(8, 2))
        seen.append((given != step).float().mean())
        assert len(pool.codes) == min(8 * (step + 1), 50)
    assert torch.stack(seen[:6]).sum() == 0
    assert 0.42 < torch.stack(seen[20:]).mean() < 0.5, "a half is swapped, a few of them for codes of the same step"


def test_no_pool() -> None:
    codes = torch.randn(4, 8)
    assert torch.equal(CodePool(0).exchange(codes, torch.zeros(4, 2)), codes)


def test_the_discriminator_learns_to_tell_codes_apart() -> None:
    generator, _ = parts()
    surroundings = context()
    discriminator = surroundings.discriminator
    assert discriminator is not None
    loss = LatentDiscriminatorLoss(generator)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-3)
    random = torch.Generator().manual_seed(3)
    fakes = torch.randn(100, 8, 32, generator=random) * 0.3 + 0.5
    for surroundings.step in range(100):
        losses = loss(fakes[surroundings.step], surroundings)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    with torch.no_grad():
        real = discriminator(generator.map(torch.randn(200, 32, generator=random)))
        fake = discriminator(torch.randn(200, 32, generator=random) * 0.3 + 0.5)
    assert (real > 0).float().mean() > 0.9
    assert (fake < 0).float().mean() > 0.9


def test_r1_of_a_known_slope() -> None:
    class Plane(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.full((32,), 0.5))

        def forward(self, codes: Tensor) -> Tensor:
            return codes @ self.slope

    generator, _ = parts()
    loss, plane, fakes = LatentDiscriminatorLoss(generator), Plane(), torch.randn(4, 32)
    losses = loss(fakes, context(discriminator=plane, step=32))
    assert losses.terms["r1"].item() == pytest.approx(32 * 0.25)
    assert losses.weights["r1"] == 10 / 2 * 16
    (gradient,) = torch.autograd.grad(losses.terms["r1"], plane.slope)
    torch.testing.assert_close(gradient, 2 * plane.slope)
    assert loss(fakes, context(discriminator=plane, step=33)).terms.keys() == {"real", "fake"}


def test_scores_are_pushed_apart_and_the_encoder_is_left_alone() -> None:
    generator, _ = parts()
    surroundings = context(step=1)
    fakes = torch.randn(4, 32, requires_grad=True)
    losses = LatentDiscriminatorLoss(generator)(fakes, surroundings)
    losses.total.backward()
    assert fakes.grad is None
    with torch.no_grad():
        scores = surroundings.discriminator(fakes)
        reals = surroundings.discriminator(generator.map(Draws(0).normal(4, 32)))
    torch.testing.assert_close(losses.terms["fake"], torch.log1p(scores.exp()).mean())
    torch.testing.assert_close(losses.terms["real"], torch.log1p((-reals).exp()).mean())


def run(loss: LatentDiscriminatorLoss, fakes: Tensor, surroundings: TrainingContext) -> list[dict[str, float]]:
    """Terms of the steps 1, 2, … on fakes [steps, N, 32]."""
    values = []
    for surroundings.step, batch in enumerate(fakes, start=1):
        values.append({name: term.item() for name, term in loss(batch, surroundings).terms.items()})
    return values


def test_pools_are_part_of_the_state() -> None:
    generator, _ = parts()
    config, fakes, surroundings = EncoderLossConfig(pool=10), torch.randn(12, 4, 32), context()
    loss = LatentDiscriminatorLoss(generator, config)
    run(loss, fakes[:6], surroundings)
    resumed = LatentDiscriminatorLoss(generator, config)
    resumed.load_state_dict(loss.state_dict())
    draws = Draws()
    draws.generator.set_state(surroundings.draws.generator.get_state())
    assert run(resumed, fakes[6:], context(draws=draws)) == run(loss, fakes[6:], surroundings)
    assert len(loss.state_dict()["fakes"]) == 10


def test_two_processes_keep_the_pools_of_one() -> None:
    generator, _ = parts()
    config, fakes = EncoderLossConfig(pool=10), torch.randn(8, 6, 32)
    joined = LatentDiscriminatorLoss(generator, config)
    alone = run(joined, fakes, context())

    barrier, shared = threading.Barrier(2), [torch.empty(0)] * 2
    values: list[list[dict[str, float]]] = [[], []]
    losses: list[LatentDiscriminatorLoss] = []
    surroundings = [context(draws=Draws(0, rank, 2)) for rank in range(2)]

    def process(rank: int) -> None:
        def gather(rows: Tensor) -> Tensor:
            shared[rank] = rows
            barrier.wait(20)
            every = torch.cat(shared)
            barrier.wait(20)
            return every

        loss = LatentDiscriminatorLoss(generator, config, gather)
        losses.append(loss)
        values[rank] = run(loss, fakes[:, 3 * rank : 3 * rank + 3], surroundings[rank])

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, parts_of_it in zip(alone, zip(*values, strict=True), strict=True):
        mean = {name: sum(part[name] for part in parts_of_it) / 2 for name in one}
        assert mean == pytest.approx(one, rel=1e-4)
    for loss in losses:
        torch.testing.assert_close(loss.state_dict(), joined.state_dict())
