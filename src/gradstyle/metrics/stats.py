"""What values add up to: means over the photos that all methods have, how sure they are, and which differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .similarity import rank_correlation
from .values import Key, Metric, Row, Values, contenders

Array = npt.NDArray[np.float64]

DRAWS = 2000  # of the bootstrap
FLIPS = 10_000  # of the permutation test: no p below one in so many
LEVEL = 0.05
INTERVAL = f"95% interval of the mean: percentiles of {DRAWS:,} bootstrap draws of the photos"
TEST = (
    f"against the best mean: paired permutation of the photos' differences, two-sided, {FLIPS:,} draws, "
    "Holm's correction over the methods of a column"
)


class Resampling:
    """The draws of one number of photos, which all figures share: so a difference and its parts fit."""

    def __init__(self, count: int, seed: int) -> None:
        random = np.random.default_rng([seed, count])
        drawn = random.integers(0, count, (DRAWS, count))
        self.weights = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64) / count
        self.signs = random.integers(0, 2, (FLIPS, count), dtype=np.int8).astype(np.float64)

    def interval(self, values: Array) -> tuple[float, float]:
        """Of the mean of values [photos]."""
        means = (self.weights @ values).clip(values.min(), values.max())  # rounding takes them beyond
        low, high = np.quantile(means, [(1 - 0.95) / 2, (1 + 0.95) / 2])
        return float(low), float(high)

    def p(self, differences: Array) -> float:
        """How often signs drawn at random give a mean as far from zero as these differences have."""
        if not differences.any():
            return 1.0
        total = differences.sum()
        drawn = 2.0 * (self.signs @ differences) - total
        # as far, up to the rounding of sums in another order
        reached = np.abs(drawn) >= abs(total) - 1e-9 * np.abs(differences).sum()
        return float((1 + reached.sum()) / (1 + FLIPS))


@lru_cache(maxsize=8)
def resampling(count: int, seed: int) -> Resampling:
    return Resampling(count, seed)


def summarise(
    values: Values, photos: Sequence[str], methods: Sequence[str], metrics: Sequence[Metric], seed: int
) -> list[Row]:
    """Rows of all methods under each condition, by each metric, on the photos that all methods have."""
    better = {metric.name: metric.better for metric in metrics}
    columns = dict.fromkeys((condition, metric) for _, condition, metric in values)
    rows: list[Row] = []
    for condition, metric in columns:
        each = {m: column for m in methods if (column := values.get((m, condition, metric)))}
        missing = {m: len(photos) - len(column) for m, column in each.items()}
        shared = common(each.values(), photos)
        if not shared:
            rows += [Row(m, condition, metric, None, None, None, 0, missing[m]) for m in each]
            continue
        table: dict[str, Array] = {m: np.array([column[photo] for photo in shared]) for m, column in each.items()}
        means = {m: float(figures.mean()) for m, figures in table.items()}
        rivals = contenders(table, condition)
        best = None
        if better[metric] and len(rivals) > 1:
            choose: Callable[..., str] = max if better[metric] == "higher" else min
            best = choose(rivals, key=lambda m: means[m])
        tested = {} if best is None else _tests({m: table[m] for m in rivals}, best, seed)
        for m, figures in table.items():
            finite = len(shared) > 1 and bool(np.isfinite(figures).all())
            low, high = resampling(len(shared), seed).interval(figures) if finite else (None, None)
            row = Row(m, condition, metric, means[m], low, high, len(shared), missing[m], tested.get(m), m == best)
            rows.append(row)
    return rows


def _tests(table: Mapping[str, Array], best: str, seed: int) -> dict[str, float]:
    """The p of each method against the best, where every difference is a number."""
    tested: dict[str, float] = {}
    for m, column in table.items():
        with np.errstate(invalid="ignore"):
            differences = np.where(column == table[best], 0.0, column - table[best])
        if m != best and len(column) > 1 and bool(np.isfinite(differences).all()):
            tested[m] = resampling(len(column), seed).p(differences)
    return holm(tested)


def common(each: Iterable[Mapping[str, float]], photos: Sequence[str]) -> list[str]:
    """The photos that all have, in their order."""
    every = list(each)
    return [photo for photo in photos if all(photo in values for values in every)]


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Corrected for their number: the smallest counts times all of them, the next times all but one …"""
    corrected, largest = {}, 0.0
    for place, (name, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(ps) - place)))
        corrected[name] = largest
    return {name: corrected[name] for name in ps}


def agreement(rows: Sequence[Row], pairs: Mapping[str, str]) -> list[dict[str, object]]:
    """Of each column that one judge measured and another measured too: how alike they order the methods."""
    means: dict[Key, float] = {(r.method, r.condition, r.metric): r.mean for r in rows if r.mean is not None}
    agreed: list[dict[str, object]] = []
    for condition in dict.fromkeys(r.condition for r in rows):
        rivals = contenders(dict.fromkeys(r.method for r in rows), condition)
        for first, second in pairs.items():
            methods = [m for m in rivals if {(m, condition, first), (m, condition, second)} <= set(means)]
            if len(methods) > 1:
                sides = [[means[m, condition, name] for m in methods] for name in (first, second)]
                judge, other = ([m for _, m in sorted(zip(side, methods))] for side in sides)
                about = {"condition": condition, "metric": first, "methods": len(methods)}
                agreed.append({**about, "spearman": rank_correlation(*sides), "judge": judge, "second": other})
    return agreed
