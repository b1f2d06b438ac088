"""What changed between two runs of one protocol on the photos of both, and whether it is more than noise."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..config import to_json
from ..evaluation.store import Record, RunFolder, Summary
from ..files import write_text
from ..metrics.stats import Array, Resampling, holm
from ..metrics.values import Key, Metric, Row, Values
from .tables import Column, Table, text_table
from .texts import decimals, figure, listed, plain, probability, signed, strict

NOISE = 0.05  # a change is more than noise where noise alone would give any such among all that were tested so rarely
JUDGED = "judge"  # how the names of metrics begin that a judge measures
MILD = frozenset({"photos", "shown"})  # of a protocol: how many photos, and of how many there are pictures
WARNED = frozenset({"batch", "device", "seed"})  # these move figures by their last digits
Verdict = Literal["no change", "noise", "better", "worse", "changed", "not tested"]
SERIOUS: tuple[Verdict, ...] = ("worse", "better", "changed")


@dataclass(frozen=True)
class Change:
    """One figure of both runs; the differences are after − before, photo by photo."""

    method: str
    condition: str
    metric: str
    n: int  # photos that both have; 0: it is a figure of the whole set
    before: float
    after: float
    low: float | None = None  # the 95% bootstrap interval of the mean difference
    high: float | None = None
    p: float | None = None  # of the paired t-test
    adjusted: float | None = None  # the same for all tests at once, after Holm
    verdict: Verdict = "not tested"

    @property
    def change(self) -> float:
        return self.after - self.before


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
        """Those that are more than noise."""
        return [change for change in self.changes if change.verdict in SERIOUS]

    @cached_property
    def digits(self) -> dict[str, int]:
        """As many as the intervals of a metric's differences make worth reading."""
        found = {}
        for metric in {change.metric for change in self.changes}:
            of = [change for change in self.changes if change.metric == metric]
            moved = [c for c in of if c.change] or of
            shown = [(c.change or c.after, c.low, c.high, c.n) for c in moved]
            found[metric] = decimals([Row("", "", metric, *each) for each in shown])
        return found

    def sentence(self) -> str:
        tested = sum(change.verdict != "not tested" for change in self.changes)
        if not tested:
            return "Nothing could be tested: the runs share no figure of single photos."
        if all(change.verdict in ("no change", "not tested") for change in self.changes):
            return f"No change: all {tested:,} figures are the same on every photo."
        if not self.serious:
            return f"No change that is more than noise, in {tested:,} figures over {self.photos:,} photos."
        counts = {verdict: sum(change.verdict == verdict for change in self.changes) for verdict in SERIOUS}
        told = listed([f"{count:,} {verdict}" for verdict, count in counts.items() if count])
        count = f"{len(self.serious):,} of {tested:,} figures"
        return f"{count} changed by more than noise over {self.photos:,} photos: {told}."


def compare(before: str | os.PathLike[str], after: str | os.PathLike[str]) -> Comparison:
    """Two finished runs of the same kind and protocol; of another they are refused."""
    runs = RunFolder(before), RunFolder(after)
    records = runs[0].record(), runs[1].record()
    _check(*records)
    values = runs[0].values(), runs[1].values()
    summaries = runs[0].summary(), runs[1].summary()
    if _judges_differ(*records):
        values = (_unjudged(values[0]), _unjudged(values[1]))
        rows = [tuple(row for row in summary.rows if not row.metric.startswith(JUDGED)) for summary in summaries]
        summaries = (replace(summaries[0], rows=rows[0]), replace(summaries[1], rows=rows[1]))
    photos = sorted(set(records[0].photos) & set(records[1].photos))
    if not photos:
        raise ValueError(f"{before} and {after} share no photo: measure both on the same data")
    metrics = {metric.name: metric for record in records for metric in record.metrics}
    changes = [*_paired(*values, photos, metrics), *_whole(*summaries, values)]
    costs = runs[0].costs(), runs[1].costs()
    both = [
        (method, name, value, costs[1][method][name])
        for method, each in costs[0].items()
        for name, value in each.items()
        if name in costs[1].get(method, {})
    ]
    names = (str(before), str(after))
    return Comparison(
        *records, names, len(photos), tuple(changes), tuple(both), tuple(_warnings(*records, names, photos))
    )


def _unjudged(values: Values) -> Values:
    return {key: each for key, each in values.items() if not key[2].startswith(JUDGED)}


def _check(before: Record, after: Record) -> None:
    if before.kind != after.kind:
        raise ValueError(
            f"one run is of {before.kind}, the other of {after.kind}: only runs of one kind can be compared"
        )
    if odd := [name for name in _different(before, after) if name not in MILD | WARNED]:
        told = "; ".join(f"{name}: {_both(before, after, name)}" for name in odd)
        raise ValueError(
            f"the runs' protocols differ, so their figures do not compare ({told}); measure one of them again"
        )


def _different(before: Record, after: Record) -> list[str]:
    first, second = before.protocol, after.protocol
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


def _both(before: Record, after: Record, name: str) -> str:
    return " and ".join(_shown(record.protocol.get(name)) for record in (before, after))


def _judges_differ(before: Record, after: Record) -> bool:
    """A bundle's judge is a part of the bundle: what two judges say does not compare."""
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
    alone = len(set(before.photos) ^ set(after.photos))
    if alone:
        yield f"{alone:,} photos are in one run alone and left out; {len(photos):,} are in both"
    for record, other, name in ((before, after, names[0]), (after, before, names[1])):
        if odd := [method for method in record.methods if method not in other.methods]:
            yield f"only {name} has {listed(odd)}"
    changed = [name for name in before.versions if before.versions[name] != after.versions.get(name)]
    if changed:
        yield "versions differ: " + ", ".join(f"{n} {before.versions[n]} and {after.versions.get(n)}" for n in changed)


def _paired(before: Values, after: Values, photos: Sequence[str], metrics: Mapping[str, Metric]) -> Iterator[Change]:
    """Figures of single photos: tested one by one, judged all at once."""
    found: dict[str, tuple[Key, Array]] = {}
    for key in (key for key in before if key in after):
        both = [(before[key][p], after[key][p]) for p in photos if p in before[key] and p in after[key]]
        finite = [pair for pair in both if all(map(math.isfinite, pair))]
        if finite:
            found["\n".join(key)] = (key, np.asarray(finite, dtype=np.float64))
    tests = {name: paired_test(pairs[:, 1] - pairs[:, 0]) for name, (_, pairs) in found.items()}
    adjusted = holm({name: p for name, p in tests.items() if p is not None})
    drawn = {count: Resampling(count, 0) for count in {len(pairs) for _, pairs in found.values()}}
    for name, (key, pairs) in found.items():
        change = pairs[:, 1] - pairs[:, 0]
        low, high = drawn[len(pairs)].interval(change)
        metric = metrics.get(key[2])
        verdict = _verdict(change, adjusted.get(name), metric.better if metric else "")
        first, second = (float(side) for side in pairs.mean(0))
        yield Change(*key, len(pairs), first, second, low, high, tests[name], adjusted.get(name), verdict)


def _whole(before: Summary, after: Summary, values: tuple[Values, Values]) -> Iterator[Change]:
    """Figures of the whole set, which no pairing tests."""
    for row in before.rows:
        if any((row.method, row.condition, row.metric) in each for each in values):
            continue
        other = after.row(row.method, row.condition, row.metric)
        if other is not None and row.mean is not None and other.mean is not None:
            verdict: Verdict = "no change" if row.mean == other.mean else "not tested"
            yield Change(row.method, row.condition, row.metric, 0, row.mean, other.mean, verdict=verdict)


def _verdict(change: Array, adjusted: float | None, better: str) -> Verdict:
    if not change.any():
        return "no change"
    if adjusted is None:
        return "not tested"
    if adjusted >= NOISE:
        return "noise"
    if not better:
        return "changed"
    return "better" if (change.mean() > 0) == (better == "higher") else "worse"


def paired_test(change: Array) -> float | None:
    """The p of Student's paired t-test that the mean difference is none; none of a single photo.

    Against the best of a column five methods are tested, here hundreds of figures at once: what is left of p after
    Holm must be finer than any number of permutations makes it.
    """
    from scipy.stats import t

    if not change.any():
        return 1.0
    if len(change) < 2:
        return None
    error = float(change.std(ddof=1)) / math.sqrt(len(change))
    if error == 0:
        return 0.0  # the same difference on every photo
    return float(2 * t.sf(abs(float(change.mean())) / error, len(change) - 1))


# ---- written

HEAD = ("method", "condition", "metric", "photos", "before", "after", "difference", "p", "verdict")
NUMBERS = ("photos", "before", "after", "difference", "p")
HOW = (
    "Differences are after − before on the same photos, with a 95% bootstrap interval; p is of a paired t-test, after "
    "Holm for all tests at once."
)


def table(comparison: Comparison, changes: Sequence[Change], hide_empty: bool = False) -> Table:
    """A row for each change; `hide_empty`: without the conditions of runs that have only one."""
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
    """A change as HEAD names its parts."""
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
