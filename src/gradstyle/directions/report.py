"""Measures an edit, decides whether it gets a slider and over which range, and says why if not."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from ..edits import Edit
from ..metrics.face_frame import SAME_PERSON
from .bench import EditBench

LIMIT, STEP = 3.0, 0.5  # how far edits are tried, and in what steps
EACH_SIDE = 1.0  # a slider reaches at least so far on one side
MOVES = 0.5  # standard deviations that amount 1 has to move, as the judge sees it
ALIVE = 0.2  # of the nominal movement: less, and the edit has come to its end
MONOTONIC = 0.9  # of the codes
SLACK = 0.05  # standard deviations that a step may go back: the judge's own noise
STRANGE = 1.0  # standard deviations that the discriminator's score may fall
LEAKS = 1.0  # times the attribute's own movement that another may move
LEARNED = 0.7  # accuracy on held-out extremes


@dataclass(frozen=True)
class Thresholds:
    """Holds what an edit has to reach to get a slider."""

    moves: float = MOVES
    monotonic: float = MONOTONIC
    same_person: float = SAME_PERSON
    strange: float = STRANGE
    leaks: float = LEAKS
    accuracy: float = LEARNED


@dataclass
class EditReport:
    """Says how an edit was found and what it does. Movements are in standard deviations of the data."""

    name: str
    attribute: str
    reverse: bool
    source: str  # interfacegan, ganspace …
    scorer: str
    judge: str  # who says what follows
    independent: bool  # whether that is not who taught it
    samples: int = 0
    seed: int = 0
    codes: int = 0  # on which it was tried
    accuracy: float | None = None  # on held-out extremes
    given: list[str] = field(default_factory=list)  # projected out
    layers: list[int] = field(default_factory=list)  # first and last code that move
    unit: float = 0.0  # length of amount 1 in W
    taught: float = 0.0  # what amount 1 moves, as the scorer sees it: 1, if it was calibrated
    moved: float = 0.0  # what amount 1 moves, as the judge sees it
    response: list[list[float]] = field(default_factory=list)  # amount, movement
    leaks: dict[str, float] = field(default_factory=dict)  # what else amount 1 moves
    identity: list[list[float]] = field(default_factory=list)  # amount, dlib's distance (median)
    realism: list[list[float]] = field(default_factory=list)  # amount, the discriminator's score less that without edit
    monotonic: float = 0.0  # share of codes, over the range
    low: float = 0.0
    high: float = 0.0
    reasons: list[str] = field(default_factory=list)  # why it is given no slider

    def to_json(self) -> dict[str, Any]:
        return {key: _rounded(value) for key, value in vars(self).items()}


def measure(
    bench: EditBench, edit: Edit, report: EditReport, watched: list[str], limits: Thresholds | None = None
) -> EditReport:
    """Fills in what amounts of an edit do, its range, and the reasons against a slider.

    `watched` are attributes of other edits: no edit is good that is better at being another one.
    """
    limits = limits or Thresholds()
    count, one = round(2 * LIMIT / STEP) + 1, round(1 / STEP)
    zero = count // 2
    amounts = [(i - zero) * STEP for i in range(count)]
    sign = -1.0 if report.reverse else 1.0
    seen = bench.look(edit, amounts, report.attribute, report.independent)
    own = sign * seen.own
    report.codes = own.shape[1]
    curve = (own - own[zero]).nanmean(dim=1)  # [amounts]
    report.response = [[a, float(m)] for a, m in zip(amounts, curve)]
    report.moved = float(curve[zero + one] - curve[zero - one]) / 2
    report.taught = sign * float((seen.taught[1] - seen.taught[0]).nanmean()) / 2
    report.leaks = {name: float((v[1] - v[0]).nanmean()) / 2 for name, v in seen.others.items()}
    whole = [a for a in amounts if a and a == round(a)]
    strange = bench.strangeness([a * edit for a in whole])
    if strange is not None:
        distances = [[a, float(d.median())] for a, d in zip(whole, strange)]
        report.identity = sorted([*distances, [0.0, 0.0]])
    if seen.real is not None:
        report.realism = [[a, float(r)] for a, r in zip(amounts, (seen.real - seen.real[zero]).mean(dim=1))]
    low, high, why = _plausible(report, amounts, curve, zero, limits)
    low, high, report.monotonic = _monotonic(own, low, high, zero, limits.monotonic)
    report.low, report.high = amounts[low], amounts[high]
    report.reasons = _reasons(report, watched, why, limits)
    return report


def _plausible(
    report: EditReport, amounts: list[float], curve: Tensor, zero: int, limits: Thresholds
) -> tuple[int, int, dict[str, str]]:
    """Finds how far each side goes before identity, realism or movement is lost, and which of them is."""
    real = {point[0]: point[1] for point in report.realism}
    ends, why = [], {}
    for side, name in ((-1, "low"), (1, "high")):
        end = zero
        while 0 <= end + side < len(amounts):
            amount, step = amounts[end + side], float(curve[end + side] - curve[end]) * side
            distance = _between(report.identity, amount)
            if distance is not None and distance > limits.same_person:
                why[name] = f"at {amount:+g} it is another person (distance {distance:.2f})"
            elif real.get(amount, 0.0) < -limits.strange:
                why[name] = (
                    f"at {amount:+g} pictures are not real any more (the discriminator falls by {-real[amount]:.1f})"
                )
            elif step < ALIVE * STEP:
                why[name] = f"at {amount:+g} it does not go on"
            if name in why:
                break
            end += side
        ends.append(end)
    return ends[0], ends[1], why


def _between(points: list[list[float]], at: float) -> float | None:
    """Interpolates a line through points."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= at <= x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return None


def _monotonic(own: Tensor, low: int, high: int, zero: int, needed: float) -> tuple[int, int, float]:
    """Finds the widest part of the range in which the attribute rises with the amount on enough codes."""

    def share(first: int, last: int) -> float:
        if last <= first:
            return 0.0
        rising = own[first : last + 1].diff(dim=0) >= -SLACK  # [steps, codes]
        return int(rising.all(dim=0).sum()) / own.shape[1]

    parts = [(first, last) for first in range(low, zero + 1) for last in range(zero, high + 1)]
    parts.sort(key=lambda part: (part[0] - part[1], abs(part[0] + part[1] - 2 * zero)))  # wide, then even
    first, last = next((part for part in parts if share(*part) >= needed), (zero, zero))
    return first, last, share(first, last) if last > first else share(low, high)


def _reasons(report: EditReport, watched: list[str], why: dict[str, str], limits: Thresholds) -> list[str]:
    reasons = []
    if report.accuracy is not None and report.accuracy < limits.accuracy:
        reasons.append(f"codes with and without it are hardly told apart: {report.accuracy:.0%} of those held out")
    if report.moved < limits.moves:
        reasons.append(f"amount 1 moves {report.attribute} by {report.moved:.2f}, less than {limits.moves:g}")
    if report.monotonic < limits.monotonic:
        reasons.append(f"rises steadily on {report.monotonic:.0%} of the codes, less than {limits.monotonic:.0%}")
    for name in watched:
        if abs(leak := report.leaks.get(name, 0.0)) > limits.leaks * max(report.moved, 0.0):
            reasons.append(f"moves {name} ({leak:+.2f}) more than {report.attribute}")
    if max(-report.low, report.high) < EACH_SIDE:
        told = "; ".join(why.values()) or "further it is not steady"
        reasons.append(f"its range is only {report.low:+g} to {report.high:+g}: {told}")
    return reasons


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return value
