"""Whether what a method aligns lies where it belongs: its error over that of leaving every residual as it lies.

Two tasks have a known answer. Under a *warp*, the paper's: the residuals of an unedited photo are seen through a random
perspective, and those as they were are the truth. Of an *edit* of the generator's own picture: what the residual module
says that the edited feature lacks of the edited picture is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..edits import Edit
from ..methods.gradmove import GradMove, GradMoveInversion
from ..methods.gradstyle import GradStyle, GradStyleInversion
from ..methods.warp import random_perspectives, warp
from ..rng import Draws
from ..stylegan2 import Codes


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
    stream = editing_stream(method, warped, inversion.codes)
    return _errors((aligned, there, truth) for (_, _, there, aligned), truth in zip(stream, inversion.residuals))


@torch.inference_mode()
def of_edits(method: Aligning, codes: Codes, edit: Edit) -> Alignment:
    """Of an edit of the generator's own pictures."""
    before, after = (method.generator(each).clamp(-1, 1) for each in (codes, edit.apply(codes)))
    inversion, taps = method.invert(before), method.encoder.features(after)
    stream = editing_stream(method, inversion, edit.apply(inversion.codes))
    return _errors((aligned, there, stage.lacking(taps, feature)) for stage, feature, there, aligned in stream)


def editing_stream(
    method: Aligning, inversion: GradStyleInversion | GradMoveInversion, codes: Codes
) -> Iterator[tuple[Any, Tensor, Tensor, Tensor]]:
    """Each stage with its edited feature, its residual as it lies, and as it is aligned."""
    canvas, features = method.generator.start(codes), list[Tensor]()
    stages: Iterable[Any] = method.stages  # of the one method or the other
    for number, (stage, residual) in enumerate(zip(stages, inversion.residuals)):
        canvas = method.generator.run(canvas, codes, to=stage.layer)
        features.append(canvas.feature)
        if isinstance(inversion, GradMoveInversion):
            aligned = stage.move(residual, inversion.keys[number], features)[0]
        else:
            aligned = stage.aligned(residual, canvas.feature)
        yield stage, canvas.feature, residual, aligned
        canvas = canvas.replace(stage.fuse(canvas.feature, aligned)[0])


def _errors(stages: Iterator[tuple[Tensor, Tensor, Tensor]]) -> Alignment:
    pairs = [tuple(float((x - truth).abs().mean()) for x in (aligned, there)) for aligned, there, truth in stages]
    aligned, left = zip(*pairs)
    return Alignment(aligned, left)
