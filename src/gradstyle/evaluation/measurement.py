"""What one method did with a batch of photos, and how batches are worked off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from .evaluators import Features
from .photos import reason

T = TypeVar("T")


@dataclass
class Measurement:
    """What one method did with a batch of photos."""

    values: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # by condition and metric, [N]
    sets: dict[str, Tensor] = field(default_factory=dict)  # by condition, vectors [N, D] of what set distances compare
    pictures: dict[str, Tensor] = field(default_factory=dict)  # by condition, [N, 3, H, W]
    gaps: frozenset[str] = frozenset()  # metrics whose NaN says that a picture has no such figure, not that it failed

    def add(self, condition: str, figures: Mapping[str, Tensor]) -> None:
        self.values |= {(condition, metric): value for metric, value in figures.items()}

    def row(self, row: int) -> Measurement:
        """Of one photo, without the figures that it does not have."""

        def cut(tensors: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
            return {name: tensor[row : row + 1].cpu() for name, tensor in tensors.items() if row < len(tensor)}

        values = {at: value for at, value in cut(self.values).items() if at[1] not in self.gaps or not value.isnan()}
        return Measurement(values, cut(self.sets), cut(self.pictures))


# Method, photos as the encoder takes them, their features, the number of the first of them. A figure that is taken of
# the first few photos alone has as many rows.
Work = Callable[[str, Tensor, Features, int], Measurement]


def attempt(
    work: Work, method: str, photos: Tensor, features: Features, first: int = 0
) -> tuple[dict[int, Measurement], dict[int, str]]:
    """Gives each photo's own measurement, or why there is none; one that fails does not stop the others."""
    try:
        whole = work(method, photos, features, first)
        measured = {row: whole.row(row) for row in range(len(photos))}
    except Exception as error:
        if len(photos) == 1:
            return {}, {0: reason(error)}
        measured, failed = dict[int, Measurement](), dict[int, str]()
        for row in range(len(photos)):
            good, bad = attempt(work, method, photos[row : row + 1], features[row], first + row)
            if good:
                measured[row] = good[0]
            else:
                failed[row] = bad[0]
        return measured, failed
    failed = {row: why for row, measurement in measured.items() if (why := _wrong(measurement))}
    return {row: measurement for row, measurement in measured.items() if row not in failed}, failed


def _wrong(measurement: Measurement) -> str:
    """Names a figure that is no number; only an exact copy's ratio to its error may be infinite."""
    for (condition, metric), value in measurement.values.items():
        number = float(value)
        if not isfinite(number) and not (metric == "psnr" and number == inf):
            return f"{metric} is {number}" + f" under {condition}" * bool(condition)
    return ""


class OncePerBatch(Generic[T]):
    """Computes something of a batch once for all methods, and holds it for the last few batches."""

    def __init__(self, compute: Callable[[int], T], size: int) -> None:
        self.compute, self.size = compute, size
        self._lock, self._held = threading.Lock(), dict[int, T]()

    def __call__(self, batch: int) -> T:
        with self._lock:
            if batch not in self._held:
                if len(self._held) >= self.size:
                    del self._held[min(self._held)]
                self._held[batch] = self.compute(batch)
            return self._held[batch]


@contextmanager
def side_by_side(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Gives a `map` of so many threads.

    Each computes alone: two such do more than one that shares every small step out to two processors, and what is
    measured of a photo is that of one. Distances of sets are computed by all threads.
    """
    if workers == 1:
        yield map
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # threads to come take it from whoever said it last
