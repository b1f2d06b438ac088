"""Writes the report of a run: as a page, as Markdown for a pull request or a paper's notes, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import to_json
from ..evaluation.store import RunFolder
from ..metrics.values import Metric
from .content import ENDS, Panel, Report
from .page import page
from .tables import ARROWS, is_level, text_table
from .texts import figure, flat, plain, strict

PAGE, MARKDOWN, JSON = "report.html", "report.md", "report.json"


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Writes report.html, report.md and report.json into the run's folder, and gives the page's path."""
    run = RunFolder(folder)
    report = Report.read(run)
    run._write(MARKDOWN, markdown(report))
    run._write(JSON, json.dumps(jsonable(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    run._write(PAGE, page(report))
    return run.path / PAGE


def markdown(report: Report) -> str:
    return "\n".join(_parts(report)).rstrip() + "\n"


def _parts(report: Report) -> Iterator[str]:
    yield f"# {plain(report.title)}: {report.record.kind}\n"
    yield ", ".join(f"{name} **{plain(value)}**" for name, value in report.facts.items()) + "\n"
    yield from (f"- **{plain(method)}** {plain(text)}" for method, text in report.findings())
    yield from (f"- {plain(note)}" for note in report.notes)
    if tables := [*report.overviews(), *report.tables()]:
        yield "\n## Results\n\nMean [95% interval], p; **★** is the best, ≈ is not told apart from it (p ≥ .05)."
        yield f"p is of a test {plain(report.summary.test)}." if report.summary.test else ""
    if costs := report.cost_table():
        tables.append(costs)
    for table in tables:
        title, note = f"\n### {plain(table.title)}\n" * bool(table.title), f"\n\n{plain(table.note)}" * bool(table.note)
        yield f"{title}\n{table.markdown}{note}"
    if agreement := report.agreement_table():
        yield f"\n### Two judges\n\n{plain(report.agreed())}.\n\n{agreement.markdown}"
    if panels := report.panels():
        yield "\n## Against the measured change"
        yield from (_panel(panel, report.decimals(panel.metric.name)) for panel in panels)
    if report.values:
        yield f"\n## The worst and the best {ENDS} photos"
        for condition in report.conditions:
            for metric in report.metrics_of(condition):
                yield from _ends(report, condition, metric)
    yield "\n## Failures\n"
    failures = [(f.photo, f.method or "every method", f.reason) for f in report.record.failures]
    head = ["photo", "method", "what happened"]
    yield text_table(head, failures).markdown if failures else "None: every method did every photo."
    record = [(name, "" if value is None else value) for name, value in flat(report.provenance)]
    yield f"\n## Provenance\n\n{text_table(['what', 'value'], record).markdown}"


def _panel(panel: Panel, digits: int) -> str:
    metric = f"{plain(panel.metric.title)} {ARROWS[panel.metric.better]}".strip()
    longest = max(len(curve.change) for curve in panel.curves)
    rows = []
    for curve in panel.curves:
        points = [f"{x:.2f}: {figure(y, digits)}" for x, y in zip(curve.change, curve.value)]
        rows.append([curve.method, *points, *[""] * (longest - len(points))])
    table = text_table(["method", *["change: value"] * longest], rows)
    title = f"{metric} against the measured change of {plain(panel.edit)}, {panel.unit}"
    return f"\n### {title}\n\n{table.markdown}"


def _ends(report: Report, condition: str, metric: Metric) -> Iterator[str]:
    methods = list(report.rows_of(condition, metric))
    ends = [report.ends(method, condition, metric) for method in methods]
    digits = report.decimals(metric.name)
    for side, title in enumerate(("worst", "best")):
        columns = [[f"{figure(value, digits)} {photo}" for photo, value in each[side]] for each in ends]
        length = max(map(len, columns))
        rows = [[f"{i + 1}", *(column[i] if i < len(column) else "–" for column in columns)] for i in range(length)]
        at = f", {plain(report.named(condition))}" if report.named(condition) else ""
        if rows:
            yield f"\n### {plain(metric.title)}{at}: the {title}\n\n{text_table(['', *methods], rows).markdown}"


def jsonable(report: Report) -> dict[str, Any]:
    """Gives all that the page shows, in full precision; a value that is not finite is null."""
    ends: list[dict[str, Any]] = []
    for condition in report.conditions:
        for metric in report.metrics_of(condition):
            for method in report.rows_of(condition, metric):
                both = zip(("worst", "best"), report.ends(method, condition, metric))
                sides = {side: [{"photo": p, "value": v} for p, v in pairs] for side, pairs in both}
                ends.append({"method": method, "condition": condition, "metric": metric.name, **sides})
    rows = [{**to_json(row), "level_with_the_best": is_level(row)} for row in report.summary.rows]
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
