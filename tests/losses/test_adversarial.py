from __future__ import annotations

import math

import pytest
import torch

from gradstyle.losses import LazyR1, PathLength, discriminator_loss, generator_loss, r1_penalty


def test_non_saturating_losses():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])

    def log_sigmoid(x: float) -> float:
        return math.log(1 / (1 + math.exp(-x)))

    assert generator_loss(fake).item() == pytest.approx(-(log_sigmoid(0.5) + log_sigmoid(-3)) / 2)
    expected = -(log_sigmoid(2) + log_sigmoid(-1)) / 2 - (log_sigmoid(-0.5) + log_sigmoid(3)) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected)
    assert generator_loss(torch.tensor([-1e4])).isfinite()


def test_r1_of_a_known_function():
    images = torch.randn(3, 3, 4, 4, requires_grad=True)
    weight = torch.randn(3, 4, 4, requires_grad=True)
    scores = (images.square() * weight).sum(dim=(1, 2, 3)) / 2  # ∇ = image · weight
    penalty = r1_penalty(scores, images)
    expected = (images * weight).square().sum() / 3
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * (images.square() * weight).sum(0) / 3)


def test_lazy_r1_is_as_strong_on_average():
    r1 = LazyR1(gamma=10, every=4)
    assert [step for step in range(9) if r1.due(step)] == [0, 4, 8]
    images = torch.ones(1, 1, 1, 2, requires_grad=True)
    assert r1(images.sum(dim=(1, 2, 3)), images).item() == pytest.approx(10 / 2 * 4 * 2)
    assert not LazyR1(gamma=0).due(0)
    with pytest.raises(ValueError, match="got 0"):
        LazyR1(every=0)


def test_path_length_of_a_linear_generator():
    torch.manual_seed(0)
    jacobian = torch.randn(3 * 4 * 4, 2 * 5, requires_grad=True)
    w = torch.randn(6, 2, 5, requires_grad=True)
    images = (w.flatten(1) @ jacobian.T).unflatten(1, (3, 4, 4))
    noise = torch.randn(6, 3, 4, 4)
    regulariser = PathLength(decay=0.25)
    penalty = regulariser(images, w, noise)
    pulled = ((noise / 4).flatten(1) @ jacobian).unflatten(1, (2, 5))
    lengths = pulled.square().sum(2).mean(1).sqrt()
    assert regulariser.mean.item() == pytest.approx(0.25 * lengths.mean().item())
    torch.testing.assert_close(penalty, (lengths - 0.25 * lengths.mean().detach()).square().mean())
    (gradient,) = torch.autograd.grad(penalty, jacobian)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0

    resumed = PathLength(decay=0.25)
    resumed.load_state_dict(regulariser.state_dict())
    assert resumed.mean == regulariser.mean
    assert not resumed.mean.requires_grad
