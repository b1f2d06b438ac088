"""Files of directions: boundaries, principal components, vectors by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..edits import Edit
from .checkpoint import Checkpoint
from .state import as_array

MOST_COMPONENTS = 4096


def directions(tree: Any, stem: str) -> Checkpoint | None:
    array = as_array(tree)
    if array is not None and array.squeeze().ndim == 1 and 32 <= array.numel() <= 1024:
        return Checkpoint("an InterfaceGAN boundary", edits={stem: _edit(stem, array.reshape(1, -1))})
    if isinstance(tree, dict):
        for key in ("lat_comp", "comp"):
            components = as_array(tree.get(key))
            if components is not None:
                if components.ndim < 2 or not 0 < len(components) <= MOST_COMPONENTS:
                    raise ValueError(f"its {key} is {list(components.shape)}, not 1 to {MOST_COMPONENTS} components")
                rows = components.reshape(len(components), -1)
                edits = {f"{stem}-{i}": _edit(f"{stem}-{i}", row.reshape(1, -1)) for i, row in enumerate(rows)}
                return Checkpoint(f"a GANSpace file of {len(rows)} components", edits=edits)
        vectors = {str(key): as_array(value) for key, value in tree.items()}
        if vectors and all(value is not None and value.shape[-1] in (256, 512) for value in vectors.values()):
            edits = {key: _edit(key, v.reshape(-1, v.shape[-1])) for key, v in vectors.items() if v is not None}
            return Checkpoint(f"{len(edits)} directions", edits=edits)
    return None


def _edit(name: str, w: Tensor) -> Edit:
    """One direction of W, [1, w_dim], or of W+; `Edit` on a generator repeats the former for every code."""
    if not bool(torch.isfinite(w).all()):
        raise ValueError(f"direction {name!r} holds values that are not finite")
    return Edit(name, w.float().clone())
