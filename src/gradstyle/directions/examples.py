"""Makes an edit from two sets of photos, with and without a thing: the step from one mean code to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..edits import Edit
from ..encoder import Encoder
from ..rng import stream

FEWEST = 3  # photos on each side
HALVINGS = 50
RELIABLE = 0.5  # cosine between the directions of two halves of the photos
TOLD_APART = 0.7  # share of photos that fall on their own side when they have not been learned from
RANGE = 2.0  # of the slider, in standard deviations


@dataclass(frozen=True)
class Reliability:
    """Says how much another set of photos would have given the same direction."""

    with_it: int
    without: int
    halves: float  # mean cosine between directions from two halves of the photos
    told_apart: float  # of photos, by the direction of all others
    distance: float  # between the means, in standard deviations of the codes along the direction

    @property
    def reasons(self) -> list[str]:
        found = []
        if self.halves < RELIABLE:
            found.append(
                f"half of the photos give another direction (cosine {self.halves:.2f}, needed {RELIABLE:g}): give more"
            )
        if self.told_apart < TOLD_APART:
            found.append(f"it tells {self.told_apart:.0%} of the photos apart, {TOLD_APART:.0%} is needed")
        return found

    def to_json(self) -> dict[str, Any]:
        return {key: round(value, 4) for key, value in vars(self).items()} | {"reasons": self.reasons}


@torch.inference_mode()
def codes_of(encoder: Encoder, images: Iterable[Tensor], seen: Callable[[int], None] | None = None) -> Tensor:
    """Codes [N, codes, w_dim] of pictures [1, 3, side, side], one after the other."""
    found = []
    for number, image in enumerate(images, 1):
        found.append(encoder(image)[0].w.cpu())
        if seen is not None:
            seen(number)
    return torch.cat(found) if found else torch.empty(0)


def from_examples(name: str, with_it: Tensor, without: Tensor, seed: int = 0) -> tuple[Edit, Reliability]:
    """The edit between two sets of codes [N, codes, w_dim]; amount 1 is one standard deviation along it.

    The deviation is that within the two sets: what a person with the thing differs in from another with it.
    """
    if min(len(with_it), len(without)) < FEWEST:
        raise ValueError(
            f"at least {FEWEST} photos with it and {FEWEST} without are needed, got {len(with_it)} and {len(without)}"
        )
    both = with_it.flatten(1).double(), without.flatten(1).double()
    means = [codes.mean(dim=0) for codes in both]
    way = means[0] - means[1]
    if not way.norm() > 0:
        raise ValueError("the photos with it and without have the same mean code: there is no way between them")
    unit = way / way.norm()
    within = torch.cat([(codes - mean) @ unit for codes, mean in zip(both, means)])
    spread = float(within.square().sum().div(max(len(within) - 2, 1)).sqrt())
    draw = stream("halves", seed)
    report = Reliability(
        len(with_it),
        len(without),
        float(torch.stack([_halves(*both, draw) for _ in range(HALVINGS)]).mean()),
        _told_apart(*both),
        float(way.norm()) / max(spread, 1e-9),
    )
    return Edit(name, (unit * spread).reshape(with_it.shape[1:]).float()), report


def _halves(a: Tensor, b: Tensor, draw: torch.Generator) -> Tensor:
    """Gives the cosine between the directions of two halves of the photos."""
    ways = []
    orders = [torch.randperm(len(codes), generator=draw) for codes in (a, b)]
    for half in (0, 1):
        means = [codes[order[half::2]].mean(dim=0) for codes, order in zip((a, b), orders)]
        ways.append(means[0] - means[1])
    return torch.cosine_similarity(ways[0], ways[1], dim=0)


def _told_apart(a: Tensor, b: Tensor) -> float:
    """Share of photos nearer to their own side's mean than to the other's, along the way that all others give."""
    right = 0
    for mine, theirs in ((a, b), (b, a)):
        other = theirs.mean(dim=0)
        for i in range(len(mine)):
            own = (mine.sum(dim=0) - mine[i]) / (len(mine) - 1)
            right += bool((mine[i] - (own + other) / 2) @ (own - other) > 0)
    return right / (len(a) + len(b))
