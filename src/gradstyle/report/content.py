"""What the report of a run says: its tables, findings, curves and facts, whatever it is written as."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import to_json
from ..evaluation.store import SOURCE, Record, RunFolder, Summary, change_of, is_identity
from ..methods import METHODS
from ..metrics.values import COPIES, Curve, Metric, Row, Values, contenders
from .tables import Cell, Column, Table, figure_cell, is_level, text_table
from .texts import decimals, figure, listed, shown

ENDS = 10  # photos at either end of a metric
KNOWN = (*METHODS, *COPIES)  # their colours are the same in every report
COST_TITLES = {
    "seconds_to_invert": "Seconds to invert",
    "seconds_to_render": "Seconds to render",
    "seconds": "Seconds a photo",
    "peak_memory_mb": "Peak memory, MB",
}
COST_NOTE = "Of one photo alone, memory beyond the networks; this machine's and this hour's: no two runs share them."
Ends = list[tuple[str, float]]  # photos and their values


@dataclass(frozen=True)
class Panel:
    """One metric against the measured change of one edit."""

    edit: str
    unit: str  # of the change
    metric: Metric
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Report:
    folder: Path
    record: Record
    summary: Summary
    values: Values
    costs: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, run: RunFolder) -> Report:
        return cls(run.path, run.record(), run.summary(), run.values(), run.costs())

    @cached_property
    def rows(self) -> dict[tuple[str, str, str], Row]:
        return {(row.method, row.condition, row.metric): row for row in self.summary.rows}

    @cached_property
    def methods(self) -> list[str]:
        """Methods with figures, then those of which there are only pictures."""
        measured = [row.method for row in self.summary.rows]
        drawn = [picture.method for picture in self.record.pictures]
        return [name for name in dict.fromkeys([*self.record.methods, *measured, *drawn]) if name != SOURCE]

    @cached_property
    def conditions(self) -> list[str]:
        measured = [row.condition for row in self.summary.rows]
        shown = dict.fromkeys([*measured, *(p.condition for p in self.record.pictures if p.condition)])
        return list(dict.fromkeys([*(c for c in self.record.conditions if c in shown), *shown])) or [""]

    @cached_property
    def metrics(self) -> list[Metric]:
        known = {metric.name for metric in self.record.metrics}
        others = dict.fromkeys(row.metric for row in self.summary.rows if row.metric not in known)
        return [*self.record.metrics, *(Metric(name, name.replace("_", " ")) for name in others)]

    @property
    def title(self) -> str:
        return str(self.record.bundle.get("name") or self.folder.resolve().name)

    @property
    def facts(self) -> dict[str, str]:
        """What a reader asks first."""
        data, side = self.record.data, self.record.bundle.get("resolution")
        facts = {
            "photos": f"{len(self.record.photos):,}",
            "data": " · ".join(str(data[name]) for name in ("name", "split") if data.get(name)),
            "side": f"{side} px" if side else "",
            "methods": str(len(self.record.methods)),
            "seed": str(self.record.seed),
        }
        return {name: value for name, value in facts.items() if value}

    @property
    def notes(self) -> list[str]:
        unfinished = [] if self.record.complete else ["This run is not complete: it was stopped, and can go on."]
        return [*unfinished, *self.summary.notes]

    @property
    def provenance(self) -> dict[str, Any]:
        record: dict[str, Any] = to_json(self.record)
        for shown_elsewhere in ("metrics", "photos", "failures", "pictures"):
            del record[shown_elsewhere]
        first = {name: record.pop(name) for name in ("command", "kind")}
        statistics = {"interval": self.summary.interval, "paired test": self.summary.test}
        return {**first, "photos measured": len(self.record.photos), **record, "statistics": statistics}

    def colour(self, method: str) -> int:
        others = [name for name in self.methods if name not in KNOWN]
        if method in KNOWN:
            return KNOWN.index(method)
        return others.index(method) + (len(KNOWN) if len(others) < len(self.methods) else 0)

    def decimals(self, metric: str) -> int:
        """One number of decimals for all tables in which a metric stands."""
        return self._decimals.get(metric, 3)

    @cached_property
    def _decimals(self) -> dict[str, int]:
        rows = self.summary.rows
        return {name: decimals([row for row in rows if row.metric == name]) for name in {row.metric for row in rows}}

    # ---- tables

    def tables(self, metrics: Collection[str] | None = None) -> list[Table]:
        """A table for each condition: methods by metrics, all or those that are named."""
        tables = []
        for condition in self.conditions:
            wanted = [metric for metric in self.metrics_of(condition) if metrics is None or metric.name in metrics]
            columns = [(Column.of(metric), metric, condition) for metric in wanted]
            copies = [name for name in self.record.methods if not contenders([name], condition)]
            note = f"Baselines that give the photo itself back, and are compared with nobody: {', '.join(copies)}."
            if columns:
                tables.append(self._table(self.named(condition), columns, condition, note if copies else ""))
        return tables

    def overviews(self) -> list[Table]:
        """Of several conditions, a table for each metric: methods by conditions; matched ones and areas apart."""
        if len(self.conditions) < 2:
            return []
        tables = []
        for metric in self.metrics:
            for group, title in (("", ""), ("matched", " at matched change"), ("area", ", area under the curve")):
                columns = []
                for condition in (c for c in self.conditions if group_of(c) == group):
                    if self.rows_of(condition, metric):
                        columns.append((Column.of(metric, self.named(condition)), metric, condition))
                        columns += self._change(condition) if not group and is_identity(metric.name) else []
                if len(columns) > 1 or (group and columns):
                    tables.append(self._table(metric.title + title, columns))
        return tables

    def _change(self, condition: str) -> list[tuple[Column, Metric, str]]:
        """How far an edit went, to stand beside how much of the person is left."""
        name = change_of(self.record.protocol, condition)
        changes = [metric for metric in self.metrics_of(condition) if metric.name == name]
        return [(Column.of(each, f"{self.named(condition)}: {each.title}"), each, condition) for each in changes]

    def _table(
        self, title: str, columns: Sequence[tuple[Column, Metric, str]], condition: str | None = None, note: str = ""
    ) -> Table:
        """Methods in rows; each column is of a metric under a condition."""
        photos = len(self.record.photos)
        cells = [
            {name: figure_cell(row, self.decimals(metric.name), photos) for name, row in rows.items()}
            for rows, metric in ((self.rows_of(where, metric), metric) for _, metric, where in columns)
        ]
        return Table([column for column, _, _ in columns], self._rows(cells), title, note=note, condition=condition)

    def _rows(self, columns: Sequence[Mapping[str, Cell]]) -> list[tuple[str, list[Cell]]]:
        """Columns of cells by method, as rows of the methods that have any."""
        methods = [name for name in self.methods if any(name in cells for cells in columns)]
        return [(name, [cells.get(name, Cell()) for cells in columns]) for name in methods]

    def rows_of(self, condition: str, metric: Metric) -> dict[str, Row]:
        """By method, what was measured under a condition by a metric."""
        rows = ((name, self.rows.get((name, condition, metric.name))) for name in self.methods)
        return {name: row for name, row in rows if row is not None}

    def metrics_of(self, condition: str) -> list[Metric]:
        return [metric for metric in self.metrics if self.rows_of(condition, metric)]

    def cost_table(self) -> Table | None:
        columns, cells = [], []
        for name in dict.fromkeys(name for costs in self.costs.values() for name in costs):
            rows = {m: Row(m, "", name, costs[name], None, None, 0) for m, costs in self.costs.items() if name in costs}
            digits = decimals([*rows.values()])
            columns.append(Column(COST_TITLES.get(name, name), "lower", numbers=True))
            cells.append({method: figure_cell(row, digits) for method, row in rows.items()})
        return Table(columns, self._rows(cells), "Costs", note=COST_NOTE) if columns else None

    def agreement_table(self) -> Table | None:
        """How far two judges agree on the order of the methods."""
        lines = self.summary.agreement
        names = list(dict.fromkeys(name for line in lines for name in line))
        if not names:
            return None
        texts = ([shown(line.get(name)) for name in names] for line in lines)
        return text_table([name.replace("_", " ") for name in names], texts)

    def agreed(self) -> str:
        """Whether two judges order the methods alike, in a sentence."""
        ranks = sorted(r for line in self.summary.agreement if isinstance(r := line.get("spearman"), int | float))
        ranks = [rank for rank in ranks if not math.isnan(rank)]
        if not ranks:
            return "Two judges on the order of the methods"
        same = sum(rank > 1 - 1e-9 for rank in ranks)
        return (
            f"Two judges order the methods alike in {same} of {len(ranks)} columns; Spearman's rank correlation is "
            f"{figure(ranks[len(ranks) // 2], 2)} in the middle one and {figure(ranks[0], 2)} at least"
        )

    # ---- conditions

    def named(self, condition: str) -> str:
        """A condition as people read it."""
        if len(self.conditions) == 1:
            return condition
        edit, _, at = condition.partition("=")
        at = at.rpartition(":")[2].replace("-", "−")
        if group_of(condition) == "matched":
            return f"{edit} at {at}{' sd' * at[-1].isdecimal()}"  # of older runs, it is not said
        if group_of(condition) == "area":
            return f"{edit} {at[0]}, area{' to ' * bool(at[1:])}{at[1:]}"
        return {"": "no edit", "vanishing": "a vanishing edit"}.get(condition, f"{edit} {at}".strip())

    @property
    def first_condition(self) -> str:
        """What is looked at before anyone chooses: an edit at the fixed amount."""
        fixed = self.record.protocol.get("fixed")
        wanted = [c for c in self.conditions if isinstance(fixed, int | float) and c.endswith(f"={fixed:+g}")]
        edited = [c for c in self.conditions if "=" in c]
        return (wanted or edited or self.conditions)[0]

    # ---- curves and photos

    def panels(self) -> list[Panel]:
        """Every metric against the measured change of every edit."""
        metrics = {metric.name: metric for metric in self.metrics}
        groups: dict[tuple[str, str, str], list[Curve]] = {}
        for curve in self.summary.curves:
            if len(curve.change) > 1:  # less is no curve: the method does not move the attribute
                groups.setdefault((curve.edit, curve.unit.strip(), curve.metric), []).append(curve)
        return [
            Panel(edit, unit, metrics.get(metric, Metric(metric, metric)), each)
            for (edit, unit, metric), each in groups.items()
        ]

    def ends(self, method: str, condition: str, metric: Metric) -> tuple[Ends, Ends]:
        """The worst photos and the best ones, the extreme first."""
        values = self.values.get((method, condition, metric.name), {})
        ranked = sorted(((p, v) for p, v in values.items() if not math.isnan(v)), key=lambda pair: (pair[1], pair[0]))
        count = min(ENDS, max(len(ranked) // 2, 1))  # of few photos, none is at both ends
        least, most = ranked[:count], ranked[::-1][:count]
        return (most, least) if metric.better == "lower" else (least, most)

    # ---- in words

    def findings(self) -> list[tuple[str, str]]:
        """In a line for each method: where it is the best, and whether that is more than noise.

        Of edits, where all methods have changed the picture equally far: who changes little is the best in much else.
        """
        matched = [c for c in self.conditions if group_of(c) == "matched" and self.metrics_of(c)]
        wins: dict[str, list[tuple[Metric, list[str] | None]]] = {}
        columns = [(c, metric) for c in matched or self.conditions for metric in self.metrics_of(c) if metric.better]
        for condition, metric in columns:
            rows = self.rows_of(condition, metric)
            rivals = {name: rows[name] for name in contenders(rows, condition) if not rows[name].best}
            tested = all(row.p is not None for row in rivals.values())
            level = [name for name, row in rivals.items() if is_level(row)] if tested else None
            for name in (name for name, row in rows.items() if row.best and rivals):
                wins.setdefault(name, []).append((metric, level))
        ranked = sorted(wins.items(), key=lambda pair: (-len(pair[1]), self.methods.index(pair[0])))
        where = " at equal change" * bool(matched)
        return [(name, finding(won, len(columns), len(self.conditions) > 1, where)) for name, won in ranked]


def group_of(condition: str) -> str:
    """Gives "matched" or "area" for a condition that is made of others, and "" for one that was rendered."""
    return condition.partition("=")[2].rpartition(":")[0]


def finding(won: Sequence[tuple[Metric, list[str] | None]], columns: int, many: bool, where: str = "") -> str:
    """Says where a method is the best; with each metric, the rivals not told apart from it, None if not tested."""
    if many:
        clear = sum(level == [] for _, level in won)
        return f"is the best in {len(won)} of {columns} columns{where}, clearly in {clear}."
    parts = []
    if clear_ones := [metric.title for metric, level in won if level == []]:
        parts.append(f"is clearly the best by {listed(clear_ones)}")
    rivals: dict[str, list[str]] = {}
    for metric, level in won:
        if level != []:
            outcome = "which is not tested" if level is None else f"not told apart from {listed(level)}"
            rivals.setdefault(outcome, []).append(metric.title)
    parts += [f"has the best {listed(names)}, {outcome}" for outcome, names in rivals.items()]
    return "; ".join(parts) + "."
