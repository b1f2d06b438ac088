"""The contract of a method: invert once, render many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..edits import Edit, Edits, combine
from ..encoder import Encoder
from ..encoder.e4e import Taps, fit
from ..rng import Draws
from ..stylegan2 import Codes, Generator
from .inversion import Inversion, map_tensors

Compare = Callable[[Tensor, Tensor], Tensor]  # two batches of images in [−1, 1] to a mean


@dataclass(frozen=True)
class Losses:
    """Named terms and their weights; `fakes` are what the discriminator learns from, if it learns."""

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]
    fakes: Tensor | None = None

    @property
    def total(self) -> Tensor:
        missing = set(self.terms) - set(self.weights)
        if missing:
            raise ValueError(f"loss terms without a weight: {', '.join(sorted(missing))}")
        parts = [self.weights[name] * term for name, term in self.terms.items() if self.weights[name]]
        total: Tensor = sum(parts[1:], parts[0])
        return total


@dataclass
class TrainingContext:
    """Holds what a loss needs and a method must not own."""

    perceptual: Compare  # LPIPS, or a home-trained network's feature distance
    identity: Compare  # 1 − cosine of face (or other) embeddings
    discriminator: nn.Module | None = None
    step: int = 0
    draws: Draws = field(default_factory=Draws)


@dataclass(frozen=True)
class Learning:
    """Says how a method is trained; its verb, recipe and stage of `gradstyle train` follow from it."""

    recipe: Mapping[str, Any] = field(default_factory=dict)  # values that replace the common recipe's
    adversarial: str | None = None  # the config's weight of the adversarial term, where there is one
    random_edits: bool = False  # whether it learns from random edits, which need the generator's mapping network
    begins_from: str | None = None  # a method whose weights `load_shared` can begin with
    shared_config: tuple[str, ...] = ()  # the values of both configs that must be equal for that


Kept = TypeVar("Kept", bound=Inversion)


class Method(nn.Module, ABC, Generic[Kept]):
    """A way to carry a photo's details through an edit, on a frozen generator and encoder.

    A new method is one new file: a frozen dataclass of its shapes, an Inversion of its own, and four functions.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    Keeps: ClassVar[type[Inversion]]
    learning: ClassVar[Learning | None] = Learning()  # None: it has no weights of its own

    generator: Generator
    encoder: Encoder
    config: Any

    def __init__(self, generator: Generator, encoder: Encoder, config: Any = None) -> None:
        super().__init__()
        self.config = self.Config() if config is None else config
        if type(self.config) is not self.Config:
            raise ValueError(f"{self.name} takes a {self.Config.__name__}, got a {type(config).__name__}")
        if encoder.config.codes != generator.config.codes or encoder.config.w_dim != generator.config.w_dim:
            raise ValueError(
                f"the encoder gives codes [{encoder.config.codes}, {encoder.config.w_dim}], "
                f"the generator takes [{generator.config.codes}, {generator.config.w_dim}]"
            )
        self.generator = generator.requires_grad_(False).eval()
        self.encoder = encoder.requires_grad_(False).eval()

    # ---- what a method defines

    @abstractmethod
    def invert(self, photo: Tensor, codes: Codes | None = None) -> Kept:
        """Computes everything that depends on the photo alone; `codes` take the place of the encoder's."""

    @abstractmethod
    def reconstruct(self, inversion: Kept) -> Tensor:
        """Renders the photo without an edit."""

    @abstractmethod
    def render_codes(self, inversion: Kept, codes: Codes) -> Tensor:
        """Renders the photo with its codes moved to `codes`."""

    @abstractmethod
    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        """Computes the method's own losses on a batch of photos."""

    # ---- what all methods share

    def render(self, inversion: Kept, edits: Edits = ()) -> Tensor:
        """An edited picture; no edit, or only zero ones, gives the reconstruction."""
        return self.render_each(inversion, [edits])

    def render_each(self, inversion: Kept, edits: Sequence[Edits]) -> Tensor:
        """One picture for every entry of `edits` and photo of the inversion, entry by entry, in one pass."""
        self._check_inversion(inversion)
        for entry in edits:
            self._check_edits(entry)
        totals = [combine(entry) for entry in edits]
        moved = [total.apply(inversion.codes) for total in totals if total is not None]
        drawn: list[Tensor] = []
        if moved:
            many = inversion if len(moved) == 1 else inversion.repeat(len(moved))
            drawn = list(torch.split(self.render_codes(many, Codes.cat(moved)), len(inversion)))
        if len(moved) == len(totals) > 0:
            return torch.cat(drawn)
        plain = self.reconstruct(inversion)
        return torch.cat([plain[:0], *(plain if total is None else drawn.pop(0) for total in totals)])

    def encode(self, photo: Tensor, codes: Codes | None) -> tuple[Codes, Taps]:
        """Codes and features of a photo from one pass of the encoder."""
        self._check_photo(photo, codes)
        taps = self.encoder.features(photo)
        return (self.encoder.codes(taps) if codes is None else codes), taps

    def codes_of(self, photo: Tensor, codes: Codes | None) -> Codes:
        """Codes alone, for a method that reads no feature: where they are given, the encoder does not run."""
        self._check_photo(photo, codes)
        return self.encoder(photo)[0] if codes is None else codes

    def check_layer(self, layer: int) -> None:
        """Refuses layers finer than half the image's side: methods that write finer maps could not be compared."""
        shapes = self.generator.config
        if not 0 <= layer <= shapes.layers - 3:
            raise ValueError(
                f"layer {layer}: a method works on maps of at most half the image's side, "
                f"those are layers 0 … {shapes.layers - 3} of a {shapes.resolution} px generator"
            )

    def own_state(self) -> dict[str, Tensor]:
        """Gives the method's own weights, without the generator and the encoder."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith(("generator.", "encoder."))}

    def load_own(self, state: Mapping[str, Tensor], assign: bool = False) -> None:
        """Loads what `own_state` gave, all of it and nothing else."""
        own = self.own_state()
        problems = {
            "missing": [key for key in own if key not in state],
            "unknown": [key for key in state if key not in own],
            "of another shape": [
                f"{key} is {list(state[key].shape)}, needed {list(own[key].shape)}"
                for key in own
                if key in state and state[key].shape != own[key].shape
            ],
        }
        if found := [f"{len(keys)} {what}: {', '.join(keys[:10])}" for what, keys in problems.items() if keys]:
            raise ValueError(f"these weights are not {self.name}'s; {'; '.join(found)}")
        self.load_state_dict(state, strict=False, assign=assign)

    def load_shared(self, state: Mapping[str, Tensor]) -> None:
        """Take over the weights that it has in common with the method that it begins from."""
        raise NotImplementedError(f"{self.name} begins from no other method")

    def train(self, mode: bool = True) -> Self:
        """The generator and the encoder never train: parameters, statistics and mode stay."""
        super().train(mode)
        self.generator.eval()
        self.encoder.eval()
        return self

    # ---- what all methods refuse, before any work is done

    def _check_photo(self, photo: Tensor, codes: Codes | None) -> None:
        if not photo.is_floating_point():
            raise ValueError(f"photos are floats in [-1, 1], got {photo.dtype}")
        if photo.ndim != 4 or photo.shape[1] != 3 or photo.shape[2] != photo.shape[3] or not photo.numel():
            raise ValueError(f"photos are square RGB, [N, 3, side, side] in [-1, 1], got {list(photo.shape)}")
        if codes is not None:
            self._check_codes(codes, "the given")
            if len(codes) != len(photo):
                raise ValueError(f"{len(photo)} photos need as many codes, got {len(codes)}")

    def _check_codes(self, codes: Codes, whose: str) -> None:
        shapes, found = self.generator.config, list(codes.w.shape[1:])
        if found != [shapes.codes, shapes.w_dim]:
            raise ValueError(
                f"{whose} codes are {found} for each photo, "
                f"this {shapes.resolution} px generator takes [{shapes.codes}, {shapes.w_dim}]"
            )

    def _check_inversion(self, inversion: Inversion) -> None:
        if type(inversion) is not self.Keeps:
            raise ValueError(
                f"{self.name} renders a {self.Keeps.__name__}, got a {type(inversion).__name__}: "
                f"invert the photo with {self.name} first"
            )
        self._check_codes(inversion.codes, "the inversion's")
        here = self.generator.fingerprint
        if here and inversion.generator and inversion.generator != here:
            raise ValueError(
                f"the inversion is of generator {inversion.generator}, this one is {here}: invert the photo again here"
            )

    def _check_edits(self, edits: Edits) -> None:
        here, shapes = self.generator.fingerprint, self.generator.config
        every = [edits] if isinstance(edits, Edit) else list(edits)
        if not all(isinstance(edit, Edit) for edit in every):
            raise ValueError(f"{self.name} renders Edit values, got {edits!r}: an Editor finds edits by their names")
        for edit in every:
            if here and edit.generator and edit.generator != here:
                raise ValueError(f"edit {edit.name!r} is for generator {edit.generator}, this one is {here}")
            if edit.w is not None and (edit.w.shape[0] not in (1, shapes.codes) or edit.w.shape[1] != shapes.w_dim):
                raise ValueError(
                    f"edit {edit.name!r} moves codes {list(edit.w.shape)}, "
                    f"this {shapes.resolution} px generator takes [{shapes.codes}, {shapes.w_dim}]"
                )
            if edit.s is not None and len(edit.s) != sum(self.generator.style_widths):
                raise ValueError(
                    f"edit {edit.name!r} moves {len(edit.s)} style channels, "
                    f"this {shapes.resolution} px generator has {sum(self.generator.style_widths)}"
                )


def at_encoder_size(image: Tensor, side: int) -> Tensor:
    """Resizes a generated image as the methods compare it with a photo: clamped, then plain bilinear."""
    image = image.clamp(-1, 1)
    if image.shape[-1] == side:
        return image
    return nn.functional.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)


__all__ = [
    "Compare",
    "Inversion",
    "Learning",
    "Losses",
    "Method",
    "TrainingContext",
    "at_encoder_size",
    "fit",
    "map_tensors",
]
