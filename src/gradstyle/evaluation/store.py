"""A run's folder: what was asked for, what was measured photo by photo, and what that adds up to.

run.json        what was measured, of what, with what
values.csv      photo, method, condition, metric, value: one line each
summary.json    means, intervals and tests, computed from the values alone
costs.json      seconds and memory, which no two runs share
pictures/       pictures of a few of the photos
parts/          what is done so far, batch by batch, from which an interrupted run goes on
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from ..config import from_json, to_json
from ..files import write_text
from ..metrics.values import Curve, Key, Metric, Row, Values
from ..tensors import read_tensors, write_tensors

FORMAT = 1
T = TypeVar("T")
RUN, VALUES, SUMMARY, COSTS = "run.json", "values.csv", "summary.json", "costs.json"
PICTURES, PARTS = "pictures", "parts"
HEADER = ("photo", "method", "condition", "metric", "value")
SOURCE = "source"  # stands for a method where the photo itself is meant

Kind = Literal["reconstruction", "editing", "pairs", "ablation", "residuals"]


@dataclass(frozen=True)
class Failure:
    photo: str
    method: str  # empty: the photo cannot be read, and is left out of every method alike
    reason: str


@dataclass(frozen=True)
class Picture:
    photo: str
    method: str  # or SOURCE
    condition: str
    file: str  # beside run.json


@dataclass(frozen=True)
class Record:
    """All of `run.json`."""

    kind: Kind
    protocol: dict[str, Any]  # every choice that a figure depends on; with bundle and data what makes a run this one
    bundle: dict[str, Any]  # name, fingerprint of the generator, resolution, SHA-256 of every part
    data: dict[str, Any]  # name, fingerprint, split, number of photos
    methods: tuple[str, ...]
    conditions: tuple[str, ...]  # "" is the reconstruction; else "yaw=+2", "yaw=matched:10°"
    metrics: tuple[Metric, ...]
    photos: tuple[str, ...] = ()  # that were measured, in their order
    failures: tuple[Failure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    complete: bool = False
    format: int = FORMAT

    @property
    def seed(self) -> int:
        return int(self.protocol.get("seed", 0))

    @property
    def identity(self) -> dict[str, Any]:
        """What another run must share to be the same one, to go on with."""
        names = ("kind", "protocol", "bundle", "data", "methods", "versions")
        return {name: to_json(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Summary:
    """All of `summary.json`."""

    interval: str = ""
    test: str = ""
    rows: tuple[Row, ...] = ()
    curves: tuple[Curve, ...] = ()
    agreement: tuple[dict[str, Any], ...] = ()  # of two judges on the order of the methods
    notes: tuple[str, ...] = ()  # what a reader must know: failures, methods left out, ends not reached

    def row(self, method: str, condition: str, metric: str) -> Row | None:
        return next((r for r in self.rows if (r.method, r.condition, r.metric) == (method, condition, metric)), None)


def is_identity(metric: str) -> bool:
    """Whether a metric says how much of a person is left, which means nothing without how far the edit went."""
    return "identity" in metric


def change_of(protocol: Mapping[str, Any], condition: str) -> str:
    """The metric that says how far the edit of a condition went; before there were others, the judge's."""
    edits: Mapping[str, Any] = protocol.get("edits") or {}
    return str(edits.get(condition.partition("=")[0], {}).get("change", "judge_change"))


class RunFolder:
    """Reads and writes a run. Every file is written as a whole or not at all."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    # ---- reading

    def record(self) -> Record:
        record = self._read(RUN, Record)
        if record.format != FORMAT:
            raise ValueError(f"{self.path / RUN}: format {record.format}, this GradStyle reads format {FORMAT}")
        return record

    def summary(self) -> Summary:
        return self._read(SUMMARY, Summary)

    def costs(self) -> dict[str, dict[str, float]]:
        """By method: seconds a photo, peak memory; empty where nothing was written."""
        return dict(json.loads((self.path / COSTS).read_text("utf-8"))) if (self.path / COSTS).is_file() else {}

    def values(self) -> Values:
        """By method, condition and metric: photos and their values, in the file's order."""
        values: Values = {}
        with self._reading(VALUES), (self.path / VALUES).open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            if tuple(next(reader, ())) != HEADER:
                raise ValueError(f"its columns are not {', '.join(HEADER)}")
            for photo, method, condition, metric, value in reader:
                values.setdefault((method, condition, metric), {})[photo] = float(value)
        return values

    def _read(self, name: str, kind: type[T]) -> T:
        with self._reading(name):
            value: T = from_json(kind, _from_strict(json.loads((self.path / name).read_text("utf-8"))), name)
        return value

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Names the file in what is said of it."""
        try:
            yield
        except FileNotFoundError:
            raise ValueError(f"{self.path} is no run of `gradstyle evaluate`: it has no {name}") from None
        except ValueError as error:
            raise ValueError(f"{self.path / name}: {error}") from error

    # ---- writing

    def write_record(self, record: Record) -> None:
        self._write_json(RUN, record)

    def write_summary(self, summary: Summary) -> None:
        self._write_json(SUMMARY, summary)

    def write_costs(self, costs: Mapping[str, Mapping[str, float]]) -> None:
        self._write(COSTS, json.dumps(to_json(costs), indent=1) + "\n")

    def write_values(self, values: Mapping[Key, Mapping[str, float]], photos: Sequence[str]) -> None:
        """Photo by photo; every digit is kept."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADER)
        for photo in photos:
            writer.writerows([photo, *key, repr(each[photo])] for key, each in values.items() if photo in each)
        self._write(VALUES, text.getvalue())

    # ---- what is done so far

    def part(self, index: int) -> dict[str, Any] | None:
        """What one method did with a batch; None where that is not done, or cut short."""
        file = self.path / PARTS / f"{index:05d}.json"
        try:
            part: dict[str, Any] = _from_strict(json.loads(file.read_text("utf-8")))
            if part.get("sets"):
                vectors = read_tensors(file.with_suffix(".safetensors"))[0]
                part["sets"] = {name: dict(zip(rows, vectors[name or "-"])) for name, rows in part["sets"].items()}
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return part

    def write_part(
        self, index: int, part: Mapping[str, Any], sets: Mapping[str, Mapping[int, Tensor]] | None = None
    ) -> None:
        """Writes the vectors of sets, by condition and row, in a file beside the rest."""
        name = f"{PARTS}/{index:05d}.json"
        if sets:
            file = (self.path / name).with_suffix(".safetensors")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(file, {name or "-": torch.stack([*rows.values()]) for name, rows in sets.items()})
        self._write(name, json.dumps(_to_strict(to_json(part)), ensure_ascii=False))

    def _write_json(self, name: str, value: Any) -> None:
        self._write(name, json.dumps(_to_strict(to_json(value)), indent=1, ensure_ascii=False) + "\n")

    def _write(self, name: str, text: str) -> None:
        write_text(self.path / name, text)


def picture_name(number: int, method: str, condition: str) -> str:
    """A file's name under `pictures/` that any file system takes."""
    plain = re.sub(r"[^A-Za-z0-9.+-]", "_", f"{method}-{condition}".strip("-"))
    return f"{PICTURES}/{number:03d}-{plain}.png"


def _to_strict(value: Any) -> Any:
    """JSON has no infinity: it is written as a word that no name is."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"number:{value}"
    if isinstance(value, dict):
        return {key: _to_strict(each) for key, each in value.items()}
    return [_to_strict(each) for each in value] if isinstance(value, list) else value


def _from_strict(value: Any) -> Any:
    if isinstance(value, str) and value in ("number:inf", "number:-inf", "number:nan"):
        return float(value.partition(":")[2])
    if isinstance(value, dict):
        return {key: _from_strict(each) for key, each in value.items()}
    return [_from_strict(each) for each in value] if isinstance(value, list) else value
