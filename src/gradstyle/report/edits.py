"""The reports of a bundle's edits as a table for a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..bundles import Bundle
from .tables import text_table

LEAKS = 3  # of each edit: the largest
HEAD = ("edit", "attribute", "codes", "held out", "moves", "steady", "range", "identity at ends")
LAST = "what else moves most"
NUMBERS = ("held out", "moves", "steady")


def reports_of(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Gives what was measured of each edit, with a slider or without."""
    reports = {name: slider.report for name, slider in bundle.sliders.items()} | bundle.failed_edits
    return {name: report for name, report in reports.items() if "attribute" in report}


def markdown(bundle: Bundle) -> str:
    """Gives a table with a row for each edit, and why some have no slider."""
    reports = reports_of(bundle)
    if not reports:
        raise ValueError(f"no edit of bundle {bundle.name!r} was measured: `gradstyle directions find` does that")
    rows = [_row(name, report, name in bundle.sliders) for name, report in reports.items()]
    lines = [text_table((*HEAD, LAST), rows, NUMBERS, is_markdown=True).markdown]
    failed = [(name, r) for name, r in reports.items() if name not in bundle.sliders]
    if failed:
        lines += ["", "Without a slider:", ""]
        lines += [f"- `{name}`: {'; '.join(map(str, report.get('reasons', [])))}." for name, report in failed]
    return "\n".join(lines)


def provenance(bundle: Bundle) -> str:
    """Says in a line which networks found the edits and which judged them."""
    reports = list(reports_of(bundle).values())
    first: Mapping[str, Any] = reports[0] if reports else {}
    judges = sorted({str(r.get("judge")) for r in reports if r.get("independent")})
    taught = sorted({str(r["name"]) for r in reports if not r.get("independent")})
    dependent = f"; judged by what found them: {', '.join(taught)}" if taught else ""
    samples = max((int(r.get("samples", 0)) for r in reports), default=0)
    return (
        f"Bundle {bundle.name}, generator {bundle.fingerprint}; {samples:,} samples of seed {first.get('seed', 0)}, "
        f"scored by {first.get('scorer', '')}; "
        f"judged by {', '.join(judges) or 'no other network'} on {first.get('codes', 0)} other codes{dependent}."
    )


def _row(name: str, report: Mapping[str, Any], slider: bool) -> list[str]:
    leaks = sorted(report.get("leaks", {}).items(), key=lambda item: -abs(item[1]))[:LEAKS]
    distances = {float(a): float(d) for a, d in report.get("identity", [])}
    low, high = float(report.get("low", 0)), float(report.get("high", 0))
    accuracy = report.get("accuracy")
    ends = [_at(distances, end) for end in (low, high)]
    first, last = [*report.get("layers", []), "", ""][:2]
    return [
        f"`{name}`",
        ("−" if report.get("reverse") else "") + str(report.get("attribute", "")).replace("_", " "),
        f"{first}–{last}",
        "" if accuracy is None else f"{accuracy:.0%}",
        f"{report.get('moved', 0):+.2f}" + ("" if report.get("independent") else "*"),
        f"{report.get('monotonic', 0):.0%}",
        f"{low:+g} … {high:+g}" if slider else "no slider",
        " / ".join("–" if d is None else f"{d:.2f}" for d in ends) if distances else "not measured",
        ", ".join(f"{key.replace('_', ' ')} {value:+.2f}" for key, value in leaks),
    ]


def _at(points: Mapping[float, float], at: float) -> float | None:
    """Interpolates between the nearest two points that were measured."""
    below, above = [x for x in points if x <= at], [x for x in points if x >= at]
    if not below or not above:
        return None
    a, b = max(below), min(above)
    return points[a] if a == b else points[a] + (points[b] - points[a]) * (at - a) / (b - a)
