"""What edits do to whole photos, by judges that nothing here was trained or tuned with.

    python -m benchmarks whole_photos celeba-hq-512.zip --photos 40 --method e4e
    python -m benchmarks whole_photos celeba.zip --split attributes.csv:official_split=val --persons all \\
        --edit smile=1.5 --labels groups.csv --out figures --pictures

Each edit is put into each photo in several ways: `carried`, as `Editor.edit` does it, the pastes `auto`, `keep` (the
change between two renderings, as it is) and `crop`, and `prototype`: photo less reconstruction, moved by OpenCV's flow
(left out where cv2 is not installed). `none` is the photo given back by a zero edit.

What is measured is said in `gradstyle/metrics/whole_photo.py`. Give an edit at several amounts, and methods are
compared where they have changed a photo equally far.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gradstyle.bundles import Bundle
from gradstyle.editor import Editor, parse_edits
from gradstyle.evaluation.matching import COMPARED, VANISHES, crossing
from gradstyle.metrics.identity import DlibIdentity
from gradstyle.metrics.onlookers import network_of_years
from gradstyle.metrics.stats import Resampling
from gradstyle.metrics.whole_photo import PhotoJudge
from gradstyle.photos import Photo
from gradstyle.training.sources import Source
from gradstyle.training.table import Split
from gradstyle.training.table import Table as Labels

from .landmarks import network_of_landmarks
from .ways import WAYS, Ready, whole

EDITS = ("smile", "yaw", "age")  # at both ends of their sliders, if no others are given
PERSONS = "identities.csv"
STILL = 4  # photos on which zero and vanishing edits are tried
COLUMNS = {  # titles, decimals and units
    "yaw": ("yaw °", 1, 1),
    "mouth": ("mouth sd", 2, 1),
    "dlib_yaw": ("dlib's yaw", 1, 1),
    "dlib_mouth": ("dlib's mouth", 2, 1),
    "years": ("years", 1, 1),
    "identity": ("ID dist.", 3, 1),
    "wall": ("wall %", 2, 100),
    "detail": ("detail", 3, 1),
    "own": ("own", 2, 1),
}
GOALS = {"yaw": ("yaw", (10.0, 15.0)), "smile": ("mouth", (0.5, 1.0)), "age": ("years", (5.0, 10.0))}
TITLES = [title for title, _, _ in COLUMNS.values()] + ["detail, median", "lost"]
WIDTH = 150  # of the terminal, at least: a line of a table does not fit into 80


class Outcome(NamedTuple):
    """What a judge says of one edited photo."""

    edit: str
    method: str
    way: str
    photo: str
    measures: Mapping[str, float]


# ---- the photos


def chosen(source: Source, persons: str, split: str | None, count: int) -> list[int]:
    """That many photos: by turns of the persons whose number is odd or even, or of all, evenly spread."""
    every = Split.parse(split).choose(source) if split else list(range(len(source.names)))
    if persons == "all":
        return [every[round(place)] for place in np.linspace(0, len(every) - 1, min(count, len(every)))]
    rows = Labels.read(PERSONS, source).match(source.names)
    of_person: dict[int, list[int]] = defaultdict(list)
    for index in every:
        row = rows[index]
        if row is not None and int(row["person"]) % 2 == (persons == "odd"):
            of_person[int(row["person"])].append(index)
    turns = sorted((turn, person) for person, each in of_person.items() for turn in range(len(each)))
    if not turns:
        raise ValueError(f"{PERSONS} names no photo of {persons} persons in {source.path}: say --persons all")
    return [of_person[person][turn] for turn, person in turns[:count]]


def groups_of(source: Source, labels: str | None, index: int) -> dict[str, str]:
    """What is known of a photo: its person, and whatever `labels` has columns for."""
    found: dict[str, str] = {}
    for file in filter(None, (PERSONS if source.text(PERSONS) else None, labels)):
        table = Labels.read(file, source)
        (row,) = table.match([source.names[index]])
        found |= {column: row[column] for column in table.columns} if row else {}
    return found


def measured(
    judge: PhotoJudge,
    name: str,
    editors: Sequence[Editor],
    edits: Sequence[tuple[str, float]],
    ways: Sequence[str],
    out: Path | None,
) -> list[Outcome]:
    """All edits of one photo in all ways by all methods; the pictures are kept in a folder if there is one."""
    unedited = judge.look(editors[0].edit(judge.photo, {edits[0][0]: 0.0}).pixels)
    found = [Outcome(f"{edit} {amount:+g}", "–", "none", name, unedited) for edit, amount in edits]
    for editor in editors:
        ready = Ready(editor, judge.photo)
        for edit, amount in edits:
            for way in ways:
                pixels = ready.edited(edit, amount, way)
                found.append(Outcome(f"{edit} {amount:+g}", editor.method, way, name, judge.look(pixels)))
                if out:
                    Photo(pixels).save(out / f"{edit}{amount:+g}" / f"{editor.method}-{way}" / f"{Path(name).stem}.png")
    return found


# ---- the tables


def lines_of(outcomes: Iterable[Outcome], head: Callable[[Outcome], tuple[str, ...]]) -> list[list[str]]:
    """A line for each head, in the order in which they came first."""
    found: dict[tuple[str, ...], list[Mapping[str, float]]] = defaultdict(list)
    for each in outcomes:
        found[head(each)].append(each.measures)
    lines = []
    for names, several in found.items():
        cells = [_mean([m[name] for m in several if name in m], name) for name in COLUMNS]
        details = [m["detail"] for m in several if "detail" in m]
        lost = f"{sum(m['lost'] for m in several):.0f} of {len(several)}"
        lines.append([*names, *cells, f"{np.median(details):.3f}" if details else "–", lost])
    return lines


def at_equal_change(outcomes: Iterable[Outcome]) -> list[list[str]]:
    """Identity and detail where each photo's own edit has gone equally far, of methods and ways that come so far in
    half of their photos, on the photos in which all of those do.

    Between two amounts all is interpolated; without an edit nothing has changed.
    """
    found: dict[tuple[str, float], dict[tuple[str, str], dict[str, list[Mapping[str, float]]]]] = {}
    for each in outcomes:
        name, amount = each.edit.split(" ")
        if name in GOALS and each.way != "none":
            here = found.setdefault((name, np.sign(float(amount))), {}).setdefault((each.method, each.way), {})
            here.setdefault(each.photo, []).append({**each.measures, "amount": abs(float(amount))})
    lines = []
    for (name, sign), ways in found.items():
        figure, goals = GOALS[name]
        for goal in goals:
            values = {way: _crossed(photos, figure, sign, goal) for way, photos in ways.items()}
            able = [way for way, each in values.items() if len(each) >= COMPARED * len(ways[way])]
            there = sorted(set.intersection(*(set(values[way]) for way in able))) if able else []
            for way, each in values.items():
                photos = there if way in able else []
                cells = [_mean([each[photo][m] for photo in photos], m) for m in ("identity", "detail")]
                reached = f"{len(each)} of {len(ways[way])}"
                lines.append([f"{name} {sign * goal:+g}", *way, *cells, reached, str(len(photos))])
    return lines


def _crossed(
    photos: Mapping[str, list[Mapping[str, float]]], figure: str, sign: float, goal: float
) -> dict[str, dict[str, float]]:
    """By photo, where its own path first reaches the goal: what stands there."""
    found = {}
    for photo, steps in photos.items():
        path, there = [(VANISHES, 0.0)], {VANISHES: {"identity": 0.0, "detail": 1.0}}
        for step in sorted(steps, key=lambda step: step["amount"]):
            if figure not in step or "identity" not in step:  # the face is lost
                break
            where = f"{step['amount']:g}"
            path.append((where, sign * step[figure]))
            there[where] = step
        if at := crossing(path, goal):
            found[photo] = {m: at.value({w: each[m] for w, each in there.items()}) for m in ("identity", "detail")}
    return found


def _mean(values: Sequence[float], name: str) -> str:
    if not values:
        return "–"
    _, digits, unit = COLUMNS[name]
    scaled = unit * np.array(values)
    low, high = _draws(len(values)).interval(scaled)
    return f"{scaled.mean():.{digits}f} ±{(high - low) / 2:.{digits}f}"


@lru_cache
def _draws(count: int) -> Resampling:
    return Resampling(count, seed=0)


def costs(editor: Editor, way: str, photos: Sequence[Photo], edits: Sequence[str], given: Any) -> list[str]:
    """What a zero edit and a vanishing one change, and how long an edit takes."""
    zero, apart = True, 0
    for photo in photos:
        for name in edits:
            zero &= bool((whole(editor, photo, {name: 0.0}, way) == photo.pixels).all())
            vanishing = whole(editor, photo, {name: 0.001}, way)
            apart = max(apart, int(np.abs(vanishing.astype(np.int16) - photo.pixels).max()))
    cells = [editor.method, way, "to the bit" if zero else "changes it", str(apart)]
    for megapixels in given.megapixels:
        scale, taken = (megapixels * 1e6 / photos[0].pixels[..., 0].size) ** 0.5, []
        size = round(photos[0].size[0] * scale), round(photos[0].size[1] * scale)
        large = np.asarray(Image.fromarray(photos[0].pixels).resize(size, Image.Resampling.BICUBIC))
        for _ in range(given.rounds):
            start, busy = time.perf_counter(), time.process_time()
            whole(editor, Photo(large), {edits[0]: 1.0}, way)
            taken.append((time.perf_counter() - start, time.process_time() - busy))
        least = np.min(taken, axis=0)
        cells.append(f"{least[0]:.2f} ({least[1]:.2f})")
    return cells


def show(title: str, head: Sequence[str], lines: list[list[str]]) -> str:
    """A table in the terminal, and as Markdown."""
    console = Console()
    console.width = max(console.width, WIDTH)
    table = Table(*head, title=title, title_justify="left")
    for line, after in zip(lines, [*lines[1:], lines[0]]):
        table.add_row(*line, end_section=line[0] != after[0])
    console.print(table)
    return "\n".join([f"\n**{title}**\n", *(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *lines])])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="photos: a folder, a zip or a tar")
    parser.add_argument("--bundle", default="faces")
    parser.add_argument("--method", action="append", help="of the bundle's; every one if none is given")
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--edit", action="append", metavar="NAME=AMOUNT", help="else both ends of smile, yaw and age")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--persons", choices=("odd", "even", "all"), default="odd", help=f"by {PERSONS}'s numbers")
    parser.add_argument("--split", metavar="FILE:COLUMN=VALUE")
    parser.add_argument("--labels", help="a CSV of groups by photo, such as skin tone, age or glasses")
    parser.add_argument("--megapixels", type=float, nargs="*", default=[1, 12, 24])
    parser.add_argument("--rounds", type=int, default=2, help="of which the least time is told")
    parser.add_argument("--out", type=Path, help="a folder for report.md, values.csv and, with --pictures, the photos")
    parser.add_argument("--pictures", action="store_true")
    return parser.parse_args()


def main() -> None:
    given, years, landmarks = parsed(), network_of_years(), network_of_landmarks()
    bundle, ways = Bundle.load(given.bundle), given.way or list(WAYS)
    if years is None:
        print('years are left out: pip install "gradstyle[years]" brings their network, for Python 3.11 and newer')
    if "prototype" in ways and find_spec("cv2") is None:
        print("the prototype is left out: pip install opencv-python-headless brings its flow")
        ways.remove("prototype")
    ends = {name: bundle.sliders[name] for name in EDITS if name in bundle.sliders}
    edits = [(name, end) for name, slider in ends.items() for end in (slider.low, slider.high)]
    if given.edit:
        edits = [pair for text in given.edit for pair in parse_edits(text).items()]
    editors = [Editor(bundle, method) for method in given.method or bundle.methods]
    for editor in editors:
        editor.beyond = True
    source, identity = Source.open(given.data), DlibIdentity(bundle.domain.crop)
    outcomes: list[Outcome] = []
    groups: dict[str, dict[str, str]] = {}
    photos: list[Photo] = []
    try:
        for index in track(chosen(source, given.persons, given.split, given.photos), "photos"):
            name = source.names[index]
            photo = Photo(np.asarray(Image.open(io.BytesIO(source.read(index))).convert("RGB")))
            if not photo.faces:
                print(f"{name} is left out: no face is found in it")
                continue
            judge = PhotoJudge(photo, photo.faces[0], bundle.domain.crop, identity, years, landmarks)
            outcomes += measured(judge, name, editors, edits, ways, given.out if given.pictures else None)
            groups[name] = groups_of(source, given.labels, index)
            photos.append(photo)
            if given.out:
                write_values(given.out, outcomes)
    except KeyboardInterrupt:
        print(f"stopped after {len(photos)} photos, of which the tables are")
    if not photos:
        raise SystemExit(f"nothing was measured in {given.data}")
    outcomes.sort(key=lambda o: [f"{edit} {amount:+g}" for edit, amount in edits].index(o.edit))
    of = f"{len(photos)} photos of {Path(given.data).name}, {given.persons} persons, bundle {bundle.name}"
    title = f"{of}: means ± half of the 95% interval over photos"
    parts = [show(title, ["edit", "method", "way", *TITLES], lines_of(outcomes, lambda o: o[:3]))]
    head = ["edit, change", "method", "way", "ID dist.", "detail", "reach it", "compared"]
    if matched := at_equal_change(outcomes):
        parts.append(show("At equal change, on the photos in which all that are compared reach it", head, matched))
    first = editors[0].method, ways[0]
    for group in dict.fromkeys(column for each in groups.values() for column in each):
        lines = lines_of(
            (o for o in outcomes if o[1:3] == first), lambda o, group=group: (o.edit, groups[o.photo].get(group, "–"))
        )
        parts.append(show(f"{', '.join(first)}, by {group}", ["edit", group, *TITLES], lines))
    names, still = list(dict.fromkeys(name for name, _ in edits)), photos[:STILL]
    lines = [costs(editor, way, still, names, given) for editor in editors for way in track(ways, editor.method)]
    head = [
        "method",
        "way",
        "zero edit",
        "vanishing edit, levels",
        *(f"s (of CPU) at {m:g} MP" for m in given.megapixels),
    ]
    parts.append(show(f"On {len(still)} photos; the least of {given.rounds} times", head, lines))
    if given.out:
        (given.out / "report.md").write_text("\n".join(parts) + "\n", "utf-8")


def write_values(out: Path, outcomes: Sequence[Outcome]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "values.csv").open("w", newline="", encoding="utf-8") as file:
        names = [*Outcome._fields[:-1], *COLUMNS, "lost"]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**o._asdict(), **o.measures} for o in outcomes)


if __name__ == "__main__":
    main()
