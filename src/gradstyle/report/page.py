"""The report as one HTML file that loads nothing: style, script, plots and pictures are inside it."""

from __future__ import annotations

import math
from typing import Any

from ..evaluation.store import SOURCE
from ..metrics.values import Metric
from .content import Report, group_of
from .pictures import Sheets
from .plots import COLOURS, curves, distributions, key
from .tables import ARROWS, Column
from .templates import render
from .texts import flat

DOTS = 60_000  # of all values that are drawn one by one


def page(report: Report) -> str:
    tables, costs, sheets = report.tables(), report.cost_table(), Sheets(report)
    panels, spread = _curves(report), _spread(report)
    sections = {
        "results": "Results" if tables or costs else "",
        "curves": "Curves" if panels else "",
        "spread": "Spread" if spread else "",
        "pictures": "Pictures" if sheets.sheets else "",
        "ends": "Best and worst" if report.values else "",
        "failures": "Failures",
        "provenance": "Provenance",
    }
    return render(
        "report/page.html.j2",
        report=report,
        sections={name: title for name, title in sections.items() if title},
        condition_groups=_condition_groups(report),
        overviews=report.overviews(),
        tables=tables,
        costs=costs,
        agreement=report.agreement_table(),
        curves=panels,
        bands=any(low < high for curve in report.summary.curves for low, high in zip(curve.low, curve.high)),
        spread=spread,
        sheets=sheets,
        provenance=list(flat(report.provenance)),
        data=_data(report, sheets),
        arrows=ARROWS,
        tint=lambda method: f"c{report.colour(method) % COLOURS}",
        key=lambda method: key(report.colour(method)),
    )


def _condition_groups(report: Report) -> dict[str, list[str]]:
    """Groups the conditions by what they have in common, to choose one of them."""
    groups: dict[str, list[str]] = {}
    for condition in report.conditions if len(report.conditions) > 1 else ():
        group = group_of(condition)
        edit = condition.partition("=")[0] if "=" in condition else "no edit"
        groups.setdefault({"matched": f"{edit}, matched", "area": "areas"}.get(group, edit), []).append(condition)
    return groups


def _curves(report: Report) -> dict[str, list[tuple[Metric, str]]]:
    """Draws, for each edit, each metric against the measured change."""
    plots: dict[str, list[tuple[Metric, str]]] = {}
    for panel in report.panels():
        across = f"measured change of {panel.edit.rstrip('+-')}, {panel.unit}"
        lines = [(report.colour(curve.method), curve) for curve in panel.curves]
        label = f"{panel.metric.title} against the {across}"
        plot = curves(lines, label, across, Column.of(panel.metric).heading)
        edit = panel.edit[:-1] + panel.edit[-1:].replace("-", "−")
        plots.setdefault(edit, []).append((panel.metric, plot))
    return plots


def _spread(report: Report) -> dict[str, list[tuple[Metric, str]]]:
    """Draws, for each condition, the values of each metric."""
    dots = min(DOTS // max(len(report.summary.rows), 1), 200)
    plots: dict[str, list[tuple[Metric, str]]] = {}
    for condition in report.conditions:
        for metric in report.metrics_of(condition):
            rows = []
            for name, row in report.rows_of(condition, metric).items():
                values = list(report.values.get((name, condition, metric.name), {}).values())
                if len(values) > 1 and row.mean is not None:
                    rows.append((report.colour(name), row, values))
            if plot := distributions(rows, f"{metric.title} by method", dots):
                plots.setdefault(condition, []).append((metric, plot))
    return plots


def _data(report: Report, sheets: Sheets) -> dict[str, Any]:
    """Gives what the script shows: the ends of each metric, and the values of the photos with pictures."""
    shown = sheets.photos
    photos = {photo: i for i, photo in enumerate(shown)}
    ends: dict[str, dict[int, dict[str, list[list[list[float | int | None]]]]]] = {}
    values: dict[str, dict[int, dict[str, list[float | None]]]] = {}
    for condition in report.conditions:
        for i, metric in enumerate(report.metrics):
            for method in report.methods:
                if not any(each := report.ends(method, condition, metric)):
                    continue
                sides = [[[photos.setdefault(photo, len(photos)), _plain(v)] for photo, v in side] for side in each]
                ends.setdefault(condition, {}).setdefault(i, {})[method] = sides
        for photo in shown:
            for method in report.methods:
                row = [report.values.get((method, condition, m.name), {}).get(photo) for m in report.metrics]
                if any(v is not None for v in row):
                    at, name = ("", sheets.columns.get(condition)) if sheets.only_method else (condition, method)
                    if name is not None:
                        values.setdefault(at, {}).setdefault(photos[photo], {})[name] = [_plain(v) for v in row]
    return {
        "methods": report.methods,
        "source": SOURCE,
        "columns": list(sheets.columns.values()) if sheets.only_method else report.methods,
        "alone": sheets.columns if sheets.only_method else None,  # conditions that stand where methods do otherwise
        "first": next((method for method, _ in report.findings()), ""),  # what is looked at before anyone chooses
        "conditions": report.conditions,
        "metrics": [{"title": m.title, "decimals": report.decimals(m.name)} for m in report.metrics],
        "photos": list(photos),
        "ends": ends,
        "shown": values,
    }


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
