"""What values add up to: means over the photos that all methods have, how sure they are, and which differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

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


class Summariser:
    """Rows of all methods under each condition, by each metric."""

    def __init__(self, methods: Sequence[str], metrics: Sequence[Metric], seed: int) -> None:
        self.methods, self.metrics, self.seed = tuple(methods), {metric.name: metric for metric in metrics}, seed
        self._resamplings: dict[int, Resampling] = {}
        self.notes: list[str] = []

    def resampling(self, count: int) -> Resampling:
        if count not in self._resamplings:
            self._resamplings[count] = Resampling(count, self.seed)
        return self._resamplings[count]

    def rows(self, values: Values, photos: Sequence[str]) -> list[Row]:
        columns = dict.fromkeys((condition, metric) for _, condition, metric in values)
        return [row for condition, metric in columns for row in self.column(values, photos, condition, metric)]

    def column(self, values: Values, photos: Sequence[str], condition: str, metric: str) -> list[Row]:
        """One metric under one condition: every method on the photos that all of them have."""
        each = {m: v for m in self.methods if (v := values.get((m, condition, metric)))}
        shared = common(each.values(), photos)
        if not shared:
            return [Row(m, condition, metric, None, None, None, 0, len(photos) - len(each[m])) for m in each]
        table: dict[str, Array] = {m: np.array([v[photo] for photo in shared]) for m, v in each.items()}
        means = {m: float(of_method.mean()) for m, of_method in table.items()}
        rivals = contenders(table, condition)
        best = self._best(metric, {m: means[m] for m in rivals})
        tested = self._tests({m: table[m] for m in rivals}, best, len(shared)) if best is not None else {}
        rows = []
        for m, of_method in table.items():
            finite = len(shared) > 1 and bool(np.isfinite(of_method).all())
            low, high = self.resampling(len(shared)).interval(of_method) if finite else (None, None)
            missing = len(photos) - len(each[m])
            rows.append(Row(m, condition, metric, means[m], low, high, len(shared), missing, tested.get(m), m == best))
        return rows

    def _best(self, metric: str, means: Mapping[str, float]) -> str | None:
        better = self.metrics[metric].better
        if not better or len(means) < 2:
            return None
        choose: Callable[..., str] = max if better == "higher" else min
        return choose(means, key=lambda m: means[m])

    def _tests(self, table: Mapping[str, Array], best: str, count: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for m, v in table.items():
            with np.errstate(invalid="ignore"):
                differences = np.where(v == table[best], 0.0, v - table[best])
            if m != best and count > 1 and bool(np.isfinite(differences).all()):
                found[m] = self.resampling(count).p(differences)
        return holm(found)


def common(each: Iterable[Mapping[str, float]], photos: Sequence[str]) -> list[str]:
    """The photos that all have, in their order."""
    every = list(each)
    return [photo for photo in photos if all(photo in values for values in every)]


def holm(found: Mapping[str, float]) -> dict[str, float]:
    """Corrected for their number: the smallest counts times all of them, the next times all but one …"""
    corrected, largest = {}, 0.0
    for place, (name, p) in enumerate(sorted(found.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(found) - place)))
        corrected[name] = largest
    return {name: corrected[name] for name in found}


def agreement(rows: Sequence[Row], pairs: Mapping[str, str]) -> list[dict[str, object]]:
    """Of each column that one judge measured and another measured too: how alike they order the methods."""
    means: dict[Key, float] = {(r.method, r.condition, r.metric): r.mean for r in rows if r.mean is not None}
    found: list[dict[str, object]] = []
    for condition in dict.fromkeys(r.condition for r in rows):
        for first, second in pairs.items():
            methods = [
                m
                for m in contenders(dict.fromkeys(r.method for r in rows), condition)
                if {(m, condition, n) for n in (first, second)} <= set(means)
            ]
            if len(methods) > 1:
                sides = [[means[m, condition, name] for m in methods] for name in (first, second)]
                orders = [[m for _, m in sorted(zip(side, methods))] for side in sides]
                found.append(
                    {
                        "condition": condition,
                        "metric": first,
                        "methods": len(methods),
                        "spearman": rank_correlation(*sides),
                        "judge": orders[0],
                        "second": orders[1],
                    }
                )
    return found
