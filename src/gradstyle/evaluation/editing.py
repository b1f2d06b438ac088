"""What stays of a person when one thing is changed: the paper's Table 2, and the same at equal strength.

An edit of the same amount moves one method's picture further than another's. So each is measured at several amounts,
and compared where the measured change is the same in each photo (`matching`). An onlooker sees it, a network that
nothing here was trained with, where there is one for what the edit is meant to change; else the judge (`sight`).

Changes are counted from the picture with a vanishing edit. What no edit and a vanishing one differ by is a figure of
its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from ..bundles import Bundle
from ..metrics.attributes import Target, shown, target_of
from ..metrics.onlookers import LOST
from ..metrics.similarity import l2
from ..metrics.stats import Resampling, agreement, common
from ..metrics.values import Curve, Metric, Row, Values
from ..progress import Progress
from .bench import Bench, Outcome, Request
from .evaluators import FIRST, SECOND, Seen
from .ghosts import Ghosts
from .matching import FIXED, REACHED, VANISHES, Path, Way, condition, fixed, matched
from .photos import default_table
from .reconstruction import Sets, set_rows, source_vectors
from .sight import Sight
from .store import Record, RunFolder, Summary

STEPS = (1.0, 2.0)  # amounts at which each edit is measured, both ways
VANISHING = 1e-4  # times an edit: no picture shows it, and yet it is rendered as edits are
UNDONE = 100  # photos, the first, that are inverted again after an edit
PAPERS = ("smile", "pose", "yaw")  # edits of the paper's table


def editing(request: Request, say: Progress | None = None) -> RunFolder:
    """Measure every method's edits of every photo, and write the run's folder."""
    return Editing(request, say).run()


class Editing:
    def __init__(self, request: Request, say: Progress | None = None) -> None:
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
        self.ghosts = Ghosts(bench.bundle, bench.device)

    # ---- the run

    def run(self) -> RunFolder:
        bench, gauge = self.bench, self.bench.gauge
        self.sight = Sight(bench, self.targets)
        record = bench.record(
            self._conditions(),
            self._metrics(),
            steps=list(self.steps),
            fixed=FIXED,
            undone=self.undone,
            edits=self.sight.protocol,
        )
        record, values, sets = bench.measure(record, self._work)
        curves, notes = self._match(record, values)
        record = replace(record, conditions=tuple(dict.fromkeys([*record.conditions, *(c for _, c, _ in values)])))
        bench.folder.write_values(values, record.photos)
        _, summary = bench.summary(record, values)
        rows = [*summary.rows, *self._sets(record, sets, notes)]
        pairs = {f"{FIRST}_{what}": f"{SECOND}_{what}" for what in ("change", "others")}
        agreed = agreement(rows, pairs) if len(gauge.judges) > 1 else []
        notes = [*summary.notes, *notes]
        bench.finish(
            record,
            Summary(summary.interval, summary.test, tuple(rows), tuple(curves), tuple(agreed), tuple(notes)),
        )
        return bench.folder

    def _conditions(self) -> list[str]:
        each = [condition(t, amount) for t in self.targets for amount in t.amounts(self.steps)]
        return ["", VANISHES, *each]

    def _metrics(self) -> list[Metric]:
        gauge = self.bench.gauge
        found = [metric for identity in gauge.identities for metric in identity.metrics]
        found += [*self.sight.metrics, REACHED, *self.ghosts.metrics]
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
        out = Outcome(pictures={"": plain.images}, gaps=self.sight.gaps)
        for where, look in (("", plain), (VANISHES, base)):
            out.values |= {(where, name): v for name, v in gauge.compare_identity(look, seen).items()}
        out.values |= {(VANISHES, name): value for name, value in self._jump(plain, base).items()}
        before = self.sight.look(base, first)
        if before.figures:
            out.values[VANISHES, LOST.name] = before.lost
        of_photos = self.ghosts.score(seen.images)
        ghosts = self.ghosts.look(base.images, plain.images, of_photos)
        out.values |= {(VANISHES, name): value for name, value in ghosts.items()}
        again = min(len(photos), max(0, self.undone - first))
        for target in self.targets:
            amounts = target.amounts(self.steps)
            for amount in amounts:
                where = condition(target, amount)
                edited = gauge.look(editor.render(inversion, amount * target.edit), pairs=False)
                found = gauge.compare_identity(edited, seen)
                found |= self.sight.changes(target, before, self.sight.look(edited, first, target))
                found |= self.ghosts.look(edited.images, plain.images, of_photos)
                out.values |= {(where, name): v for name, v in found.items()}
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
        carried = [m.name for identity in gauge.identities for m in identity.metrics]
        carried += [*(f"{name}_others" for name in gauge.names), *(m.name for m in self.ghosts.metrics)]
        for target in self.targets:
            for way in Way.both(target, self.steps, *self.sight.change(target)):
                self._matched(record, values, way, carried, notes)
                curves += self._curves(record, values, way, carried, notes)
        return curves, notes

    def _matched(self, record: Record, values: Values, way: Way, carried: Sequence[str], notes: list[str]) -> None:
        others = f"{FIRST}_others"  # a method that did not fail has it of every photo
        there = {m: each for m in record.methods if (each := values.get((m, way.conditions[0], others)))}
        photos = self.sight.seen(way.target, common(there.values(), record.photos), record.photos)
        left_out: dict[tuple[str, ...], list[str]] = {}
        for goal in way.goals:
            found, compared = matched(values, way, tuple(there), photos, goal, carried)
            if not any(any(found[m, way.matched(goal), REACHED.name].values()) for m in there):
                break
            values |= found
            if left := tuple(m for m in there if m not in compared):
                left_out.setdefault(left, []).append(f"{goal:g}{way.unit}")
        for left, goals in left_out.items():
            notes.append(
                f"{way.name}: within {way.furthest:+g}, fewer than half of the photos come to a change of "
                f"{' or '.join(goals)} with {', '.join(left)}: left out there."
            )

    def _curves(
        self, record: Record, values: Values, way: Way, carried: Sequence[str], notes: list[str]
    ) -> list[Curve]:
        """Means against the mean change at each amount, and the areas under them, as far as all methods go."""
        there = [m for m in record.methods if all(values.get((m, c, way.change)) for c in way.conditions)]
        photos = common((values[m, c, way.change] for m in there for c in way.conditions), record.photos)
        if not photos:
            return []
        paths = {}
        for m in there:
            means = [way.sign * float(np.mean([values[m, c, way.change][p] for p in photos])) for c in way.conditions]
            paths[m] = Path([0.0, *means], [VANISHES, *way.conditions])
        if stuck := [m for m, path in paths.items() if path.end <= 0]:
            notes.append(f"{way.name}: of {', '.join(stuck)} no change is seen in the edit's sense: no area.")
        until = min(path.end for path in paths.values())
        curves = []
        for m, path in paths.items():
            for metric in carried:
                points = path.points(values, m, metric, photos)
                if not points:
                    continue
                area = path.area(until, values, m, metric, photos) if until > 0 else {}
                if area:
                    values[m, way.area(until), metric] = area
                mean = float(np.mean(list(area.values()))) if area else None
                heights = tuple(float(point.mean()) for point in points)
                resampling = self.resampling(len(photos))
                ends = [resampling.interval(point) if len(photos) > 1 else (None, None) for point in points]
                low, high = (tuple(e for e in side if e is not None) for side in zip(*ends))
                changes, end = tuple(path.changes), until if area else None
                curves.append(Curve(m, way.name, metric, changes, heights, mean, end, low, high, way.unit))
        return curves

    def resampling(self, count: int) -> Resampling:
        if count not in self._resamplings:
            self._resamplings[count] = Resampling(count, self.bench.request.seed)
        return self._resamplings[count]

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
            has = shown(labels, target.attribute, self.sight.photos[0][:, self.attributes.index(target.attribute)])
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
