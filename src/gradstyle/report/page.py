"""A report as one HTML file that loads nothing: style, script, plots and pictures are inside it.

Every text from outside (a photo's name, a bundle's) is escaped, and the page's own policy lets no other script run.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path, PurePosixPath

from ..evaluation.store import PICTURES, SOURCE
from ..metrics.values import Metric, Row
from .charts import COLOURS, Curve, Strip, curves, key, strips, whisker
from .report import ARROWS, Report, Table, figure, flat, group_of, interval, listed, probability, said

PICTURE_BYTES = 8 << 20  # of all pictures in a page
PICTURE_SIDES = (512, 384, 256, 192, 128)
LOSSY_BYTES, LOSSLESS_BYTES = 0.4, 3.2  # of a pixel in WebP and then in base64, at most as a rule
SHEET_PHOTOS = 24  # in a page's sheets; the others stay in the run's folder
DOTS = 60_000  # of all values that are drawn one by one


def page(report: Report) -> str:
    style, script = ((resources.files(__package__) / "assets" / name).read_text("utf-8") for name in
                     ("style.css", "script.js"))  # fmt: skip
    sheets = Sheets(report)
    sections = [
        ("results", "Results", results(report)),
        ("curves", "Curves", curve_panels(report)),
        ("spread", "Spread", spread(report)),
        ("pictures", "Pictures", sheets.html()),
        ("ends", "Best and worst", ends(report)),
        ("failures", "Failures", failures(report)),
        ("provenance", "Provenance", provenance(report)),
    ]
    sections = [(name, title, html) for name, title, html in sections if html]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"{" hidden" if name == "ends" else ""}>{html}</section>' for name, _, html in sections
    )
    facts = "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in report.facts.items())
    findings = "".join(
        f'<li class="{tint(report, method)}"><b>{escape(method)}</b> {escape(text)}</li>'
        for method, text in report.findings()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; base-uri 'none'; \
form-action 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(f"{report.title}: {report.record.kind}")}</title>
<style>{style}</style>
</head>
<body>
<header class="masthead">
<p class="eyebrow"><span>GradStyle benchmark · {escape(report.record.kind)}</span>
<button class="theme" type="button" hidden>dark</button></p>
<h1>{escape(report.title)}</h1>
<ul class="facts">{facts}</ul>
{f'<ul class="findings">{findings}</ul>' if findings else ""}
{f'<ul class="notes">{notes}</ul>' if notes else ""}
</header>
<div class="bar"><div><nav aria-label="Sections">{links}</nav>{_condition_picker(report)}</div></div>
<main>
{body}
</main>
<footer>This page loads nothing and sends nothing. The same figures are beside it as report.md and report.json; every \
value of every photo is in values.csv.</footer>
<script type="application/json" id="data">{_data(report, sheets)}</script>
<script>{script}</script>
</body>
</html>
"""


def tint(report: Report, method: str) -> str:
    return f"c{report.colour(method) % COLOURS}"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _condition_picker(report: Report) -> str:
    if len(report.conditions) < 2:
        return ""
    groups: dict[str, list[str]] = {}
    for condition in report.conditions:
        group = group_of(condition)
        edit = condition.partition("=")[0] if "=" in condition else "no edit"
        groups.setdefault({"matched": f"{edit}, matched", "area": "areas"}.get(group, edit), []).append(condition)
    first = report.first_condition
    choices = ""
    for group, members in groups.items():
        options = [
            f'<option value="{escape(each)}"{" selected" * (each == first)}>{escape(report.named(each))}</option>'
            for each in members
        ]
        choices += f'<optgroup label="{escape(group)}">{"".join(options)}</optgroup>'
    return f'<label hidden>Condition <select id="condition">{choices}</select></label>'


# ---- tables


def results(report: Report) -> str:
    tables, overviews, costs = report.tables(), report.overviews(), report.cost_table()
    if not tables and costs is None:
        return ""
    lead = (
        "Means over the photos with their 95% intervals, which are also drawn on the range of their column. "
        "★ is the best of a column, ≈ is not told apart from it (p ≥ .05)"
        + (f"; p is of a test {report.summary.test}" if report.summary.test else "")
        + ". A heading sorts."
    )
    parts = ["<h2>Results</h2>"]
    if tables:
        parts.append(f'<p class="lead">{escape(lead)}</p>')
    if overviews:
        choices = "".join(f'<option value="{i}">{escape(table.title)}</option>' for i, table in enumerate(overviews))
        parts.append(
            f'<p class="picks" hidden><label>Over conditions <select id="overview">{choices}</select></label></p>'
        )
    for i, table in enumerate(overviews):
        parts.append(table_html(report, table, f'data-overview="{i}"'))
    for table in tables:
        parts.append(table_html(report, table, f'data-condition="{escape(table.condition or "")}"'))
    if costs is not None:
        parts.append(table_html(report, costs, ""))
    return "".join(parts) + agreement(report)


def table_html(report: Report, table: Table, attribute: str) -> str:
    names = table.methods(report.methods)
    head = ['<th scope="col"><button type="button">method</button></th>']
    cells: dict[str, list[str]] = {name: [] for name in names}
    for column in table.columns:
        better = column.metric.better
        small = f"<small>{ARROWS[better]} is better</small>" if better else ""
        head.append(
            f'<th scope="col" data-better="{better or "higher"}" title="{escape(column.metric.about)}">'
            f'<button type="button">{escape(column.title)}</button>{small}</th>'
        )
        shown = [v for row in column.cells.values() for v in (row.mean, row.low, row.high) if v is not None]
        shown = [value for value in shown if math.isfinite(value)]
        least, most = (min(shown), max(shown)) if shown else (0.0, 0.0)
        digits = report.digits(column)
        for name in names:
            cells[name].append(_cell(report, column.cells.get(name), digits, least, most))
    body = "".join(
        f'<tr class="{tint(report, name)}" data-colour="{report.colour(name) % COLOURS}">'
        f'<th scope="row" data-value="{escape(name)}">{key(report.colour(name))}{escape(name)}</th>'
        f"{''.join(cells[name])}</tr>"
        for name in names
    )
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="card figures" {attribute}>{title}<div class="scroll"><table>'
        f"<thead><tr>{''.join(head)}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>{note}</div>"
    )


def _cell(report: Report, row: Row | None, digits: int, least: float, most: float) -> str:
    if row is None or row.mean is None or math.isnan(row.mean):
        return '<td class="none">–</td>'
    badge = '<span class="badge">★</span>' if row.best else '<span class="badge">≈</span>' if report.level(row) else ""
    lines = [interval(row, digits), "" if row.p is None else probability(row.p)]
    lines.append(report.fewer(row))
    low, high = (row.mean if end is None else end for end in (row.low, row.high))
    best, over = ' class="best"' if row.best else "", f' title="n = {row.n:,}"' if row.n else ""
    return (
        f'<td{best} data-value="{row.mean!r}"{over}>'
        f'<span class="mean">{figure(row.mean, digits)}</span>{badge}'
        f"{whisker(row.mean, low, high, least, most, report.colour(row.method))}"
        f"{''.join(f'<span class=line>{escape(line)}</span>' for line in lines if line)}</td>"
    )


def agreement(report: Report) -> str:
    """How far two judges agree on the order of the methods."""
    lines = report.summary.agreement
    if not lines:
        return ""
    names = list(dict.fromkeys(name for line in lines for name in line))
    head = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(said(line.get(name)))}</td>' for name in names)}</tr>" for line in lines
    )
    return (
        f'<details class="card figures"><summary>{escape(report.agreed())}</summary><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


# ---- plots


def legend(report: Report) -> str:
    keys = "".join(
        f'<li><button type="button" class="{tint(report, name)}" data-colour="{report.colour(name) % COLOURS}" '
        f'aria-pressed="false">{key(report.colour(name))}{escape(name)}</button></li>'
        for name in report.methods
    )
    return f'<ul class="legend" aria-label="Methods">{keys}</ul>'


def curve_panels(report: Report) -> str:
    panels = report.panels()
    if not panels:
        return ""
    bands = any(point.low < point.high for panel in panels for points in panel.lines.values() for point in points)
    parts = [
        "<h2>Against the measured change</h2>",
        '<p class="lead">One slider value is not one strength: methods differ in how far they move the attribute. Here '
        "each point is one value: how far a method moves the attribute on average, and what its pictures then are."
        f"{' Bands are 95% intervals.' if bands else ''}</p>",
        legend(report),
    ]
    for edit in dict.fromkeys(panel.edit for panel in panels):
        way = edit[:-1] + edit[-1:].replace("-", "−")
        parts.append(f'<h3>{escape(way)}</h3><div class="plots">')
        for panel in (each for each in panels if each.edit == edit):
            across = f"measured change of {edit.rstrip('+-')}, {panel.unit}"
            lines = [Curve(name, report.colour(name), points) for name, points in panel.lines.items()]
            upwards = f"{panel.metric.title} {ARROWS[panel.metric.better]}".strip()
            drawn = curves(lines, f"{panel.metric.title} against the {across}", across, upwards)
            parts.append(f'<figure class="card"><figcaption>{escape(panel.metric.title)}</figcaption>{drawn}</figure>')
        parts.append("</div>")
    return "".join(parts)


def spread(report: Report) -> str:
    rows = sum(len(column.cells) for table in report.tables() for column in table.columns)
    dots = min(DOTS // max(rows, 1), 200)
    drawn = "".join(_spread(report, table, dots) for table in report.tables())
    if not drawn:
        return ""
    lead = (
        "The photos behind each mean: the density of their values, the values themselves below it (of many photos, "
        "evenly spaced ranks), the middle half as a bar with the median in it, and the mean as the method's sign."
    )
    return f'<h2>Spread over the photos</h2><p class="lead">{lead}</p>{legend(report)}{drawn}'


def _spread(report: Report, table: Table, dots: int) -> str:
    figures = []
    for column in table.columns:
        metric, rows = column.metric, []
        for name, row in column.cells.items():
            values = list(report.values.get((name, row.condition, metric.name), {}).values())
            if len(values) > 1 and row.mean is not None:
                low, high = (row.mean if end is None else end for end in (row.low, row.high))
                rows.append(Strip(name, report.colour(name), values, row.mean, low, high))
        if drawn := strips(rows, f"{metric.title} by method", dots):
            better = f" <small>{ARROWS[metric.better]} is better</small>" if metric.better else ""
            figures.append(
                f'<figure class="card"><figcaption>{escape(metric.title)}{better}</figcaption>{drawn}</figure>'
            )
    if not figures:
        return ""
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    at = escape(table.condition or "")
    return f'<div data-condition="{at}">{title}<div class="plots">{"".join(figures)}</div></div>'


# ---- pictures


class Sheets:
    """The pictures of a run, each in the page once, as far as they fit."""

    def __init__(self, report: Report) -> None:
        self.report = report
        files = {
            (p.photo, p.method, p.condition): report.folder / p.file for p in report.record.pictures if inside(p.file)
        }
        files = {at: file for at, file in files.items() if file.is_file()}
        drawn = list(dict.fromkeys(method for _, method, _ in files if method != SOURCE))
        conditions = list(dict.fromkeys(at for _, method, at in files if method != SOURCE))
        self.alone = drawn[0] if len(drawn) == 1 and len(conditions) > 1 else None  # its conditions stand side by side
        self.columns = {at: report.named(at) for at in conditions} if self.alone else {}
        first = list(dict.fromkeys(photo for photo, _, _ in files))[:SHEET_PHOTOS]
        self.side, self.lossless = room([file for (photo, _, _), file in files.items() if photo in set(first)])
        self.photos: list[str] = []
        self.uris: dict[tuple[str, str, str], str] = {}
        left = PICTURE_BYTES
        for photo in first:
            uris = {at: picture(file, self.side, self.lossless) for at, file in files.items() if at[0] == photo}
            left -= sum(map(len, uris.values()))
            if left < 0:
                break
            self.photos.append(photo)
            self.uris.update(uris)

    def html(self) -> str:
        if not self.uris:
            return ""
        report = self.report
        of = f" of {len(report.record.photos):,}" if report.record.photos else ""
        lead = (
            f"{len(self.photos)}{of} photos. Drag the divider, or use the arrow keys; "
            "a picture of the sheet goes beside the source."
        )
        if self.alone:
            sheets = self._sheet(None, [(name, self.alone, at) for at, name in self.columns.items()])
        else:
            sheets = "".join(self._sheet(at, [(m, m, at) for m in report.methods]) for at in report.conditions)
        return f'<h2>Side by side</h2><p class="lead">{lead}</p>{VIEWER}{sheets}'

    def _sheet(self, condition: str | None, columns: Sequence[tuple[str, str, str]]) -> str:
        """Photos down; across what the columns name by method and condition. None: the sheet is of all conditions."""
        columns = [each for each in columns if any((photo, *each[1:]) in self.uris for photo in self.photos)]
        if not columns:
            return ""
        metrics = {at: next(iter(self.report.metrics_of(at)), None) for _, _, at in columns}
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in (SOURCE, *(name for name, _, _ in columns)))
        rows = []
        for photo in self.photos:
            cells = [self._source(photo), *(self._picture(photo, *each, metrics[each[2]]) for each in columns)]
            rows.append(f'<tr><th scope="row" title="{escape(photo)}">{escape(photo)}</th>{"".join(cells)}</tr>')
        below = listed(sorted({metric.title for metric in metrics.values() if metric}) or [""])
        caption = ": ".join(filter(None, [self.report.named(condition or ""), f"{below} below" if below else ""]))
        at = "" if condition is None else f' data-condition="{escape(condition)}"'
        return (
            f'<div class="card sheet"{at}><div class="scroll"><table><thead><tr>'
            f'<th scope="col"></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
            + (f'<p class="note">{escape(caption if condition is not None else f"{below} below")}</p>' if below else "")
            + "</div>"
        )

    def _source(self, photo: str) -> str:
        uri = self.uris.pop((photo, SOURCE, ""), None)  # in the page once; the script brings it to further sheets
        inside = f' src="{uri}"' if uri else ""
        index = self.photos.index(photo)
        return (
            f'<td><button type="button" class="tile"><img data-photo="{index}" data-method="{SOURCE}" data-at=""'
            f'{inside} alt="{escape(photo)}" decoding="async"></button></td>'
        )

    def _picture(self, photo: str, name: str, method: str, condition: str, metric: Metric | None) -> str:
        uri = self.uris.get((photo, method, condition))
        if uri is None:
            return '<td class="none">–</td>'
        value = self.report.values.get((method, condition, metric.name), {}).get(photo) if metric else None
        shown = "" if metric is None or value is None else figure(value, self.report.decimals(metric.name))
        at = "" if self.alone else condition
        return (
            f'<td><button type="button" class="tile"><img data-photo="{self.photos.index(photo)}" '
            f'data-method="{escape(name)}" data-at="{escape(at)}" src="{uri}" alt="{escape(f"{photo}, {name}")}" '
            f'decoding="async"></button>' + (f'<span class="value">{shown}</span></td>' if shown else "</td>")
        )


def inside(file: str) -> bool:
    """A run may come from anyone: what it names is shown only from among its own pictures."""
    path = PurePosixPath(file)
    return path.parts[:1] == (PICTURES,) and ".." not in path.parts


VIEWER = """<div class="card viewer" hidden>
<div class="stage"><img class="after" alt=""><img class="before" alt=""><span class="divider"></span>\
<span class="tag left"></span><span class="tag right"></span>\
<input type="range" min="0" max="100" step="0.5" value="50" aria-label="Where the left picture ends"></div>
<div class="said"><p class="photo"></p><div class="picks">
<label>Photo <select id="photo"></select></label>
<label>Left <select id="left"></select></label>
<label>Right <select id="right"></select></label></div><div class="scroll"><table></table></div></div>
</div>"""


def room(files: Sequence[Path]) -> tuple[int, bool]:
    """The longest side at which all pictures are likely to fit, and whether they do without a loss."""
    from PIL import Image

    sizes = []
    for file in files:
        with Image.open(file) as opened:
            sizes.append(opened.size)
    for side in PICTURE_SIDES:
        shares = [min(1.0, side / max(size)) for size in sizes]
        pixels = sum(width * height * share**2 for (width, height), share in zip(sizes, shares))
        if pixels * LOSSY_BYTES <= PICTURE_BYTES:
            return side, pixels * LOSSLESS_BYTES <= PICTURE_BYTES
    return PICTURE_SIDES[-1], False


def picture(path: Path, side: int, lossless: bool) -> str:
    """A picture as a data URI, no side longer than asked."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=lossless, quality=90, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


# ---- the rest


def ends(report: Report) -> str:
    if not report.values:
        return ""
    return (
        "<h2>Best and worst</h2>"
        '<p class="lead">The ten photos at either end of a metric; those with pictures in this page can be looked '
        "at.</p>"
        '<p class="picks"><label>Metric <select id="ends-metric"></select></label>'
        '<label>Method <select id="ends-method"></select></label></p>'
        '<div class="ends"><div class="card"><h3>Worst ten</h3><ol id="worst"></ol></div>'
        '<div class="card"><h3>Best ten</h3><ol id="best"></ol></div></div>'
    )


def failures(report: Report) -> str:
    if not report.record.failures:
        return '<h2>Failures</h2><p class="lead">None: every method did every photo.</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(f.photo)}</th><td>{escape(f.method or "every method")}</td>'
        f"<td>{escape(f.reason)}</td></tr>"
        for f in report.record.failures
    )
    return (
        '<h2>Failures</h2><p class="lead">What could not be read or done. A photo that cannot be read, or on which a '
        "method fails, is left out of every method alike.</p>"
        f'<div class="card scroll"><table class="record failed"><tbody>{rows}</tbody></table></div>'
    )


def provenance(report: Report) -> str:
    rows = []
    for name, value in flat(report.provenance):
        if value is None:
            rows.append(f'<tr class="group"><th scope="rowgroup" colspan="2">{escape(name)}</th></tr>')
        else:
            rows.append(f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(value)}</code></td></tr>')
    return (
        '<h2>Provenance</h2><p class="lead">What this run was made with; the same command on the same files and '
        "machine gives the same figures, times and memory aside.</p>"
        f'<div class="card scroll"><table class="record"><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _data(report: Report, sheets: Sheets) -> str:
    """What the script draws: the ends of each metric, and the values of the photos that are shown."""
    shown = sheets.photos
    photos = {photo: i for i, photo in enumerate(shown)}
    found: dict[str, dict[int, dict[str, list[list[list[float | int | None]]]]]] = {}
    values: dict[str, dict[int, dict[str, list[float | None]]]] = {}
    for condition in report.conditions:
        for i, metric in enumerate(report.metrics):
            for method in report.methods:
                if not any(each := report.ends(method, condition, metric)):
                    continue
                sides = [[[photos.setdefault(photo, len(photos)), _plain(v)] for photo, v in side] for side in each]
                found.setdefault(condition, {}).setdefault(i, {})[method] = sides
        for photo in shown:
            for method in report.methods:
                row = [report.values.get((method, condition, m.name), {}).get(photo) for m in report.metrics]
                if any(v is not None for v in row):
                    at, name = ("", sheets.columns.get(condition)) if sheets.alone else (condition, method)
                    if name is not None:
                        values.setdefault(at, {}).setdefault(photos[photo], {})[name] = [_plain(v) for v in row]
    data = {
        "methods": report.methods,
        "source": SOURCE,
        "columns": list(sheets.columns.values()) if sheets.alone else report.methods,
        "alone": sheets.columns if sheets.alone else None,  # conditions that stand where methods do otherwise
        "first": next((method for method, _ in report.findings()), ""),  # what is looked at before anyone chooses
        "conditions": report.conditions,
        "metrics": [{"title": m.title, "decimals": report.decimals(m.name)} for m in report.metrics],
        "photos": list(photos),
        "ends": found,
        "shown": values,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return (
        text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    )  # so that no text ends the script


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
