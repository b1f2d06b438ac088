"""Plots: drawn to scale, with every name as it stands and nothing that a page would refuse."""

from __future__ import annotations

import re
from math import nan
from xml.etree import ElementTree

import numpy as np
import pytest

from gradstyle.metrics.values import Curve, Row
from gradstyle.report.plots import curves, distributions


def paths(svg: str, kind: str) -> list[str]:
    """The paths of a plot that stand in groups of a class."""
    groups = [group for group in ElementTree.fromstring(svg).iter("g") if group.get("class", "").startswith(kind)]
    return [path.get("d", "") for group in groups for path in group.iter("path")]


def test_distributions_show_all_but_what_would_squeeze_them() -> None:
    draws = np.random.default_rng(0).normal(0, 1, 500)
    rows = [
        (0, Row("m", "", "", 2.0, 1.9, 2.1, 501), [*draws, 1000.0]),
        (1, Row("<b>", "", "", 0.2, 0, 1, 2), [0.0, 0.5]),
    ]
    text = distributions(rows, "<b>", 100)
    assert "1 beyond the axis" in text and "<b>" not in text and "&lt;b&gt;" in text
    dots = [[path for path in paths(text, f"strip c{i}") if path.count("M") > 1] for i in (0, 1)]
    assert [[path.count("M") for path in each] for each in dots] == [[100], [2]]
    places = [float(x) for x in re.findall(r"M([\d.]+) ", dots[0][0])]
    assert places == sorted(places) and max(places) - min(places) > 200
    assert distributions([(0, Row("m", "", "", nan, nan, nan, 0), [])], "none") == ""
    one_value = distributions([(0, Row("m", "", "", 1.0, 1.0, 1.0, 2), [1.0, 1.0])], "one value")
    assert ElementTree.fromstring(one_value) is not None


def test_curves_are_drawn_to_scale() -> None:
    x = np.array([2.0, 0.0, 1.0])
    curve = Curve("m", "smile+", "l2", tuple(x), tuple(2 * x + 1), 0, 0, tuple(2 * x + 0.5), tuple(2 * x + 1.5))
    svg = curves([(0, curve)], "label", "across", "up")
    (line,) = paths(svg, "curve")
    xs, ys = np.array([[float(v) for v in pair.split()] for pair in line[1:].split("L")]).T
    assert np.allclose(np.diff(xs), np.diff(xs)[0], atol=0.2) and xs[0] < xs[1]  # from left to right
    assert np.allclose(np.diff(ys), np.diff(ys)[0], atol=0.2) and ys[0] > ys[1]  # upwards
    (band,) = paths(svg, "band")
    corners = {tuple(round(float(v)) for v in pair.split()) for pair in band.strip("Mz ").split("L")}
    assert len(corners) == 6 and curves([(0, Curve("m", "", "", (nan,), (1,), 0, 0))], "", "", "") == ""


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.7), (0.0101, 0.0123), (1000, 250000), (-1e-6, 1e-6)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    svg = curves([(0, Curve("m", "", "", (low, high), (0, 0), 0, 0))], "", "across", "up")
    texts = [(text.get("text-anchor"), text.text or "") for text in ElementTree.fromstring(svg).iter("text")]
    ticks = [
        float(text.replace("−", "-").replace(",", "")) for at, text in texts if at == "middle" and text[-1].isdigit()
    ]
    room = 0.03 * (high - low)
    assert 3 <= len(ticks) <= 8 and low - room - 1e-9 <= ticks[0] and ticks[-1] <= high + room + 1e-9
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0], rtol=1e-3) and f"{steps[0]:e}"[:4] in ("1.00", "2.00", "2.50", "5.00")


def test_names_are_drawn_as_they_stand() -> None:
    """Neither as mathematics nor as lines, and whatever letters matplotlib's own font lacks."""
    for name in ("$x^2$", "two\nlines", "面部", "bell\a"):
        svg = distributions([(0, Row(name, "", "", 0.5, 0.4, 0.6, 2), [0.0, 1.0])], name)
        names = [text.text for text in ElementTree.fromstring(svg).iter("text")]
        assert " ".join(name.replace("\a", "�").split()) in names
