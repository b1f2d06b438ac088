"""The whole chain under one budget of time: judges, generator, encoder, methods, edits; resumable in pieces.

Everything lies in one folder:

chain.json    what was asked for, the time spent on each stage, the stages that are done and those that failed
STAGE/        a run for each stage, as `gradstyle train STAGE` makes it
bundle/       the generator, the encoder, all methods, the edits and the judge
export/       the results in half precision, packed into files no larger than asked
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch

from ..bundles import Bundle
from ..config import from_json
from ..files import write_text
from ..losses import Judge
from . import pieces
from . import recipe as recipes
from .data import Images
from .frozen_inputs import weights_of
from .launch import Request, open_images, start, stored_recipe, trainable
from .loop import Budget, Meter, Progress
from .recipe import DataRecipe, LoopRecipe, Recipe
from .run import INFO, LOG, RECIPE, Run, held, read_log

STATE = "chain.json"
JUDGES, METHODS = ("teacher", "judge"), ("gradmove", "gradstyle", "styleres", "sdic", "hfgi")
TRAINED = ("teacher", "generator", "judge", "encoder", *METHODS)  # a generator may learn from the teacher too
STAGES = (*TRAINED, "edits")
SNAPSHOT_MINUTES = 2.0  # the longest time between two, whatever the recipe says: rented machines go away
WRITTEN_EVERY = 5.0  # seconds between two notes of the time spent
TOLD_EVERY = 30.0  # seconds between two words on the search for edits
CALM, CALM_RATE = 0.2, 0.3  # the last part of a stage's time, and its rates then
WORTH = 0.05  # of a piece: with less of it left no stage is begun, as that takes time too

Opener: TypeAlias = Callable[[Path, DataRecipe, Path | None], Images]


@dataclass(frozen=True)
class Shares:
    """How the time is divided; only the proportions count."""

    generator: float = 40
    teacher: float = 5
    judge: float = 5
    encoder: float = 18
    gradmove: float = 8
    gradstyle: float = 8
    styleres: float = 8
    sdic: float = 8
    hfgi: float = 8
    edits: float = 3  # what is set aside: they take what they take


@dataclass(frozen=True)
class ChainRecipe(Recipe):
    loop: LoopRecipe = field(default_factory=LoopRecipe)  # each stage has its own
    shares: Shares = field(default_factory=Shares)
    labels: str | None = None  # the table that the judges learn from; without it there are no judges
    edits: tuple[str, ...] = ()  # "smile=Smiling", "age=-Young": found with the teacher, if it knows the attribute
    edit_samples: int = 10_000  # pictures that are scored for them


@dataclass
class Chain:
    """What `chain.json` says."""

    data: str
    recipe: str
    minutes: float
    labels: str | None = None
    start: str | None = None  # weights that the generator begins with, and what else they hold
    edits: list[str] = field(default_factory=list)  # to be found
    overrides: dict[str, list[str]] = field(default_factory=dict)  # by stage
    spent: dict[str, float] = field(default_factory=dict)  # seconds, by stage
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # methods that could not be trained, and why

    @classmethod
    def read(cls, folder: Path) -> Chain | None:
        try:
            return from_json(cls, json.loads((folder / STATE).read_bytes()), "it")
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{folder / STATE} cannot be read ({error})") from error

    def write(self, folder: Path) -> None:
        write_text(folder / STATE, json.dumps(asdict(self), indent=2) + "\n")

    @property
    def stages(self) -> list[str]:
        without = () if self.labels is not None else (*JUDGES, "edits")
        return [stage for stage in STAGES if stage not in without and (self.edits or stage != "edits")]

    def seconds_left(self, stage: str, shares: Mapping[str, float]) -> float:
        """What a stage may still take: its share of all that its predecessors have left, less what it has had."""
        order = self.stages
        coming = order[order.index(stage) :]
        left = self.minutes * 60 - sum(self.spent.get(each, 0.0) for each in order if each not in coming)
        return left * shares[stage] / sum(shares[each] for each in coming) - self.spent.get(stage, 0.0)


class Clock:
    """A meter that notes the time a stage takes while it takes it, so that a kill does not lengthen the budget."""

    def __init__(self, chain: Chain, folder: Path, stage: str, meter: Meter) -> None:
        self.chain, self.folder, self.stage, self.meter = chain, folder, stage, meter
        self.since = time.monotonic() - chain.spent.get(stage, 0.0)
        self.written = time.monotonic()

    def note(self) -> None:
        self.chain.spent[self.stage] = time.monotonic() - self.since
        self.chain.write(self.folder)
        self.written = time.monotonic()

    def show(self, progress: Progress, goal: int, terms: Mapping[str, float], left: float | None) -> None:
        if time.monotonic() - self.written >= WRITTEN_EVERY:
            self.note()
        self.meter.show(progress, goal, terms, left)

    def say(self, text: str) -> None:
        self.note()
        self.meter.say(text)


def run(
    folder: Path,
    meter: Meter,
    data: Path | None = None,
    recipe: str = "",
    minutes: float | None = None,
    piece: float | None = None,
    largest_file: int | None = None,
    labels: str | None = None,
    start_weights: Path | None = None,
    overrides: Sequence[str] = (),
    cache: Path | None = None,
    device: str | None = None,
) -> bool:
    """Begin a chain, or go on with the one in `folder`, for `piece` minutes at most; whether it is done.

    What there is by then is assembled, and exported if `largest_file` is given, also where it is not all.
    """
    began = time.monotonic()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("a chain is trained by one process: train its stages one by one under accelerate launch")
    asked = (data, recipe, minutes, labels, start_weights, overrides)
    _begin(folder, *asked)  # what is wrong is said before there is a folder
    with held(folder):
        chain = _begin(folder, *asked)
        chain.write(folder)
        done = _train_stages(chain, folder, meter, began, piece, cache, device)
        _assemble(folder, meter)
        for line in summary(chain, folder):
            meter.say(line)
        if largest_file is not None:
            for file in export(folder, largest_file):
                meter.say(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
        return done


def _train_stages(
    chain: Chain,
    folder: Path,
    meter: Meter,
    began: float,
    piece: float | None,
    cache: Path | None,
    device: str | None,
) -> bool:
    """Stage after stage, as far as the piece goes; whether it was far enough."""
    asked = recipes.load(ChainRecipe, "all", chain.recipe)
    shares: dict[str, float] = asdict(asked.shares)
    opener = functools.lru_cache(maxsize=2)(open_images)  # nearly always the same for all stages
    first = True
    for stage in chain.stages:
        if stage in chain.done or stage in chain.failed:
            continue
        seconds = max(chain.seconds_left(stage, shares), 0.0)
        calm = seconds - CALM * (seconds + chain.spent.get(stage, 0.0))  # from here on, in seconds from now
        if piece is not None:
            rest = piece * 60 - (time.monotonic() - began)
            if rest <= 0 or not (first or rest > WORTH * piece * 60):
                meter.say(f"stopped before {stage}: call again to go on")
                return False
            seconds = min(seconds, rest)
        first = False
        meter.say(stage if stage == "edits" else f"{stage}: {seconds / 60:.1f} minutes")
        clock, stopped = Clock(chain, folder, stage, meter), False
        try:
            if stage == "edits":
                _find_edits(chain, folder, asked.edit_samples, device, clock)
            else:
                stopped = _train(chain, folder, stage, seconds, calm, cache, device, clock, opener)
        except (ValueError, RuntimeError, ImportError) as error:  # no reason to lose what does not stand on it
            if stage not in (*METHODS, "edits"):
                raise
            chain.failed[stage] = str(error)
            meter.say(f"{stage} failed and is left out: {error}")
            continue
        finally:
            clock.note()
        ended = stage == "edits" or chain.seconds_left(stage, shares) <= 0 or _complete(folder, stage)
        if stopped or not ended:
            meter.say(f"stopped in {stage}: call again to go on")
            return False
        chain.done.append(stage)
        chain.write(folder)
    return True


def _begin(
    folder: Path,
    data: Path | None,
    recipe: str,
    minutes: float | None,
    labels: str | None,
    start_weights: Path | None,
    overrides: Sequence[str],
) -> Chain:
    chain = Chain.read(folder)
    start_at = None if start_weights is None else str(start_weights.absolute())
    recipe = str(Path(recipe).absolute()) if recipe.endswith(".toml") else recipe
    if chain is None:
        if data is None or not recipe or minutes is None:
            raise ValueError(f"{folder} holds no chain yet: to begin one give the data, --recipe and --minutes")
        asked = recipes.load(ChainRecipe, "all", recipe)
        labels, given, edits = labels or asked.labels, _by_stage(overrides), list(asked.edits)
        chain = Chain(str(data.absolute()), recipe, minutes, labels, start_at, edits, given)
        for stage in filter(TRAINED.__contains__, chain.stages):  # what is wrong is said before hours are spent
            loaded = recipes.load(trainable(stage).Recipe, stage, recipe, chain.overrides.get(stage, []))
            if getattr(loaded, "critic_weight", 0) and chain.labels is None:
                raise ValueError(
                    "this recipe's generator learns from a teacher too, and a teacher from labels: "
                    "give --labels FILE.csv, or --set generator.critic_weight=0"
                )
    else:
        _refuse_changes(folder, chain, data, recipe, labels, start_at, overrides)
        chain.minutes = minutes if minutes is not None else chain.minutes
    return chain


def _refuse_changes(
    folder: Path,
    chain: Chain,
    data: Path | None,
    recipe: str,
    labels: str | None,
    start_at: str | None,
    overrides: Sequence[str],
) -> None:
    given = {
        "the data": (data and str(data.absolute()), chain.data),
        "--recipe": (recipe, chain.recipe),
        "--labels": (labels, chain.labels),
        "--start": (start_at, chain.start),
        "--set": (_by_stage(overrides), chain.overrides),
    }
    for name, (new, old) in given.items():
        if new and new != old:
            raise ValueError(
                f"{folder} was begun with {old or 'none'} for {name}, not {new}: leave it out to go on, or begin anew"
            )


def _by_stage(overrides: Sequence[str]) -> dict[str, list[str]]:
    """ "encoder.rate=1e-3" belongs to the encoder; "data.…" to every stage."""
    found: dict[str, list[str]] = {}
    for override in overrides:
        stage, dot, rest = override.partition(".")
        if stage == "data":
            for each in TRAINED:
                found.setdefault(each, []).append(override)
        elif stage in TRAINED and dot:
            found.setdefault(stage, []).append(rest)
        else:
            raise ValueError(f"--set {override}: begin with data or a stage, one of {', '.join(TRAINED)}")
    return found


def _train(
    chain: Chain,
    folder: Path,
    stage: str,
    seconds: float,
    calm: float,
    cache: Path | None,
    device: str | None,
    meter: Meter,
    opener: Opener,
) -> bool:
    """One stage, as far as the time goes; whether a signal stopped it. All but judges end with smaller steps."""
    since = time.monotonic()
    inputs: dict[str, str] = {}
    if stage in JUDGES:
        inputs = {"labels": chain.labels or ""}
    else:
        if chain.start and (stage == "generator" or stage in weights_of(chain.start)):
            inputs["start"] = chain.start
        if stage != "generator":
            stands_on = "generator" if stage == "encoder" else "encoder"
            inputs["bundle"] = str((folder / stands_on / "bundle").absolute())
        if "teacher" in chain.stages and getattr(_stage_recipe(chain, folder, stage), "critic_weight", None) != 0:
            inputs["teacher"] = str((folder / "teacher" / trainable("teacher").result).absolute())
    parts: list[tuple[float, list[str]]] = [(seconds, [])]
    if stage not in JUDGES:
        full, calmer = ["loop.rate_factor=1"], [f"loop.rate_factor={CALM_RATE}"]
        parts = [(seconds, calmer)] if calm <= 0 else [(calm, full), (seconds, calmer)]
        if 0 < seconds <= calm:
            parts = [(seconds, full)]
    for until, changes in parts:
        begun = Run.exists(folder / stage)
        request = Request(
            stage,
            Path(chain.data),
            folder / stage,
            "" if begun else chain.recipe,
            changes if begun else [*changes, *_overrides(chain, stage)],
            inputs,
            resume=True,
            cache=cache,
            device=device,
            export=True,
        )
        outcome = start(request, Budget(minutes=until / 60, started=since), meter, opener)
        if outcome.signal is not None:
            return True
    return False


def _find_edits(chain: Chain, folder: Path, samples: int, device: str | None, meter: Meter) -> None:
    """Edits of the generator, found with the teacher and measured by the judge. A killed one goes on."""
    from ..directions import find

    teacher, judge = (folder / stage / trainable(stage).result for stage in JUDGES)
    known = Judge.open(teacher).config.attributes
    wanted = [wish for wish in chain.edits if wish.partition("=")[2].lstrip("-") in known]
    if not wanted:
        raise ValueError(f"the labels have none of the attributes of {', '.join(chain.edits)}")
    bundle = Bundle.load(folder / "encoder" / "bundle")
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    cache = folder / "edits" / "scores"
    told = [time.monotonic()]

    def tell(what: str, done: int, of: int) -> None:
        if time.monotonic() - told[0] >= TOLD_EVERY:
            told[0] = time.monotonic()
            meter.say(f"edits: {what}, {done:,} of {of:,}")

    found = find(bundle, wanted, teacher, judge, samples, meter=tell, cache=cache, device=where)
    found.put(bundle)
    bundle.save(folder / "edits" / "bundle", overwrite=True)
    for name in found.edits:
        why = "; ".join(found.reports[name].get("reasons", []))
        meter.say(f"edit {name}: {'a slider' if name in found.sliders else f'no slider, {why}'}")


def _stage_recipe(chain: Chain, folder: Path, stage: str) -> Recipe:
    kind = trainable(stage)
    if Run.exists(folder / stage):
        return stored_recipe(kind, folder / stage)
    return recipes.load(kind.Recipe, stage, chain.recipe, chain.overrides.get(stage, []))


def _overrides(chain: Chain, stage: str) -> list[str]:
    given = chain.overrides.get(stage, [])
    loop = recipes.load(trainable(stage).Recipe, stage, chain.recipe, given).loop
    return [*given, f"loop.snapshot_minutes={min(loop.snapshot_minutes, SNAPSHOT_MINUTES)}"]


def _complete(folder: Path, stage: str) -> bool:
    """Whether the stage saw all pictures that its recipe asks for."""
    goal = stored_recipe(trainable(stage), folder / stage).loop.images
    last = list(read_log(folder / stage))[-1:]
    return bool(last) and last[0]["images"] >= goal


def summary(chain: Chain, folder: Path) -> list[str]:
    """A line a stage: its time, how much of it was no training, and what was seen in it."""
    lines = []
    for stage in chain.stages:
        spent = chain.spent.get(stage, 0.0)
        last = list(read_log(folder / stage))[-1:]
        if last:
            images, trained = last[0]["images"], min(last[0]["seconds"], spent)
            lines.append(
                f"{stage:10} {spent / 60:5.1f} minutes, {spent - trained:.0f} s of them beside training, "
                f"{images:,} images, {images / max(trained, 1e-9):.3g}/s"
            )
        elif stage in chain.spent:
            lines.append(f"{stage:10} {spent / 60:5.1f} minutes")
        if stage in chain.failed:
            lines.append(f"{stage:10} failed: {chain.failed[stage]}")
    return lines


# ---- what comes of it


def _assemble(folder: Path, meter: Meter) -> None:
    """All parts that there are by now in one bundle."""
    made = [folder / stage / "bundle" for stage in ("encoder", "generator") if (folder / stage / "bundle").is_dir()]
    if not made:
        return
    bundle = Bundle.load(made[0])
    for method in METHODS:
        if (folder / method / "bundle").is_dir():
            own = Bundle.load(folder / method / "bundle")
            bundle.put_state(method, own.config(method), own.state(method))
    judge = folder / "judge" / trainable("judge").result
    if judge.is_file():
        bundle.put("judge", Judge.open(judge))
    if (folder / "edits" / "bundle").is_dir():
        own = Bundle.load(folder / "edits" / "bundle")
        bundle.put_edits(own.edits, own.sliders, own.failed_edits)
    bundle.name = folder.absolute().name
    bundle.save(folder / "bundle", overwrite=True)
    meter.say(f"the bundle is {folder / 'bundle'}: {', '.join(bundle)}")


def export(folder: Path, largest: int) -> list[Path]:
    """The results in 16-bit floats, in files of at most `largest` bytes; `pieces.join` makes them whole.

    With them go the recipe, the log and the last sheet of pictures of each stage.
    """
    whole = folder / ".half"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    if (folder / "bundle").is_dir():
        Bundle.load(folder / "bundle").save(whole / "bundle", torch.float16)
    shutil.copyfile(folder / STATE, whole / STATE)
    for stage in TRAINED:
        file = folder / stage / trainable(stage).result
        if stage in JUDGES and file.is_file():
            Judge.open(file).save(whole / file.name, torch.float16)
        told = [folder / stage / name for name in (RECIPE, INFO, LOG)]
        told += sorted((folder / stage / "previews").glob("[0-9]*.png"))[-1:]
        for file in filter(Path.is_file, told):
            target = whole / "runs" / stage / ("preview.png" if file.suffix == ".png" else file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    made = pieces.pack(whole, folder / "export", largest)
    shutil.rmtree(whole)
    return made
