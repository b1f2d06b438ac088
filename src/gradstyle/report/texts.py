"""Figures and other values as texts that people read, safe in Markdown and in a terminal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..metrics.values import Row

SPECIAL = re.compile(r"([\\`*_\[\]|~<>&])")


def decimals(rows: Sequence[Row]) -> int:
    """Gives as many decimals as intervals make worth reading: half of one has one digit, two if it is a 1 or 2."""
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


def signed(value: float, decimals: int) -> str:
    text = figure(value, decimals)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def probability(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plain(text: str) -> str:
    """Escapes a text, so that Markdown shows it as it stands, in one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def one_line(text: str) -> str:
    """Replaces line breaks and control characters, which names in other people's files may have."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


def flat(values: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, str | None]]:
    """Gives names and texts; a group's name has no text, and what is nested deeper has a dotted name."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            yield (inside + name).strip(), text_of(value)
        elif value:
            if not inside:
                yield name, None
            yield from flat(value, f"{inside}{name}." if inside else " ")


def shown(value: Any) -> str:
    """Writes a value of the summary for a table."""
    return f"{value:.3g}" if isinstance(value, float) else text_of(value)


def text_of(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and not any(isinstance(v, Mapping) for v in value):
        return ", ".join(map(str, value)) or "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def strict(value: Any) -> Any:
    """Replaces numbers that are not finite by None, since JSON has none for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: strict(each) for name, each in value.items()}
    return [strict(each) for each in value] if isinstance(value, list | tuple) else value
