"""The page's tables of edits: no identity without how far the edit went, and how many photos a figure is of."""

from __future__ import annotations

from benchmarks.paper import TABLES
from gradstyle.evaluation.store import Record, Summary
from gradstyle.metrics.values import Metric, Row

METRICS = (
    Metric("identity", "ID", "higher"),
    Metric("mesh_yaw", "Yaw, °"),
    Metric("lost", "No face found", "lower"),
    Metric("reached", "Photos that reach it", "higher"),
    Metric("judge_others", "Other attributes", "lower"),
    Metric("undone_l2", "L2 after undoing", "lower"),
    Metric("judge_frechet", "Fréchet distance", "lower"),
)


def test_identity_stands_at_the_change_that_the_edit_makes() -> None:
    record = Record(
        kind="editing",
        protocol={"seed": 0, "fixed": 2.0, "edits": {"yaw": {"change": "mesh_yaw"}}},
        bundle={"name": "faces", "resolution": 64, "fingerprint": "ab"},
        data={"name": "photos", "split": "", "fingerprint": "cd" * 8},
        methods=("gradstyle", "e4e"),
        conditions=("", "yaw=+1", "yaw=+2", "yaw=matched:5°", "yaw=area:+3.1°"),
        metrics=METRICS,
        photos=tuple("abcdefgh"),
        versions={"gradstyle": "0", "torch": "0"},
    )
    figures = {
        ("yaw=+1", "identity", 8): (0.98, 0.91),
        ("yaw=+2", "identity", 8): (0.97, 0.89),
        ("yaw=+2", "mesh_yaw", 7): (6.25, 21.5),
        ("yaw=+2", "lost", 8): (0.0, 0.125),
        ("yaw=matched:5°", "reached", 8): (0.5, 1.0),
        ("yaw=matched:5°", "identity", 4): (0.975, 0.9),
        ("yaw=area:+3.1°", "identity", 7): (0.985, 0.92),
    }
    rows = [
        Row(method, where, metric, value, None, None, n)
        for (where, metric, n), values in figures.items()
        for method, value in zip(record.methods, values)
    ]
    text = TABLES["editing"](record, Summary(rows=tuple(rows)), {})
    blocks = {title: body.splitlines() for title, body in (b.split("**\n\n") for b in text.split("\n\n**")[1:])}
    first = next(body for title, body in blocks.items() if title.startswith("ID ↑, after each edit"))
    assert first[0] == "| method | yaw=+2 |"  # the amount nearest to the fixed one
    assert first[2:4] == ["| gradstyle | 0.97 at 6.25 |", "| e4e | 0.89 at 21.5 |"]
    assert blocks["Yaw, °, of each edit"][2:4] == ["| gradstyle | 6.25 (7 of 8) |", "| e4e | 21.5 (7 of 8) |"]
    assert blocks["ID ↑, at equal measured change"][2] == "| gradstyle | 0.975 (4 of 8) |"
    assert blocks["Photos that reach it ↑, by their own measured change"][3] == "| e4e | 1 |"
    (area,) = (body for title, body in blocks.items() if title.startswith("ID ↑, mean over the changes"))
    assert area[0] == "| method | yaw=area:+3.1° |"
