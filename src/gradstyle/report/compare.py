"""What changed between two runs of one protocol on the photos of both, and whether it is more than noise."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import to_json
from ..evaluation.store import Record, RunFolder
from ..files import write_text
from ..metrics.values import Metric, Row
from .changes import Change, Verdict, paired, whole
from .tables import Column, Table, text_table
from .texts import decimals, figure, listed, plain, probability, signed, strict

JUDGED = "judge"  # how the names of metrics begin that a judge measures
MILD = frozenset({"photos", "shown"})  # of a protocol: how many photos, and of how many there are pictures
WARNED = frozenset({"batch", "device", "seed"})  # these move figures by their last digits
SERIOUS: tuple[Verdict, ...] = ("worse", "better", "changed")


@dataclass(frozen=True)
class Comparison:
    before: Record
    after: Record
    names: tuple[str, str]
    photos: int  # that both measured
    changes: tuple[Change, ...]
    costs: tuple[tuple[str, str, float, float], ...]  # method, what, before, after: no two runs share them
    warnings: tuple[str, ...]

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in (*self.before.metrics, *self.after.metrics)}

    @property
    def serious(self) -> list[Change]:
        """Changes that are more than noise."""
        return [change for change in self.changes if change.verdict in SERIOUS]

    @cached_property
    def digits(self) -> dict[str, int]:
        """Decimals of each metric: as many as the intervals of its differences make worth reading."""
        digits = {}
        for metric in {change.metric for change in self.changes}:
            of = [change for change in self.changes if change.metric == metric]
            moved = [c for c in of if c.change] or of
            shown = [(c.change or c.after, c.low, c.high, c.n) for c in moved]
            digits[metric] = decimals([Row("", "", metric, *each) for each in shown])
        return digits

    def sentence(self) -> str:
        tested = sum(change.verdict != "not tested" for change in self.changes)
        if not tested:
            return "Nothing could be tested: the runs share no figure of single photos."
        if all(change.verdict in ("no change", "not tested") for change in self.changes):
            return f"No change: all {tested:,} figures are the same on every photo."
        if not self.serious:
            return f"No change that is more than noise, in {tested:,} figures over {self.photos:,} photos."
        counts = {verdict: sum(change.verdict == verdict for change in self.changes) for verdict in SERIOUS}
        verdicts = listed([f"{count:,} {verdict}" for verdict, count in counts.items() if count])
        count = f"{len(self.serious):,} of {tested:,} figures"
        return f"{count} changed by more than noise over {self.photos:,} photos: {verdicts}."


def compare(before: str | os.PathLike[str], after: str | os.PathLike[str]) -> Comparison:
    """Compares two finished runs of the same kind and protocol; of another they are refused."""
    first, second = RunFolder(before), RunFolder(after)
    records = first.record(), second.record()
    _check(*records)
    photos = sorted(set(records[0].photos) & set(records[1].photos))
    if not photos:
        raise ValueError(f"{before} and {after} share no photo: measure both on the same data")
    left_out = JUDGED if _judges_differ(*records) else "\0"  # no metric begins so
    values = first.values(), second.values()
    metrics = {metric.name: metric for record in records for metric in record.metrics}
    keys = [key for key in values[0] if key in values[1] and not key[2].startswith(left_out)]
    rows = [row for row in first.summary().rows if not row.metric.startswith(left_out)]
    changes = [*paired(*values, keys, photos, metrics), *whole(rows, second.summary(), {*values[0], *values[1]})]
    costs = first.costs(), second.costs()
    shared = [
        (method, name, value, costs[1][method][name])
        for method, each in costs[0].items()
        for name, value in each.items()
        if name in costs[1].get(method, {})
    ]
    names = (str(before), str(after))
    warnings = tuple(_warnings(*records, names, photos))
    return Comparison(*records, names, len(photos), tuple(changes), tuple(shared), warnings)


def _check(before: Record, after: Record) -> None:
    if before.kind != after.kind:
        raise ValueError(
            f"one run is of {before.kind}, the other of {after.kind}: only runs of one kind can be compared"
        )
    if odd := [name for name in _different(before, after) if name not in MILD | WARNED]:
        choices = "; ".join(f"{name}: {_both(before, after, name)}" for name in odd)
        raise ValueError(
            f"the runs' protocols differ, so their figures do not compare ({choices}); measure one of them again"
        )


def _different(before: Record, after: Record) -> list[str]:
    first, second = before.protocol, after.protocol
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


def _both(before: Record, after: Record, name: str) -> str:
    return " and ".join(_shown(record.protocol.get(name)) for record in (before, after))


def _judges_differ(before: Record, after: Record) -> bool:
    """Says whether the bundles have different judges, whose figures do not compare."""
    parts = [record.bundle.get("parts") or {} for record in (before, after)]
    return bool(parts[0].get("judge") != parts[1].get("judge")) and not before.protocol.get("networks", {}).get("judge")


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _warnings(before: Record, after: Record, names: Sequence[str], photos: Sequence[str]) -> Iterator[str]:
    if before.data.get("fingerprint") != after.data.get("fingerprint"):
        yield (
            f"the data differ ({_shown(before.data.get('name'))} and {_shown(after.data.get('name'))}): "
            "photos of one name are taken for the same photo"
        )
    for name in (name for name in _different(before, after) if name in WARNED):
        yield f"the runs differ in {name}: {_both(before, after, name)}"
    if _judges_differ(before, after):
        yield "the bundles have different judges: what the judges measured is left out"
    for record, name in zip((before, after), names):
        if not record.complete:
            yield f"{name} is not complete"
    unshared = len(set(before.photos) ^ set(after.photos))
    if unshared:
        yield f"{unshared:,} photos are in one run alone and left out; {len(photos):,} are in both"
    for record, other, name in ((before, after, names[0]), (after, before, names[1])):
        if odd := [method for method in record.methods if method not in other.methods]:
            yield f"only {name} has {listed(odd)}"
    changed = [name for name in before.versions if before.versions[name] != after.versions.get(name)]
    if changed:
        yield "versions differ: " + ", ".join(f"{n} {before.versions[n]} and {after.versions.get(n)}" for n in changed)


# ---- written

HEAD = ("method", "condition", "metric", "photos", "before", "after", "difference", "p", "verdict")
NUMBERS = ("photos", "before", "after", "difference", "p")
HOW = (
    "Differences are after − before on the same photos, with a 95% bootstrap interval; p is of a paired t-test, after "
    "Holm for all tests at once."
)


def table(comparison: Comparison, changes: Sequence[Change], hide_empty: bool = False) -> Table:
    """Makes a row of each change; `hide_empty` leaves out the conditions where there is only one."""
    lines = [HEAD, *(_texts(comparison, change) for change in changes)]
    if hide_empty and not any(change.condition for change in changes):
        lines = [(line[0], *line[2:]) for line in lines]
    return text_table(lines[0], lines[1:], NUMBERS)


def markdown(comparison: Comparison) -> str:
    names = " → ".join(map(plain, comparison.names))
    warnings = [f"- {plain(warning)}" for warning in comparison.warnings]
    parts = [f"# {comparison.before.kind}: {names}", comparison.sentence(), "\n".join(warnings), HOW]
    parts.append(table(comparison, comparison.changes).markdown)
    if comparison.costs:
        costs = [(method, name, f"{a:.4g}", f"{b:.4g}") for method, name, a, b in comparison.costs]
        parts.append("Costs, which no two runs share and nothing tests:")
        parts.append(text_table(("method", "cost", "before", "after"), costs, ("before", "after")).markdown)
    return "\n\n".join(filter(None, parts)) + "\n"


def write(comparison: Comparison, out: Path) -> None:
    """Writes a comparison as Markdown or JSON, as the file's name says; as a whole or not at all."""
    text = markdown(comparison)
    if out.suffix == ".json":
        text = json.dumps(jsonable(comparison), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(out, text)


def _texts(comparison: Comparison, change: Change) -> Sequence[str]:
    """Gives the texts of a change, in the order of HEAD."""
    metric = comparison.metrics.get(change.metric, Metric(change.metric, change.metric))
    digits = comparison.digits[change.metric]
    between = ""
    if change.low is not None and change.high is not None and change.verdict != "no change":
        between = f" [{signed(change.low, digits)}, {signed(change.high, digits)}]"
    return [
        change.method,
        change.condition,
        Column.of(metric).heading,
        f"{change.n:,}" if change.n else "the set",
        figure(change.before, digits),
        figure(change.after, digits),
        signed(change.change, digits) + between,
        "" if change.adjusted is None else probability(change.adjusted),
        change.verdict,
    ]


def jsonable(comparison: Comparison) -> dict[str, Any]:
    changes = [{**to_json(change), "change": change.change} for change in comparison.changes]
    shown = ("before", "after", "names", "photos", "costs", "warnings")
    rest = {name: to_json(getattr(comparison, name)) for name in shown}
    for side in ("before", "after"):
        rest[side] = {name: rest[side][name] for name in ("bundle", "data", "versions", "command", "methods")}
    made: dict[str, Any] = strict(
        {
            "kind": comparison.before.kind,
            "protocol": comparison.before.protocol,
            **rest,
            "sentence": comparison.sentence(),
            "changes": changes,
        }
    )
    return made
