"""Measures where an edit acts: what it changes in pictures beside what it moves, over random faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..bundles import Bundle, Slider
from ..bundles.bundle import POSES
from ..bundles.checks import FOOTPRINT
from ..edits import Edit
from ..motion import blurred, motion_along
from ..stylegan2 import Generator

FACES = 16
TRUNCATION = 0.7  # of random faces: usual ones
STEPS = 2
SIDE = 64  # pixels at which renderings are compared
FURTHEST = 1.5  # the amounts at which it is measured, or a slider's ends where those are nearer
MIDDLE = slice(FOOTPRINT // 4, FOOTPRINT - FOOTPRINT // 6)  # of the crop, where the face is


@torch.inference_mode()
def footprint_of(generator: Generator, edit: Edit, slider: Slider | None = None, seed: int = 5) -> Tensor:
    """Where an edit acts in the crop, [FOOTPRINT, FOOTPRINT]: 1 where it acts most in the middle, and no more."""
    low, high = (-FURTHEST, FURTHEST) if slider is None else (slider.low, slider.high)
    amounts = [each for each in (max(low, -FURTHEST), min(high, FURTHEST)) if each]
    codes = generator.sample(FACES, TRUNCATION, seed)
    total = torch.zeros(1, 1, SIDE, SIDE)
    for amount in amounts:
        steps = [codes, *((amount * step / STEPS * edit).apply(codes) for step in range(1, STEPS + 1))]
        drawn = torch.stack([generator(step).float().cpu() for step in steps])  # [STEPS + 1, FACES, 3, S, S]
        same_size = F.interpolate(drawn.flatten(0, 1).clamp(-1, 1), (SIDE, SIDE), mode="bicubic")
        path = same_size.reshape(*drawn.shape[:3], SIDE, SIDE)
        total += (path[-1] - motion_along(path).carry(path[0])).abs().mean(dim=(0, 1))
    small = F.interpolate(blurred(total, 0.02 * SIDE), (FOOTPRINT, FOOTPRINT), mode="area")[0, 0]
    return (small / small[MIDDLE, MIDDLE].max()).clamp(0, 1)


def put_footprints(bundle: Bundle, tell: Callable[[str], None] = lambda name: None) -> None:
    """Measure the footprints of a bundle's edits, and keep them with the edits; poses have none, they move all."""
    generator, sliders, edits = bundle.generator(), bundle.sliders, dict(bundle.edits)
    for name, edit in edits.items():
        tell(name)
        turns = name in sliders and sliders[name].group == POSES
        edits[name] = replace(edit, footprint=None if turns else footprint_of(generator, edit, sliders.get(name)))
    bundle.put_edits(edits, sliders, bundle.failed_edits)
