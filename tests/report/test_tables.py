"""A table looks alike everywhere, and nothing in a name breaks its lines."""

from __future__ import annotations

import pytest

from gradstyle.metrics.values import Row
from gradstyle.report.tables import Column, Table, figure_cell, text_table

EVIL = "a|b\n*c*\x1b[31m"
BEST = Row("e4e", "", "l2", 0.25, 0.2, 0.3, 7, best=True)
LEVEL = Row(EVIL, "", "l2", 0.5, None, None, 8, p=0.5)
ROWS = [(row.method, [figure_cell(row, 2, photos=8), figure_cell(None, 2)]) for row in (BEST, LEVEL)]
TABLE = Table([Column("L2", "lower", numbers=True), Column("none")], ROWS)


def test_markdown_has_marks_intervals_and_notes_and_escapes_names() -> None:
    assert TABLE.markdown.splitlines() == [
        "| method | L2 ↓ | none |",
        "| --- | ---: | --- |",
        "| e4e | **0.25 ★** [0.20 … 0.30] (7 of 8 photos) | – |",
        "| a\\|b \\*c\\*\x1b\\[31m | 0.50 ≈ p = .500 | – |",
    ]
    assert text_table(["`a`"], [["**b**"]], is_markdown=True).markdown.splitlines()[::2] == ["| `a` |", "| **b** |"]


def test_a_terminal_has_one_line_a_row_without_control_characters() -> None:
    lines = [line.plain.rstrip() for line in TABLE.terminal()]
    assert lines == [
        "method        L2 ↓          none",
        "e4e           0.25 ★ ±0.05  –",
        "a|b *c*�[31m  0.50 ≈        –",
    ]
    assert [line.plain.split() for line in TABLE.terminal(intervals=False)][1] == ["e4e", "0.25", "★", "–"]
    assert [line.plain.split()[:2] for line in TABLE.transposed().terminal()] == [
        ["e4e", "a|b"],
        ["L2", "↓"],
        ["none", "–"],
    ]


def test_bars_lie_on_the_range_of_their_column() -> None:
    cells = [cells[0] for _, cells in TABLE.rows]
    assert TABLE.bar(0, cells[0]) == pytest.approx((3, 3 + 94 / 6, 3 + 94 / 3)) and TABLE.bar(0, cells[1]) == (
        97,
        97,
        97,
    )
    assert TABLE.bar(1, TABLE.rows[0][1][1]) is None
