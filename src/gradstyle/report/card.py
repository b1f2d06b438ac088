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

CARD, FIGURES = "README.md", "figures.json"
BEGIN, END = "<!-- figures: written by `gradstyle evaluate card` -->", "<!-- end of figures -->"
DIGITS = 4  # that count


def write_card(bundle: str | os.PathLike[str], runs: Sequence[str | os.PathLike[str]]) -> Path:
    """Put the runs' figures into the card of a bundle; what people wrote around them stays."""
    folder = Path(bundle)
    manifest = read_manifest(folder)
    found = []
    for run in map(RunFolder, runs):
        record = run.record()
        if not record.complete:
            raise ValueError(f"{run.path} is not complete: run its command again, it goes on")
        if record.bundle["fingerprint"] != manifest.fingerprint or _other(manifest, record.bundle):
            raise ValueError(f"{run.path} is of another bundle than {folder}: evaluate this one")
        kept = {k: v for k, v in to_json(record).items() if k not in ("photos", "pictures", "command")}
        found.append({**kept, "photos": len(record.photos), **to_json(run.summary()), "costs": run.costs()})
    write_text(folder / FIGURES, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    card = folder / CARD
    before, after = _around(
        card.read_text("utf-8") if card.exists() else f"# {manifest.name}\n\n{BEGIN}\n{END}\n", card
    )
    write_text(card, before + figures_block(folder) + after)
    return card


def figures_block(folder: Path) -> str:
    """The card's tables, from the files of the bundle and from figures.json."""
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
    yield from _rows(["file", "MB", "SHA-256"])
    names = [MANIFEST, *(part.file for part in manifest.parts.values())]
    for name in names:
        data = (folder / name).read_bytes()
        yield f"| {name} | {len(data) / 1e6:.2f} | `{hashlib.sha256(data).hexdigest()}` |"


def _tables(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    for run in runs:
        said = ", ".join(f"{name} {value}" for name, value in run["data"].items() if not isinstance(value, dict | list))
        yield f"\n## {run['kind'].capitalize()}\n\n{run['photos']:,} photos ({said}). {run['interval']}"
        yield from (f"\n{note}" for note in run["notes"])
        titles = {metric["name"]: metric for metric in run["metrics"]}
        rows = {(row["condition"], row["method"], row["metric"]): row for row in run["rows"]}
        cells = {at: _cell(row, run["photos"]) for at, row in rows.items()}
        conditions = list(dict.fromkeys(row["condition"] for row in run["rows"]))
        if conditions == [""]:
            names = [name for name in titles if any(("", m, name) in cells for m in run["methods"])]
            yield ""
            yield from _rows(["method", *(_title(titles[name]) for name in names)])
            for method in run["methods"]:
                yield f"| {method} | {' | '.join(cells.get(('', method, name), '–') for name in names)} |"
            continue
        for name, metric in titles.items():
            those = [c for c in conditions if any((c, m, name) in cells for m in run["methods"])]
            if those:
                yield f"\n### {_title(metric)}\n"
                yield from _rows(["", *run["methods"]])
            for condition in those:
                row = [cells.get((condition, method, name), "–") for method in run["methods"]]
                if is_identity(name):
                    of = change_of(run["protocol"], condition)
                    row = [cell + _at(rows.get((condition, method, of))) for cell, method in zip(row, run["methods"])]
                yield f"| {condition or 'no edit'} | {' | '.join(row)} |"


def _title(metric: dict[str, Any]) -> str:
    return f"{metric['title']} {({'higher': '↑', 'lower': '↓'}).get(metric['better'], '')}".strip().replace("|", "\\|")


def _at(row: dict[str, Any] | None) -> str:
    """How far the edit went, beside what is left of the person."""
    return "" if row is None or row["mean"] is None else f" at {row['mean']:.{DIGITS}g}"


def _cell(row: dict[str, Any], photos: int) -> str:
    if row["mean"] is None:
        return "–"
    shown = f"{row['mean']:.{DIGITS}g}"
    if row["low"] is not None and row["high"] is not None:
        shown += f" [{row['low']:.{DIGITS}g}, {row['high']:.{DIGITS}g}]"
    shown = f"**{shown}**" if row["best"] else shown
    return f"{shown} ({row['n']:,} photos)" if row["n"] < photos else shown


def _rows(head: Sequence[str]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
