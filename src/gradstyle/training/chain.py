"""The whole chain under one budget of time: generator, judges, encoder, methods; resumable in pieces.

Everything lies in one folder:

chain.json    what was asked for, the minutes spent on each stage, the stages that are done
STAGE/        a run for each stage, as `gradstyle train STAGE` makes it
bundle/       the generator, the encoder and all methods
export/       the results in half precision, in files no larger than asked
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from ..bundles import Bundle
from ..losses import Judge
from . import pieces
from . import recipe as recipes
from .launch import Request, start, trainable
from .loop import Budget, Meter
from .recipe import LoopRecipe, Recipe
from .run import Run

STATE = "chain.json"
JUDGES, METHODS = ("teacher", "judge"), ("gradstyle", "styleres", "sdic", "hfgi")
STAGES = ("generator", *JUDGES, "encoder", *METHODS)


@dataclass(frozen=True)
class Shares:
    """How the time is divided; only the proportions count."""

    generator: float = 40
    teacher: float = 5
    judge: float = 5
    encoder: float = 18
    gradstyle: float = 8
    styleres: float = 8
    sdic: float = 8
    hfgi: float = 8


@dataclass(frozen=True)
class ChainRecipe(Recipe):
    loop: LoopRecipe = field(default_factory=LoopRecipe)  # each stage has its own
    shares: Shares = field(default_factory=Shares)
    labels: str | None = None  # the table that the judges learn from; without it there are no judges


@dataclass
class Chain:
    """What `chain.json` says."""

    data: str
    recipe: str
    minutes: float
    labels: str | None = None
    start: str | None = None  # weights that the generator begins with
    overrides: dict[str, list[str]] = field(default_factory=dict)  # by stage
    spent: dict[str, float] = field(default_factory=dict)  # seconds, by stage
    done: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Chain | None:
        try:
            return cls(**json.loads((folder / STATE).read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{folder / STATE} cannot be read ({error})") from error

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{STATE}"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(folder / STATE)

    @property
    def stages(self) -> list[str]:
        return [stage for stage in STAGES if self.labels is not None or stage not in JUDGES]

    def seconds_left(self, stage: str, shares: Mapping[str, float]) -> float:
        """What a stage may still take: its share of all that its predecessors have left, less what it has had."""
        order = self.stages
        coming = order[order.index(stage) :]
        left = self.minutes * 60 - sum(self.spent.get(each, 0.0) for each in order if each not in coming)
        return left * shares[stage] / sum(shares[each] for each in coming) - self.spent.get(stage, 0.0)


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
    """Begin a chain, or go on with the one in `folder`, for `piece` minutes at most; whether it is done."""
    began = time.monotonic()
    chain = _begin(folder, data, recipe, minutes, labels, start_weights, overrides)
    asked = recipes.load(ChainRecipe, "all", chain.recipe)
    shares: dict[str, float] = asdict(asked.shares)
    for stage in chain.stages:
        if stage in chain.done:
            continue
        seconds = chain.seconds_left(stage, shares)
        if piece is not None:
            seconds = min(seconds, piece * 60 - (time.monotonic() - began))
            if seconds <= 0:
                meter.say(f"stopped before {stage}: call again to go on")
                return False
        meter.say(f"{stage}: {max(seconds, 0) / 60:.1f} minutes")
        since = time.monotonic()
        stopped = _train(chain, folder, stage, max(seconds, 0.0), cache, device, meter)
        chain.spent[stage] = chain.spent.get(stage, 0.0) + time.monotonic() - since
        finished = not stopped and (
            chain.seconds_left(stage, shares) <= 0 or (Run.exists(folder / stage) and _complete(folder, stage))
        )
        if finished:
            chain.done.append(stage)
        chain.write(folder)
        if not finished:
            meter.say(f"stopped in {stage}: call again to go on")
            return False
    _assemble(chain, folder)
    if largest_file is not None:
        for file in export(folder, largest_file):
            meter.say(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
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
    if chain is None:
        if data is None or not recipe or minutes is None:
            raise ValueError(f"{folder} holds no chain yet: to begin one give the data, --recipe and --minutes")
        asked = recipes.load(ChainRecipe, "all", recipe)
        start_at = None if start_weights is None else str(start_weights.absolute())
        chain = Chain(str(data.absolute()), recipe, minutes, labels or asked.labels, start_at, _by_stage(overrides))
        for stage in chain.stages:  # what is wrong with a recipe is said before hours are spent
            recipes.load(trainable(stage).Recipe, stage, recipe, chain.overrides.get(stage, []))
    elif recipe not in ("", chain.recipe) or (data is not None and str(data.absolute()) != chain.data):
        raise ValueError(f"{folder} trains {chain.recipe} on {chain.data}: to go on give no other data or recipe")
    else:
        chain.minutes = minutes if minutes is not None else chain.minutes
    chain.write(folder)
    return chain


def _by_stage(overrides: Sequence[str]) -> dict[str, list[str]]:
    """ "encoder.rate=1e-3" belongs to the encoder; "data.…" to every stage."""
    found: dict[str, list[str]] = {}
    for override in overrides:
        stage, dot, rest = override.partition(".")
        if stage == "data":
            for each in STAGES:
                found.setdefault(each, []).append(override)
        elif stage in STAGES and dot:
            found.setdefault(stage, []).append(rest)
        else:
            raise ValueError(f"--set {override}: begin with data or a stage, one of {', '.join(STAGES)}")
    return found


def _train(
    chain: Chain, folder: Path, stage: str, seconds: float, cache: Path | None, device: str | None, meter: Meter
) -> bool:
    """One stage, as far as the time goes; whether a signal stopped it."""
    inputs: dict[str, str] = {}
    if stage == "generator":
        inputs = {"start": chain.start} if chain.start else {}
    elif stage in JUDGES:
        inputs = {"labels": chain.labels or ""}
    else:
        inputs = {"bundle": str((folder / ("generator" if stage == "encoder" else "encoder") / "bundle").absolute())}
        if "teacher" in chain.stages:
            inputs["teacher"] = str((folder / "teacher" / trainable("teacher").result).absolute())
    begun = Run.exists(folder / stage)
    request = Request(
        stage,
        Path(chain.data),
        folder / stage,
        "" if begun else chain.recipe,
        () if begun else chain.overrides.get(stage, ()),
        inputs,
        resume=True,
        cache=cache,
        device=device,
        export=True,
    )
    outcome = start(request, Budget(minutes=seconds / 60), meter)
    return outcome.signal is not None


def _complete(folder: Path, stage: str) -> bool:
    """Whether the stage saw all pictures that its recipe asks for."""
    from .launch import stored_recipe
    from .run import read_log

    goal = stored_recipe(trainable(stage), folder / stage).loop.images
    last = list(read_log(folder / stage))[-1:]
    return bool(last) and last[0]["images"] >= goal


def _assemble(chain: Chain, folder: Path) -> None:
    """All parts in one bundle."""
    bundle = Bundle.load(folder / "encoder" / "bundle")
    for method in METHODS:
        made = Bundle.load(folder / method / "bundle")
        bundle.put_state(method, made.config(method), made.state(method))
    bundle.name = folder.name
    bundle.save(folder / "bundle", overwrite=True)


def export(folder: Path, largest: int) -> list[Path]:
    """The results in 16-bit floats, in files of at most `largest` bytes; `pieces.join` makes them whole."""
    whole = folder / "half"
    Bundle.load(folder / "bundle").save(whole / "bundle", torch.float16, overwrite=True)
    for stage in JUDGES:
        if (file := folder / stage / trainable(stage).result).is_file():
            Judge.open(file).save(whole / file.name, torch.float16, overwrite=True)
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    return pieces.split(files, whole, folder / "export", largest)
