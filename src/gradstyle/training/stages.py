"""The stages of a chain, and the state of a chain in `chain.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..config import from_json
from ..files import write_text
from ..methods import METHODS
from .recipe import LoopRecipe, Recipe, nearest
from .run import read_log
from .trainable import Meter, Progress

STATE = "chain.json"
WRITTEN_EVERY = 5.0  # seconds between two notes of the time spent


@dataclass(frozen=True)
class Stage:
    """One thing that a chain makes, where no recipe says otherwise in `share` of the time."""

    name: str
    share: float
    base: str | None = None  # the stage whose bundle it stands on
    labels: bool = False  # it needs labels
    judges: bool = False  # its result is a network of its own, in no need of smaller steps at the end
    spare: bool = False  # if it fails, the others go on


def stages() -> dict[str, Stage]:
    """All stages by name, each after those that it learns from."""
    every = (
        Stage("teacher", 5, labels=True, judges=True),  # first: a generator may learn from it too
        Stage("generator", 40),
        Stage("judge", 5, labels=True, judges=True),
        Stage("encoder", 18, base="generator"),
        *(Stage(name, 8, base="encoder", spare=True) for name in methods_in_order()),
        Stage("edits", 3, base="encoder", labels=True, spare=True),  # the share is set aside: they take what they take
    )
    return {stage.name: stage for stage in every}


def trained() -> list[str]:
    """The stages that are training runs."""
    return [name for name in stages() if name != "edits"]


def methods_in_order() -> list[str]:
    """The methods that learn, each after the one that it begins from."""
    names: list[str] = []
    for name, method in METHODS.items():
        if method.learning is not None:
            names += [each for each in (method.learning.begins_from, name) if each and each not in names]
    return names


@dataclass(frozen=True)
class ChainRecipe(Recipe):
    loop: LoopRecipe = field(default_factory=LoopRecipe)  # each stage has its own
    shares: dict[str, float] = field(default_factory=dict)  # of the time, by stage; only the proportions count
    labels: str | None = None  # the table that the judges learn from; without it there are no judges
    edits: tuple[str, ...] = ()  # "smile=Smiling", "age=-Young": found with the teacher, if it knows the attribute
    edit_samples: int = 10_000  # pictures that are scored for them

    def __post_init__(self) -> None:
        known = list(stages())
        for name in self.shares:
            if name not in known:
                raise ValueError(f"shares: unknown key {name!r}{nearest(name, known)}")

    def share(self, stage: str) -> float:
        return self.shares.get(stage, stages()[stage].share)


@dataclass
class Chain:
    """The content of `chain.json`."""

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
        with_labels = self.labels is not None
        fitting = [name for name, stage in stages().items() if with_labels or not stage.labels]
        return [name for name in fitting if self.edits or name != "edits"]

    def seconds_left(self, stage: str, shares: Mapping[str, float]) -> float:
        """The stage's share of what the stages before it have left, less the time that it has had."""
        order = self.stages
        coming = [each for each in order[order.index(stage) :] if each == stage or each not in self.done]
        left = self.minutes * 60 - sum(self.spent.get(each, 0.0) for each in order if each not in coming)
        return left * shares[stage] / sum(shares[each] for each in coming) - self.spent.get(stage, 0.0)

    def summary(self, folder: Path) -> list[str]:
        """A line a stage: its time, how much of it was no training, and what was seen in it."""
        lines = []
        for stage in self.stages:
            spent = self.spent.get(stage, 0.0)
            last = list(read_log(folder / stage))[-1:]
            if last:
                images, seconds = last[0]["images"], min(last[0]["seconds"], spent)
                lines.append(
                    f"{stage:10} {spent / 60:5.1f} minutes, {spent - seconds:.0f} s of them beside training, "
                    f"{images:,} images, {images / max(seconds, 1e-9):.3g}/s"
                )
            elif stage in self.spent:
                lines.append(f"{stage:10} {spent / 60:5.1f} minutes")
            if stage in self.failed:
                lines.append(f"{stage:10} failed: {self.failed[stage]}")
        return lines


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
