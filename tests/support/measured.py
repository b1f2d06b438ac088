"""A generator whose directions are known: what its pictures show is linear in W, more or less."""

from __future__ import annotations

import torch
from torch import Tensor

from gradstyle.bundles import Bundle
from gradstyle.directions import FunctionScorer
from tests.support import tiny


def bundle(name: str = "toy") -> Bundle:
    made = Bundle(name)
    made.put("generator", tiny.generator())
    return made


def shown(images: Tensor) -> Tensor:
    """How bright a picture is, how much brighter its left half, how much redder than blue."""
    left, right = images[..., :16], images[..., 16:]
    return torch.stack(
        [
            images.mean(dim=(1, 2, 3)),
            (left - right).mean(dim=(1, 2, 3)),
            images[:, 0].mean(dim=(1, 2)) - images[:, 2].mean(dim=(1, 2)),
        ],
        dim=1,
    )


NAMES = ("Bright", "Left", "Red")
TEACHER = FunctionScorer(shown, NAMES, "shown 1", "teacher")
JUDGE = FunctionScorer(lambda images: shown(images[..., ::2, ::2].repeat_interleave(2, -1)), NAMES, "shown 2", "judge")
