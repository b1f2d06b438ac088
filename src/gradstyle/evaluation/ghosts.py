"""Ghosts: what is left of the photo at its old place after an edit. Two figures, each of which sees a part of it.

A ghost of hair or of an ear is no face's, which a discriminator sees, and is structure that was not there, which the
picture's Laplacian sees; a blur instead of it is what the Laplacian sees too. Neither is a figure of ghosts alone, so
each has the name of what it is.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..bundles import Bundle
from ..metrics.similarity import sharpness
from ..metrics.values import Metric
from ..stylegan2 import Discriminator

SCORE = Metric(
    "discriminator",
    "Discriminator's score less the photo's",
    "higher",
    "of the bundle's discriminator, one picture at a time; the generator has learned from it, and methods may have",
)
SHARPNESS = Metric(
    "sharpness",
    "Sharpness over the reconstruction's",
    "",
    "root of the Laplacian's energy, over that of the same method's reconstruction; 1: as sharp; ghosts raise it, "
    "blur lowers it",
)


class Ghosts:
    """Both figures of pictures at the generator's size; the first where the bundle has a discriminator."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.discriminator: Discriminator | None = None
        if "discriminator" in bundle:
            own = bundle.discriminator(device=device)
            # In groups of one: what it says of a picture must not depend on those beside it.
            self.discriminator = Discriminator(replace(own.config, group=1)).to(device)
            self.discriminator.load_state_dict(own.state_dict())
            self.discriminator.eval().requires_grad_(False)
        self.metrics = (*([SCORE] if self.discriminator else []), SHARPNESS)

    @torch.inference_mode()
    def score(self, images: Tensor) -> Tensor:
        """The discriminator's, [N]; zero without one."""
        return images.new_zeros(len(images)) if self.discriminator is None else self.discriminator(images)

    def look(self, images: Tensor, reconstructions: Tensor, photo_scores: Tensor) -> dict[str, Tensor]:
        """By metric, [N]; the scores of the photos are computed once for all their edits."""
        figures = {SHARPNESS.name: sharpness(images, reconstructions)}
        if self.discriminator is not None:
            figures[SCORE.name] = self.score(images) - photo_scores
        return {name: value.cpu().double() for name, value in figures.items()}
