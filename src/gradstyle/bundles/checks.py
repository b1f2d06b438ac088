"""Checks that sizes fit and that edits are a generator's own, by the fingerprint of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..blueprint import blueprint
from ..edits import Edit
from ..encoder import EncoderConfig
from ..files import check_name
from ..stylegan2 import Generator, GeneratorConfig
from .manifest import BundleError

FOOTPRINT = 32  # places along the side of an edit's footprint


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """A name for a generator's weights, the same at every precision down to float16 and in every naming.

    Noise and the mean code do not count: they do not change what an edit does.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith(".noise") and name != "mean_w":
            digest.update(name.encode())
            digest.update(state[name].detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_edits(config: GeneratorConfig, where: str, shapes: Mapping[str, Tensor]) -> None:
    """Refuses edits whose names or shapes are not those of a generator's edits."""
    with blueprint():
        channels = sum(Generator(config).style_widths)
    fitting = {
        "w": ([1, config.w_dim], [config.codes, config.w_dim]),
        "s": ([channels],),
        "footprint": ([FOOTPRINT, FOOTPRINT],),
    }
    for key, like in shapes.items():
        name, _, axis = key.rpartition("/")
        try:
            check_name(name.replace("*", "x"), "an edit's name")  # files are named after it; sums are `2 * a - b`
        except ValueError as error:
            raise BundleError(f"{where}: {error}") from None
        if len(name) > 80 or set(name) & set(",="):
            raise BundleError(f"{where}: an edit's name is a word or a few without , and =, got {name[:80]!r}")
        if list(like.shape) not in fitting.get(axis, ()) or not like.is_floating_point():
            needed = " or ".join(map(str, fitting.get(axis, ()))) or "no such thing"
            raise BundleError(f"{where}: edit {name!r} holds {axis[:80]!r} of {list(like.shape)}, needed {needed}")


def check_sizes(generator: GeneratorConfig, encoder: EncoderConfig | None, resolution: int) -> None:
    """Refuses a generator of another resolution than the bundle's, and an encoder that does not fit it."""
    if generator.resolution != resolution:
        raise BundleError(f"a bundle of {resolution} px whose generator has {generator.resolution} px")
    if encoder is not None and (encoder.codes, encoder.w_dim) != (generator.codes, generator.w_dim):
        has, needed = [encoder.codes, encoder.w_dim], [generator.codes, generator.w_dim]
        raise BundleError(f"its encoder gives codes {has}, its generator takes {needed}")


def edits_state(edits: Mapping[str, Edit], generator: str) -> dict[str, Tensor]:
    """Gives the tensors of edits by name and axis; an edit of another generator is refused."""
    state: dict[str, Tensor] = {}
    for name, edit in edits.items():
        if edit.generator and edit.generator != generator:
            raise BundleError(f"edit {name!r} is for generator {edit.generator}, this one is {generator}")
        parts = ("w", edit.w), ("s", edit.s), ("footprint", edit.footprint)
        state |= {f"{name}/{axis}": value for axis, value in parts if value is not None}
    return state
