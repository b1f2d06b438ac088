"""A bundle's model card: prose by people, and between two marks the figures that `gradstyle evaluate` has measured.

README.md       the card
figures.json    the same figures in full, from which the card's tables can be written again
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..bundles.manifest import MANIFEST, Manifest, read_manifest
from ..config import to_json
from ..evaluation.store import RunFolder, change_of, is_identity
from ..files import write_text
from ..metrics.values import Metric, Row
from .tables import Cell, Column, Table, text_table
from .texts import plain

CARD, FIGURES = "README.md", "figures.json"
BEGIN, END = "<!-- figures: written by `gradstyle evaluate card` -->", "<!-- end of figures -->"
DIGITS = 4  # that count


def write_card(bundle: str | os.PathLike[str], runs: Sequence[str | os.PathLike[str]]) -> Path:
    """Puts the figures of runs into the card of a bundle and leaves the text around them as it is."""
    folder = Path(bundle)
    manifest = read_manifest(folder)
    figures = []
    for run in map(RunFolder, runs):
        record = run.record()
        if not record.complete:
            raise ValueError(f"{run.path} is not complete: run its command again, it goes on")
        if record.bundle["fingerprint"] != manifest.fingerprint or _other(manifest, record.bundle):
            raise ValueError(f"{run.path} is of another bundle than {folder}: evaluate this one")
        stated = {k: v for k, v in to_json(record).items() if k not in ("photos", "pictures", "command")}
        figures.append({**stated, "photos": len(record.photos), **to_json(run.summary()), "costs": run.costs()})
    write_text(folder / FIGURES, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    card = folder / CARD
    before, after = _around(
        card.read_text("utf-8") if card.exists() else f"# {manifest.name}\n\n{BEGIN}\n{END}\n", card
    )
    write_text(card, before + figures_block(folder) + after)
    return card


def figures_block(folder: Path) -> str:
    """Gives the card's tables, from the files of the bundle and from figures.json."""
    return "\n".join([BEGIN, *_files(folder), *_tables(json.loads((folder / FIGURES).read_text("utf-8"))), END])


def _around(text: str, card: Path) -> tuple[str, str]:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{card}: figures go between one line {BEGIN} and one line {END}")
    return text[: text.index(BEGIN)], text[text.index(END) + len(END) :]


def _other(manifest: Manifest, measured: dict[str, Any]) -> bool:
    parts, now = measured.get("parts", {}), manifest.parts
    return any(name in now and digest != now[name].sha256 for name, digest in parts.items())


def _files(folder: Path) -> Iterator[str]:
    manifest = read_manifest(folder)
    yield f"\n## Files\n\nGenerator **{manifest.fingerprint}**, {manifest.resolution} px.\n"
    names = [MANIFEST, *(part.file for part in manifest.parts.values())]
    files = [(name, (folder / name).read_bytes()) for name in names]
    rows = [(name, f"{len(data) / 1e6:.2f}", f"`{hashlib.sha256(data).hexdigest()}`") for name, data in files]
    yield text_table(("file", "MB", "SHA-256"), rows, is_markdown=True).markdown


def _tables(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    for run in runs:
        data = ", ".join(f"{name} {value}" for name, value in run["data"].items() if not isinstance(value, dict | list))
        yield f"\n## {run['kind'].capitalize()}\n\n{run['photos']:,} photos ({data}). {run['interval']}"
        yield from (f"\n{note}" for note in run["notes"])
        metrics = [Metric(**metric) for metric in run["metrics"]]
        rows = {(row["condition"], row["method"], row["metric"]): Row(**row) for row in run["rows"]}
        conditions = list(dict.fromkeys(row["condition"] for row in run["rows"]))
        if conditions == [""]:
            names = [m for m in metrics if any(("", method, m.name) in rows for method in run["methods"])]
            body = [(n, [_cell(rows.get(("", n, m.name)), run["photos"]) for m in names]) for n in run["methods"]]
            yield f"\n{Table([Column(Column.of(metric).heading) for metric in names], body).markdown}"
            continue
        for metric in metrics:
            body = []
            for condition in conditions:
                of = [rows.get((condition, method, metric.name)) for method in run["methods"]]
                change = change_of(run["protocol"], condition) if is_identity(metric.name) else ""
                ats = [rows.get((condition, method, change)) for method in run["methods"]]
                if any(row is not None for row in of):
                    body.append((condition or "no edit", [_cell(row, run["photos"], at) for row, at in zip(of, ats)]))
            if body:
                table = Table([Column(method) for method in run["methods"]], body, corner="")
                yield f"\n### {plain(Column.of(metric).heading)}\n\n{table.markdown}"


def _cell(row: Row | None, photos: int, at: Row | None = None) -> Cell:
    """Gives a mean with its interval; `at` is how far the edit went, beside what is left of the person."""
    if row is None or row.mean is None:
        return Cell()
    text = f"{row.mean:.{DIGITS}g}"
    if row.low is not None and row.high is not None:
        text += f" [{row.low:.{DIGITS}g}, {row.high:.{DIGITS}g}]"
    change = f"at {at.mean:.{DIGITS}g}" if at is not None and at.mean is not None else ""
    fewer = f"({row.n:,} photos)" if row.n < photos else ""
    return Cell(text, best=row.best, notes=tuple(filter(None, (change, fewer))), value=row.mean)
