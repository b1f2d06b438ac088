"""What is measured: a metric, the values of one for each photo, and their means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..methods import BASELINES

UNEDITED = "unedited"  # a method that answers with the photo itself, whatever the edit
COPIES = (*BASELINES, UNEDITED)  # without an edit they give the photo itself


@dataclass(frozen=True)
class Metric:
    """A figure by the name that stands in the files, and as people read it."""

    name: str
    title: str
    better: Literal["higher", "lower", ""] = ""  # empty: neither is
    about: str = ""


@dataclass(frozen=True)
class Row:
    """One method under one condition by one metric: over the photos that every method has."""

    method: str
    condition: str
    metric: str
    mean: float | None  # none where no photo is left; of a set of pictures it is the set's figure
    low: float | None  # the 95% bootstrap interval of the mean; none where there is none
    high: float | None
    n: int  # photos
    missing: int = 0  # photos that this method failed on
    p: float | None = None  # of the paired test against the best; none for the best itself
    best: bool = False


@dataclass(frozen=True)
class Curve:
    """Means of a metric against those of the measured change, at each amount of an edit."""

    method: str
    edit: str  # with its direction: "smile+"
    metric: str
    change: tuple[float, ...]  # on average, of what `unit` says
    value: tuple[float, ...]
    area: float | None  # under the curve from no change to the common end, divided by that end: a mean of the metric
    until: float | None  # the common end
    low: tuple[float, ...] = ()  # a 95% interval of each value, where there is one
    high: tuple[float, ...] = ()
    unit: str = " sd"  # of the change; sd: standard deviations among the photos


Key = tuple[str, str, str]  # method, condition, metric


Values = dict[Key, dict[str, float]]  # … to photo to value


def contenders(methods: Iterable[str], condition: str) -> list[str]:
    """Those that can be the best. Where nothing is edited, whoever gives the photo back is right by construction."""
    return [method for method in methods if method not in COPIES or "=" in condition]
