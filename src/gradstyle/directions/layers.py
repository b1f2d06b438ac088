"""Finds where an edit belongs: the run of codes that moves its attribute and little else."""

from __future__ import annotations

import torch
from torch import Tensor

from ..edits import Edit
from ..stylegan2 import Codes
from .bench import EditBench

KEPT = 0.8  # of the effect of the best run of codes; for the rest of it, less goes along


def layer_effects(bench: EditBench, direction: Tensor, attribute: str, codes: Codes) -> tuple[Tensor, Tensor]:
    """How the attribute [codes] and all others [codes, attributes] move when one code alone is moved by
    `direction`, in standard deviations: half the difference between there and as far back."""
    count = bench.generator.config.codes
    edits = []
    for layer in range(count):
        offset = on_layers(direction, (layer, layer), count)
        edits += [Edit("one", offset), Edit("one", -offset)]
    seen = bench.taught(edits, codes, attribute)  # [2 codes, pictures] each
    moved = {name: (v[0::2] - v[1::2]).nanmean(dim=1) / 2 for name, v in seen.items()}
    others = [column.nan_to_num() for name, column in moved.items() if name != attribute]
    return moved[attribute], torch.stack(others, dim=1) if others else torch.zeros(count, 1)


def choose_layers(own: Tensor, others: Tensor, kept: float = KEPT) -> tuple[int, int]:
    """Chooses the run of codes with the least leakage for its effect, among those with most of the effect.

    `own` [codes] is the attribute's movement, `others` [codes, attributes] that of all others.
    """
    runs = [(first, last) for first in range(len(own)) for last in range(first, len(own))]
    effect = {run: float(own[run[0] : run[1] + 1].sum()) for run in runs}
    needed = kept * max(effect.values())
    if needed <= 0:
        raise ValueError("no code moves the attribute")

    def leak(run: tuple[int, int]) -> float:
        return float(others[run[0] : run[1] + 1].sum(dim=0).norm()) / effect[run]

    return min((run for run in runs if effect[run] >= needed), key=lambda run: (leak(run), run[1] - run[0]))


def on_layers(direction: Tensor, layers: tuple[int, int], count: int) -> Tensor:
    """A direction of W as an offset of W+ that is zero outside the run [codes, w_dim]."""
    first, last = layers
    if not 0 <= first <= last < count:
        raise ValueError(f"codes go from 0 to {count - 1}, got {first}-{last}")
    offset = torch.zeros(count, direction.shape[-1])
    offset[first : last + 1] = direction.cpu()
    return offset


def parse_layers(text: str) -> tuple[int, int]:
    """ "4-7" or "4"."""
    first, _, last = text.partition("-")
    if not first.strip().isdecimal() or (last and not last.strip().isdecimal()):
        raise ValueError(f"codes are given as FIRST-LAST, such as 4-7, got {text!r}")
    return int(first), int(last or first)
