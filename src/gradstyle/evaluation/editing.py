"""What stays of a person when one thing is changed: the paper's Table 2, and the same at equal strength.

An edit of the same amount moves one method's picture further than another's. So each is measured at several amounts,
and compared where the measured change is the same: between two amounts, values are interpolated photo by photo.

The change of an attribute is counted from the picture with a vanishing edit, in standard deviations of that attribute
among the photos. What no edit and a vanishing one differ by is a figure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..bundles import Bundle
from ..directions.scorers import POSE
from .attributes import Scores, Target, shown, spread, target_of
from .bench import Bench, Outcome, Request, Say
from .gauge import FIRST, SECOND, Seen
from .metrics import l2
from .photos import default_table
from .reconstruction import Sets, set_rows, source_vectors
from .stats import Array, Resampling, agreement, common
from .store import Curve, Metric, Record, Row, RunFolder, Summary, Values

STEPS = (1.0, 2.0)  # amounts at which each edit is measured, both ways
FIXED = 2.0  # the amount of the table at a fixed slider value
VANISHING = 1e-4  # times an edit: no picture shows it, and yet it is rendered as edits are
VANISHES = "vanishing"  # the condition of that name
CHANGES = (0.5, 1.0, 1.5, 2.0)  # measured changes at which methods are compared
UNDONE = 100  # photos, the first, that are inverted again after an edit
PAPERS = ("smile", "pose", "yaw")  # edits of the paper's table


def editing(request: Request, say: Say | None = None) -> RunFolder:
    """Measure every method's edits of every photo, and write the run's folder."""
    return Editing(request, say).run()


class Editing:
    def __init__(self, request: Request, say: Say | None = None) -> None:
        self.bench = bench = Bench("editing", request, say)
        if not bench.judges:
            raise ValueError(
                "measuring edits needs a judge, which tells attributes apart: the bundle has none, give --judge FILE"
            )
        self.attributes = bench.judges[0].config.attributes
        self.steps = tuple(sorted(request.changes.get("steps") or STEPS))
        self.undone = int(request.changes.get("undone", UNDONE))
        self._resamplings: dict[int, Resampling] = {}
        self.targets = targets_of(bench.bundle, request, self.attributes, self.steps)
        self.scores = Scores(self.attributes, self.targets, bench.bundle.generator(device=bench.device))

    # ---- the run

    def run(self) -> RunFolder:
        bench, gauge = self.bench, self.bench.gauge
        self.plain = look_at_photos(bench, self.scores)
        self.spreads = [spread(scores) for scores in self.plain]
        record = bench.record(
            self._conditions(),
            self._metrics(),
            steps=list(self.steps),
            fixed=FIXED,
            changes=list(CHANGES),
            undone=self.undone,
            edits={
                t.name: {"attribute": t.attribute, "reverse": t.reverse, "range": [t.low, t.high]} for t in self.targets
            },
        )
        record, values, sets = bench.measure(record, self._work)
        curves, notes = self._match(record, values)
        record = replace(record, conditions=tuple(dict.fromkeys([*record.conditions, *(c for _, c, _ in values)])))
        bench.folder.write_values(values, record.photos)
        _, summary = bench.summary(record, values)
        rows = [*summary.rows, *self._sets(record, sets, notes)]
        pairs = {f"{FIRST}_others": f"{SECOND}_others"}
        pairs |= {m.name: f"{SECOND}_{m.name}" for identity in gauge.identities for m in identity.metrics}
        agreed = agreement(rows, pairs) if len(bench.judges) > 1 else []
        bench.finish(
            record,
            Summary(
                summary.interval, summary.test, tuple(rows), tuple(curves), tuple(agreed), (*summary.notes, *notes)
            ),
        )
        return bench.folder

    def _conditions(self) -> list[str]:
        each = [condition(t, amount) for t in self.targets for amount in t.amounts(self.steps)]
        return ["", VANISHES, *each]

    def _metrics(self) -> list[Metric]:
        gauge, found = self.bench.gauge, list[Metric]()
        found += [metric for identity in gauge.identities for metric in identity.metrics]
        for name, whose in zip(gauge.names, ("", ", second judge")):
            found += [
                Metric(f"{name}_change", f"Measured change{whose}", "", "of the attribute, in the edit's sense, in sd"),
                Metric(f"{name}_others", f"Other attributes{whose}", "lower", "mean |change| of the others, in sd"),
            ]
        if len(gauge.judges) > 1:
            found += [
                replace(m, name=f"{SECOND}_{m.name}", title=f"{m.title}, matched by the second judge")
                for identity in gauge.identities
                for m in identity.metrics
            ]
        found += [
            Metric(
                "undone_codes", "Codes after undoing", "lower", "edit, invert again, undo: RMS distance of the codes"
            ),
            Metric("undone_l2", "L2 after undoing", "lower", "edit, invert again, undo, and compare with the photo"),
        ]
        if gauge.identities:
            found.append(
                Metric("undone_identity", "ID after undoing", "higher", "the same, by the first identity network")
            )
        found.append(Metric("jump_l2", "Jump, L2", "lower", "between no edit and a vanishing one"))
        if gauge.identities:
            found.append(Metric("jump_identity", "Jump, ID", "higher", "between no edit and a vanishing one"))
        found.append(Metric("jump_judge", "Jump, judge distance", "lower", "between no edit and a vanishing one"))
        return [*found, *gauge.set_metrics]

    # ---- one batch

    def _work(self, method: str, photos: Tensor, seen: Seen, first: int) -> Outcome:
        editor, gauge = self.bench.editors[method], self.bench.gauge
        inversion = editor.invert(photos)
        plain = gauge.look(editor.render(inversion))
        base = gauge.look(editor.render(inversion, VANISHING * self.targets[0].edit))
        out = Outcome(pictures={"": plain.images})
        for where, look in (("", plain), (VANISHES, base)):
            out.values |= {(where, name): v for name, v in gauge.compare_identity(look, seen).items()}
        out.values |= {(VANISHES, name): value for name, value in self._jump(plain, base).items()}
        before = self.scores(base.images, base.logits)
        again = min(len(photos), max(0, self.undone - first))
        for target in self.targets:
            amounts = target.amounts(self.steps)
            for amount in amounts:
                where = condition(target, amount)
                edited = gauge.look(editor.render(inversion, amount * target.edit), pairs=False)
                out.values |= {(where, name): v for name, v in gauge.compare_identity(edited, seen).items()}
                after = self.scores(edited.images, edited.logits, target.turns)
                out.values |= {
                    (where, name): v
                    for name, v in changes_of(target, self.scores, before, after, self.spreads, gauge.names).items()
                }
                if amount in fixed(amounts):
                    out.pictures[where] = edited.images
                    out.sets |= edited.sets(where)
                    if again:
                        codes = inversion.codes.w[:again]
                        undone = self._undo(method, target, amount, codes, edited.images[:again], seen)
                        out.values |= {(where, name): value for name, value in undone.items()}
        return out

    def _jump(self, plain: Seen, base: Seen) -> dict[str, Tensor]:
        gauge = self.bench.gauge
        found = {"jump_l2": l2(plain.images, base.images)}
        if gauge.identities:
            found["jump_identity"] = next(iter(gauge.compare_identity(base, plain).values()))
        found["jump_judge"] = gauge.compare_judges(base, plain)[f"{FIRST}_distance"]
        return found

    def _undo(
        self, method: str, target: Target, amount: float, codes: Tensor, edited: Tensor, seen: Seen
    ) -> dict[str, Tensor]:
        """Invert the edited picture, take the edit back, and compare with where it began."""
        editor, gauge = self.bench.editors[method], self.bench.gauge
        again = editor.invert(edited)
        back = editor.render(again, -amount * target.edit)
        found: dict[str, Tensor] = {}
        if target.edit.w is not None and target.edit.s is None:
            away = again.codes.w - amount * target.edit.w.to(codes) - codes
            found["undone_codes"] = away.double().square().mean(dim=(1, 2)).sqrt()
        found["undone_l2"] = l2(back, seen.images[: len(back)])
        if gauge.identities:
            first = gauge.identities[0]
            compared = first.compare(first.embed(back), seen.vectors[0][: len(back)])
            found["undone_identity"] = next(iter(compared.values()))
        return found

    # ---- at equal strength

    def _match(self, record: Record, values: Values) -> tuple[list[Curve], list[str]]:
        """Adds values at matched change, and of areas; gives the curves, and what could not be matched."""
        gauge, curves, notes = self.bench.gauge, list[Curve](), list[str]()
        who = [m.name for identity in gauge.identities for m in identity.metrics]
        for target in self.targets:
            for way in Way.both(target, self.steps):
                carried = [*who, *(f"{name}_others" for name in gauge.names)]
                paths, photos = self._paths(record, values, way, FIRST)
                if paths:
                    curves += self._matched(values, way, paths, photos, carried, notes)
                if len(gauge.judges) > 1:
                    paths, photos = self._paths(record, values, way, SECOND)
                    self._areas(values, way, paths, photos, {name: f"{SECOND}_{name}" for name in who})
        return curves, notes

    def _paths(self, record: Record, values: Values, way: Way, judge: str) -> tuple[dict[str, Path], list[str]]:
        """How each method goes as a judge sees it, over the photos that all methods have at every amount."""
        change, where = f"{judge}_change", way.conditions
        there = [m for m in record.methods if all(values.get((m, c, change)) for c in where)]
        photos = common((values[m, c, change] for m in there for c in where), record.photos)
        if not photos:
            return {}, []
        paths = {}
        for m in there:
            means = [way.sign * float(np.mean([values[m, c, change][p] for p in photos])) for c in where]
            paths[m] = Path([0.0, *means], [VANISHES, *where])
        return paths, photos

    def _matched(
        self,
        values: Values,
        way: Way,
        paths: dict[str, Path],
        photos: list[str],
        carried: Sequence[str],
        notes: list[str],
    ) -> list[Curve]:
        for goal in CHANGES:
            reached = [m for m, path in paths.items() if path.end >= goal]
            if reached and (left := [m for m in paths if m not in reached]):
                notes.append(
                    f"{way.name}: within {way.furthest:+g}, {', '.join(left)} does not reach a change of {goal:g} sd "
                    "and is left out there."
                )
            for m in reached:
                for metric in carried:
                    if found := paths[m].at(goal, values, m, metric, photos):
                        values[m, f"{way.target.name}=matched:{way.sign * goal:g}", metric] = found
        if 0 < max(path.end for path in paths.values()) < CHANGES[0]:
            notes.append(
                f"{way.name}: within {way.furthest:+g} no method reaches a change of {CHANGES[0]:g} sd to match."
            )
        if stuck := [m for m, path in paths.items() if path.end <= 0]:
            notes.append(f"{way.name}: of {', '.join(stuck)} the judge sees no change in the edit's sense: no area.")
        until = self._areas(values, way, paths, photos, {name: name for name in carried})
        curves = []
        for m, path in paths.items():
            for metric in carried:
                if points := path.points(values, m, metric, photos):
                    area = values.get((m, way.area, metric))
                    mean = float(np.mean(list(area.values()))) if area else None
                    heights = tuple(float(point.mean()) for point in points)
                    resampling = self.resampling(len(photos))
                    ends = [resampling.interval(point) if len(photos) > 1 else (None, None) for point in points]
                    low, high = (tuple(e for e in side if e is not None) for side in zip(*ends))
                    curves.append(
                        Curve(
                            m, way.name, metric, tuple(path.changes), heights, mean, until if area else None, low, high
                        )
                    )
        return curves

    def resampling(self, count: int) -> Resampling:
        if count not in self._resamplings:
            self._resamplings[count] = Resampling(count, self.bench.request.seed)
        return self._resamplings[count]

    def _areas(
        self, values: Values, way: Way, paths: dict[str, Path], photos: list[str], names: dict[str, str]
    ) -> float:
        """Under each curve, as far as all methods go."""
        until = min((path.end for path in paths.values()), default=0.0)
        for m, path in paths.items() if until > 0 else ():
            for metric, name in names.items():
                if area := path.area(until, values, m, metric, photos):
                    values[m, way.area, name] = area
        return until

    # ---- sets

    def _sets(self, record: Record, sets: Sets, notes: list[str]) -> list[Row]:
        """Photos without an attribute, edited to have it, beside photos that have it; and the other way round."""
        table = self.bench.request.labels or default_table(self.bench.request.data)
        labels = self.bench.photos.labels(table) if table else {}
        vectors = source_vectors(self.bench)
        rows: list[Row] = []
        for target in self.targets:
            if target.attribute not in self.attributes:
                notes.append(
                    f"{target.name}: no table says which photos show {target.attribute}, so no sets are compared."
                )
                continue
            if target.attribute not in labels:
                notes.append(f"{target.name}: which photos show {target.attribute} is the judge's word, not a table's.")
            has = shown(labels, target.attribute, self.plain[0][:, self.scores.place(target.attribute)])
            for amount in fixed(target.amounts(self.steps)):
                gains = (amount * target.sign) > 0
                want = {p for p, h in zip(record.photos, has) if h is gains}
                lack = {p for p, h in zip(record.photos, has) if h is not None and h is not gains}
                where = condition(target, amount)
                edited = {key: {p: v for p, v in each.items() if p in lack} for key, each in sets.items()}
                of = replace(record, photos=tuple(p for p in record.photos if p in lack))
                real = {network: {p: v for p, v in each.items() if p in want} for network, each in vectors.items()}
                rows += set_rows(self.bench, of, edited, real, where)
        return rows


def targets_of(
    bundle: Bundle, request: Request, attributes: tuple[str, ...], steps: tuple[float, ...]
) -> tuple[Target, ...]:
    """The edits that were asked for; else the paper's, as far as the bundle has them; else its first two."""
    edits, sliders = bundle.edits, bundle.sliders
    if not edits:
        raise ValueError(f"bundle {bundle.name!r} has no edits; `gradstyle directions` finds some")
    wanted = list(request.changes.get("edits") or ())
    if not wanted:
        offered = sliders or edits
        wanted = [name for name in PAPERS if name in offered][:2] or list(offered)[:2]
    elif wanted == ["all"]:
        wanted = list(sliders or edits)
    if missing := [name for name in wanted if name not in edits]:
        raise ValueError(f"bundle {bundle.name!r} has no edit {missing[0]!r}; it has {', '.join(edits)}")
    given = dict(request.changes.get("attributes") or {})
    return tuple(
        target_of(name, edits[name], sliders.get(name), attributes, given.get(name), max(steps)) for name in wanted
    )


def look_at_photos(bench: Bench, scores: Scores) -> list[Tensor]:
    """Scores of the photos themselves, by judge: [photos, attributes]."""
    each = list[list[Tensor]]()
    for batch in range(bench.photos.batches):
        logits = [bench.judged(batch, judge)[1] for judge in range(len(bench.judges))]
        each.append(scores(bench.at_resolution(batch), logits))
        bench.say("looking at photos", batch + 1, bench.photos.batches)
    return [torch.cat(of_judge) for of_judge in zip(*each)]


def changes_of(
    target: Target,
    scores: Scores,
    before: list[Tensor],
    after: list[Tensor],
    spreads: list[Tensor],
    names: Sequence[str],
) -> dict[str, Tensor]:
    """What each judge sees of an edit, in standard deviations: of its attribute in its sense, and of all others."""
    found = {}
    place, judged = scores.place(target.attribute), len(scores.names) - (len(POSE) if scores.posed else 0)
    others = [i for i in range(judged) if i != place]
    for name, old, new, unit in zip(names, before, after, spreads):
        moved = (new - old) / unit
        found[f"{name}_change"] = target.sign * moved[:, place]
        found[f"{name}_others"] = moved[:, others].abs().mean(dim=1)
    return found


@dataclass(frozen=True)
class Way:
    """One direction of an edit."""

    target: Target
    sign: float
    amounts: tuple[float, ...]  # from the least

    @classmethod
    def both(cls, target: Target, steps: tuple[float, ...]) -> list[Way]:
        amounts = target.amounts(steps)
        ways = [cls(target, s, tuple(sorted((a for a in amounts if a * s > 0), key=abs))) for s in (1.0, -1.0)]
        return [way for way in ways if way.amounts]

    @property
    def name(self) -> str:
        return self.target.name + ("+" if self.sign > 0 else "-")

    @property
    def area(self) -> str:
        """The condition under which areas stand."""
        return f"{self.target.name}=area:{'+' if self.sign > 0 else '-'}"

    @property
    def furthest(self) -> float:
        return self.amounts[-1]

    @property
    def conditions(self) -> list[str]:
        return [condition(self.target, amount) for amount in self.amounts]


class Path:
    """How far a method's picture has changed at rising amounts, as far as it changes further at each."""

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
        found = []
        for where in self.conditions:
            held = values.get((method, where, metric))
            if held is None and where != VANISHES:
                return []
            found.append(np.zeros(len(photos)) if held is None else np.array([held[p] for p in photos]))
        return found

    def at(self, goal: float, values: Values, method: str, metric: str, photos: Sequence[str]) -> dict[str, float]:
        points = self.points(values, method, metric, photos)
        for (x, y), (a, b) in zip(pairwise(self.changes), pairwise(points)):
            if x <= goal <= y:
                share = (goal - x) / (y - x)
                return dict(zip(photos, ((1 - share) * a + share * b).tolist()))
        return {}

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


def condition(target: Target, amount: float) -> str:
    return f"{target.name}={amount:+g}"


def fixed(amounts: Sequence[float]) -> list[float]:
    """The amount nearest to the fixed one, each way."""
    ways = [[a for a in amounts if a < 0], [a for a in amounts if a > 0]]
    return [min(way, key=lambda a: abs(abs(a) - FIXED)) for way in ways if way]
