from __future__ import annotations

import pytest
import torch

from gradstyle.losses import FeatureCritic, FeatureMixing, critic_generator_loss, critic_loss
from gradstyle.losses.critic import GroupedBatchNorm


def test_the_hinge_counts_every_head_by_its_share():
    shares = torch.tensor([0.75, 0.25])
    real = [torch.tensor([[2.0, 0.5]]), torch.tensor([[1.5]])]
    fake = [torch.tensor([[-3.0, 0.25]]), torch.tensor([[0.0]])]
    assert critic_loss(real, fake, shares).item() == pytest.approx(0.75 * (0.25 + 0.625) + 0.25 * (0 + 1))
    assert critic_generator_loss(fake, shares).item() == pytest.approx(0.75 * 1.375)


def test_mixing_is_always_the_same_and_tells_the_finest_map_of_the_coarsest():
    maps = [torch.randn(2, 4, 16, 16), torch.randn(2, 6, 8, 8), torch.randn(2, 8, 4, 4)]
    mixed, again = FeatureMixing([4, 6, 8], 8)(maps), FeatureMixing([4, 6, 8], 8)(maps)
    assert [list(x.shape) for x in mixed] == [[2, 8, 16, 16], [2, 16, 8, 8], [2, 32, 4, 4]]
    assert all(torch.equal(a, b) for a, b in zip(mixed, again))
    assert all(0.5 < x.std() < 2 for x in mixed)
    maps[2] = maps[2] + 1
    changed = FeatureMixing([4, 6, 8], 8)(maps)
    assert (changed[0] - mixed[0]).abs().mean() > 0.1
    assert not any(p.requires_grad for p in FeatureMixing([4], 8).parameters())


def test_groups_of_rows_are_normalised_each_by_itself():
    norm, x = GroupedBatchNorm(3, group=2), torch.randn(4, 3, 5, 5) * 7 + 2
    assert torch.allclose(norm(x)[2:], norm(x[2:]), atol=1e-6)
    reference = torch.nn.functional.batch_norm(x[:2], None, None, training=True)
    assert torch.allclose(norm(x)[:2], reference, atol=1e-5)


def test_a_head_halves_large_maps_and_scores_patches_of_small_ones():
    critic = FeatureCritic([4, 6], [32, 4], width=8, group=2)
    scores = critic([torch.randn(2, 4, 32, 32), torch.randn(2, 6, 4, 4)])
    assert [list(each.shape) for each in scores] == [[2, 64], [2, 16]]


def test_it_learns_to_tell_apart():
    torch.manual_seed(0)
    critic = FeatureCritic([4], [8], width=16, group=4)
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.01, betas=(0.0, 0.99))
    real, fake = [torch.rand(32, 4, 8, 8) for _ in range(2)]
    real[:, 0] += real[:, 1]  # one channel knows of another
    losses = []
    for _ in range(60):
        loss = critic_loss(critic([real]), critic([fake]), torch.ones(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 1.7 and losses[-1] < 1.2
