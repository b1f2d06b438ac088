"""The whole chain under one budget of time, stage by stage; every call goes on where the last one ended.

chain.json    what was asked for, the time spent on each stage, the stages that are done and those that failed
STAGE/        a run for each stage, as `gradstyle train STAGE` makes it
bundle/       the generator, the encoder, all methods, the edits and the judge
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..bundles import Bundle
from ..losses import Judge
from ..methods import METHODS
from . import recipe as recipes
from .frozen_inputs import weights_of
from .images import Images
from .launch import Request, open_images, start, stored_recipe, trainable
from .recipe import DataRecipe, Recipe
from .run import Run, held, read_log
from .stages import Chain, ChainRecipe, Clock, Stage, methods_in_order, stages, trained
from .trainable import Budget, Meter

SNAPSHOT_MINUTES = 2.0  # the longest time between two, whatever the recipe says: rented machines go away
SHOWN_EVERY = 30.0  # seconds between two words on the search for edits
CALM, CALM_RATE = 0.2, 0.3  # the last part of a stage's time, and its rates then
WORTH = 0.05  # of a piece: with less of it left no stage is begun, as that takes time too
ASKED = {"the data": "data", "--recipe": "recipe", "--labels": "labels", "--start": "start", "--set": "overrides"}


def run(
    folder: Path,
    meter: Meter,
    data: Path | None = None,
    recipe: str = "",
    minutes: float | None = None,
    piece: float | None = None,
    labels: str | None = None,
    start_weights: Path | None = None,
    overrides: Sequence[str] = (),
    cache: Path | None = None,
    device: str | None = None,
) -> bool:
    """Begin a chain, or go on with the one in `folder`, for `piece` minutes at most; whether it is done.

    The results that there are by then are assembled into one bundle.
    """
    began = time.monotonic()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("a chain is trained by one process: train its stages one by one under accelerate launch")
    recipe = str(Path(recipe).absolute()) if recipe.endswith(".toml") else recipe
    data_at, start_at = str(data.absolute()) if data else "", str(start_weights.absolute()) if start_weights else None
    asked = Chain(data_at, recipe, 0.0, labels, start_at, overrides=_by_stage(overrides))
    _begin(folder, asked, minutes)  # mistakes are reported before there is a folder
    with held(folder):
        chain = _begin(folder, asked, minutes)
        chain.write(folder)
        call = Call(chain, folder, meter, cache, device)
        done = call.train_all(began, piece)
        _assemble(folder, meter)
        for line in chain.summary(folder):
            meter.say(line)
        return done


def _begin(folder: Path, asked: Chain, minutes: float | None) -> Chain:
    """The chain in the folder, which must be the one asked for, or a new one."""
    chain = Chain.read(folder)
    if chain is not None:
        for name, key in ASKED.items():
            new, old = getattr(asked, key), getattr(chain, key)
            if new and new != old:
                raise ValueError(
                    f"{folder} was begun with {old or 'none'} for {name}, not {new}: leave it out to go on, "
                    "or begin anew"
                )
        chain.minutes = minutes if minutes is not None else chain.minutes
        return chain
    if not asked.data or not asked.recipe or minutes is None:
        raise ValueError(f"{folder} holds no chain yet: to begin one give the data, --recipe and --minutes")
    defaults = recipes.load(ChainRecipe, "all", asked.recipe)
    asked.minutes, asked.labels, asked.edits = minutes, asked.labels or defaults.labels, list(defaults.edits)
    for stage in asked.stages:
        recipe = _first_recipe(asked, stage) if stage != "edits" else None
        if asked.labels is None and getattr(recipe, "critic_weight", 0.0) > 0:
            raise ValueError(
                "this recipe's generator learns from a teacher too, and a teacher from labels: "
                "give --labels FILE.csv, or --set generator.critic_weight=0"
            )
    return asked


def _by_stage(overrides: Sequence[str]) -> dict[str, list[str]]:
    """ "encoder.rate=1e-3" belongs to the encoder; "data.…" to every stage."""
    every: dict[str, list[str]] = {}
    for override in overrides:
        stage, dot, rest = override.partition(".")
        if stage == "data":
            for each in trained():
                every.setdefault(each, []).append(override)
        elif stage in trained() and dot:
            every.setdefault(stage, []).append(rest)
        else:
            raise ValueError(f"--set {override}: begin with data or a stage, one of {', '.join(trained())}")
    return every


def _first_recipe(chain: Chain, stage: str) -> Recipe:
    """The recipe that a stage begins with."""
    return recipes.load(trainable(stage).Recipe, stage, chain.recipe, chain.overrides.get(stage, []))


@dataclass
class Call:
    """One call of a chain."""

    chain: Chain
    folder: Path
    meter: Meter
    cache: Path | None = None
    device: str | None = None
    opener: Callable[[Path, DataRecipe, Path | None], Images] = field(
        default_factory=lambda: functools.lru_cache(maxsize=2)(open_images)  # nearly always the same for all stages
    )

    def train_all(self, began: float, piece: float | None) -> bool:
        """Stage after stage, as far as the piece goes; whether it was far enough."""
        chain, meter = self.chain, self.meter
        plan, table = recipes.load(ChainRecipe, "all", chain.recipe), stages()
        shares = {stage: plan.share(stage) for stage in chain.stages}
        first = True
        for stage in map(table.__getitem__, chain.stages):
            if stage.name in chain.done or stage.name in chain.failed:
                continue
            seconds = max(chain.seconds_left(stage.name, shares), 0.0)
            calm = seconds - CALM * (seconds + chain.spent.get(stage.name, 0.0))  # from here on, in seconds from now
            if piece is not None:
                rest = piece * 60 - (time.monotonic() - began)
                if rest <= 0 or not (first or rest > WORTH * piece * 60):
                    meter.say(f"stopped before {stage.name}: call again to go on")
                    return False
                seconds = min(seconds, rest)
            first, stopped = False, False
            is_run = stage.name != "edits"
            meter.say(f"{stage.name}: {seconds / 60:.1f} minutes" if is_run else stage.name)
            clock = Clock(chain, self.folder, stage.name, meter)
            try:
                if is_run:
                    stopped = self.train(stage, seconds, calm, clock)
                else:
                    self.find_edits(plan.edit_samples, clock)
            except (ValueError, RuntimeError, ImportError) as error:
                if not stage.spare:
                    raise
                chain.failed[stage.name] = str(error)
                meter.say(f"{stage.name} failed and is left out: {error}")
                continue
            finally:
                clock.note()
            in_time = is_run and chain.seconds_left(stage.name, shares) > 0
            if stopped or (in_time and not self.is_complete(stage.name)):
                meter.say(f"stopped in {stage.name}: call again to go on")
                return False
            chain.done.append(stage.name)
            chain.write(self.folder)
        return True

    def train(self, stage: Stage, seconds: float, calm: float, meter: Meter) -> bool:
        """One stage, as far as the time goes; whether a signal stopped it. All but judges end with smaller steps."""
        since, out, inputs = time.monotonic(), self.folder / stage.name, self.inputs(stage)
        full, calmer = ["loop.rate_factor=1"], [f"loop.rate_factor={CALM_RATE}"]
        parts: list[tuple[float, list[str]]] = [(calm, full), (seconds, calmer)]
        if stage.judges:
            parts = [(seconds, [])]
        elif calm <= 0:
            parts = [(seconds, calmer)]
        elif 0 < seconds <= calm:
            parts = [(seconds, full)]
        data, cache, device = Path(self.chain.data), self.cache, self.device
        for until, changes in parts:
            recipe = ""
            if not Run.exists(out):
                recipe, changes = self.chain.recipe, [*changes, *first_overrides(self.chain, stage.name)]
            request = Request(stage.name, data, out, recipe, changes, inputs, True, cache, device, export=True)
            outcome = start(request, Budget(minutes=until / 60, started=since), meter, self.opener)
            if outcome.signal is not None:
                return True
        return False

    def inputs(self, stage: Stage) -> dict[str, str]:
        """The files that a stage stands on."""
        if stage.judges:
            return {"labels": self.chain.labels or ""}
        inputs = {}
        if weights := self.first_weights(stage.name):
            inputs["start"] = weights
        if stage.base is not None:
            inputs["bundle"] = str((self.folder / stage.base / "bundle").absolute())
        if "teacher" in self.chain.stages and getattr(self.recipe(stage.name), "critic_weight", None) != 0:
            inputs["teacher"] = str(self.result("teacher").absolute())
        return inputs

    def first_weights(self, stage: str) -> str | None:
        """The chain's own start if it holds this part, else the trained method that this one begins from."""
        start, method = self.chain.start, METHODS.get(stage)
        if start and (stage == "generator" or stage in weights_of(start)):
            return start
        learning = method.learning if method else None
        if learning is None or Run.exists(self.folder / stage):
            return None
        base = learning.begins_from
        if base is None or not self.result(base).is_dir():
            return None
        own, theirs = self.recipe(stage).config, self.recipe(base).config  # type: ignore[attr-defined]
        fits = all(getattr(own, name) == getattr(theirs, name) for name in learning.shared_config)
        return str(self.result(base).absolute()) if fits else None

    def find_edits(self, samples: int, meter: Meter) -> None:
        """Find edits of the generator with the teacher, measured by the judge. A killed search goes on."""
        from ..directions import find

        teacher, judge = self.result("teacher"), self.result("judge")
        known = Judge.open(teacher).config.attributes
        wanted = [wish for wish in self.chain.edits if wish.partition("=")[2].lstrip("-") in known]
        if not wanted:
            raise ValueError(f"the labels have none of the attributes of {', '.join(self.chain.edits)}")
        bundle = Bundle.load(self.result("encoder"))
        where = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        cache = self.folder / "edits" / "scores"
        shown_at = time.monotonic()

        def show(what: str, done: int, of: int) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= SHOWN_EVERY:
                shown_at = time.monotonic()
                meter.say(f"edits: {what}, {done:,} of {of:,}")

        search = find(bundle, wanted, teacher, judge, samples, meter=show, cache=cache, device=where)
        search.put(bundle)
        bundle.save(self.folder / "edits" / "bundle", overwrite=True)
        for name in search.edits:
            why = "; ".join(search.reports[name].get("reasons", []))
            meter.say(f"edit {name}: {'a slider' if name in search.sliders else f'no slider, {why}'}")

    def result(self, stage: str) -> Path:
        return self.folder / stage / trainable(stage).result

    def recipe(self, stage: str) -> Recipe:
        """The recipe of a stage's run, or the one that it will begin with."""
        if Run.exists(self.folder / stage):
            return stored_recipe(trainable(stage), self.folder / stage)
        return _first_recipe(self.chain, stage)

    def is_complete(self, stage: str) -> bool:
        """Whether the stage saw all pictures that its recipe asks for."""
        last = list(read_log(self.folder / stage))[-1:]
        return bool(last) and last[0]["images"] >= self.recipe(stage).loop.images


def first_overrides(chain: Chain, stage: str) -> list[str]:
    minutes = min(_first_recipe(chain, stage).loop.snapshot_minutes, SNAPSHOT_MINUTES)
    return [*chain.overrides.get(stage, []), f"loop.snapshot_minutes={minutes}"]


def _assemble(folder: Path, meter: Meter) -> None:
    """Put all parts that there are by now into one bundle."""
    bundles = {stage: folder / stage / "bundle" for stage in stages() if (folder / stage / "bundle").is_dir()}
    if not bundles:
        return
    bundle = Bundle.load(bundles.get("encoder") or bundles["generator"])
    for method in methods_in_order():
        if method in bundles:
            own = Bundle.load(bundles[method])
            bundle.put_state(method, own.config(method), own.state(method))
    if (judge := folder / "judge" / trainable("judge").result).is_file():
        bundle.put("judge", Judge.open(judge))
    if "edits" in bundles:
        own = Bundle.load(bundles["edits"])
        bundle.put_edits(own.edits, own.sliders, own.failed_edits)
    bundle.name = folder.absolute().name
    bundle.save(folder / "bundle", overwrite=True)
    meter.say(f"the bundle is {folder / 'bundle'}: {', '.join(bundle)}")
