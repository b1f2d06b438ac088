"""Edits at equal strength: how each photo's picture changes as an edit grows, and what is so at one change of all.

A photo's path is how far its picture has changed at each amount of an edit, from none. Where it first reaches a change,
the amount is interpolated, and so is every figure of that photo. A photo's own path is noisier than the mean of all,
but the mean says nothing of any photo: a method that moves half of the photos twice as far as asked, and the other half
not at all, has a mean too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..metrics.attributes import Target
from ..metrics.stats import Array, common, resampling
from ..metrics.values import Curve, Metric, Values

FIXED = 2.0  # the amount of the table at a fixed slider value
VANISHES = "vanishing"  # the condition of an edit so small that no picture shows it
COMPARED = 0.5  # the share of the photos in which a method must reach a change to be compared there
REACHED = Metric("reached", "Photos that reach it", "higher", "share of the photos whose own change comes so far")


def condition(target: Target, amount: float) -> str:
    return f"{target.name}={amount:+g}"


def fixed(amounts: Sequence[float]) -> list[float]:
    """The amount nearest to the fixed one, each way."""
    sides = [[a for a in amounts if a < 0], [a for a in amounts if a > 0]]
    return [min(side, key=lambda a: abs(abs(a) - FIXED)) for side in sides if side]


@dataclass(frozen=True)
class Direction:
    """One direction of an edit, and who says how far it goes."""

    target: Target
    sign: float
    amounts: tuple[float, ...]  # from the least
    change: str  # the metric that says it
    unit: str
    goals: tuple[float, ...]  # at which methods are compared

    @classmethod
    def both(
        cls, target: Target, steps: tuple[float, ...], change: str, unit: str, goals: tuple[float, ...]
    ) -> list[Direction]:
        amounts = target.amounts(steps)
        each = [(s, tuple(sorted((a for a in amounts if a * s > 0), key=abs))) for s in (1.0, -1.0)]
        return [cls(target, sign, those, change, unit, goals) for sign, those in each if those]

    @property
    def name(self) -> str:
        return self.target.name + ("+" if self.sign > 0 else "-")

    def matched(self, goal: float) -> str:
        """The condition under which values at a change stand."""
        return f"{self.target.name}=matched:{self.sign * goal:g}{self.unit}"

    def area(self, until: float) -> str:
        """The condition under which areas stand, which says where they end."""
        return f"{self.target.name}=area:{'+' if self.sign > 0 else '-'}{until:.3g}{self.unit}"

    @property
    def furthest(self) -> float:
        return self.amounts[-1]

    @property
    def conditions(self) -> list[str]:
        return [condition(self.target, amount) for amount in self.amounts]


# ---- photo by photo


@dataclass(frozen=True)
class Crossing:
    """Where a photo's own path first reaches a change: on the way between two conditions."""

    before: str
    after: str
    share: float  # of the way

    def value(self, values: Mapping[str, float | None]) -> float | None:
        """What a figure is there, of its values by condition; one that is itself a change is zero without an edit."""
        start, end = values.get(self.before), values.get(self.after)
        if start is None and self.before == VANISHES:
            start = 0.0
        return None if start is None or end is None else (1 - self.share) * start + self.share * end


def path_of(values: Values, direction: Direction, method: str, photo: str) -> list[tuple[str, float]]:
    """A photo's conditions and its changes there, in the direction's sense, up to the first that is not known."""
    path = [(VANISHES, 0.0)]
    for where in direction.conditions:
        change = values.get((method, where, direction.change), {}).get(photo)
        if change is None:  # its face is lost there
            break
        path.append((where, direction.sign * change))
    return path


def crossing(path: Sequence[tuple[str, float]], goal: float) -> Crossing | None:
    """The first place at which a path that begins below the goal reaches it; none where it never does."""
    for (before, x), (after, y) in pairwise(path):
        if y >= goal:
            return Crossing(before, after, (goal - x) / (y - x))
    return None


def matched(
    values: Values,
    direction: Direction,
    methods: Sequence[str],
    photos: Sequence[str],
    goal: float,
    metrics: Sequence[str],
) -> tuple[Values, list[str]]:
    """Values at one change, photo by photo, and the methods that are compared there.

    Methods that reach it in half of the photos are compared, on the photos in which all of them do. How many reach it
    stands there for every method.
    """
    at_goal: Values = {}
    crossings: dict[str, dict[str, Crossing]] = {}
    for method in methods:
        paths = {photo: path_of(values, direction, method, photo) for photo in photos}
        each = {photo: place for photo, path in paths.items() if (place := crossing(path, goal)) is not None}
        at_goal[method, direction.matched(goal), REACHED.name] = {photo: float(photo in each) for photo in photos}
        crossings[method] = each
    compared = [method for method in methods if photos and len(crossings[method]) >= COMPARED * len(photos)]
    shared = [photo for photo in photos if all(photo in crossings[method] for method in compared)]
    for method in compared:
        for metric in metrics:
            by_condition = {c: values.get((method, c, metric), {}) for c in (VANISHES, *direction.conditions)}
            known = {}
            for photo in shared:
                value = crossings[method][photo].value({c: column.get(photo) for c, column in by_condition.items()})
                if value is not None:
                    known[photo] = value
            if known:
                at_goal[method, direction.matched(goal), metric] = known
    return at_goal, compared


# ---- on average


class MeanPath:
    """How far a method's pictures have changed on average at rising amounts, as far as they change further at each."""

    def __init__(self, means: Sequence[float], conditions: Sequence[str]) -> None:
        self.changes: list[float] = []
        self.conditions: list[str] = []
        for mean, where in zip(means, conditions):
            if not self.changes or mean > self.changes[-1]:
                self.changes.append(mean)
                self.conditions.append(where)

    @property
    def end(self) -> float:
        return self.changes[-1]

    def points(self, values: Values, method: str, metric: str, photos: Sequence[str]) -> list[Array]:
        """The metric at each point, [photos] each; of a metric that is a change itself, zero at the start."""
        points = []
        for where in self.conditions:
            column = values.get((method, where, metric))
            if column is None and where != VANISHES:
                return []
            points.append(np.zeros(len(photos)) if column is None else np.array([column[p] for p in photos]))
        return points

    def area(self, until: float, values: Values, method: str, metric: str, photos: Sequence[str]) -> dict[str, float]:
        """Under the line from no change to `until`, divided by it: the metric's mean on the way."""
        points = self.points(values, method, metric, photos)
        if not points:
            return {}
        total = np.zeros(len(photos))
        for (x, y), (a, b) in zip(pairwise(self.changes), pairwise(points)):
            if x >= until:
                break
            end = min(y, until)
            total += (end - x) * (a + (a + (b - a) * (end - x) / (y - x))) / 2
        return dict(zip(photos, (total / until).tolist()))


# ---- of a run


def compare_at_goals(
    values: Values, direction: Direction, methods: Sequence[str], photos: Sequence[str], metrics: Sequence[str]
) -> list[str]:
    """Adds the values at each goal that a photo reaches; says which methods are left out there."""
    left_out: dict[tuple[str, ...], list[str]] = {}
    for goal in direction.goals:
        at_goal, compared = matched(values, direction, methods, photos, goal, metrics)
        if not any(any(at_goal[m, direction.matched(goal), REACHED.name].values()) for m in methods):
            break
        values |= at_goal
        if left := tuple(m for m in methods if m not in compared):
            left_out.setdefault(left, []).append(f"{goal:g}{direction.unit}")
    return [
        f"{direction.name}: within {direction.furthest:+g}, fewer than half of the photos come to a change of "
        f"{' or '.join(goals)} with {', '.join(left)}: left out there."
        for left, goals in left_out.items()
    ]


def curves_of(
    values: Values,
    direction: Direction,
    methods: Sequence[str],
    every_photo: Sequence[str],
    metrics: Sequence[str],
    seed: int,
) -> tuple[list[Curve], list[str]]:
    """Means against the mean change at each amount; adds the areas under them, as far as all methods go."""
    methods = [m for m in methods if all(values.get((m, c, direction.change)) for c in direction.conditions)]
    changes = {m: [values[m, c, direction.change] for c in direction.conditions] for m in methods}
    photos = common((column for columns in changes.values() for column in columns), every_photo)
    if not photos:
        return [], []
    paths = {}
    for m, columns in changes.items():
        means = [direction.sign * float(np.mean([column[photo] for photo in photos])) for column in columns]
        paths[m] = MeanPath([0.0, *means], [VANISHES, *direction.conditions])
    notes = []
    if stuck := [m for m, path in paths.items() if path.end <= 0]:
        notes.append(f"{direction.name}: of {', '.join(stuck)} no change is seen in the edit's sense: no area.")
    until = min(path.end for path in paths.values())
    curves = []
    for m, path in paths.items():
        for metric in metrics:
            points = path.points(values, m, metric, photos)
            if not points:
                continue
            area = path.area(until, values, m, metric, photos) if until > 0 else {}
            if area:
                values[m, direction.area(until), metric] = area
            ends = [resampling(len(photos), seed).interval(point) for point in points] if len(photos) > 1 else []
            low, high = tuple(zip(*ends)) or ((), ())
            heights, end = tuple(float(point.mean()) for point in points), until if area else None
            mean = float(np.mean(list(area.values()))) if area else None
            along = tuple(path.changes)
            curve = Curve(m, direction.name, metric, along, heights, mean, end, low, high, direction.unit)
            curves.append(curve)
    return curves, notes
