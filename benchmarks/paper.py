"""The paper's tables for a bundle: runs `gradstyle evaluate` and writes the tables into docs/benchmark.md.

python -m benchmarks paper BUNDLE PHOTOS --runs runs/faces
python -m benchmarks paper --runs runs/faces     # the page once more, from runs that are there

An interrupted call goes on where it stopped. What stands in the page between the marks `tables: NAME` and `end` is
written here; the rest is written by people.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from gradstyle.cli.evaluate import app
from gradstyle.evaluation.store import Record, RunFolder, Summary, change_of
from gradstyle.metrics.values import Metric, Row

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


def _reconstruction(record: Record, summary: Summary, costs: dict[str, dict[str, float]]) -> str:
    metrics = [m for name in COLUMNS for m in record.metrics if m.name == name]
    head = ["method", *(_title(m) for m in metrics), "ms a photo", "MB"]
    rows = [
        [m, *(_cell(summary.row(m, "", metric.name)) for metric in metrics), *_cost(costs.get(m, {}))]
        for m in record.methods
    ]
    return "\n\n".join([_measured(record), _table(head, rows), _judges(summary), _notes(summary)]).strip()


def _editing(record: Record, summary: Summary, costs: dict[str, dict[str, float]]) -> str:
    named = {m.name: m for m in record.metrics}
    identity = next((m.name for m in record.metrics if m.name.startswith("identity")), "")
    parts = [_measured(record)]

    def block(title: str, name: str, wanted: Callable[[str], bool], beside: bool = False) -> None:
        conditions = [
            c for c in record.conditions if wanted(c) and any(summary.row(m, c, name) for m in record.methods)
        ]
        if conditions:
            rows = [[m, *(cell(m, c, name, beside) for c in conditions)] for m in record.methods]
            heading = f"{_title(named[name])}{', ' * bool(title)}{title}"
            parts.append(f"**{heading}**\n\n" + _table(["method", *conditions], rows))

    def cell(method: str, where: str, name: str, beside: bool) -> str:
        change = summary.row(method, where, change_of(record.protocol, where)) if beside else None
        at = f" at {change.mean:.3g}" if change and change.mean is not None else ""
        row = summary.row(method, where, name)
        fewer = f" ({row.n:,} of {len(record.photos):,})" if row and row.n < len(record.photos) else ""
        return _cell(row) + at + fewer

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
    jumps = [named[name] for name in ("jump_l2", "jump_identity", "jump_judge") if name in named]
    rows = [[m, *(_cell(summary.row(m, "vanishing", j.name)) for j in jumps)] for m in record.methods]
    parts.append("**From no edit to a vanishing one**\n\n" + _table(["method", *(_title(j) for j in jumps)], rows))
    return "\n\n".join([*parts, _judges(summary), _notes(summary)]).strip()


def _strongest(record: Record) -> set[str]:
    """The conditions at the amount nearest to the table's, each edit and way."""
    found: dict[tuple[str, bool], dict[float, str]] = {}
    for where in record.conditions:
        edit, _, amount = where.partition("=")
        if edit in record.protocol["edits"] and amount[:1] in ("+", "-"):
            found.setdefault((edit, amount[0] == "+"), {})[abs(float(amount))] = where
    return {each[min(each, key=lambda a: abs(a - record.protocol["fixed"]))] for each in found.values()}


def _pairs(record: Record, summary: Summary, costs: dict[str, dict[str, float]]) -> str:
    parts = [_measured(record)]
    for metric in record.metrics:
        if metric.name in ("psnr", "identity", "judge_distance"):
            rows = [[m, *(_cell(summary.row(m, c, metric.name)) for c in record.conditions)] for m in record.methods]
            heads = [c or "no edit" for c in record.conditions]
            parts.append(f"**{_title(metric)}, to the truth**\n\n" + _table(["method", *heads], rows))
    return "\n\n".join([*parts, _judges(summary), _notes(summary)]).strip()


def _ablation(record: Record, summary: Summary, costs: dict[str, dict[str, float]]) -> str:
    changes = dict.fromkeys(change_of(record.protocol, c) for c in record.conditions if c)
    wanted = ("identity", *changes, "ssim", "l2", "judge_distance", "judge_others")
    columns = [
        (c, m)
        for c in record.conditions
        for name in wanted
        for m in record.metrics
        if m.name == name and any(summary.row(v, c, name) for v in record.methods)
    ]
    head = ["variant", *(f"{_title(m)}{', ' + c if c else ''}" for c, m in columns)]
    rows = [[v, *(_cell(summary.row(v, c, m.name)) for c, m in columns)] for v in record.methods]
    return "\n\n".join([_measured(record), _table(head, rows), _notes(summary)]).strip()


def _residuals(record: Record, summary: Summary, costs: dict[str, dict[str, float]]) -> str:
    rows = [[c, *(_cell(summary.row("gradstyle", c, m.name)) for m in record.metrics)] for c in record.conditions]
    head = ["after", *(_title(m) for m in record.metrics)]
    return "\n\n".join([_measured(record), _table(head, rows), _notes(summary)]).strip()


TABLES = {
    "reconstruction": _reconstruction,
    "editing": _editing,
    "pairs": _pairs,
    "ablation": _ablation,
    "residuals": _residuals,
}


def _measured(record: Record) -> str:
    data, bundle = record.data, record.bundle
    return (
        f"Measured on {len(record.photos):,} photos of `{data['name']}` ({data['split'] or 'all of it'}, "
        f"fingerprint `{data['fingerprint'][:12]}`) with bundle `{bundle['name']}` at {bundle['resolution']} px "
        f"(generator `{bundle['fingerprint']}`), seed {record.seed}, GradStyle {record.versions['gradstyle']}, "
        f"torch {record.versions['torch']}. ± is half of the 95% interval; **bold** is the best, "
        "= is not told from it (p ≥ .05)."
    )


def _title(metric: Metric) -> str:
    return metric.title + {"higher": " ↑", "lower": " ↓", "": ""}[metric.better]


def _cell(row: Row | None) -> str:
    if row is None or row.mean is None:
        return "–"
    half = f" ±{(row.high - row.low) / 2:.1g}" if row.low is not None and row.high is not None else ""
    level = " =" if not row.best and row.p is not None and row.p >= 0.05 else ""
    return (f"**{row.mean:.4g}**" if row.best else f"{row.mean:.4g}") + half + level


def _cost(cost: dict[str, float]) -> list[str]:
    return [
        f"{1000 * cost['seconds']:.0f}" if cost else "–",
        f"{cost['peak_memory_mb']:.0f}" if "peak_memory_mb" in cost else "–",
    ]


def _judges(summary: Summary) -> str:
    found = [each["spearman"] for each in summary.agreement if each["spearman"] is not None]
    if not found:
        return ""
    return (
        "How far another judge orders the methods as the first does: Spearman's rank correlation is "
        f"{sum(found) / len(found):.2f} on average over {len(found)} columns, at least {min(found):.2f}."
    )


def _notes(summary: Summary) -> str:
    return "\n".join(f"- {note}" for note in summary.notes)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
