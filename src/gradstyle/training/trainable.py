"""The contract of what can be trained, and the values that the loop and a training hand to each other."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from ..rng import Draws
from .images import Images
from .recipe import Recipe

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Batch:
    """This process's share of a step's pictures, and how far the run was before it."""

    photos: Tensor  # [N, 3, R, R] in −1 … 1
    indices: Tensor  # [N], which pictures of the data they are
    step: int
    images: int  # pictures seen by all processes


@dataclass
class Setup(Generic[R]):
    """What a trainable is made from."""

    recipe: R
    engine: Accelerator
    draws: Draws  # all randomness of the training; the global generators only initialise weights
    images: Images | None = None  # the data; none where a run is only exported
    inputs: Mapping[str, str] = field(default_factory=dict)  # files beside the data: start, bundle, labels …


class Result(Protocol):
    """What a training gives: a bundle, or a network of its own; going through it names what it holds."""

    def __iter__(self) -> Iterator[str]: ...

    def save(self, path: Path, dtype: torch.dtype | None = None, overwrite: bool = False) -> Path: ...


class Trainable(ABC, Generic[R]):
    """One thing to train, in one file: build modules and optimisers, step, show, export."""

    kind: ClassVar[str]
    result: ClassVar[str] = "bundle"  # what the result is called in a run's folder
    Recipe: ClassVar[type[Recipe]]

    modules: dict[str, nn.Module]  # all that a snapshot keeps; averages too
    optimisers: dict[str, Optimizer]  # as made, with the recipe's learning rates

    def __init__(self, setup: Setup[R]) -> None:
        self.recipe, self.engine, self.draws, self.inputs = setup.recipe, setup.engine, setup.draws, setup.inputs

    def begin(self) -> None:
        """Called when a run starts, not when it resumes: read starting weights here."""

    @abstractmethod
    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Learn from a batch; the terms are scalars of this process, detached."""

    @abstractmethod
    def preview(self, photos: Tensor) -> tuple[Sequence[Sequence[Tensor]], Sequence[str]]:
        """Rows of pictures and captions of the columns, from the first few photos of the data or without them."""

    @abstractmethod
    def export(self, name: str) -> Result:
        """What was learned."""

    def rate(self, batch: Batch) -> float:
        """The learning rates' factor at this step, beside the warm-up and `loop.rate_factor`."""
        return 1.0

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps beside modules and optimisers: numbers, strings, lists, dicts, tensors."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""


class Meter(Protocol):
    """Shows how a run goes."""

    def show(self, progress: Progress, goal: int, terms: Mapping[str, float], left: float | None) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass
class Budget:
    """When to stop before the recipe's own end: minutes of this call, counted from the making of this object."""

    minutes: float | None = None
    images: int | None = None  # of the whole run
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float | None:
        """Seconds."""
        return None if self.minutes is None else self.minutes * 60 - (time.monotonic() - self.started)


@dataclass
class Progress:
    step: int = 0
    images: int = 0
    seconds: float = 0.0  # of training, over all calls
    lines: int = 0  # of the log

    def __post_init__(self) -> None:
        """Values may come from a snapshot that something has changed."""
        for name, kind in (("step", int), ("images", int), ("seconds", float), ("lines", int)):
            value = getattr(self, name)
            if type(value) not in (int, kind) or not 0 <= value < math.inf:
                raise ValueError(f"progress.{name} must be a number of 0 or more, got {value!r}")
