"""The loop that trains everything: processes, gradients and precision are accelerate's, losses the trainable's."""

from __future__ import annotations

import ctypes
import math
import signal
import sys
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from torch import Tensor, nn
from torch.optim import Optimizer

from ..images import to_float
from ..rng import Draws
from . import snapshot
from .data import Batches, Images
from .recipe import LoopRecipe, Recipe
from .run import Run

R = TypeVar("R", bound=Recipe)


class Diverged(ValueError):
    """A loss that is not finite, or far too large."""


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


# ---- the engine


def engine_for(recipe: LoopRecipe, device: str | None = None) -> Accelerator:
    """accelerate, set up for a recipe: `accelerate launch` gives it its processes, the environment its devices.

    Buffers are not broadcast: they are the same everywhere, or synchronised where they are made.
    """
    AcceleratorState._reset_state(reset_partial_state=False)  # of an earlier training in this process
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # older PyTorch has no other
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if on_cpu:
        keep_freed_memory()
    else:
        tune_for_cuda(recipe.precision)
    engine = Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if computes_in_bf16(recipe.precision, on_cpu) else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=recipe.parts, sync_with_dataloader=False, adjust_scheduler=False
        ),
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=False)],
    )
    if recipe.batch % (engine.num_processes * recipe.parts):
        raise ValueError(
            f"a batch of {recipe.batch} cannot be dealt out to {engine.num_processes} processes "
            f"with {recipe.parts} parts each: set loop.batch to a multiple of {engine.num_processes * recipe.parts}"
        )
    return engine


def keep_freed_memory() -> None:
    """Left alone, glibc gives memory back after each layer and gets it page by page again: a tenth of a CPU's step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # glibc's names for them
        mallopt(mmap_threshold, 32 << 20)  # its largest
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 << 20)


def tune_for_cuda(precision: str) -> None:
    """What a recipe does not ask to be float32 may be TensorFloat32; batches of one size find their fastest kernels."""
    allowed = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True


def computes_in_bf16(precision: str, on_cpu: bool) -> bool:
    if precision != "auto":
        return precision == "bf16"
    if not on_cpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


# ---- the loop


def train(
    trainable: Trainable[Any],
    images: Images,
    run: Run | None,
    budget: Budget,
    meter: Meter,
    last: Mapping[str, Any] | None = None,
) -> tuple[Progress, int | None]:
    """Train to the end of the recipe or the budget; `last` is the snapshot to go on from, `run` the one writer's.

    Gives how far it came, and the signal that stopped it, if one did.
    """
    engine, recipe = trainable.engine, trainable.recipe.loop
    batches = Batches(
        images,
        recipe.batch,
        seed=recipe.seed,
        rank=engine.process_index,
        world=engine.num_processes,
        mirror=trainable.recipe.data.mirror,
        device=engine.device,
    )
    rates = {name: [group["lr"] for group in o.param_groups] for name, o in trainable.optimisers.items()}
    progress = Progress()
    if last is None:
        trainable.begin()
    else:
        progress = _restore(last, trainable, batches)
    goal = min(recipe.images, budget.images or recipe.images)
    shown = to_float(images.gather(range(min(8, len(images)))).to(engine.device))

    def keep() -> None:
        """A snapshot, and the pictures that go with it."""
        if run is not None:
            progress.lines = run.lines
            state = _state(progress, trainable, batches)
            _check_finite(state, progress.step, run)
            path = run.save(progress.step, state)
            run.preview(progress.step, *trainable.preview(shown))
            meter.say(f"snapshot {path} after {progress.images} images")
        engine.wait_for_everyone()

    watch = Watch(engine, recipe.largest_loss, run)
    kept_at, kept_step, before = time.monotonic(), progress.step, time.monotonic()
    with (
        closing(batches),
        stop_signals() as caught,
        run.logging(progress.step, progress.lines) if run else nullcontext(),
    ):
        while progress.images < goal:
            photos = next(batches)
            batch = Batch(photos, batches.indices, progress.step, progress.images)
            factor = min(1.0, (batch.images + recipe.batch) / max(recipe.warmup_images, 1))
            factor *= recipe.rate_factor * trainable.rate(batch)
            for name, optimiser in trainable.optimisers.items():
                for group, rate in zip(optimiser.param_groups, rates[name]):
                    group["lr"] = rate * factor

            terms = trainable.step(batch)

            progress.step += 1
            progress.images += recipe.batch
            watch.add(progress.step, terms)
            if progress.step % recipe.look_every and progress.images < goal:
                continue
            means = watch.look()
            now = time.monotonic()
            seconds, before = now - before, now
            progress.seconds += seconds
            means["images_per_second"] = watch.looked * recipe.batch / seconds
            left = budget.left()
            if run is not None:
                run.log({"step": progress.step, "images": progress.images, "seconds": progress.seconds, **means})
                meter.show(progress, goal, means, left)
            if _any(engine, bool(caught) or (left is not None and left <= 0)):
                break
            if _any(engine, now - kept_at >= recipe.snapshot_minutes * 60):
                keep()
                kept_at, kept_step, before = time.monotonic(), progress.step, time.monotonic()
        if kept_step != progress.step:
            keep()
    return progress, caught[0] if caught else None


def _any(engine: Accelerator, mine: bool) -> bool:
    """Whether any process says so; all come to the same answer."""
    if engine.num_processes == 1:
        return mine
    votes = engine.reduce(torch.tensor(float(mine), device=engine.device), "sum")
    return bool(votes > 0)


class Watch:
    """Collects loss terms between looks, so that a GPU is waited for at looks alone; stops a run that diverges."""

    def __init__(self, engine: Accelerator, largest: float, run: Run | None) -> None:
        self.engine, self.largest, self.run = engine, largest, run
        self.waiting: list[tuple[int, str, Tensor]] = []
        self.looked = 0

    def add(self, step: int, terms: Mapping[str, Tensor]) -> None:
        self.waiting += [(step, name, value.detach().float()) for name, value in terms.items()]

    def look(self) -> dict[str, float]:
        """The mean of each term since the last look, over all processes."""
        values = self.engine.reduce(torch.stack([value for *_, value in self.waiting]), "mean").tolist()
        found: dict[str, list[float]] = {}
        for (step, name, _), value in zip(self.waiting, values):
            if not math.isfinite(value) or abs(value) > self.largest:
                where = self.run.last_good() if self.run else "the first process knows the last good snapshot"
                raise Diverged(
                    f"training diverged at step {step}: {name} is {value:.6g}; {where}. "
                    "Resume from it with a lower learning rate, or with loop.precision=fp32"
                )
            found.setdefault(name, []).append(value)
        self.looked = len({step for step, *_ in self.waiting})
        self.waiting = []
        return {name: sum(each) / len(each) for name, each in found.items()}


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Signals to stop are noted, for the loop to end at its next look; the second one ends the process."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # a terminal that closes, a connection that ends
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # as nohup sets it
        before[hangup] = signal.getsignal(hangup)

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- everything that a run is


def _state(progress: Progress, trainable: Trainable[Any], batches: Batches) -> dict[str, Any]:
    return {
        "progress": vars(progress),
        "batches": batches.state_dict(),
        "draws": trainable.draws.generator.get_state(),
        "modules": {name: module.state_dict() for name, module in trainable.modules.items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in trainable.optimisers.items()},
        "trainable": trainable.state(),
    }


def _restore(state: Mapping[str, Any], trainable: Trainable[Any], batches: Batches) -> Progress:
    with snapshot.taking_up():
        for name, module in trainable.modules.items():
            snapshot.restore_module(name, module, state["modules"][name])
        for name, optimiser in trainable.optimisers.items():
            snapshot.restore_optimiser(optimiser, state["optimisers"][name])
        trainable.draws.generator.set_state(state["draws"])
        trainable.load_state(state["trainable"])
        batches.load_state_dict(state["batches"])
        return Progress(**state["progress"])


def _check_finite(state: Mapping[str, Any], step: int, run: Run) -> None:
    for name, tensors in state["modules"].items():
        for key, value in tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise Diverged(f"training diverged by step {step}: {key} of {name} is not finite; {run.last_good()}")
