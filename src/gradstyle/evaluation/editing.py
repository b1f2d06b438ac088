"""What stays of a person when one thing is changed: the paper's Table 2, and the same at equal strength.

An edit of the same amount moves one method's picture further than another's. So each is measured at several amounts,
and compared where the measured change is the same in each photo (`matching`). An onlooker sees it, a network that
nothing here was trained with, where there is one for what the edit is meant to change; else the judge (`sight`).

Changes are counted from the picture with a vanishing edit. What no edit and a vanishing one differ by is a figure of
its own.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..metrics.attributes import shown
from ..metrics.onlookers import LOST
from ..metrics.similarity import l2
from ..metrics.stats import agreement, common
from ..metrics.values import Curve, Metric, Row, Values
from ..progress import Progress
from .evaluators import FIRST, Features
from .ghosts import Ghosts
from .matching import FIXED, REACHED, VANISHES, Direction, compare_at_goals, condition, curves_of, fixed
from .measurement import Measurement
from .photos import default_table
from .protocol import Protocol
from .reconstruction import set_rows, source_vectors
from .run import Run, Sets
from .sight import Rendered, Sight, vanishing
from .store import Record, RunFolder

STEPS = (1.0, 2.0)  # amounts at which each edit is measured, both ways
UNDONE = 100  # photos, the first, that are inverted again after an edit


def editing(protocol: Protocol, progress: Progress | None = None) -> RunFolder:
    """Measures every method's edits of every photo, and writes the run's folder."""
    run = Run("editing", protocol, progress)
    if not run.evaluators.judges:
        raise ValueError(
            "measuring edits needs a judge, which tells attributes apart: the bundle has none, give --judge FILE"
        )
    return Editing(run).measure()


class Editing:
    def __init__(self, run: Run) -> None:
        self.run, self.evaluators = run, run.evaluators
        self.steps = tuple(sorted(run.protocol.options.get("steps") or STEPS))
        self.undone = int(run.protocol.options.get("undone", UNDONE))
        self.ghosts = Ghosts(run.bundle, run.device)
        self.sight = Sight(run, self.steps)

    def measure(self) -> RunFolder:
        run, sight = self.run, self.sight
        amounts = [condition(target, amount) for target in sight.targets for amount in target.amounts(self.steps)]
        record = run.record(
            ["", VANISHES, *amounts],
            self._metrics(),
            steps=list(self.steps),
            fixed=FIXED,
            undone=self.undone,
            edits=sight.protocol,
        )
        record, values, sets = run.measure(record, self._work)
        curves, notes = self._compare_at_equal_strength(record, values)
        record = replace(record, conditions=tuple(dict.fromkeys([*record.conditions, *(c for _, c, _ in values)])))
        run.folder.write_values(values, record.photos)
        summary = run.summary(record, values)
        rows = (*summary.rows, *self._set_rows(record, sets, notes))
        agreed = tuple(agreement(rows, self.evaluators.agreement_pairs("change", "others")))
        notes = [*summary.notes, *notes]
        return run.finish(
            record, replace(summary, rows=rows, curves=tuple(curves), agreement=agreed, notes=tuple(notes))
        )

    def _metrics(self) -> list[Metric]:
        identities = self.evaluators.identities
        jump, undoing = "between no edit and a vanishing one", "edit, invert again, undo"
        last = [
            Metric("undone_codes", "Codes after undoing", "lower", f"{undoing}: RMS distance of the codes"),
            Metric("undone_l2", "L2 after undoing", "lower", f"{undoing}, and compare with the photo"),
            Metric("undone_identity", "ID after undoing", "higher", "the same, by the first identity network"),
            Metric("jump_l2", "Jump, L2", "lower", jump),
            Metric("jump_identity", "Jump, ID", "higher", jump),
            Metric("jump_judge", "Jump, judge distance", "lower", jump),
        ]
        return [
            *(metric for identity in identities for metric in identity.metrics),
            *self.sight.metrics,
            REACHED,
            *self.ghosts.metrics,
            *(metric for metric in last if identities or not metric.name.endswith("identity")),
            *self.evaluators.set_metrics,
        ]

    # ---- one batch

    def _work(self, method: str, photos: Tensor, sources: Features, first: int) -> Measurement:
        editor, evaluators, sight = self.run.editors[method], self.evaluators, self.sight
        inversion = editor.invert(photos)
        plain = evaluators.look(editor.render(inversion))
        base = evaluators.look(editor.render(inversion, vanishing(sight.targets)))
        measurement = Measurement(pictures={"": plain.images}, gaps=sight.gaps)
        measurement.add("", evaluators.compare_identity(plain, sources))
        measurement.add(VANISHES, evaluators.compare_identity(base, sources))
        measurement.add(VANISHES, self._jump(plain, base))
        before = sight.look(base, first)
        if before.figures:
            measurement.add(VANISHES, {LOST.name: before.lost})
        scores = self.ghosts.score(sources.images)
        measurement.add(VANISHES, self.ghosts.look(base.images, plain.images, scores))
        again = min(len(photos), max(0, self.undone - first))
        for edited in sight.edits(editor, inversion, before, sources, first, every=True):
            measurement.add(edited.condition, edited.figures)
            images = edited.pictures.images
            measurement.add(edited.condition, self.ghosts.look(images, plain.images, scores))
            if edited.fixed:
                measurement.pictures[edited.condition] = images
                measurement.sets |= edited.pictures.sets(edited.condition)
                if again:
                    undone = self._undo(method, edited, inversion.codes.w[:again], sources)
                    measurement.add(edited.condition, undone)
        return measurement

    def _jump(self, plain: Features, base: Features) -> dict[str, Tensor]:
        jump = {"jump_l2": l2(plain.images, base.images)}
        if self.evaluators.identities:
            jump["jump_identity"] = next(iter(self.evaluators.compare_identity(base, plain).values()))
        jump["jump_judge"] = self.evaluators.compare_judges(base, plain)[f"{FIRST}_distance"]
        return jump

    def _undo(self, method: str, edited: Rendered, codes: Tensor, sources: Features) -> dict[str, Tensor]:
        """Inverts the edited pictures, takes the edit back, and compares with where it began."""
        editor, edit = self.run.editors[method], edited.target.edit
        again = editor.invert(edited.pictures.images[: len(codes)])
        back = editor.render(again, -edited.amount * edit)
        undone: dict[str, Tensor] = {}
        if edit.w is not None and edit.s is None:
            away = again.codes.w - edited.amount * edit.w.to(codes) - codes
            undone["undone_codes"] = away.double().square().mean(dim=(1, 2)).sqrt()
        undone["undone_l2"] = l2(back, sources.images[: len(back)])
        if self.evaluators.identities:
            identity = self.evaluators.identities[0]
            compared = identity.compare(identity.embed(back), sources.vectors[0][: len(back)])
            undone["undone_identity"] = next(iter(compared.values()))
        return undone

    # ---- of all photos

    def _compare_at_equal_strength(self, record: Record, values: Values) -> tuple[list[Curve], list[str]]:
        """Adds values at matched change, and areas; gives the curves, and says what could not be matched."""
        curves, notes = list[Curve](), list[str]()
        metrics = [metric.name for identity in self.evaluators.identities for metric in identity.metrics]
        metrics += [*(f"{name}_others" for name in self.evaluators.names), *(m.name for m in self.ghosts.metrics)]
        for target in self.sight.targets:
            for direction in Direction.both(target, self.steps, *self.sight.change(target)):
                others = (direction.conditions[0], f"{FIRST}_others")  # a method that did not fail has it
                measured = {m: column for m in record.methods if (column := values.get((m, *others)))}
                photos = self.sight.measurable(target, common(measured.values(), record.photos), record.photos)
                notes += compare_at_goals(values, direction, tuple(measured), photos, metrics)
                drawn, remarks = curves_of(
                    values, direction, record.methods, record.photos, metrics, self.run.protocol.seed
                )
                curves, notes = curves + drawn, notes + remarks
        return curves, notes

    def _set_rows(self, record: Record, sets: Sets, notes: list[str]) -> list[Row]:
        """Photos without an attribute, edited to have it, beside photos that have it; and the other way round."""
        data, attributes = self.run.protocol.data, self.sight.attributes
        table = self.run.protocol.options.get("labels") or default_table(data)
        labels = self.run.photos.labels(table) if table else {}
        vectors = source_vectors(self.run)
        rows: list[Row] = []
        for target in self.sight.targets:
            if target.attribute not in attributes:
                notes.append(
                    f"{target.name}: no table says which photos show {target.attribute}, so no sets are compared."
                )
                continue
            if target.attribute not in labels:
                notes.append(f"{target.name}: which photos show {target.attribute} is the judge's word, not a table's.")
            has = shown(labels, target.attribute, self.sight.photos[0][:, attributes.index(target.attribute)])
            for amount in fixed(target.amounts(self.steps)):
                gains = (amount * target.sign) > 0
                lack = dict.fromkeys(p for p, h in zip(record.photos, has) if h is not None and h is not gains)
                want = {p for p, h in zip(record.photos, has) if h is gains}
                edited = {key: {p: v for p, v in each.items() if p in lack} for key, each in sets.items()}
                real = {network: {p: v for p, v in each.items() if p in want} for network, each in vectors.items()}
                rows += set_rows(replace(record, photos=tuple(lack)), edited, real, condition(target, amount))
        return rows
