"""A table of figures as one value, and how it looks in Markdown and in a terminal; page.html.j2 has its HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..metrics.stats import LEVEL
from ..metrics.values import Metric, Row
from .texts import figure, one_line, plain, probability

if TYPE_CHECKING:
    from rich.text import Text

ARROWS = {"higher": "↑", "lower": "↓", "": ""}


@dataclass(frozen=True)
class Cell:
    """A figure with what belongs to it, or a text, which has no value and is escaped."""

    text: str = "–"
    interval: str = ""
    sign: str = ""  # "★": the best of its column; "≈": not told apart from the best
    best: bool = False
    notes: tuple[str, ...] = ()
    about: str = ""  # what a page shows when it is pointed at
    value: float | None = None  # in full
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> str:
        """Half of the interval, as ±."""
        return "" if self.low is None or self.high is None else f"±{(self.high - self.low) / 2:.1g}"

    def markdown(self, escape: Callable[[str], str]) -> str:
        text = f"{self.text if self.value is not None else escape(self.text)} {self.sign}".strip()
        between = f"[{self.interval}]" if self.interval else ""
        return " ".join(filter(None, [f"**{text}**" if self.best else text, between, *map(escape, self.notes)]))


@dataclass(frozen=True)
class Column:
    title: str
    better: str = ""  # "higher", "lower" or neither
    about: str = ""
    numbers: bool = False  # Markdown aligns them right

    @classmethod
    def of(cls, metric: Metric, title: str | None = None) -> Column:
        return cls(metric.title if title is None else title, metric.better, metric.about, numbers=True)

    @property
    def heading(self) -> str:
        return f"{self.title} {ARROWS[self.better]}".strip()


@dataclass(frozen=True)
class Table:
    """A table whose rows start with a text; `corner` is the title of that column."""

    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    title: str = ""
    corner: str = "method"
    note: str = ""
    condition: str | None = None  # None: the table is over several conditions, or of none
    is_markdown: bool = False  # its texts are not escaped again

    @property
    def markdown(self) -> str:
        escape = str if self.is_markdown else plain
        head = [escape(self.corner), *(escape(column.heading) for column in self.columns)]
        rule = ["---", *("---:" if column.numbers else "---" for column in self.columns)]
        body = [[escape(name), *(cell.markdown(escape) for cell in cells)] for name, cells in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *body])

    def transposed(self) -> Table:
        """Swaps rows and columns."""
        rows = [(c.heading, [cells[i] for _, cells in self.rows]) for i, c in enumerate(self.columns)]
        return Table([Column(name) for name, _ in self.rows], rows, self.title, "", self.note, self.condition)

    def terminal(self, intervals: bool = True) -> list[Text]:
        """Gives lines in which nothing is cut; the best figures are bold."""
        from rich.text import Text

        lines = [[Text(one_line(text)) for text in (self.corner, *(c.heading for c in self.columns))]]
        for name, cells in self.rows:
            lines.append([Text(one_line(name))])
            for cell in cells:
                text = Text(one_line(cell.text), "bold" if cell.best else "")
                for part in (cell.sign, cell.half if intervals else ""):
                    text.append(f" {part}" if part else "", "not bold")
                lines[-1].append(text)
        widths = [max(text.cell_len for text in column) for column in zip(*lines)]
        for line in lines:
            for text, width in zip(line[:-1], widths):
                text.pad_right(width - text.cell_len)
        return [Text("  ").join(line) for line in lines]

    def bar(self, column: int, cell: Cell) -> tuple[float, float, float] | None:
        """Places the ends of an interval and its mean on the range of their column, which goes from 3 to 97."""
        shown = [cells[column] for _, cells in self.rows]
        ends = [end for each in shown for end in (each.value, each.low, each.high)]
        finite = [end for end in ends if end is not None and math.isfinite(end)]
        own = [cell.value if end is None else end for end in (cell.low, cell.value, cell.high)]
        if not finite or min(finite) == max(finite):
            return None
        places = [3 + 94 * (end - min(finite)) / (max(finite) - min(finite)) for end in own if end is not None]
        return (places[0], places[1], places[2]) if len(places) == 3 and all(map(math.isfinite, places)) else None


def text_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = (), is_markdown: bool = False
) -> Table:
    """Makes a table of texts alone; `numbers` names the columns that are aligned right."""
    columns = [Column(title, numbers=title in numbers) for title in head[1:]]
    cells = [(first, [Cell(text) for text in rest]) for first, *rest in rows]
    return Table(columns, cells, corner=head[0], is_markdown=is_markdown)


def figure_cell(row: Row | None, digits: int, photos: int = 0) -> Cell:
    """Makes a cell of a mean; `photos` is how many there are in all."""
    if row is None or row.mean is None or math.isnan(row.mean):
        return Cell()
    interval = ""
    if row.low is not None and row.high is not None:
        interval = f"{figure(row.low, digits)} … {figure(row.high, digits)}"
    sign = "★" if row.best else "≈" if is_level(row) else ""
    notes = ["" if row.p is None else probability(row.p)]
    notes.append(f"({row.n:,} of {photos:,} photos)" if row.n < photos else "")
    text, about = figure(row.mean, digits), f"n = {row.n:,}" if row.n else ""
    return Cell(text, interval, sign, row.best, tuple(filter(None, notes)), about, row.mean, row.low, row.high)


def is_level(row: Row) -> bool:
    """A row is level with the best where it is not the best and a test does not tell it apart."""
    return not row.best and row.p is not None and row.p >= LEVEL
