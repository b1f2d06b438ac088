from __future__ import annotations

import pytest
import torch

from gradstyle.losses import FeatureCritic, critic_generator_loss, critic_loss


def test_the_hinge():
    real, fake = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 0.25]])
    weights = torch.tensor([0.25, 0.75])
    assert critic_loss(real, fake, weights).item() == pytest.approx(0.75 * 0.5 + 0.75 * 1.25)
    assert critic_generator_loss(fake, weights).item() == pytest.approx(0.25 * 3 - 0.75 * 0.25)


def test_every_head_counts_alike_however_many_patches_it_scores():
    torch.manual_seed(0)
    critic, maps = FeatureCritic([4, 8], width=8), [torch.randn(3, 4, 16, 16), torch.randn(3, 8, 8, 8)]
    weights, scores = critic.weights(maps), critic(maps)
    assert scores.shape == (3, 8 * 8 + 4 * 4) and weights.shape == (80,)
    assert weights[:64].sum().item() == pytest.approx(0.5) and weights[64:].sum().item() == pytest.approx(0.5)


def test_it_learns_to_tell_apart_and_its_slope_stays_bounded():
    torch.manual_seed(0)
    critic = FeatureCritic([4], width=16)
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.01, betas=(0.0, 0.99))
    real, fake = [torch.rand(32, 4, 8, 8) for _ in range(2)]
    real[:, 0] += real[:, 1]  # one channel knows of another
    losses = []
    for _ in range(60):
        loss = critic_loss(critic([real]), critic([fake]), critic.weights([real]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 1.9 and losses[-1] < 1.2
    x = torch.rand(1, 4, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(critic([x])[0, 5], x)
    assert slope.norm().item() < 20  # of three layers of spectral norm 1, each kernel seen by several patches
