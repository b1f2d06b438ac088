"""Networks without values, for comparing a file with what it should hold before anything large is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MOST_CALLS = 20_000  # that a constructor may make of torch; all heads of a full e4e take 3,000


class ImpossibleShapes(ValueError):
    """Values from a file that no network can be made of."""


class _Counted(TorchFunctionMode):
    """Ends the construction of a network that is larger than any of ours, before it takes the memory.

    It also draws, fills and scales nothing where there are no values: at the first, torch would import for seconds.
    """

    calls = 0

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise ImpossibleShapes("it would have more layers than any network that is known here")
        kwargs = kwargs or {}
        if "out" in kwargs:
            return kwargs["out"]
        if func is torch.Tensor.div:  # by a number
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


@contextmanager
def blueprint() -> Iterator[None]:
    """What is built inside has names and shapes alone. Its config may come from a hostile file."""
    gradients = torch.is_grad_enabled()
    try:
        with torch.device("meta"), _Counted():
            yield
    except ImpossibleShapes:
        torch.set_grad_enabled(gradients)  # ended inside a no_grad block, whose own end was not counted out
        raise
    except Exception as error:  # a config can be wrong in as many ways as a constructor can compute
        raise ImpossibleShapes(str(error) or type(error).__name__) from error


def differences(needed: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What keeps these weights from being the needed ones, at most ten names of each kind; empty: they fit."""
    missing = [name for name in needed if name not in found]
    unknown = [name for name in found if name not in needed]
    differing = [
        f"{name} is {_shown(found[name])}, needed {_shown(like)}"
        for name, like in needed.items()
        if name in found and _shown(found[name]) != _shown(like)
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": differing}
    return "; ".join(listed(what, names) for what, names in kinds.items() if names)


def listed(what: str, names: Sequence[str]) -> str:
    """How many there are, and the first ten."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{len(names)} {what}: {', '.join(name[:200] for name in names[:10])}{more}"


def _shown(tensor: Tensor) -> str:
    """The shape, and the type where it is no floating-point one: precision is free, whole numbers are not."""
    return f"{list(tensor.shape)}" + ("" if tensor.is_floating_point() else f" of {tensor.dtype}")
