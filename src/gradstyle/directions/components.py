"""Directions without labels: those along which W varies most (GANSpace) or layers respond most (SeFa).

Each is an edit whose amount 1 is one standard deviation of the codes along it; what it does is for a person to see
on a sheet, and to name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..edits import Edit
from ..stylegan2 import Generator
from ..stylegan2.generator import StyledLayer, ToRGB
from .layers import on_layers
from .samples import SAMPLES

AMOUNTS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of a sheet's pictures
PEOPLE, TRUNCATION = 3, 0.7  # codes that a sheet shows each component on


@torch.no_grad()
def ganspace(
    generator: Generator,
    count: int = 10,
    samples: int = SAMPLES,
    seed: int = 0,
    layers: tuple[int, int] | None = None,
) -> list[Edit]:
    """Principal components of the mapping network's codes (Härkönen et al. 2020), the largest first."""
    codes = generator.sample(samples, 1.0, seed).w[:, 0].cpu().double()
    _check_count(count, codes.shape[1])
    centred = codes - codes.mean(dim=0)
    _, vectors = torch.linalg.eigh(centred.T @ centred / max(len(codes) - 1, 1))  # rising
    return _edits("pca", vectors.flip(1)[:, :count].T, centred, generator, layers)


@torch.no_grad()
def sefa(
    generator: Generator,
    count: int = 10,
    samples: int = SAMPLES,
    seed: int = 0,
    layers: tuple[int, int] | None = None,
) -> list[Edit]:
    """Directions that change the styles of the chosen codes most (Shen and Zhou 2021): eigenvectors of their affine
    weights. Samples give the unit alone."""
    config = generator.config
    _check_count(count, config.w_dim)
    first, last = layers or (0, config.codes - 1)
    on_layers(torch.zeros(config.w_dim), (first, last), config.codes)  # refuses codes that there are not
    affines = [m.affine for k, m in enumerate(generator.layers) if first <= k <= last and isinstance(m, StyledLayer)]
    affines += [m.affine for i, m in enumerate(generator.to_rgb) if first <= 2 * i + 1 <= last and isinstance(m, ToRGB)]
    listening = torch.cat([a.weight.detach().cpu().double() * a.weight_gain for a in affines])  # [styles, w_dim]
    listening = listening / listening.norm(dim=1, keepdim=True).clamp_min(1e-12)  # as its authors do
    _, vectors = torch.linalg.eigh(listening.T @ listening)
    codes = generator.sample(samples, 1.0, seed).w[:, 0].cpu().double()
    return _edits("sefa", vectors.flip(1)[:, :count].T, codes - codes.mean(dim=0), generator, (first, last))


def _edits(
    prefix: str, directions: Tensor, centred: Tensor, generator: Generator, layers: tuple[int, int] | None
) -> list[Edit]:
    """Makes edits of eigenvectors, whose sign is arbitrary: the largest value of each becomes positive."""
    made = []
    for i, direction in enumerate(directions):
        direction = direction * direction[direction.abs().argmax()].sign()
        unit = (direction * (centred @ direction).std()).float()
        w = unit[None] if layers is None else on_layers(unit, layers, generator.config.codes)
        made.append(Edit(f"{prefix}-{i}", w, generator=generator.fingerprint))
    return made


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ValueError(f"there are 1 to {most} components, got {count}")


def within(edit: Edit, layers: tuple[int, int], count: int) -> Edit:
    """Keeps an edit on some of its codes alone."""
    if edit.w is None:
        raise ValueError(f"edit {edit.name!r} moves styles: it has no codes to choose from")
    w = edit.w.expand(count, -1) if len(edit.w) == 1 else edit.w
    first, last = layers
    if not 0 <= first <= last < count:
        raise ValueError(f"codes go from 0 to {count - 1}, got {first}-{last}")
    kept = torch.zeros_like(w)
    kept[first : last + 1] = w[first : last + 1]
    return replace(edit, w=kept)


@torch.inference_mode()
def sheet(
    generator: Generator, edits: Sequence[Edit], amounts: Sequence[float] = AMOUNTS, people: int = PEOPLE, seed: int = 7
) -> tuple[list[list[Tensor]], list[str]]:
    """Draws a row for each edit, several faces from the least amount to the most; and gives the columns' captions."""
    codes = generator.sample(people, TRUNCATION, seed)
    rows = []
    for edit in edits:
        row: list[Tensor] = []
        for person in range(people):
            row += [generator((amount * edit).apply(codes[person]))[0].cpu() for amount in amounts]
        rows.append(row)
    return rows, [f"{amount:+g}" for amount in amounts] * people
