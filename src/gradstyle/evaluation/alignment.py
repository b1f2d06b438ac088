"""Whether what a method aligns lies where it belongs: its error over that of leaving every residual as it lies.

Two tasks have a known answer. Under a *warp*, the paper's: the residuals of an unedited photo are seen through a random
perspective, and those as they were are the truth. Of an *edit* of the generator's own picture: what the residual module
says that the edited feature lacks of the edited picture is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..edits import Edit
from ..methods.gradmove import GradMove, GradMoveInversion
from ..methods.gradstyle import GradStyle, GradStyleInversion
from ..methods.warp import random_perspectives, warp
from ..rng import Draws
from ..stylegan2 import Canvas, Codes


@dataclass(frozen=True)
class Alignment:
    """Mean absolute errors, stage by stage."""

    aligned: tuple[float, ...]
    left: tuple[float, ...]  # of the residual as it lies

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(a / b for a, b in zip(self.aligned, self.left))

    @property
    def together(self) -> float:
        return sum(self.aligned) / sum(self.left)


Aligning = GradStyle | GradMove


@torch.inference_mode()
def under_warps(method: Aligning, photos: Tensor, seed: int = 0) -> Alignment:
    """Of the paper's warps, all photos under one each."""
    inversion = method.invert(photos)
    warps = random_perspectives(len(photos), Draws(seed), method.config.warp_distortion)
    warped: GradStyleInversion | GradMoveInversion
    if isinstance(inversion, GradMoveInversion):
        warped = inversion.under(warps)
    else:
        warped = replace(inversion, residuals=tuple(warp(each, warps) for each in inversion.residuals))
    steps = stages(method, warped, inversion.codes)
    return _errors((step, truth) for step, truth in zip(steps, inversion.residuals))


@torch.inference_mode()
def of_edits(method: Aligning, codes: Codes, edit: Edit) -> Alignment:
    """Of an edit of the generator's own pictures."""
    before, after = (method.generator(each).clamp(-1, 1) for each in (codes, edit.apply(codes)))
    inversion, taps = method.invert(before), method.encoder.features(after)
    steps = stages(method, inversion, edit.apply(inversion.codes))
    return _errors((step, step.stage.lacking(taps, step.canvas.feature)) for step in steps)


class Step(NamedTuple):
    """One stage of a stream."""

    stage: Any
    canvas: Canvas  # up to the stage
    residual: Tensor
    aligned: Tensor
    fused: Tensor
    added: Tensor  # what the stage adds to the feature, after the gate


def stages(
    method: Aligning, inversion: GradStyleInversion | GradMoveInversion, codes: Codes | None = None
) -> Iterator[Step]:
    """The editing stream, stage by stage; without codes the reconstruction stream, which aligns nothing."""
    mine = inversion.codes if codes is None else codes
    canvas, features = method.generator.start(mine), list[Tensor]()
    modules: Iterable[Any] = method.stages  # of the one method or the other
    for number, (stage, residual) in enumerate(zip(modules, inversion.residuals)):
        canvas = method.generator.run(canvas, mine, to=stage.layer)
        features.append(canvas.feature)
        if codes is None:
            aligned = residual
        elif isinstance(inversion, GradMoveInversion):
            aligned = stage.move(residual, inversion.keys[number], features)[0]
        else:
            aligned = stage.aligned(residual, canvas.feature)
        fused, added = stage.fuse(canvas.feature, aligned)
        yield Step(stage, canvas, residual, aligned, fused, added)
        canvas = canvas.replace(fused)


def _errors(steps: Iterable[tuple[Step, Tensor]]) -> Alignment:
    pairs = [
        (float((step.aligned - truth).abs().mean()), float((step.residual - truth).abs().mean()))
        for step, truth in steps
    ]
    aligned, left = zip(*pairs)
    return Alignment(aligned, left)
