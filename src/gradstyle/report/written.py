"""A report as Markdown, for a pull request or a paper's notes, and as JSON, for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config import to_json
from ..metrics.values import Metric
from .report import ARROWS, ENDS, Column, Report, Table, figure, flat, interval, probability, said, strict

SPECIAL = re.compile(r"([\\`*_\[\]|~<>&])")


def markdown(report: Report) -> str:
    return "\n".join(_lines(report)).rstrip() + "\n"


def plain(text: str) -> str:
    """A text that Markdown shows as it stands, in one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _lines(report: Report) -> Iterator[str]:
    yield f"# {plain(report.title)}: {report.record.kind}"
    yield ""
    yield ", ".join(f"{name} **{plain(value)}**" for name, value in report.facts.items())
    yield ""
    yield from (f"- **{plain(method)}** {plain(text)}" for method, text in report.findings())
    yield from (f"- {plain(note)}" for note in report.notes)
    if tables := [*report.overviews(), *report.tables()]:
        yield "\n## Results\n\nMean [95% interval], p; **★** is the best, ≈ is not told apart from it (p ≥ .05)."
        yield f"p is of a test {plain(report.summary.test)}." if report.summary.test else ""
        for table in tables:
            yield from _table(report, table)
    if costs := report.cost_table():
        yield from _table(report, costs)
    if report.summary.agreement:
        yield f"\n### Two judges\n\n{plain(report.agreed())}.\n"
        yield from _agreement(report.summary.agreement)
    if panels := report.panels():
        yield "\n## Against the measured change"
        for panel in panels:
            metric = f"{plain(panel.metric.title)} {ARROWS[panel.metric.better]}".strip()
            yield f"\n### {metric} against the measured change of {plain(panel.edit)}, {panel.unit}\n"
            digits = report.decimals(panel.metric.name)
            longest = max(map(len, panel.lines.values()))
            yield _row(["method", *("change: value" for _ in range(longest))])
            yield _row(["---"] * (longest + 1))
            for name, points in panel.lines.items():
                shown = [f"{p.x:.2f}: {figure(p.y, digits)}" for p in points]
                yield _row([plain(name), *shown, *[""] * (longest - len(shown))])
    if report.values:
        yield f"\n## The worst and the best {ENDS} photos"
        for table in report.tables():
            for column in table.columns:
                yield from _ends(report, table, column.metric, list(column.cells))
    yield "\n## Failures\n"
    if report.record.failures:
        yield _row(["photo", "method", "what happened"])
        yield _row(["---"] * 3)
        for failure in report.record.failures:
            yield _row([plain(failure.photo), plain(failure.method) or "every method", plain(failure.reason)])
    else:
        yield "None: every method did every photo."
    yield "\n## Provenance\n"
    yield _row(["what", "value"])
    yield _row(["---"] * 2)
    for name, value in flat(report.provenance):
        yield _row([f"**{plain(name)}**", ""] if value is None else [plain(name), plain(value)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(report: Report, table: Table) -> Iterator[str]:
    yield f"\n### {plain(table.title)}\n" if table.title else ""
    yield _row(["method", *(f"{plain(c.title)} {ARROWS[c.metric.better]}".strip() for c in table.columns)])
    yield _row(["---", *("---:" for _ in table.columns)])
    for name in table.methods(report.methods):
        yield _row([plain(name), *(_cell(report, column, name) for column in table.columns)])
    if table.note:
        yield f"\n{plain(table.note)}"


def _cell(report: Report, column: Column, method: str) -> str:
    row = column.cells.get(method)
    if row is None or row.mean is None:
        return "–"
    digits = report.digits(column)
    mean, between = figure(row.mean, digits), interval(row, digits)
    parts = [f"**{mean} ★**" if row.best else f"{mean} ≈" if report.level(row) else mean]
    parts.append(f"[{between}]" if between else "")
    parts.append(plain(probability(row.p)) if row.p is not None else "")
    parts.append(f"({fewer})" if (fewer := report.fewer(row)) else "")
    return " ".join(filter(None, parts))


def _agreement(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for line in lines for name in line))
    yield _row([plain(name.replace("_", " ")) for name in names])
    yield _row(["---"] * len(names))
    yield from (_row([plain(said(line.get(name))) for name in names]) for line in lines)


def _ends(report: Report, table: Table, metric: Metric, names: Sequence[str]) -> Iterator[str]:
    sides = {name: report.ends(name, table.condition or "", metric) for name in names}
    digits = report.decimals(metric.name)
    for side, title in enumerate(("worst", "best")):
        length = max(len(each[side]) for each in sides.values())
        if not length:
            continue
        at = f", {plain(table.title)}" if table.title else ""
        yield f"\n### {plain(metric.title)}{at}: the {title}\n"
        yield _row(["", *map(plain, names)])
        yield _row(["---:", *("---" for _ in names)])
        for i in range(length):
            pairs = [sides[name][side][i : i + 1] for name in names]
            yield _row([f"{i + 1}", *(f"{figure(p[0][1], digits)} {plain(p[0][0])}" if p else "–" for p in pairs)])


def jsonable(report: Report) -> dict[str, Any]:
    """All that the page shows, in full precision; a value that is no number is null."""
    rows = [{**to_json(row), "level_with_the_best": report.level(row)} for row in report.summary.rows]
    ends = []
    for table in report.tables():
        for column in table.columns:
            for name in column.cells:
                at = {"method": name, "condition": table.condition or "", "metric": column.metric.name}
                both = zip(("worst", "best"), report.ends(name, table.condition or "", column.metric))
                ends.append({**at, **{side: [{"photo": p, "value": v} for p, v in pairs] for side, pairs in both}})
    made: dict[str, Any] = strict(
        {
            "title": report.title,
            "facts": report.facts,
            "methods": report.methods,
            "conditions": report.conditions,
            "metrics": to_json(report.metrics),
            "findings": [{"method": method, "finding": text} for method, text in report.findings()],
            "notes": report.notes,
            "rows": rows,
            "curves": to_json(report.summary.curves),
            "agreement": to_json(report.summary.agreement),
            "costs": to_json(report.costs),
            "ends": ends,
            "failures": to_json(report.record.failures),
            "provenance": report.provenance,
        }
    )
    return made
