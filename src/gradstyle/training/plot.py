"""A run's log as curves."""

from __future__ import annotations

import math
from pathlib import Path

from .run import Run, read_log

SMOOTHED = 0.02  # of the run: the half-life of the running mean that is drawn over the values
NO_CURVES = ("step", "images", "seconds")


def plot(folder: Path, out: Path) -> Path:
    """One panel a term, over the pictures seen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import EngFormatter

    run = Run.find(folder)
    lines = list(read_log(folder))
    if not lines:
        raise ValueError(f"{folder} has no log yet: train it for a minute first")
    names = list(dict.fromkeys(name for line in lines for name in line if name not in NO_CURVES))
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(5 * columns, 3 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(names) :]:
        axis.remove()
    for axis, name in zip(axes.flat, names):
        points = [(line["images"], line[name]) for line in lines if name in line]
        seen, values = zip(*points)
        axis.plot(seen, values, linewidth=0.5, alpha=0.4)
        axis.plot(seen, smooth(values, max(1.0, SMOOTHED * len(values))), linewidth=1.5)
        axis.set_title(name.replace("_", " "), fontsize=10)
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.suptitle(f"{folder.resolve().name}: {run.info.kind}, {lines[-1]['images']:,} images")
    figure.supxlabel("images seen", fontsize=10)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)
    pyplot.close(figure)
    return out


def smooth(values: tuple[float, ...], half_life: float) -> list[float]:
    """A running mean that weighs the past by half every `half_life` values."""
    keep = 0.5 ** (1 / half_life)
    total = weight = 0.0
    means = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return means
