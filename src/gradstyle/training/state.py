"""Everything that a training needs to go on to the same bits, as one tree of tensors and plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .batches import Batches
from .run import Run
from .trainable import Progress, Trainable
from .watch import Diverged

ADAM = {"step", "exp_avg", "exp_avg_sq"}  # what each optimiser here keeps of a weight that has learned


def collect(progress: Progress, trainable: Trainable[Any], batches: Batches, run: Run) -> dict[str, Any]:
    """The state for a snapshot, in which every weight is finite."""
    modules = {name: module.state_dict() for name, module in trainable.modules.items()}
    for name, tensors in modules.items():
        for key, value in tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                step, last = progress.step, run.last_good()
                raise Diverged(f"training diverged by step {step}: {key} of {name} is not finite; {last}")
    return {
        "progress": vars(progress),
        "batches": batches.state_dict(),
        "draws": trainable.draws.generator.get_state(),
        "modules": modules,
        "optimisers": {name: optimiser.state_dict() for name, optimiser in trainable.optimisers.items()},
        "trainable": trainable.state(),
    }


def restore(state: Mapping[str, Any], trainable: Trainable[Any], batches: Batches) -> Progress:
    with checked():
        restore_modules(state, trainable)
        for name, optimiser in trainable.optimisers.items():
            restore_optimiser(optimiser, state["optimisers"][name])
        trainable.draws.generator.set_state(state["draws"])
        batches.load_state_dict(state["batches"])
        return Progress(**state["progress"])


@contextmanager
def checked() -> Iterator[None]:
    """Reports a part that is missing from the state, or of another kind, as an error of the snapshot."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        lacks = isinstance(error, KeyError)
        what = f"lacks {error}" if lacks else f"holds something else than this training's: {error}"
        raise ValueError(
            f"the snapshot {what}. Another version wrote it, or it was changed: move it away to go on from the one "
            "before it"
        ) from error


def restore_modules(state: Mapping[str, Any], trainable: Trainable[Any]) -> None:
    """Load all that has learned, and what the trainable keeps beside it."""
    for name, module in trainable.modules.items():
        _restore_module(name, module, state["modules"][name])
    trainable.load_state(state["trainable"])


def _restore_module(name: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    wrong = sorted(
        key for key in {*own, *state} if key not in own or key not in state or own[key].shape != state[key].shape
    )
    if wrong:
        raise ValueError(
            f"the snapshot's {name} has other weights than the recipe's: {', '.join(wrong[:5])}"
            f"{' …' if len(wrong) > 5 else ''}. Shapes cannot change within a run"
        )
    module.load_state_dict(dict(state))


def restore_optimiser(optimiser: Optimizer, state: Mapping[str, Any]) -> None:
    """Load as `load_state_dict` does, but keep the recipe's rates and betas, which may have been changed, and the
    parameters' memory format, so that a resumed run computes the same bits."""
    recipes = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(dict(state))
    for group, recipe in zip(optimiser.param_groups, recipes):
        group.update(recipe)
        for parameter in group["params"]:
            moments = optimiser.state.get(parameter, {})
            if moments and not moments.keys() >= ADAM:
                missing = ", ".join(sorted(ADAM - moments.keys()))
                raise ValueError(f"the snapshot's optimiser lacks {missing} of a weight")
            for key, value in moments.items():
                wanted = () if key == "step" else parameter.shape
                if not isinstance(value, Tensor) or value.shape != wanted:
                    raise ValueError(f"the snapshot's optimiser has no {key} of the shape {list(wanted)}")
                if value.shape == parameter.shape:
                    optimiser.state[parameter][key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
