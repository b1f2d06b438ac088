"""Bundles of tiny networks: with all that a bundle can hold, with little, and one to edit with."""

from __future__ import annotations

import numpy as np
import torch

from gradstyle.bundles import Bundle, Domain
from gradstyle.edits import Edit
from gradstyle.photos import Photo
from tests.support import tiny


def full() -> Bundle:
    """All that a bundle can hold."""
    bundle = Bundle("all", Domain("faces", (4, 3), "ffhq"), origin="a test", licence="MIT")
    bundle.put("generator", tiny.generator())
    bundle.put("encoder", tiny.encoder())
    bundle.put("discriminator", tiny.discriminator())
    for name in ("gradmove", "gradstyle", "styleres", "sdic", "hfgi"):
        bundle.put(name, tiny.method(name))
    channels = sum(tiny.generator().style_widths)
    torch.manual_seed(9)
    w, s = torch.randn(8, 32), torch.randn(channels)
    edits = [Edit("smile", w[:1]), Edit("pose", w), Edit("hat", None, s), Edit("Haar & Bart (2)", w, s)]
    bundle.put_edits({edit.name: edit for edit in edits})
    return bundle


def bare() -> Bundle:
    bundle = Bundle("bare")
    bundle.put("generator", tiny.generator())
    return bundle


def direction(seed: int, s: bool = False) -> Edit:
    numbers = torch.Generator().manual_seed(seed)
    channels = sum(tiny.generator().style_widths)
    return Edit("", torch.randn(8, 32, generator=numbers), torch.randn(channels, generator=numbers) if s else None)


def bundle(domain: Domain | None = None, methods: tuple[str, ...] = ()) -> Bundle:
    made = Bundle("tiny", domain)
    made.put("generator", tiny.generator())
    made.put("encoder", tiny.encoder())
    for name in methods:
        made.put(name, tiny.method(name))
    made.put_edits({"smile": direction(1), "pose": direction(2), "age": direction(3, s=True)})
    return made


def picture(width: int = 80, height: int = 80, seed: int = 0) -> Photo:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Photo(np.kron(coarse, np.ones((height // 8, width // 8, 1), np.uint8)))
