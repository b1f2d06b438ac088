"""Lookahead (Zhang et al. 2019) around any optimiser, and Ranger, the optimiser of e4e, HFGI and SDIC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Lookahead(Optimizer):
    """k steps of the wrapped optimiser, then one of the slow weights: φ ← φ + α(θ − φ), θ ← φ.

    The slow weights start where the weights stand at the first step. Parameter groups and state are the
    wrapped optimiser's own, so that learning-rate schedules reach it.
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        if k < 1:
            raise ValueError(f"k counts the fast steps between two slow ones and is at least 1, got {k!r}")
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha is the slow weights' share of the way, above 0 and up to 1, got {alpha!r}")
        self.optimizer = optimizer
        self.k, self.alpha = k, alpha
        self.steps = 0
        self.slow: dict[Tensor, Tensor] = {}
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self._share()

    def _share(self) -> None:
        self.param_groups = self.optimizer.param_groups
        self.state = self.optimizer.state

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        for fast in self._parameters():
            if fast not in self.slow:
                self.slow[fast] = fast.detach().clone(memory_format=torch.preserve_format)
        loss = self.optimizer.step(closure)
        self.steps += 1
        if self.steps % self.k == 0:
            self._look_ahead()
        return loss

    @torch.no_grad()
    def _look_ahead(self) -> None:
        for fast in self._parameters():
            fast.copy_(self.slow[fast].lerp_(fast, self.alpha))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if all(group is not param_group for group in self.optimizer.param_groups):  # as the constructor's are
            self.optimizer.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimiser's state, the slow weights in the order of its parameters, the steps so far."""
        slow = [self.slow.get(parameter) for parameter in self._parameters()]
        return {"optimizer": self.optimizer.state_dict(), "slow": slow, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        parameters, slow = self._parameters(), state_dict["slow"]
        if len(slow) != len(parameters):
            raise ValueError(f"the saved state has {len(slow)} slow weights, the optimiser {len(parameters)}")
        if any(weight is not None and weight.shape != fast.shape for fast, weight in zip(parameters, slow)):
            raise ValueError("the saved state has slow weights of other shapes than the optimiser's")
        steps = state_dict["steps"]
        if type(steps) is not int or steps < 0:
            raise ValueError(f"the saved state counts its steps, got {steps!r}")
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self._share()
        self.slow = {
            fast: weight.detach().to(fast.device, fast.dtype, copy=True)
            for fast, weight in zip(parameters, slow)
            if weight is not None
        }
        self.steps = steps


def ranger(
    params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.95, 0.999),
    eps: float = 1e-5,
    weight_decay: float = 0.0,
    k: int = 6,
    alpha: float = 0.5,
    centralise: bool = True,
) -> Lookahead:
    """Ranger as this field uses it: RAdam inside Lookahead, k = 6, with these defaults.

    The Ranger that pSp and its descendants publish also subtracts from each gradient of two or more
    dimensions its mean over all but the first (gradient centralisation); `centralise=False` leaves that out.
    """
    optimizer = torch.optim.RAdam(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    if centralise:
        optimizer.register_step_pre_hook(_centralise)
    return Lookahead(optimizer, k=k, alpha=alpha)


@torch.no_grad()
def _centralise(optimizer: Optimizer, args: object, kwargs: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is not None and gradient.ndim > 1:
                gradient.sub_(gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True))
