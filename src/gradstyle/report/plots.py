"""Plots as SVG, to be read at a phone's width and in the colours of the page that holds them.

A method is shown by a colour of the page, `--c0` to `--c7`, and by a dash pattern and a marker of its own, for eyes
that do not tell colours apart. matplotlib draws with stand-ins for the page's colours, which then take their place.
"""

from __future__ import annotations

import functools
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..metrics.stats import Array
from ..metrics.values import Curve, Row
from .texts import one_line

WIDTH = 360  # of every plot, in the units of its SVG
ROW = 52  # height of a method in a plot of distributions
CURVE_HEIGHT = 250
DENSITY_POINTS = 56
COLOURS = 8
DASHES = ((), (7, 3), (2, 3), (9, 3, 2, 3), (4, 4), (1, 4), (12, 4), (6, 2, 1, 2))
MARKERS = "os^Dxv+|"
INK, MUTED, GRID, CARD = "#000001", "#000002", "#000003", "#000004"
STAND_INS = {INK: "--ink", MUTED: "--muted", GRID: "--line", CARD: "--card"}
STAND_INS |= {f"#00001{place}": f"--c{place}" for place in range(COLOURS)}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "path.simplify": False,
    "lines.scale_dashes": False,
    "font.size": 11,
}


@contextmanager
def _style() -> Iterator[None]:
    """Sets matplotlib's style, and silences its warnings of letters that its font lacks: the page has its own."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_style()
def distributions(rows: Sequence[tuple[int, Row, Sequence[float]]], label: str, dots: int = 200) -> str:
    """Draws how the values of each method are spread: density, quartiles, values, the mean with its interval.

    A row is a colour, the mean of a method, and its values, of which at most `dots` are drawn one by one.
    """
    finite = [np.array([v for v in values if math.isfinite(v)], dtype=np.float64) for _, _, values in rows]
    if not any(values.size for values in finite):
        return ""
    least, most = _range(np.concatenate(finite))
    figure = _figure(WIDTH, ROW * len(rows) + 30)
    axes = _axes(figure, (8, 26, WIDTH - 16, ROW * len(rows)), (least, most), (ROW * len(rows), 0))
    axes.yaxis.set_visible(False)
    for i, ((place, row, _), values) in enumerate(zip(rows, finite)):
        base, colour = ROW * i + 38.0, _colour(place)
        mean = math.nan if row.mean is None else row.mean
        low, high = (mean if end is None else end for end in (row.low, row.high))
        title = f"mean {mean:.4g}, 95% interval {low:.4g} to {high:.4g}, {values.size} values"
        options = _options(i, f"strip c{place % COLOURS}|{row.method}: {title}")
        inside = values[(values >= least) & (values <= most)]
        beyond = f" · {values.size - inside.size} beyond the axis" if inside.size < values.size else ""
        axes.text(least, base - 24, one_line(row.method) + beyond, color=INK, weight="bold", **options)
        places, heights = _density(inside, least, most)
        axes.fill(places, base - heights, fc=(colour, 0.22), ec=(colour, 0.6), **options)
        if values.size:
            x = np.sort(inside)
            if x.size > dots:  # evenly spaced ranks with both ends
                x = x[np.linspace(0, x.size - 1, dots).round().astype(int)]
            y = base + 6 + np.arange(x.size) * 0.618034 % 1 * 6
            gaps = np.full_like(x, np.nan)  # a line of no length for each value, the shortest SVG of many dots
            x, y = np.stack([x, x, gaps]).T.ravel(), np.stack([y, y, gaps]).T.ravel()
            axes.plot(x, y, color=colour, alpha=0.45, lw=2, solid_capstyle="round", **options)
            first, median, third = np.quantile(values, (0.25, 0.5, 0.75)).clip(least, most)
            axes.plot([first, third], [base, base], color=colour, alpha=0.55, lw=3, solid_capstyle="butt", **options)
            axes.plot([median, median], [base - 3, base + 3], color=INK, lw=1.2, **options)
        if np.isfinite([low, mean, high]).all():
            low, mean, high = np.clip([low, mean, high], least, most)
            axes.plot([low, high], [base, base], color=INK, lw=1.6, **options)
            _marker(axes, place, mean, base, edge=CARD, **options)
    return _svg(figure, f'class="plot" role="img" aria-label="{escape(one_line(label))}"')


@_style()
def curves(lines: Sequence[tuple[int, Curve]], label: str, across: str, upwards: str) -> str:
    """Draws means against a measured quantity, with bands of their intervals; a line is a colour and a curve."""
    drawn = [(colour, curve.method, points) for colour, curve in lines if (points := _finite(curve)).size]
    if not drawn:
        return ""
    every = np.concatenate([points for _, _, points in drawn])
    figure = _figure(WIDTH, CURVE_HEIGHT)
    sides = _padded(every[:, 0].min(), every[:, 0].max(), 0.03), _padded(every[:, 2].min(), every[:, 3].max(), 0.06)
    axes = _axes(figure, (50, 40, WIDTH - 62, CURVE_HEIGHT - 50), *sides)
    figure.text((50 + WIDTH) / 2 / WIDTH, 6 / CURVE_HEIGHT, one_line(across), color=MUTED, ha="center")
    figure.text(9 / WIDTH, 0.5, one_line(upwards), color=MUTED, ha="center", va="center", rotation=90)
    for i, (colour, name, points) in enumerate(drawn):
        x, y, low, high = points.T
        kind = f"c{colour % COLOURS}"
        band = np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])
        axes.fill(*band, fc=_colour(colour), alpha=0.13, lw=0, **_options(i, f"band {kind}"))
        axes.plot(x, y, **_line(colour), **_options(i, f"curve {kind}"))
        for at, value, lowest, highest in points:
            title = f"{name} at {at:.3g}: {value:.4g}, 95% interval {lowest:.4g} to {highest:.4g}"
            _marker(axes, colour, at, value, edge=CARD, **_options(i, f"point {kind}|{title}"))
    return _svg(figure, f'class="plot" role="img" aria-label="{escape(one_line(label))}"')


@functools.cache
@_style()
def key(colour: int) -> str:
    """Draws a method's line and marker, for a legend."""
    figure = _figure(30, 12)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 30), ylim=(0, 12), frameon=False)
    axes.set_axis_off()
    axes.plot([1, 29], [6, 6], **_line(colour), clip_on=False)
    _marker(axes, colour, 15, 6, zorder=3, clip_on=False)
    return _svg(figure, 'class="key" aria-hidden="true"')


# ---- with matplotlib


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure((width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    return figure


def _axes(figure: Any, place: tuple[float, ...], across: tuple[float, float], upwards: tuple[float, float]) -> Any:
    """Makes axes at a place (left, bottom, width, height) with round ticks and a grid, and no frame."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    left, bottom, width, height = place
    whole_width, whole_height = figure.bbox.size
    where = (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
    axes = figure.add_axes(where, xlim=across, ylim=upwards, frameon=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axis.grid(color=GRID, lw=1, clip_on=False)
    axes.tick_params(length=0, pad=6, labelcolor=MUTED)
    axes.set_axisbelow(True)
    return axes


def _marker(axes: Any, colour: int, x: float, y: float, edge: str = "", **options: Any) -> None:
    """Draws the marker of a method as a path: SVG's references to a marker would need ids."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    marker, tint = MarkerStyle(MARKERS[_place(colour)]), _colour(colour)
    transform = marker.get_transform() + Affine2D().scale(8).translate(*axes.transData.transform((x, y)))
    border = {"ec": edge or tint, "lw": 1} if marker.is_filled() else {"ec": tint, "lw": 2}
    axes.add_patch(PathPatch(marker.get_path(), transform=transform, fc=tint, **border, **options))


def _options(row: int, group: str) -> dict[str, Any]:
    """Puts a thing into a group of the SVG, above the rows before, and does not clip it, which would need an id."""
    return {"gid": one_line(group), "zorder": 2 + row, "clip_on": False}


def _line(colour: int) -> dict[str, Any]:
    dashes = DASHES[_place(colour)]
    return {"color": _colour(colour), "lw": 2, "ls": (0, dashes) if dashes else "-", "dash_capstyle": "round"}


def _svg(figure: Any, attributes: str) -> str:
    """Writes a figure as an element of a page, without ids, and without styles, which the page's policy forbids."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(file.getvalue())
    inner = "".join(ElementTree.tostring(each, "unicode") for each in _cleaned(root))
    width, height = figure.bbox.size
    return f'<svg viewBox="0 0 {width:g} {height:g}" {attributes}>{inner}</svg>'


def _cleaned(parent: ElementTree.Element) -> list[ElementTree.Element]:
    """Keeps what is drawn, grouped by the ids that we chose: a class and perhaps a title, "strip c1|e4e: …"."""
    elements: list[ElementTree.Element] = []
    last = ""
    for element in parent:
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        if element.tag in ("metadata", "defs"):
            continue
        name, inner = element.attrib.pop("id", ""), _cleaned(element)
        kind, _, title = name.partition("|")
        if element.tag != "g":
            elements.append(_plain_attributes(element))
        elif " " not in kind:  # an id of matplotlib's own
            elements += inner
        elif name == last:
            elements[-1].extend(inner)
        else:
            elements.append(ElementTree.Element("g", {"class": kind}))
            if title:
                ElementTree.SubElement(elements[-1], "title").text = title
            elements[-1].extend(inner)
        last = name
    return elements


def _plain_attributes(element: ElementTree.Element) -> ElementTree.Element:
    """Makes attributes of styles, with the page's font and colours, and rounds numbers to one decimal."""
    for rule in element.attrib.pop("style", "").split(";"):
        attribute, _, value = map(str.strip, rule.partition(":"))
        if attribute and attribute not in ("font", "font-family", "font-size"):
            element.set(attribute, f"var({STAND_INS[value]})" if value in STAND_INS else value)
    for attribute in {"d", "transform", "x", "y"} & set(element.attrib):
        text = re.sub(r"\s*([A-Zz\s])\s*", r"\1", element.attrib[attribute].strip())
        text = re.sub(r"-?\d+\.\d+", lambda digits: f"{float(digits[0]):.1f}".removesuffix(".0"), text)
        element.set(attribute, text)
    if element.get("transform", "").startswith("rotate(-0"):
        del element.attrib["transform"]
    return element


# ---- what is drawn


def number(value: float) -> str:
    """Gives the label of a tick, as short as it can be."""
    text = f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}".replace("e-0", "e-")
    return text.replace("-", "−")


def _place(colour: int) -> int:
    """Gives the index of a dash pattern and a marker, which differ where methods share a colour."""
    return (colour + colour // COLOURS) % COLOURS


def _colour(colour: int) -> str:
    return f"#00001{colour % COLOURS}"


def _finite(curve: Curve) -> Array:
    """Gives change, value and both ends of the interval of each point, from left to right: [points, 4]."""
    low, high = (ends if len(ends) == len(curve.value) else curve.value for ends in (curve.low, curve.high))
    points = np.array([curve.change, curve.value, low, high], dtype=np.float64).T
    points = points[np.isfinite(points).all(axis=1)]
    return points[np.argsort(points[:, 0], kind="stable")]


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    room = (high - low) * share or abs(high) * share or 1e-6
    return low - room, high + room


def _range(values: Array) -> tuple[float, float]:
    """Gives the range of an axis: of all values, unless a few would squeeze all others into a corner."""
    least, most = float(values.min()), float(values.max())
    first, last = (float(q) for q in np.quantile(values, (0.01, 0.99)))
    if most - least > 2.5 * (last - first) > 0:
        least, most = max(least, first - 0.4 * (last - first)), min(most, last + 0.4 * (last - first))
    return _padded(least, most, 0.03)


def _density(values: Array, least: float, most: float) -> tuple[Array, Array]:
    """Gives the places and heights, up to 20, of a Gaussian kernel's density; none where all values are equal."""
    from matplotlib.mlab import GaussianKDE

    if values.size < 3 or not 0 < values.var() < math.inf:
        return np.zeros(0), np.zeros(0)
    places = np.linspace(least, most, DENSITY_POINTS)
    heights = GaussianKDE(values, "silverman")(places)
    heights[0] = heights[-1] = 0  # the area stands on the row's line
    return places, heights / heights.max() * 20
