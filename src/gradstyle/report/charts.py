"""Plots as SVG: text that a page holds, drawn to be read at the width of a phone and in the page's own colours.

A method is shown by a class `c0` … `c7` (the page's colours) and, for eyes that do not tell colours apart, by a dash
pattern and a marker of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH = 360  # of every plot, in its own units
LEFT, RIGHT = 8, 8  # margins of a strip
ROW, HEAD, FOOT = 52, 4, 26  # heights of a strip's row, of what stands above the rows and below them
DENSITY = 56  # points of a density's outline
CURVE_HEIGHT, CURVE_LEFT, CURVE_BOTTOM, CURVE_TOP = 250, 46, 40, 10
COLOURS = 8
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 4", "12 4", "6 2 1 2")
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "down", "plus", "bar")


@dataclass(frozen=True)
class Strip:
    """One method's values of one metric."""

    name: str
    colour: int
    values: Sequence[float]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """A mean at a place, with its interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    name: str
    colour: int
    points: Sequence[Point]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from low to high, about as many as wanted."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / max(wanted, 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """A tick's label: as short as it can be."""
    if value == 0:
        return "0"
    text = f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return text.replace("-", "−")


def whisker(mean: float, low: float, high: float, least: float, most: float, colour: int) -> str:
    """A cell's mean and interval on the range of its column."""
    if not all(map(math.isfinite, (mean, low, high, least, most))) or most <= least:
        return ""
    left, middle, right = (3 + 94 * (min(max(v, least), most) - least) / (most - least) for v in (low, mean, high))
    return (
        f'<svg class="whisker c{colour % COLOURS}" viewBox="0 0 100 8" preserveAspectRatio="xMinYMid" '
        f'aria-hidden="true">'
        f'<path class="rail" d="M0 4H100"/>'
        f'<path class="range" d="M{left:.1f} 4H{right:.1f}"/><circle cx="{middle:.1f}" cy="4" r="3"/></svg>'
    )


def marker(colour: int, x: float, y: float, size: float = 4) -> str:
    """The sign of a method at a place."""
    kind, s = MARKERS[(colour + colour // COLOURS) % COLOURS], size
    if kind == "circle":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{s * 0.9:g}"/>'
    outline = {
        "square": f"m{-s * 0.8:g} {-s * 0.8:g}h{s * 1.6:g}v{s * 1.6:g}h{-s * 1.6:g}z",
        "triangle": f"m0 {-s:g}l{s:g} {s * 1.8:g}h{-2 * s:g}z",
        "down": f"m0 {s:g}l{s:g} {-s * 1.8:g}h{-2 * s:g}z",
        "diamond": f"m0 {-s * 1.2:g}l{s:g} {s * 1.2:g}l{-s:g} {s * 1.2:g}l{-s:g} {-s * 1.2:g}z",
        "cross": f"m{-s * 0.8:g} {-s * 0.8:g}l{s * 1.6:g} {s * 1.6:g}m0 {-s * 1.6:g}l{-s * 1.6:g} {s * 1.6:g}",
        "plus": f"m{-s:g} 0h{2 * s:g}m{-s:g} {-s:g}v{2 * s:g}",
        "bar": f"m0 {-s:g}v{2 * s:g}",
    }[kind]
    drawn = "mark" if outline.endswith("z") else "mark open"
    return f'<path class="{drawn}" d="M{x:.1f} {y:.1f}{outline}"/>'


def key(colour: int) -> str:
    """A method's sign for a legend."""
    return (
        f'<svg class="key c{colour % COLOURS}" viewBox="0 0 30 12" aria-hidden="true">'
        f'<path class="line"{_dash(colour)} d="M1 6H29"/>{marker(colour, 15, 6)}</svg>'
    )


def strips(rows: Sequence[Strip], label: str, dots: int = 200) -> str:
    """How the values of each method are spread: density, quartiles, some of the values, the mean with its interval."""
    finite = [np.asarray([v for v in row.values if math.isfinite(v)], dtype=np.float64) for row in rows]
    every = np.concatenate(finite) if finite else np.zeros(0)
    if not every.size:
        return ""
    least, most = _range(every)
    scale = (WIDTH - LEFT - RIGHT) / (most - least)

    def x(value: float) -> float:
        return LEFT + (min(max(float(value), least), most) - least) * scale

    height = HEAD + ROW * len(rows) + FOOT
    bottom = height - FOOT
    parts = [_axis(ticks(least, most), x, HEAD, bottom)]
    for i, (row, values) in enumerate(zip(rows, finite)):
        base = HEAD + ROW * i + 38.0
        outside = int(((values < least) | (values > most)).sum())
        note = f" · {outside} beyond the axis" if outside else ""
        inner = [
            f'<text class="name" x="{LEFT}" y="{base - 24:g}">{escape(row.name)}<tspan>{note}</tspan></text>',
            _density(values, least, most, x, base),
            _dots(values[(values >= least) & (values <= most)], x, base + 6, dots),
        ]
        if values.size:
            first, median, third = np.quantile(values, (0.25, 0.5, 0.75))
            inner.append(f'<path class="box" d="M{x(first):.1f} {base:g}H{x(third):.1f}"/>')
            inner.append(f'<path class="median" d="M{x(median):.1f} {base - 3:g}v6"/>')
        if all(map(math.isfinite, (row.mean, row.low, row.high))):
            inner.append(f'<path class="range" d="M{x(row.low):.1f} {base:g}H{x(row.high):.1f}"/>')
            inner.append(marker(row.colour, x(row.mean), base))
        told = f"{row.name}: mean {row.mean:.4g}, 95% interval {row.low:.4g} to {row.high:.4g}, {values.size} values"
        parts.append(
            f'<g class="strip c{row.colour % COLOURS}"><title>{escape(told)}</title>'
            f'<rect class="hit" x="0" y="{HEAD + ROW * i}" width="{WIDTH}" height="{ROW}"/>{"".join(inner)}</g>'
        )
    return _svg(height, label, parts)


def curves(lines: Sequence[Curve], label: str, across: str, upwards: str) -> str:
    """Means against a measured quantity, with bands of their intervals."""
    points = [point for line in lines for point in line.points]
    points = [p for p in points if all(map(math.isfinite, (p.x, p.y, p.low, p.high)))]
    if not points:
        return ""
    left, right = _padded(min(p.x for p in points), max(p.x for p in points), 0.03)
    low, high = _padded(min(p.low for p in points), max(p.high for p in points), 0.06)
    top, bottom = CURVE_TOP, CURVE_HEIGHT - CURVE_BOTTOM

    def x(value: float) -> float:
        return CURVE_LEFT + (value - left) / (right - left) * (WIDTH - CURVE_LEFT - 12)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for tick in ticks(low, high, 5):
        parts.append(f'<path class="grid" d="M{CURVE_LEFT} {y(tick):.1f}H{WIDTH - 12}"/>')
        parts.append(f'<text class="tick end" x="{CURVE_LEFT - 6}" y="{y(tick) + 4:.1f}">{number(tick)}</text>')
    for tick in ticks(left, right, 5):
        parts.append(f'<path class="grid" d="M{x(tick):.1f} {top}V{bottom}"/>')
        parts.append(f'<text class="tick middle" x="{x(tick):.1f}" y="{bottom + 16}">{number(tick)}</text>')
    parts.append(
        f'<text class="axis middle" x="{(CURVE_LEFT + WIDTH) / 2}" y="{CURVE_HEIGHT - 6}">{escape(across)}</text>'
    )
    parts.append(
        f'<text class="axis middle" transform="translate(11 {(top + bottom) / 2}) rotate(-90)">{escape(upwards)}</text>'
    )
    for line in lines:
        shown = sorted((p for p in line.points if p in points), key=lambda p: p.x)
        if not shown:
            continue
        over = "L".join(f"{x(p.x):.1f} {y(p.high):.1f}" for p in shown)
        under = "L".join(f"{x(p.x):.1f} {y(p.low):.1f}" for p in reversed(shown))
        along = "L".join(f"{x(p.x):.1f} {y(p.y):.1f}" for p in shown)
        signs = "".join(
            f"<g><title>{escape(f'{line.name} at {p.x:.3g}: {p.y:.4g}, 95% interval {p.low:.4g} to {p.high:.4g}')}"
            f"</title>{marker(line.colour, x(p.x), y(p.y))}</g>"
            for p in shown
        )
        parts.append(
            f'<g class="curve c{line.colour % COLOURS}"><path class="band" d="M{over}L{under}z"/>'
            f'<path class="line"{_dash(line.colour)} d="M{along}"/>{signs}</g>'
        )
    return _svg(CURVE_HEIGHT, label, parts)


def _svg(height: float, label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _dash(colour: int) -> str:
    dash = DASHES[(colour + colour // COLOURS) % COLOURS]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    room = (high - low) * share or abs(high) * share or 1e-6
    return low - room, high + room


def _range(values: np.ndarray) -> tuple[float, float]:
    """From the least to the most, unless few values would squeeze all others into a corner."""
    least, most = float(values.min()), float(values.max())
    first, last = (float(q) for q in np.quantile(values, (0.01, 0.99)))
    if most - least > 2.5 * (last - first) > 0:
        least, most = max(least, first - 0.4 * (last - first)), min(most, last + 0.4 * (last - first))
    return _padded(least, most, 0.03)


def _axis(marks: Sequence[float], x: Callable[[float], float], top: float, bottom: float) -> str:
    parts = []
    for tick in marks:
        parts.append(f'<path class="grid" d="M{x(tick):.1f} {top:g}V{bottom:g}"/>')
        parts.append(f'<text class="tick middle" x="{x(tick):.1f}" y="{bottom + 16:g}">{number(tick)}</text>')
    return "".join(parts)


def _density(values: np.ndarray, least: float, most: float, x: Callable[[float], float], base: float) -> str:
    """A Gaussian kernel's, with Silverman's width, as an area that stands on the row's line."""
    spread = float(values.std()) if values.size > 2 else 0.0
    if spread == 0 or most <= least:
        return ""
    quartiles = np.quantile(values, (0.25, 0.75))
    width = 0.9 * min(spread, float(quartiles[1] - quartiles[0]) / 1.34 or spread) * values.size**-0.2
    grid = np.linspace(least, most, DENSITY)
    heights = np.exp(-0.5 * ((grid[:, None] - values[None]) / max(width, (most - least) / 200)) ** 2).sum(1)
    heights = heights / heights.max() * 20
    shown = "L".join(f"{x(at):.1f} {base - h:.1f}" for at, h in zip(grid, heights))
    return f'<path class="density" d="M{x(least):.1f} {base:g}L{shown}L{x(most):.1f} {base:g}z"/>'


def _dots(values: np.ndarray, x: Callable[[float], float], top: float, most: int) -> str:
    """The values themselves below the line; of many, evenly spaced ranks with both ends."""
    values = np.sort(values)
    if values.size > most:
        values = values[np.round(np.linspace(0, values.size - 1, most)).astype(int)] if most else values[:0]
    if not values.size:
        return ""
    places = (f"M{x(value):.1f} {top + (i * 0.618034 % 1) * 6:.1f}h0" for i, value in enumerate(values))
    return f'<path class="dots" d="{"".join(places)}"/>'
