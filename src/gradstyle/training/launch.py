"""From a command to a run and back: what every `gradstyle train` verb does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..bundles import Bundle
from ..methods import METHODS
from ..rng import Draws
from . import recipe as recipes
from . import snapshot, state
from .encoder import EncoderTraining
from .engine import engine_for
from .generator import GeneratorTraining
from .images import Images
from .judge import JudgeTraining, TeacherTraining
from .loop import train
from .method import training_of
from .recipe import DataRecipe, Recipe
from .run import RECIPE, Run, RunInfo, held
from .table import Split
from .trainable import Budget, Meter, Progress, Result, Setup, Trainable

NETWORKS: dict[str, type[Trainable[Any]]] = {
    each.kind: each for each in (GeneratorTraining, TeacherTraining, JudgeTraining, EncoderTraining)
}


def trainable(kind: str) -> type[Trainable[Any]]:
    """The training of a network, or of a method."""
    return NETWORKS[kind] if kind in NETWORKS else training_of(METHODS[kind])


def open_images(path: Path, data: DataRecipe, cache: Path | None = None) -> Images:
    split = None
    if data.split is not None:
        file, column, value = data.split
        split = Split(file, column or None, value or None)
    width, height = data.aspect
    where = "default" if cache is None else cache
    return Images.open(path, data.resolution, crop=data.crop, aspect=width / height, split=split, cache=where)


@dataclass(frozen=True)
class Request:
    """What a command asks for."""

    kind: str
    data: Path
    out: Path
    recipe: str
    overrides: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False  # go on with the run that is there, if there is one
    cache: Path | None = None
    device: str | None = None
    export: bool = False  # give the result also where the budget ends before the recipe
    split: Split | None = None  # takes the place of the recipe's


@dataclass(frozen=True)
class Outcome:
    progress: Progress
    done: bool  # to the recipe's end
    signal: int | None  # what stopped it, if a signal did


def start(
    request: Request,
    budget: Budget,
    meter: Meter,
    opener: Callable[[Path, DataRecipe, Path | None], Images] = open_images,
) -> Outcome:
    """Begin a run, or go on with it from its last good snapshot. `opener` may know the pictures already."""
    with ExitStack() as lock:
        kind, out = trainable(request.kind), request.out
        run = Run.find(out) if request.resume and Run.exists(out) else None
        if run is None:
            Run.check_free(out)
        recipe = _recipe(kind, request, run)
        _check_teacher(request, recipe)
        engine = engine_for(recipe.loop, request.device)
        if run is not None and engine.is_main_process:
            lock.enter_context(held(out))
        with engine.main_process_first():
            images = opener(request.data, recipe.data, request.cache)
        if run is not None and run.info.fingerprint != images.fingerprint:
            raise ValueError(
                f"{request.data} is not the data of {out}, which was {run.info.data} with "
                f"{run.info.pictures} pictures, this has {len(images)}; or it is framed otherwise"
            )
        inputs = {**(run.info.inputs if run else {}), **request.inputs}  # a file that is given anew takes its place
        draws = Draws(recipe.loop.seed, engine.process_index, engine.num_processes)
        training = kind(Setup(recipe, engine, draws, images, inputs))
        last = snapshot.load_last(out / "snapshots", meter.say) if run else None
        if last is not None:
            with state.checked():
                training.load_state(last[1]["trainable"])  # refuses other networks before anything is written

        writer: Run | None = None
        if engine.is_main_process and run is not None:
            writer, run.info = run, replace(run.info, inputs=inputs)
            run.describe(training.recipe)
        elif engine.is_main_process:
            lock.enter_context(held(out))
            data = str(request.data.absolute())
            info = RunInfo.now(request.kind, request.recipe, data, images.fingerprint, len(images), inputs)
            writer = Run.create(out, info, training.recipe)
        meter.say(f"{len(images):,} pictures of {request.data.name} at {images.resolution} px")
        if last is not None:
            meter.say(f"going on from {last[0]}")
        elif run is not None:
            meter.say("no snapshot was taken yet: starting again")
        engine.wait_for_everyone()
        progress, signal = train(training, images, writer, budget, meter, last and last[1])
        done = progress.images >= recipe.loop.images
        if writer is not None and (done or request.export):
            result = out / training.result
            meter.say(f"the result is in {result}")
            training.export(out.name).save(result, overwrite=True)
        return Outcome(progress, done, signal)


def _check_teacher(request: Request, recipe: Recipe) -> None:
    teacher = request.inputs.get("teacher")
    if teacher is not None and getattr(recipe, "critic_weight", None) == 0:
        raise ValueError(
            f"--teacher {teacher} would not be read, as critic_weight is 0 in this recipe: leave it out, or let the "
            "generator learn from it by --set critic_weight=0.1"
        )


def _recipe(kind: type[Trainable[Any]], request: Request, run: Run | None) -> Recipe:
    if run is None:
        if not request.recipe:
            raise ValueError(f"a new run needs a recipe: --recipe {' or '.join(recipes.names())}")
        recipe = recipes.load(kind.Recipe, request.kind, request.recipe, request.overrides)
    elif run.info.kind != request.kind:
        raise ValueError(f"{request.out} trains a {run.info.kind}, not a {request.kind}")
    elif request.recipe not in ("", run.info.recipe):
        raise ValueError(
            f"{request.out} has its own recipe, made from {run.info.recipe}: leave --recipe {request.recipe} out, "
            "and change values by --set"
        )
    else:
        recipe = stored_recipe(kind, request.out, request.overrides)
    return recipe if request.split is None else replace(recipe, data=replace(recipe.data, split=request.split.named))


def stored_recipe(kind: type[Trainable[Any]], folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    file = folder / RECIPE
    return recipes.build(kind.Recipe, recipes.read_toml(file), overrides, str(file))


def export(
    folder: Path, out: Path, name: str = "", half: bool = False, overwrite: bool = False, licence: str = ""
) -> Result:
    """Write the result of a run's last good snapshot, or what a chain has assembled."""
    is_chain = not Run.exists(folder) and (folder / "bundle").is_dir()
    result = Bundle.load(folder / "bundle") if is_chain else _result(folder, name or out.name)
    if isinstance(result, Bundle):
        result.name, result.licence = name or out.name, licence or result.licence
    result.save(out, dtype=torch.float16 if half else None, overwrite=overwrite)
    return result


def _result(folder: Path, name: str) -> Result:
    run = Run.find(folder)
    kind = trainable(run.info.kind)
    recipe = stored_recipe(kind, folder)
    last = snapshot.load_last(run.snapshots)
    if last is None:
        raise ValueError(f"{folder} has no snapshot yet: train it for some minutes first")
    engine = engine_for(replace(recipe.loop, precision="fp32", compile=False, parts=1), "cpu")
    training = kind(Setup(recipe, engine, Draws(), inputs=run.info.inputs))
    with state.checked():
        state.restore_modules(last[1], training)
    return training.export(name)
