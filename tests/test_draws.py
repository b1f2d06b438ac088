from __future__ import annotations

import torch

from gradstyle.rng import Draws, stream


def test_each_purpose_and_seed_has_a_stream_of_its_own():
    def numbers(purpose: str, seed: int = 0) -> torch.Tensor:
        return torch.randn(1000, generator=stream(purpose, seed))

    assert torch.equal(numbers("samples"), numbers("samples"))
    others = torch.stack([numbers("samples"), numbers("samples", 1), numbers("weights"), numbers("weights", 1)])
    assert (torch.corrcoef(others) - torch.eye(4)).abs().max() < 0.15  # 5 standard deviations


def test_processes_together_draw_what_one_draws():
    one, two = Draws(3), [Draws(3, rank, 2) for rank in range(2)]
    assert torch.equal(one.normal(4, 5), torch.cat([each.normal(2, 5) for each in two]))
    assert one.seeds(2) == [*two[0].seeds(1), *two[1].seeds(1)]
    once = one.uniform_once(3)
    assert all(torch.equal(each.uniform_once(3), once) for each in two)
    assert torch.equal(one.uniform(2), torch.cat([each.uniform(1) for each in two]))  # and go on together
