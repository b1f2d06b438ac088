"""What a checkpoint's tree holds: tensors by section, mean codes, filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..blueprint import blueprint
from . import names

MOST_TENSORS = 10_000  # of one network; SDIC with all it stands on has 1,500
Section = Mapping[str, Tensor]


def empty(kind: Callable[[Any], Any], config: Any) -> Any:
    """A module of names and shapes alone."""
    with blueprint():
        return kind(config)


def weights_in(section: Mapping[Any, Any]) -> dict[str, Tensor]:
    """What a section holds of tensors under names, and nothing else that it may hold."""
    if len(section) > MOST_TENSORS:
        raise names.Mismatch(f"it holds {len(section):,} weights in one place, more than any network known here")
    return {key: value for key, value in section.items() if isinstance(key, str) and isinstance(value, Tensor)}


def sections_of(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    sections: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        section, _, rest = key.partition(".")
        sections.setdefault(section, {})[rest] = value
    return sections


def tensors_in(tree: Any) -> dict[str, Tensor] | None:
    """A state dict, wrapped or bare."""
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    if not isinstance(tree, dict):
        return None
    if any(isinstance(value, dict) for value in tree.values()):
        tree = {f"{s}.{k}": v for s, part in tree.items() if isinstance(part, dict) for k, v in part.items()}
    return {key.removeprefix("module."): value for key, value in weights_in(tree).items()} or None


def as_array(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return torch.from_numpy(value)
    return value if isinstance(value, Tensor) and value.is_floating_point() else None


def mean_codes(latent_avg: Any, codes: int, w_dim: int) -> Tensor | None:
    if latent_avg is None:
        return None
    if (
        not isinstance(latent_avg, Tensor)
        or latent_avg.shape[-1] != w_dim
        or latent_avg.numel()
        not in (
            w_dim,
            codes * w_dim,
        )
    ):
        shape = list(latent_avg.shape) if isinstance(latent_avg, Tensor) else type(latent_avg).__name__
        raise names.Mismatch(f"latent_avg is {shape}, needed [{codes}, {w_dim}] or [{w_dim}]")
    return latent_avg.float().reshape(-1, w_dim).expand(codes, -1)


def check_filters(state: Section, suffix: str) -> None:
    """The one low-pass filter that we have is [1, 3, 3, 1]; another would give other pictures."""
    for key, value in state.items():
        if key.endswith(suffix):
            taps = value.float().reshape(-1, value.shape[-1]).sum(dim=0)
            if taps.numel() != 4 or not torch.allclose(taps / taps.sum() * 8, torch.tensor([1.0, 3.0, 3.0, 1.0])):
                raise names.Mismatch(f"{key} is a filter other than [1, 3, 3, 1]")


def summary(tree: Any) -> str:
    if isinstance(tree, dict):
        shown = ", ".join(repr(key)[:60] for key in list(tree)[:6])
        return f"{len(tree)} entries ({shown}{', …' if len(tree) > 6 else ''})"
    if isinstance(tree, Tensor | np.ndarray):
        return f"an array of shape {list(tree.shape)}"
    return f"a {type(tree).__name__}"
