"""Describes a bundle's edits: over which amounts each is good, and how that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

FURTHEST = 1000.0  # no amount of an edit is larger
LONGEST_WORD, LONGEST_LINE = 80, 1000  # characters of a name, of a text
MOST_VALUES, DEEPEST = 2000, 8  # of a report


@dataclass(frozen=True)
class Slider:
    """The amounts over which an edit does what it says; amount 1 is one standard deviation of the data."""

    low: float
    high: float
    group: str = ""  # what sliders are shown together: face, hair, pose …
    about: str = ""
    report: dict[str, Any] = field(default_factory=dict)  # how it was measured

    def __post_init__(self) -> None:
        if not (-FURTHEST <= self.low <= 0 <= self.high <= FURTHEST and self.low < self.high):
            raise ValueError(
                f"a slider goes from a low to a high with 0 between, at most ±{FURTHEST:g}, "
                f"got {self.low!r} and {self.high!r}"
            )
        _check_text("group", self.group, LONGEST_WORD)
        _check_text("about", self.about, LONGEST_LINE)
        check_report(self.report)

    def clamp(self, amount: float) -> float:
        return min(max(amount, self.low), self.high)


@dataclass(frozen=True)
class EditsConfig:
    """What `bundle.json` holds of the part `edits`."""

    sliders: dict[str, Slider] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)  # reports of edits that are given no slider

    def __post_init__(self) -> None:
        for name in (*self.sliders, *self.failed):
            _check_text("an edit's name", name, LONGEST_WORD)
        for report in self.failed.values():
            check_report(report)
        if both := sorted(set(self.sliders) & set(self.failed)):
            raise ValueError(f"{both[0]!r} has a slider and has failed: one of the two is wrong")


def check_report(report: Mapping[str, Any]) -> None:
    """Names, numbers, short texts, and lists of them: all that a report may hold, and not too much of it."""
    count = 0

    def walk(value: Any, where: str, depth: int) -> None:
        nonlocal count
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            raise ValueError(f"a report holds at most {MOST_VALUES} values, {DEEPEST} deep")
        if isinstance(value, Mapping):
            for name, inner in value.items():
                _check_text(f"a name in {where}", name, LONGEST_WORD)
                walk(inner, f"{where}.{name}"[:200], depth + 1)
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner, where, depth + 1)
        elif isinstance(value, str):
            _check_text(where, value, LONGEST_LINE)
        elif isinstance(value, int | float) and not isfinite(value):
            raise ValueError(f"{where} is {value}, which is no number to report")
        elif value is not None and not isinstance(value, int | float):
            raise ValueError(f"{where} holds {type(value).__name__}; a report holds names, numbers and texts")

    walk(report, "report", 0)


def _check_text(what: str, text: Any, longest: int) -> None:
    if not isinstance(text, str) or len(text) > longest or not text.isprintable():
        raise ValueError(f"{what} is a line of at most {longest} characters, got {str(text)[:80]!r}")
