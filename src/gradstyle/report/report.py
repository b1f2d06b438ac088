"""A run as a page, as Markdown and as JSON: what was measured, put in order once and written three ways."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import to_json
from ..evaluation.store import SOURCE, Record, RunFolder, Summary, change_of, is_identity
from ..methods import METHODS
from ..metrics.stats import LEVEL
from ..metrics.values import COPIES, Metric, Row, Values, contenders
from .charts import Point

ENDS = 10  # photos at either end of a metric
KNOWN = (*METHODS, *COPIES)  # their colours are the same in every report
PAGE, MARKDOWN, JSON = "report.html", "report.md", "report.json"
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
COST_TITLES = {
    "seconds_to_invert": "Seconds to invert",
    "seconds_to_render": "Seconds to render",
    "seconds": "Seconds a photo",
    "peak_memory_mb": "Peak memory, MB",
}
COSTS = "costs"  # stands for a condition in the table of what methods cost


@dataclass(frozen=True)
class Column:
    title: str
    metric: Metric
    cells: Mapping[str, Row]  # by method


@dataclass(frozen=True)
class Table:
    """Methods in rows."""

    title: str
    columns: Sequence[Column]
    condition: str | None = None  # none: it is over several
    note: str = ""

    def methods(self, order: Sequence[str]) -> list[str]:
        return [name for name in order if any(name in column.cells for column in self.columns)]


@dataclass(frozen=True)
class Panel:
    """One metric against the measured change of one edit."""

    edit: str
    unit: str  # of the change
    metric: Metric
    lines: Mapping[str, Sequence[Point]]  # by method


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write report.html, report.md and report.json beside what they are of; gives the page."""
    from .page import page
    from .written import jsonable, markdown

    run = RunFolder(folder)
    report = Report.read(run)
    run._write(MARKDOWN, markdown(report))
    run._write(JSON, json.dumps(jsonable(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    run._write(PAGE, page(report))
    return run.path / PAGE


@dataclass(frozen=True)
class Report:
    """What the page says, before it is a page."""

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
        """Those with figures, then those of which there are only pictures."""
        measured = [row.method for row in self.summary.rows]
        drawn = [picture.method for picture in self.record.pictures]
        return [name for name in dict.fromkeys([*self.record.methods, *measured, *drawn]) if name != SOURCE]

    @cached_property
    def conditions(self) -> list[str]:
        there = [
            *(row.condition for row in self.summary.rows),
            *(p.condition for p in self.record.pictures if p.condition),
        ]
        return list(dict.fromkeys([c for c in self.record.conditions if c in set(there)] + there)) or [""]

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

    def level(self, row: Row) -> bool:
        """Not the best, and not told apart from it."""
        return not row.best and row.p is not None and row.p >= LEVEL

    def fewer(self, row: Row) -> str:
        """Of how many photos a figure is, where that is not all of them."""
        count = len(self.record.photos)
        return f"{row.n:,} of {count:,} photos" if row.n < count and row.condition != COSTS else ""

    def decimals(self, metric: str) -> int:
        """As many as an interval makes worth reading: one that counts in half of it, two where that is a 1 or 2."""
        return self._decimals.get(metric, 3)

    def digits(self, column: Column) -> int:
        """Areas and costs have no intervals: an area is read as its metric is."""
        name = column.metric.name
        return self.decimals(name) if name in self._decimals else decimals([*column.cells.values()])

    @cached_property
    def _decimals(self) -> dict[str, int]:
        rows: dict[str, list[Row]] = {}
        for row in self.summary.rows:
            rows.setdefault(row.metric, []).append(row)
        return {metric: decimals(each) for metric, each in rows.items()}

    # ---- tables

    def tables(self) -> list[Table]:
        """One a condition: methods by metrics."""
        made = []
        for condition in self.conditions:
            columns = [Column(m.title, m, cells) for m in self.metrics if (cells := self._cells(condition, m.name))]
            if columns:
                made.append(Table(self.named(condition), columns, condition, self._copies(condition)))
        return made

    def _copies(self, condition: str) -> str:
        """Which methods are right by construction, and so out of the comparison."""
        copies = [name for name in self.record.methods if not contenders([name], condition)]
        return f"Baselines that give the photo itself back, and are compared with nobody: {', '.join(copies)}." * bool(
            copies
        )

    def overviews(self) -> list[Table]:
        """Where there are several conditions: one a metric, methods by conditions; matched ones and areas apart."""
        if len(self.conditions) < 2:
            return []
        made = []
        for metric in self.metrics:
            for group, title in (("", ""), ("matched", " at matched change"), ("area", ", area under the curve")):
                there = [c for c in self.conditions if group_of(c) == group]
                columns = []
                for c in there:
                    if found := self._cells(c, metric.name):
                        columns.append(Column(self.named(c), metric, found))
                        columns += self._change(c) if not group and is_identity(metric.name) else []
                if len(columns) > 1 or (group and columns):
                    made.append(Table(metric.title + title, columns))
        return made

    def _change(self, condition: str) -> list[Column]:
        """How far an edit went, to stand beside how much of the person is left."""
        change = change_of(self.record.protocol, condition)
        those = [metric for metric in self.metrics if metric.name == change]
        found = self._cells(condition, change)
        return [Column(f"{self.named(condition)}: {metric.title}", metric, found) for metric in those if found]

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

    def cost_table(self) -> Table | None:
        names = dict.fromkeys(name for costs in self.costs.values() for name in costs)
        columns = []
        for name in names:
            cells = {
                method: Row(method, COSTS, name, costs[name], None, None, 0)
                for method, costs in self.costs.items()
                if name in costs
            }
            columns.append(Column(COST_TITLES.get(name, name), Metric(name, name, "lower"), cells))
        note = "Of one photo alone, memory beyond the networks; this machine's and this hour's: no two runs share them."
        return Table("Costs", columns, note=note) if columns else None

    def metrics_of(self, condition: str) -> list[Metric]:
        return [metric for metric in self.metrics if self._cells(condition, metric.name)]

    def _cells(self, condition: str, metric: str) -> dict[str, Row]:
        at = ((name, self.rows.get((name, condition, metric))) for name in self.methods)
        return {name: row for name, row in at if row is not None}

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

    # ---- curves and photos

    def panels(self) -> list[Panel]:
        """Every metric against the measured change of every edit."""
        metrics = {metric.name: metric for metric in self.metrics}
        lines: dict[tuple[str, str, str], dict[str, list[Point]]] = {}
        for curve in self.summary.curves:
            lows, highs = (ends if len(ends) == len(curve.value) else curve.value for ends in (curve.low, curve.high))
            points = [Point(*at) for at in zip(curve.change, curve.value, lows, highs)]
            if len(points) > 1:  # less is no curve: the method does not move the attribute
                lines.setdefault((curve.edit, curve.unit.strip(), curve.metric), {})[curve.method] = points
        return [
            Panel(edit, unit, metrics.get(metric, Metric(metric, metric)), by_method)
            for (edit, unit, metric), by_method in lines.items()
        ]

    def ends(
        self, method: str, condition: str, metric: Metric
    ) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """The worst photos and the best ones, the extreme first."""
        values = self.values.get((method, condition, metric.name), {})
        ranked = sorted(((p, v) for p, v in values.items() if not math.isnan(v)), key=lambda pair: (pair[1], pair[0]))
        count = min(ENDS, max(len(ranked) // 2, 1))  # of few photos, none is at both ends
        least, most = ranked[:count], ranked[::-1][:count]
        return (most, least) if metric.better == "lower" else (least, most)

    # ---- in words

    def findings(self) -> list[tuple[str, str]]:
        """In a line a method: where it is the best, and whether that is more than noise.

        Of edits, where all methods have changed the picture equally far: who changes little is the best in much else.
        """
        matched = [table for table in self.tables() if group_of(table.condition or "") == "matched"]
        wins: dict[str, list[tuple[Metric, list[str] | None]]] = {}
        columns = [column for table in matched or self.tables() for column in table.columns if column.metric.better]
        for column in columns:
            among = [name for name, row in column.cells.items() if contenders([name], row.condition)]
            rivals = {name: row for name in among if not (row := column.cells[name]).best}
            tested = all(row.p is not None for row in rivals.values())
            level = [name for name, row in rivals.items() if self.level(row)] if tested else None
            for name in (name for name, row in column.cells.items() if row.best and rivals):
                wins.setdefault(name, []).append((column.metric, level))
        ranked = sorted(wins.items(), key=lambda pair: (-len(pair[1]), self.methods.index(pair[0])))
        where = " at equal change" * bool(matched)
        return [(name, finding(won, len(columns), len(self.conditions) > 1, where)) for name, won in ranked]


def group_of(condition: str) -> str:
    """ "matched" or "area" where a condition is made of others; nothing where it was rendered."""
    return condition.partition("=")[2].rpartition(":")[0]


def finding(won: Sequence[tuple[Metric, list[str] | None]], columns: int, many: bool, where: str = "") -> str:
    """With each metric the methods not told apart from the best; none where nothing was tested."""
    if many:
        clear = sum(level == [] for _, level in won)
        return f"is the best in {len(won)} of {columns} columns{where}, clearly in {clear}."
    parts = []
    if clear_ones := [metric.title for metric, level in won if level == []]:
        parts.append(f"is clearly the best by {listed(clear_ones)}")
    rivals: dict[str, list[str]] = {}
    for metric, level in won:
        if level != []:
            told = "which is not tested" if level is None else f"not told apart from {listed(level)}"
            rivals.setdefault(told, []).append(metric.title)
    parts += [f"has the best {listed(names)}, {told}" for told, names in rivals.items()]
    return "; ".join(parts) + "."


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def decimals(rows: Sequence[Row]) -> int:
    means = [abs(r.mean) for r in rows if r.mean is not None and 0 < abs(r.mean) < math.inf]
    least = 1e-6 * max(means, default=0.0)  # less is rounding
    widths = [r.high - r.low for r in rows if r.low is not None and r.high is not None]
    widths = sorted(width for width in widths if least < width < math.inf)
    half = widths[len(widths) // 2] / 2 if widths else max(means, default=1.0) / 30
    digits = -math.floor(math.log10(half))
    return int(min(max(digits + (half * 10.0**digits < 3), 0), 6))


def figure(value: float | None, decimals: int) -> str:
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{decimals}f}".replace("-", "−")
    return text if text.strip("−0.,") else text.lstrip("−")  # a zero has no sign


def interval(row: Row, decimals: int) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"{figure(row.low, decimals)} … {figure(row.high, decimals)}"


def probability(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def flat(values: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, str | None]]:
    """Names and texts; the name of a group has none, and what is nested deeper has a dotted name."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            yield (inside + name).strip(), told(value)
        elif value:
            if not inside:
                yield name, None
            yield from flat(value, f"{inside}{name}." if inside else " ")


def said(value: Any) -> str:
    """A value from the summary, in a table."""
    return f"{value:.3g}" if isinstance(value, float) else told(value)


def told(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and not any(isinstance(v, Mapping) for v in value):
        return ", ".join(map(str, value)) or "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def strict(value: Any) -> Any:
    """JSON has no number for what is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: strict(each) for name, each in value.items()}
    return [strict(each) for each in value] if isinstance(value, list | tuple) else value
