"""Runs with invented values and drawn faces, for reports and comparisons; nothing is rendered and nothing is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from gradstyle.evaluation.store import SOURCE, Failure, Picture, Record, RunFolder, Summary, picture_name
from gradstyle.metrics.stats import INTERVAL, TEST, summarise
from gradstyle.metrics.values import Curve, Metric, Row, Values

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'&|`*.jpg"
STRENGTH = {"gradstyle": 0.95, "sdic": 0.82, "styleres": 0.8, "hfgi": 0.55, "e4e": 0.0}  # how little a method loses
METRICS = (
    Metric("identity", "Identity", "higher", "cosine of two faces' embeddings"),
    Metric("l2", "L2", "lower"),
    Metric("psnr", "PSNR", "higher", "in dB"),
    Metric("judge_distance", "Judge's distance", "lower"),
    Metric("change", "Measured change", "", "of the edited attribute, in standard deviations"),
)
PLACES = (0.5, 1.0, 1.5, 2.0)
KINDS = {
    "reconstruction": ("",),
    "editing": ("smile=+2", "smile=-2", "age=+2", *(f"smile=matched:{x}" for x in PLACES), "smile=area:+"),
}


def names(count: int) -> list[str]:
    return [HOSTILE if i == 1 else f"{i:06d}.jpg" for i in range(count)]


def values(kind: str, count: int, seed: int = 0, methods: tuple[str, ...] = tuple(STRENGTH)) -> Values:
    """What each photo gets: easy and hard photos are so for every method, as with real ones."""
    draws = np.random.default_rng(seed)
    hard = draws.normal(0, 1, count)
    made: Values = {}
    for condition in KINDS[kind]:
        place = condition.partition(":")[2].strip("+")
        asked = float(place or 1.6) if condition else 0.0
        for method in methods:
            lost = 1.4 - STRENGTH[method]
            kept = 1 / (1 + np.exp(1.5 * lost - 2 + 0.5 * asked * lost - 0.5 * hard - draws.normal(0, 0.3, count)))
            figures = {"identity": kept, "l2": 0.09 * (1 - kept) ** 2 + 0.002, "psnr": 14 + 14 * kept}
            if condition:
                figures["change"] = asked + draws.normal(0, 0.1, count)
            for metric, column in figures.items():
                made[method, condition, metric] = dict(zip(names(count), map(float, column)))
    return made


def curves(found: tuple[Row, ...]) -> tuple[Curve, ...]:
    """Of the matched places, with identity alone."""
    made = []
    for method in dict.fromkeys(row.method for row in found):
        at = [r for r in found if r.method == method and "matched" in r.condition and r.metric == "identity"]
        means = tuple(r.mean or 0.0 for r in at)
        lows, highs = tuple(r.low or 0.0 for r in at), tuple(r.high or 0.0 for r in at)
        if at:
            made.append(Curve(method, "smile+", "identity", PLACES, means, float(np.mean(means)), 2.0, lows, highs))
    return tuple(made)


def face(seed: int, smile: float = 0.0, kept: float = 1.0, side: int = 48) -> Image.Image:
    """A drawn face; a method that keeps little loses its hat, and its sharpness."""
    draws = np.random.default_rng(seed)
    size = 4 * side
    ground, skin, hair, hat = (tuple(int(v) for v in draws.integers(40, 230, 3)) for _ in range(4))
    image = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(image)
    u = size / 100
    draw.ellipse([18 * u, 8 * u, 82 * u, 90 * u], hair)
    draw.ellipse([24 * u, 18 * u, 76 * u, 92 * u], skin)
    for x in (40, 60):
        draw.ellipse([(x - 6) * u, 44 * u, (x + 6) * u, 52 * u], "white")
        draw.ellipse([(x - 3) * u, 45 * u, (x + 3) * u, 51 * u], "black")
    mouth = [((50 + 14 * t) * u, (74 - 3 * smile * (t * t - 0.5)) * u) for t in np.linspace(-1, 1, 21)]
    draw.line(mouth, (170, 50, 60), int(3 * u))
    if draws.random() < 0.6 and kept > 0.5:
        draw.pieslice([20 * u, 2 * u, 80 * u, 62 * u], 180, 360, hat)
    image = image.filter(ImageFilter.GaussianBlur(3 * u * (1 - kept)))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def write(
    folder: Path,
    kind: str = "reconstruction",
    count: int = 12,
    seed: int = 0,
    found: Values | None = None,
    drawn: int = 2,
    described: str | None = None,
    **changes: Any,
) -> RunFolder:
    """A complete run's folder; `changes` are of its record."""
    run, photos = RunFolder(folder), names(count)
    found = values(kind, count, seed) if found is None else found
    pictures: list[Picture] = []
    (run.path / "pictures").mkdir(parents=True)
    for i, photo in enumerate(photos[:drawn]):
        for condition in KINDS[kind]:
            for method in (SOURCE, *STRENGTH):
                at = "" if method == SOURCE else condition
                smile = float(at.partition("=")[2]) if at.startswith("smile=") and ":" not in at else 0.0
                if ":" not in at and (photo, method, at) not in {(p.photo, p.method, p.condition) for p in pictures}:
                    pictures.append(Picture(photo, method, at, picture_name(i, method, at)))
                    face(i, smile, STRENGTH.get(method, 1.0)).save(run.path / pictures[-1].file)
    stated: dict[str, Any] = {
        "kind": described or kind,
        "protocol": {"seed": 0, "bootstrap": 1000, "identity": "dlib"},
        "bundle": {"name": "faces-64", "fingerprint": "9f2c" * 16, "resolution": 64, "parts": {"generator": "ab" * 32}},
        "data": {"name": "drawn faces", "fingerprint": "cd" * 32, "split": "test", "photos": count},
        "methods": tuple(STRENGTH),
        "conditions": KINDS[kind],
        "metrics": METRICS,
        "photos": tuple(photos),
        "failures": (Failure("broken<b>.jpg", "", "cut short"), Failure("000099.jpg", "sdic", "out of memory")),
        "pictures": tuple(pictures),
        "versions": {"gradstyle": "0.1.0", "torch": "2.13.0"},
        "command": "gradstyle evaluate reconstruction faces photos.zip --seed 0",
        "complete": True,
    }
    run.write_record(Record(**{**stated, **changes}))
    run.write_values(found, photos)
    summed = tuple(summarise(found, photos, tuple({m: 0 for m, _, _ in found}), METRICS, 0))
    agreement = ({"condition": "smile=+2", "judges": "judge, teacher", "kendall": 0.8, "methods": 5},)
    edited = kind == "editing"
    run.write_summary(
        Summary(INTERVAL, TEST, summed, curves(summed), agreement if edited else (), ("1 photo was left out",))
    )
    run.write_costs(
        {name: {"seconds per photo": 0.1 * i + 0.05, "peak MB": 900.0 + i} for i, name in enumerate(STRENGTH)}
    )
    return run


def moved(found: Values, by: dict[tuple[str, str], float], spread: float = 0.0) -> Values:
    """The same values, some of them by method and metric moved on every photo, alike or nearly so."""
    draws = np.random.default_rng(9)
    return {
        key: {p: v + by.get((key[0], key[2]), 0.0) * (1 + spread * draws.normal()) for p, v in each.items()}
        for key, each in found.items()
    }
