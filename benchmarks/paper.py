"""The paper's tables for a bundle: runs `gradstyle evaluate` and writes the tables into docs/benchmark.md.

python -m benchmarks paper BUNDLE PHOTOS --runs runs/faces
python -m benchmarks paper --runs runs/faces     # the page once more, from runs that are there

An interrupted call goes on where it stopped. What stands in the page between the marks `tables: NAME` and `end` is
written here; the rest is written by people.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gradstyle.cli.evaluate import app
from gradstyle.evaluation.store import Record, RunFolder, Summary, change_of
from gradstyle.metrics.values import Metric, Row
from gradstyle.report.tables import Cell, Column, Table, is_level

PAGE = Path(__file__).parents[1] / "docs" / "benchmark.md"
KINDS = ("reconstruction", "editing", "pairs", "ablation", "residuals")
COLUMNS = ("identity", "identity_network", "ssim", "l2", "lpips", "psnr", "ms_ssim", "judge_distance", "judge_frechet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="without it, the runs are taken as they are")
    parser.add_argument("photos", nargs="?")
    parser.add_argument("--runs", type=Path, required=True, help="the folder in which the runs' folders lie")
    parser.add_argument("--page", type=Path, default=PAGE)
    given, options = parser.parse_known_args()  # what is not known here goes to every run
    if given.bundle:
        if not given.photos:
            parser.error("a bundle is measured on photos: give both")
        for kind in KINDS:
            own = _without_judges(options) if kind == "residuals" else options
            photos = [] if kind == "pairs" else [given.photos]  # it draws its own
            arguments = [kind, given.bundle, *photos, "--out", str(given.runs / kind), *own]
            app(arguments, standalone_mode=False)
    write(given.page, given.runs)
    print(given.page)


def write(page: Path, runs: Path) -> None:
    """Put the tables of the runs into the page; of a run that is not there, its part stays as it is."""
    text = page.read_text("utf-8")
    for kind in KINDS:
        if (runs / kind / "summary.json").is_file():
            folder = RunFolder(runs / kind)
            tables = TABLES[kind](folder.record(), folder.summary(), folder.costs())
            head, start, rest = text.partition(f"<!-- tables: {kind} -->\n")
            _, end, tail = rest.partition("<!-- end -->")
            if not (start and end):
                raise ValueError(
                    f"{page} has no place for the tables of {kind}: <!-- tables: {kind} --> … <!-- end -->"
                )
            text = f"{head}{start}\n{tables}\n\n{end}{tail}"
    page.write_text(text, "utf-8")


def _without_judges(options: Sequence[str]) -> list[str]:
    """Of the options of all runs those that residuals have."""
    known = {"--split", "--batch", "--seed", "--device"}
    pairs = [(a, b) for a, b in zip(options, [*options[1:], ""]) if a in known]
    return [word for pair in pairs for word in pair] + ["--force"] * ("--force" in options)


# ---- tables

Costs = dict[str, dict[str, float]]


def _reconstruction(record: Record, summary: Summary, costs: Costs) -> str:
    columns = [("", metric) for name in COLUMNS for metric in record.metrics if metric.name == name]
    table = _table(record, summary, columns)
    rows = [(method, [*cells, *_costs(costs.get(method, {}))]) for method, cells in table.rows]
    return _text(
        record, summary, replace(table, columns=[*table.columns, Column("ms a photo"), Column("MB")], rows=rows)
    )


def _editing(record: Record, summary: Summary, costs: Costs) -> str:
    named = {m.name: m for m in record.metrics}
    identity = next((m.name for m in record.metrics if m.name.startswith("identity")), "")
    tables: list[Table] = []

    def block(title: str, name: str, wanted: Callable[[str], bool], beside: bool = False) -> None:
        conditions = [
            c for c in record.conditions if wanted(c) and any(summary.row(m, c, name) for m in record.methods)
        ]
        if conditions:
            heading = f"{Column.of(named[name]).heading}{', ' * bool(title)}{title}"
            table = _table(record, summary, [(c, named[name]) for c in conditions], heading, beside)
            tables.append(replace(table, columns=[Column(c) for c in conditions]))

    def strongest(where: str) -> bool:
        return where in at

    def matched(where: str) -> bool:
        return "matched" in where

    at = _strongest(record)
    for change in dict.fromkeys(change_of(record.protocol, where) for where in record.conditions if where in at):
        block("of each edit", change, lambda c, change=change: c in at and change_of(record.protocol, c) == change)
    block("of each edit", "lost", strongest)
    block("after each edit, at the change that it makes: the paper's Table 2", identity, strongest, beside=True)
    block("by their own measured change", "reached", matched)
    block("at equal measured change", identity, matched)
    block("mean over the changes that all methods reach on average", identity, lambda c: "area" in c)
    for name in ("judge_others", "discriminator", "sharpness"):
        block("at equal measured change", name, matched)
    block("edited, inverted again, undone", "undone_l2", strongest)
    block("of edited photos to photos with the attribute", "judge_frechet", strongest)
    jumps = [("vanishing", named[name]) for name in ("jump_l2", "jump_identity", "jump_judge") if name in named]
    return _text(record, summary, *tables, _table(record, summary, jumps, "From no edit to a vanishing one"))


def _strongest(record: Record) -> set[str]:
    """The conditions at the amount nearest to the table's, each edit and way."""
    found: dict[tuple[str, bool], dict[float, str]] = {}
    for where in record.conditions:
        edit, _, amount = where.partition("=")
        if edit in record.protocol["edits"] and amount[:1] in ("+", "-"):
            found.setdefault((edit, amount[0] == "+"), {})[abs(float(amount))] = where
    return {each[min(each, key=lambda a: abs(a - record.protocol["fixed"]))] for each in found.values()}


def _pairs(record: Record, summary: Summary, costs: Costs) -> str:
    tables = []
    for metric in record.metrics:
        if metric.name in ("psnr", "identity", "judge_distance"):
            title = f"{Column.of(metric).heading}, to the truth"
            table = _table(record, summary, [(c, metric) for c in record.conditions], title)
            tables.append(replace(table, columns=[Column(c or "no edit") for c in record.conditions]))
    return _text(record, summary, *tables)


def _ablation(record: Record, summary: Summary, costs: Costs) -> str:
    changes = dict.fromkeys(change_of(record.protocol, c) for c in record.conditions if c)
    wanted = ("identity", *changes, "ssim", "l2", "judge_distance", "judge_others")
    columns = [
        (c, m)
        for c in record.conditions
        for name in wanted
        for m in record.metrics
        if m.name == name and any(summary.row(v, c, name) for v in record.methods)
    ]
    titles = [Column(f"{Column.of(m).heading}{', ' + c if c else ''}") for c, m in columns]
    return _text(record, summary, replace(_table(record, summary, columns), columns=titles, corner="variant"))


def _residuals(record: Record, summary: Summary, costs: Costs) -> str:
    rows = [(c, [_cell(summary.row("gradstyle", c, m.name)) for m in record.metrics]) for c in record.conditions]
    return _text(record, summary, Table([Column.of(m) for m in record.metrics], rows, corner="after"))


TABLES = {
    "reconstruction": _reconstruction,
    "editing": _editing,
    "pairs": _pairs,
    "ablation": _ablation,
    "residuals": _residuals,
}


def _table(
    record: Record, summary: Summary, columns: Sequence[tuple[str, Metric]], title: str = "", beside: bool = False
) -> Table:
    """Methods by conditions and metrics; `beside`: with how far each edit went."""

    def cell(method: str, condition: str, metric: str) -> Cell:
        row = summary.row(method, condition, metric)
        change = summary.row(method, condition, change_of(record.protocol, condition)) if beside else None
        at = f"at {change.mean:.3g}" if change and change.mean is not None else ""
        fewer = f"({row.n:,} of {len(record.photos):,})" if row and row.n < len(record.photos) else ""
        return _cell(row, at, fewer)

    rows = [(method, [cell(method, c, m.name) for c, m in columns]) for method in record.methods]
    return Table([Column.of(metric) for _, metric in columns], rows, title)


def _cell(row: Row | None, *notes: str) -> Cell:
    """A mean with four digits that count and half of its interval."""
    if row is None or row.mean is None:
        return Cell()
    text = f"{row.mean:.4g} {Cell(low=row.low, high=row.high).half}".strip()
    return Cell(text, "", "=" * is_level(row), row.best, tuple(filter(None, notes)), value=row.mean)


def _text(record: Record, summary: Summary, *tables: Table) -> str:
    titled = [f"**{table.title}**\n\n{table.markdown}" if table.title else table.markdown for table in tables]
    notes = "\n".join(f"- {note}" for note in summary.notes)
    return "\n\n".join(filter(None, [_measured(record), *titled, _judges(summary), notes]))


def _measured(record: Record) -> str:
    data, bundle = record.data, record.bundle
    return (
        f"Measured on {len(record.photos):,} photos of `{data['name']}` ({data['split'] or 'all of it'}, "
        f"fingerprint `{data['fingerprint'][:12]}`) with bundle `{bundle['name']}` at {bundle['resolution']} px "
        f"(generator `{bundle['fingerprint']}`), seed {record.seed}, GradStyle {record.versions['gradstyle']}, "
        f"torch {record.versions['torch']}. ± is half of the 95% interval; **bold** is the best, "
        "= is not told from it (p ≥ .05)."
    )


def _costs(cost: dict[str, float]) -> list[Cell]:
    peak = f"{cost['peak_memory_mb']:.0f}" if "peak_memory_mb" in cost else "–"
    return [Cell(f"{1000 * cost['seconds']:.0f}" if cost else "–"), Cell(peak)]


def _judges(summary: Summary) -> str:
    found = [each["spearman"] for each in summary.agreement if each["spearman"] is not None]
    if not found:
        return ""
    return (
        "How far another judge orders the methods as the first does: Spearman's rank correlation is "
        f"{sum(found) / len(found):.2f} on average over {len(found)} columns, at least {min(found):.2f}."
    )


if __name__ == "__main__":
    main()
