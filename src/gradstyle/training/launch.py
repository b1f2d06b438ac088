"""From a command to a run and back: what every `gradstyle train` verb does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..bundles import Bundle
from ..rng import Draws
from . import recipe as recipes
from . import snapshot
from .data import Images, Split
from .loop import Budget, Meter, Progress, Result, Setup, Trainable, engine_for, train
from .recipe import DataRecipe, Recipe
from .run import RECIPE, Run, RunInfo, held

TRAINABLES = {  # what can be trained, and the class that does it
    "generator": "generator.GeneratorTraining",
    "teacher": "judge.TeacherTraining",
    "judge": "judge.JudgeTraining",
    "encoder": "encoder.EncoderTraining",
    "gradmove": "method.GradMoveTraining",
    "gradstyle": "method.GradStyleTraining",
    "styleres": "method.StyleResTraining",
    "sdic": "method.SDICTraining",
    "hfgi": "method.HFGITraining",
}


def trainable(kind: str) -> type[Trainable[Any]]:
    module, _, name = TRAINABLES[kind].rpartition(".")
    found: type[Trainable[Any]] = getattr(importlib.import_module(f".{module}", __package__), name)
    return found


@dataclass(frozen=True)
class Request:
    """What a command asks for."""

    kind: str
    data: Path
    out: Path
    recipe: str
    overrides: Sequence[str] = ()
    inputs: Mapping[str, str] | None = None
    resume: bool = False  # go on with the run that is there, if there is one
    cache: Path | None = None
    device: str | None = None
    export: bool = False  # give the result also where the budget ends before the recipe


@dataclass(frozen=True)
class Outcome:
    progress: Progress
    done: bool  # to the recipe's end
    signal: int | None  # what stopped it, if a signal did


def start(
    request: Request,
    budget: Budget,
    meter: Meter,
    opener: Callable[[Path, DataRecipe, Path | None], Images] | None = None,
) -> Outcome:
    """Begin a run, or go on with it from its last good snapshot. `opener` may know the pictures already."""
    with ExitStack() as lock:
        return _start(request, budget, meter, opener or open_images, lock)


def _start(
    request: Request,
    budget: Budget,
    meter: Meter,
    opener: Callable[[Path, DataRecipe, Path | None], Images],
    lock: ExitStack,
) -> Outcome:
    kind = trainable(request.kind)
    found = Run.find(request.out) if request.resume and Run.exists(request.out) else None
    if found is None:
        Run.check_free(request.out)
    recipe = _recipe(kind, request, found)
    _check_teacher(request, recipe)
    engine = engine_for(recipe.loop, request.device)
    if found is not None and engine.is_main_process:
        lock.enter_context(held(request.out))
    with engine.main_process_first():
        images = opener(request.data, recipe.data, request.cache)
    inputs = {**(found.info.inputs if found else {}), **(request.inputs or {})}  # what is given anew takes their place
    if found is not None:
        _check_same(found, request, images)
    setup = Setup(recipe, engine, Draws(recipe.loop.seed, engine.process_index, engine.num_processes), images, inputs)
    training = kind(setup)
    last = snapshot.load_last(request.out / "snapshots", meter.say) if found else None
    if last is not None:
        with snapshot.taking_up():
            training.load_state(last[1]["trainable"])  # refuses other networks before anything is written

    run: Run | None = None
    if engine.is_main_process:
        if found is None:
            lock.enter_context(held(request.out))
            name, data = request.recipe, str(request.data.absolute())
            info = RunInfo.now(request.kind, name, data, images.fingerprint, len(images), inputs)
            run = Run.create(request.out, info, training.recipe)
        else:
            run = found
            run.info = replace(found.info, inputs=inputs)
            run.describe(training.recipe)
    meter.say(f"{len(images):,} pictures of {request.data.name} at {images.resolution} px")
    if last is not None:
        meter.say(f"going on from {last[0]}")
    elif found is not None:
        meter.say("no snapshot was taken yet: starting again")
    engine.wait_for_everyone()
    progress, caught = train(training, images, run, budget, meter, None if last is None else last[1])
    done = progress.images >= recipe.loop.images
    if run is not None and (done or request.export):
        result = run.folder / training.result
        meter.say(f"the result is in {result}")
        training.export(request.out.name).save(result, overwrite=True)
    return Outcome(progress, done, caught)


def _check_teacher(request: Request, recipe: Recipe) -> None:
    teacher = (request.inputs or {}).get("teacher")
    if teacher is not None and getattr(recipe, "critic_weight", None) == 0:
        raise ValueError(
            f"--teacher {teacher} would not be read, as critic_weight is 0 in this recipe: leave it out, or let the "
            "generator learn from it by --set critic_weight=0.1"
        )


def _recipe(kind: type[Trainable[Any]], request: Request, found: Run | None) -> Recipe:
    if found is None:
        if not request.recipe:
            raise ValueError(f"a new run needs a recipe: --recipe {' or '.join(recipes.names())}")
        return recipes.load(kind.Recipe, request.kind, request.recipe, request.overrides)
    if found.info.kind != request.kind:
        raise ValueError(f"{request.out} trains a {found.info.kind}, not a {request.kind}")
    if request.recipe not in ("", found.info.recipe):
        raise ValueError(
            f"{request.out} has its own recipe, made from {found.info.recipe}: leave --recipe {request.recipe} out, "
            "and change values by --set"
        )
    return stored_recipe(kind, request.out, request.overrides)


def stored_recipe(kind: type[Trainable[Any]], folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    file = folder / RECIPE
    return recipes.build(kind.Recipe, recipes.read_toml(file), overrides, str(file))


def _check_same(found: Run, request: Request, images: Images) -> None:
    if found.info.fingerprint != images.fingerprint:
        raise ValueError(
            f"{request.data} is not the data of {request.out}, which was {found.info.data} with "
            f"{found.info.pictures} pictures, this has {len(images)}; or it is framed otherwise"
        )


def open_images(path: Path, data: DataRecipe, cache: Path | None = None) -> Images:
    split = None
    if data.split is not None:
        file, column, value = data.split
        split = Split(file, column or None, value or None)
    return Images.open(
        path,
        data.resolution,
        crop=data.crop,
        aspect=data.aspect[0] / data.aspect[1],
        split=split,
        cache="default" if cache is None else cache,
    )


def export(
    folder: Path, out: Path, name: str = "", half: bool = False, overwrite: bool = False, licence: str = ""
) -> Result:
    """The result of a run's last good snapshot."""
    run = Run.find(folder)
    kind = trainable(run.info.kind)
    recipe = stored_recipe(kind, folder)
    last = snapshot.load_last(run.snapshots)
    if last is None:
        raise ValueError(f"{folder} has no snapshot yet: train it for some minutes first")
    engine = engine_for(replace(recipe.loop, precision="fp32", compile=False, parts=1), "cpu")
    training = kind(Setup(recipe, engine, Draws(), inputs=run.info.inputs))
    with snapshot.taking_up():
        for part, module in training.modules.items():
            snapshot.restore_module(part, module, last[1]["modules"][part])
        training.load_state(last[1]["trainable"])
    result = training.export(name or out.name)
    if isinstance(result, Bundle):
        result.licence = licence or result.licence
    result.save(out, dtype=torch.float16 if half else None, overwrite=overwrite)
    return result
