"""What changed between the values of two runs on the same photos, and whether it is more than noise."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..evaluation.store import Summary
from ..metrics.stats import Array, Resampling, holm
from ..metrics.values import Key, Metric, Row, Values

NOISE = 0.05  # a change is more than noise where noise alone would give any such among all that were tested so rarely
Verdict = Literal["no change", "noise", "better", "worse", "changed", "not tested"]


@dataclass(frozen=True)
class Change:
    """A figure of both runs; differences are after − before, photo by photo."""

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


def paired(
    before: Values, after: Values, keys: Sequence[Key], photos: Sequence[str], metrics: Mapping[str, Metric]
) -> Iterator[Change]:
    """Compares figures of single photos: each is tested, and all tests are corrected together."""
    pairs: dict[Key, Array] = {}  # [photos, 2]
    for key in keys:
        both = [(before[key][p], after[key][p]) for p in photos if p in before[key] and p in after[key]]
        if finite := [pair for pair in both if all(map(math.isfinite, pair))]:
            pairs[key] = np.asarray(finite, dtype=np.float64)
    tests = {key: paired_test(each[:, 1] - each[:, 0]) for key, each in pairs.items()}
    adjusted = holm({"\n".join(key): p for key, p in tests.items() if p is not None})
    resamplings = {count: Resampling(count, 0) for count in set(map(len, pairs.values()))}
    for key, each in pairs.items():
        change, p = each[:, 1] - each[:, 0], adjusted.get("\n".join(key))
        verdict = _verdict(change, p, metrics[key[2]].better if key[2] in metrics else "")
        ends = resamplings[len(each)].interval(change)
        yield Change(*key, len(each), float(each[:, 0].mean()), float(each[:, 1].mean()), *ends, tests[key], p, verdict)


def whole(rows: Sequence[Row], after: Summary, single: Container[Key]) -> Iterator[Change]:
    """Compares figures of the whole set, which are not tested; `single` has those of single photos."""
    for row in rows:
        other = after.row(row.method, row.condition, row.metric)
        if (row.method, row.condition, row.metric) in single or other is None:
            continue
        if row.mean is not None and other.mean is not None:
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
    """Gives the p of Student's paired t-test that the mean difference is zero; None for a single photo.

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
