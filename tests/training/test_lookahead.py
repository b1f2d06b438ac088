from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import Tensor, nn

from gradstyle.training.lookahead import Lookahead, ranger


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, start: int = 0, schedule=None) -> None:
    for step in range(start, start + steps):
        x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


def weights(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def test_slow_weights_follow_the_paper():
    fast, plain = network(), network()
    lookahead = Lookahead(torch.optim.SGD(fast.parameters(), lr=0.1), k=3, alpha=0.5)
    slow = weights(fast)
    for cycle in range(2):
        with torch.no_grad():  # the same fast steps, taken by the optimiser alone from the slow weights
            for parameter, start in zip(plain.parameters(), slow):
                parameter.copy_(start)
        optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
        train(plain, optimizer, 2, start=3 * cycle)
        train(fast, lookahead, 2, start=3 * cycle)
        assert all(torch.equal(a, b) for a, b in zip(weights(fast), weights(plain)))
        train(plain, optimizer, 1, start=3 * cycle + 2)
        train(fast, lookahead, 1, start=3 * cycle + 2)
        slow = [torch.lerp(s, f, 0.5) for s, f in zip(slow, weights(plain))]
        assert all(torch.equal(a, b) for a, b in zip(weights(fast), slow))


@pytest.mark.parametrize("stop", [4, 6, 7])  # before, on and after a slow step
def test_resumes_to_the_bit(stop: int):
    def make(net: nn.Module):
        groups = [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 1e-2}]
        optimizer = ranger(groups, lr=1e-3)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)

    whole = network()
    optimizer, schedule = make(whole)
    train(whole, optimizer, 20, schedule=schedule)

    first = network()
    optimizer, schedule = make(first)
    train(first, optimizer, stop, schedule=schedule)
    file = io.BytesIO()
    torch.save([first.state_dict(), optimizer.state_dict(), schedule.state_dict()], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    second = network(seed=1)
    optimizer, schedule = make(second)
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    schedule.load_state_dict(saved[2])
    train(second, optimizer, 20 - stop, start=stop, schedule=schedule)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second)))
    assert optimizer.param_groups[0]["lr"] == 1e-3 * 0.5**6
    assert optimizer.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_a_loaded_state_is_a_copy():
    net = network()
    optimizer = ranger(net.parameters(), k=2)
    train(net, optimizer, 2)
    saved = optimizer.state_dict()
    other = ranger(network().parameters(), k=2)
    other.load_state_dict(saved)
    before = copy.deepcopy(saved["slow"])
    other._look_ahead()
    assert all(torch.equal(a, b) for a, b in zip(saved["slow"], before))


def test_a_group_that_joins_later_is_looked_ahead_too():
    net = network()
    optimizer = Lookahead(torch.optim.SGD(net[0].parameters(), lr=0.1), k=4, alpha=0.25)
    train(net, optimizer, 2)
    before = net[2].weight.detach().clone()
    optimizer.add_param_group({"params": net[2].parameters()})
    assert len(optimizer.param_groups) == len(optimizer.optimizer.param_groups) == 2
    train(net, optimizer, 1, start=2)
    stepped = net[2].weight.detach().clone()
    assert not torch.equal(stepped, before)
    train(net, optimizer, 1, start=3)
    assert torch.equal(optimizer.slow[net[2].weight], net[2].weight)


def published_ranger(start: Tensor, gradients: list[Tensor], lr: float) -> Tensor:
    """RAdam, Lookahead and gradient centralisation written out a second time, in plain floats."""
    theta, slow = start.double().clone(), start.double().clone()
    mean, square = torch.zeros_like(theta), torch.zeros_like(theta)
    limit = 2 / (1 - 0.999) - 1
    for t, g in enumerate(gradients, start=1):
        g = g.double()
        g = g - g.flatten(1).mean(1).reshape(-1, *[1] * (g.ndim - 1))
        mean = 0.95 * mean + 0.05 * g
        square = 0.999 * square + 0.001 * g * g
        rho = limit - 2 * t * 0.999**t / (1 - 0.999**t)
        step = mean / (1 - 0.95**t)
        if rho > 5:
            rectified = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho) * (1 - 0.999**t))
            step = step * rectified / (square.sqrt() + 1e-5)
        theta = theta - lr * step
        if t % 6 == 0:
            slow = slow + 0.5 * (theta - slow)
            theta = slow.clone()
    return theta


def test_ranger_is_the_published_one():
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(3, 2, 2, 2))
    start, gradients = parameter.detach().clone(), [torch.randn(3, 2, 2, 2) for _ in range(20)]
    optimizer = ranger([parameter], lr=0.01)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    expected = published_ranger(start, gradients, lr=0.01)
    assert (expected - start).abs().max() > 0.01
    torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_works_inside_accelerate():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    alone, inside = network(), network()
    train(alone, ranger(alone.parameters(), lr=1e-2), 14)

    optimizer = ranger(inside.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    inside, optimizer, schedule = accelerator.prepare(inside, optimizer, schedule)
    for step in range(14):
        x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        accelerator.backward(inside(x).square().mean())
        optimizer.step()
        schedule.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(alone), weights(inside)))
    assert optimizer.state_dict()["steps"] == 14


def test_wrong_values_are_quoted():
    optimizer = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="got 0"):
        Lookahead(optimizer, k=0)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        Lookahead(optimizer, alpha=1.5)
    other = ranger([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="4 slow weights, the optimiser 1"):
        other.load_state_dict(Lookahead(optimizer).state_dict())
