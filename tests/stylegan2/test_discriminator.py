from __future__ import annotations

import pytest
import torch

from gradstyle.stylegan2 import Discriminator, DiscriminatorConfig
from gradstyle.stylegan2.discriminator import minibatch_deviation


def test_minibatch_deviation() -> None:
    x = torch.randn(6, 5, 4, 4)
    out = minibatch_deviation(x, group=3)  # two groups: samples 0, 2, 4 and 1, 3, 5
    assert torch.equal(out[:, :5], x)
    for first in (0, 1):
        wanted = (x[first::2].var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(out[first::2, 5], wanted.expand(3, 4, 4))


def test_a_batch_that_no_group_divides_still_works() -> None:
    assert list(minibatch_deviation(torch.randn(7, 2, 4, 4), group=4).shape) == [7, 3, 4, 4]


def test_scores_and_gradients() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig(32, 512, 32))
    images = torch.randn(4, 3, 32, 32, requires_grad=True)
    scores = discriminator(images)
    assert list(scores.shape) == [4]
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    gradient.square().sum().backward()  # R1 needs second derivatives
    assert all(bool(p.grad.abs().sum() > 0) for n, p in discriminator.named_parameters() if "bias" not in n)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"takes images \[N, 3, 32, 32\], got \[4, 3, 16, 16\]"):
        discriminator(torch.randn(4, 3, 16, 16))
