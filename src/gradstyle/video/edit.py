"""A video edited: first the face is found in every frame, then each frame is inverted, edited and encoded."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..edits import Edits, combine
from ..methods import Inversion, Method
from ..photos.align import Aligned, Frame, HasCrop, align, aligned_by, frame_of
from ..photos.carry import Carrier, Leg, legs_of, meshes_of, turning_steps
from ..photos.faces import Face, Pixels, Points
from ..photos.head import Likeness
from ..photos.paste import put
from ..photos.photo import Photo
from ..progress import Progress, silent
from ..stylegan2 import Codes
from .checkpoint import Found, Planned, Work
from .reading import Clip, Still, open_clip
from .smooth import REACH, Values, around, weights
from .track import Cuts, Follower, bounds
from .writing import QUALITY, Format, Segment, check_video_name, join, recoded

T = TypeVar("T")
HELD = 96 << 20  # bytes of frames that are worked on at once
LONGER = 4  # times as long as codes, what an edit makes of a mesh is smoothed: it hardly changes


@dataclass(frozen=True)
class Options:
    """How a film is edited."""

    landmarks: float = 0.1  # seconds over which landmarks and mesh are smoothed; 0: not at all
    codes: float = 0.1  # and codes; LONGER times that, what an edit makes of the mesh
    quality: int = QUALITY
    aligned: bool = False  # the film shows one face as the generator's training photos do: nothing is searched

    def __post_init__(self) -> None:
        for name in ("landmarks", "codes"):
            if not 0 <= getattr(self, name) <= 2:
                raise ValueError(f"{name} are smoothed over 0 to 2 seconds, got {getattr(self, name)!r}")
        if not 0 <= self.quality <= 51:
            raise ValueError(f"quality is a rate factor from 0 (lossless) to 51, got {self.quality!r}")


@dataclass(frozen=True)
class Report:
    """What was done.

    Flicker is how far a frame's face is from the mean of the frames before and after it, in levels of 255, on average
    over 8 × 8 parts of the crop: of the source, and of what is added to it when each frame is edited by itself, and
    when landmarks, meshes and codes are smoothed. Shaking is the same of the landmarks, in pixels of the film.
    """

    frames: int
    edited: int  # those in which there is a face
    shots: int
    went_on_from: int = 0  # frames that an earlier run had done
    flicker: dict[str, float] = field(default_factory=dict)  # source, frame by frame, smoothed
    shaking: dict[str, float] = field(default_factory=dict)  # found, and smoothed
    recoded: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    missing: int = 0  # frames that the file says it has and that cannot be decoded


@torch.inference_mode()
def edit_video(
    source: Path,
    target: Path,
    method: Method[Any],
    edits: Edits,
    domain: HasCrop,
    options: Options = Options(),
    tell: Progress = silent,
    follower: Callable[[], Follower] = Follower,
    note: str = "",
) -> Report:
    """Edit the largest face of each shot. A stopped run goes on where it was, when it is started again."""
    check_video_name(target)
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target} is the source itself; give another name")
    if combine(edits) is None:
        raise ValueError("no edit, or only zero ones: the video would stay as it is; say --edit NAME=AMOUNT")
    clip = open_clip(source)
    form = Format.of(clip, target, options.quality)
    if domain.crop == "none":
        options = replace(options, aligned=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    key = {
        "version": 2,
        "source": _digest(source),
        "method": _state_key(method),
        "edits": _edit_key(edits),
        "domain": [domain.crop, list(domain.aspect)],
        "options": asdict(options),
        "form": asdict(form),
    }
    work = Work(target, key)
    if work.total is None or not all(work.found(chunk) for chunk in range(work.chunks)):
        _search(clip, work, None if options.aligned else follower(), tell)
    painter = Painter(method, edits, domain, options)
    before = next((k for k in range(work.chunks) if not work.finished(k)), work.chunks) * work.length
    _draw(clip, work, painter, form, options, tell)
    metadata = {k: v for k, v in clip.metadata.items() if k.lower() in KEPT}
    metadata["comment"] = "; ".join(filter(None, [metadata.get("comment"), note or "edited with GradStyle"]))
    parts = [work.found(chunk) for chunk in range(work.chunks)]
    join([(work.segment(k), int(part.times[0])) for k, part in enumerate(parts) if part], clip, target, metadata)
    report = _report(clip, work, target, min(before, work.total or 0))
    work.remove()
    return report


KEPT = ("title", "artist", "comment", "date", "creation_time", "location", "copyright", "description", "genre", "album")


# ---- first: where the face is

NO_MESH = np.zeros((468, 3))


def _search(clip: Clip, work: Work, follow: Follower | None, tell: Progress) -> None:
    cuts, chunk, rows, seen, count = Cuts(), 0, [], False, 0
    while (done := work.found(chunk)) is not None and len(done) == work.length:
        chunk, seen = chunk + 1, seen or bool(done.known.any())
        if follow is not None and done.known[-1]:
            follow.last = done.landmarks[-1]
    for still in clip.read():
        count, cut = still.index + 1, cuts(still.small())
        if still.index < chunk * work.length:
            continue
        if follow is None:
            rows.append((still.time, cut, True, np.zeros((68, 2)), NO_MESH))
        else:
            face = follow(still.pixels(exact=False), cut)
            mesh = NO_MESH if face is None or face.mesh is None else face.mesh
            landmarks = np.zeros((68, 2)) if face is None else face.landmarks
            rows.append((still.time, cut, face is not None, landmarks, mesh))
        if len(rows) == work.length:
            seen |= _keep(work, chunk, rows)
            chunk, rows = chunk + 1, []
        tell("finding the face", count, max(clip.frames, count))
    if rows:
        seen |= _keep(work, chunk, rows)
    if not seen:
        work.remove()
        raise ValueError(
            f"{clip.path}: no face was found in any of its {count} frames; "
            "if all of it is one face, cut as the bundle's photos are, say --aligned"
        )
    work.finish_search(count)


def _keep(work: Work, chunk: int, rows: list[tuple[int, bool, bool, Points, Points]]) -> bool:
    found = Found(*(np.array(column) for column in zip(*rows)))
    work.put(chunk, found)
    return bool(found.known.any())


# ---- then: every frame


@dataclass(eq=False)
class Item:
    """A frame on its way."""

    still: Still
    plan: Planned
    run: int  # counts faces on end; −1: none
    aligned: Aligned | None = None
    own: Codes | None = None  # the encoder's
    codes: Codes | None = None  # smoothed
    legs: list[Leg] = field(default_factory=list)  # of the edit, as these codes have it
    meshes: list[Points | None] = field(default_factory=list)  # of each leg, as found in these renderings

    @property
    def seconds(self) -> float:
        return self.still.seconds


class Painter:
    """What a method does with faces in frames."""

    def __init__(self, method: Method[Any], edits: Edits, domain: HasCrop, options: Options) -> None:
        self.method, self.edits, self.domain, self.options = method, edits, domain, options
        self.side = method.encoder.config.input_size
        self.device = next(method.parameters()).device

    def cut(self, photo: Photo, landmarks: Any, mesh: Any = None) -> Aligned:
        if self.options.aligned:
            return align(photo, None, self.domain, self.side)
        face = Face(bounds(landmarks), landmarks, 1.0, mesh)
        return aligned_by(photo, self.frame(landmarks), self.side, face)

    def frame(self, landmarks: Any) -> Frame:
        return frame_of(landmarks, self.domain.crop)

    def codes(self, crops: list[Aligned]) -> Codes:
        return self.method.encode(self._batch(crops), None)[0]

    def legs(self, crops: list[Aligned], codes: Codes) -> list[list[Leg]]:
        """The renderings of the edit, for each crop."""
        inversion = self.method.invert(self._batch(crops), codes)
        return [self._legs(crop, inversion[k]) for k, crop in enumerate(crops)]

    def _legs(self, crop: Aligned, inversion: Inversion) -> list[Leg]:
        def render(entries: Sequence[Edits]) -> Tensor:
            return self.method.render_each(inversion, entries).clamp(-1, 1)

        meshed = crop.face is not None and crop.face.mesh is not None
        return legs_of(render, self.edits, turning=turning_steps(meshed))

    def paint(self, photo: Photo, crop: Aligned, legs: list[Leg]) -> Photo:
        """The photo with the face edited."""
        carry = Carrier.of(photo, crop, legs[0].path[0]).along(legs)
        return photo if carry is None else replace(photo, pixels=put(photo.pixels, crop.frame, carry))

    def _batch(self, crops: list[Aligned]) -> Tensor:
        return torch.cat([crop.image for crop in crops]).to(self.device)


def _draw(clip: Clip, work: Work, painter: Painter, form: Format, options: Options, tell: Progress) -> None:
    chunk = next((k for k in range(work.chunks) if not work.finished(k)), None)
    if chunk is None:
        return
    first = chunk * work.length
    total = work.total or 0
    batch = max(1, min(8, HELD // (clip.width * clip.height * 3)))
    items = _planned(clip, work, options, max(0, first - 2 * REACH))
    items = _rendered(_calmed(_coded(items, painter, batch), options.codes), painter, batch, first - REACH)
    drawn = _painted(_steadied(items, LONGER * options.codes), painter, first)
    done = (each for each in drawn if each[0].still.index >= first)
    for chunk, group in groupby(done, key=lambda each: each[0].still.index // work.length):
        flicker = Flicker()
        edited = 0
        with Segment(work.segment(chunk), clip, form) as segment:
            for item, still, seen in group:
                segment.write(still)
                edited += item.run >= 0
                flicker.add(seen)
                tell("editing", item.still.index + 1, total)
        _, shaken = work.plan(chunk, float(clip.time_base), options.landmarks)
        work.measure(chunk, {"edited": edited, "flicker": flicker.sums, "triples": flicker.triples, **shaken})


Drawn = tuple[Item, Still, dict[str, Pixels]]


def _planned(clip: Clip, work: Work, options: Options, start: int) -> Iterator[Item]:
    plans: list[Planned] = []
    run = 0
    for still in clip.read():
        if still.index < start or still.index >= (work.total or 0):
            continue
        if not plans or still.index % work.length == 0:
            plans = work.plan(still.index // work.length, float(clip.time_base), options.landmarks)[0]
        plan = plans[still.index % work.length]
        run += not plan.joined
        yield Item(still, plan, run if plan.landmarks is not None else -1)


def _coded(items: Iterator[Item], painter: Painter, batch: int) -> Iterator[Item]:
    for group in _batches(items, batch):
        faces = [item for item in group if item.run >= 0]
        for item in faces:
            try:
                item.aligned = painter.cut(Photo(item.still.pixels()), item.plan.calm, item.plan.calm_mesh)
            except ValueError:  # landmarks of no face
                item.run = -1
        if faces := [item for item in faces if item.run >= 0]:
            codes = painter.codes([item.aligned for item in faces if item.aligned])
            for index, item in enumerate(faces):
                item.own = codes[index]
        yield from group


def _calmed(items: Iterator[Item], sigma: float) -> Iterator[Item]:
    """Codes smoothed over time, of one face at a time."""
    for item, near, share in _windows(items, sigma):
        if near:
            item.codes = _mean([other.own for other in near if other.own], share)
        yield item


def _rendered(items: Iterator[Item], painter: Painter, batch: int, first: int) -> Iterator[Item]:
    for group in _batches(items, batch):
        faces = [item for item in group if item.run >= 0 and item.still.index >= first]
        crops = [item.aligned for item in faces if item.aligned]
        codes = [item.codes for item in faces if item.codes]
        for item, crop, legs in zip(faces, crops, painter.legs(crops, Codes.cat(codes)) if faces else []):
            item.legs, item.meshes = legs, [meshes_of(leg, crop) for leg in legs]
        yield from group


def _steadied(items: Iterator[Item], sigma: float) -> Iterator[Item]:
    """What an edit makes of a person's mesh, averaged over time: the meshes of renderings of a few pixels tremble."""
    for item, near, share in _windows(items, sigma, degree=0):
        ways = [[other.meshes[k] if other.meshes else None for other in near] for k in range(len(item.legs))]
        item.legs = [replace(leg, meshes=steadied(way, share, near.index(item))) for leg, way in zip(item.legs, ways)]
        yield item


def steadied(meshes: Sequence[Points | None], share: Values, here: int) -> Points | None:
    """The mean of meshes before and after an edit [2, 468, 3], each brought to where the one `here` is before it."""
    there = meshes[here]
    known = [(mesh, weight) for mesh, weight in zip(meshes, share.tolist()) if mesh is not None]
    if not known:
        return None
    place = known[0][0][0] if there is None else there[0]
    brought = [weight * Likeness.between(mesh[0], place)(mesh) for mesh, weight in known]
    return np.asarray(sum(brought) / sum(weight for _, weight in known), np.float64)


def _windows(items: Iterator[Item], sigma: float, degree: int = 2) -> Iterator[tuple[Item, list[Item], Values]]:
    """Each frame, with those of the same face around it in time and how much each counts; so many are held."""
    past: deque[Item] = deque(maxlen=REACH)
    waiting: deque[Item] = deque()

    def first() -> tuple[Item, list[Item], Values]:
        item = waiting.popleft()
        window = [*past, item, *waiting]
        times, runs = np.array([i.seconds for i in window]), np.array([i.run for i in window])
        # What comes later needs nothing of it but what was found.
        past.append(replace(item, aligned=None, legs=[], still=replace(item.still, picture=None)))
        if item.run < 0:
            return item, [], np.zeros(0)
        near = around(window.index(item), times, runs, sigma)
        return item, window[near], weights(times[near] - item.seconds, sigma, degree)

    for item in items:
        waiting.append(item)
        if len(waiting) > REACH:
            yield first()
    while waiting:
        yield first()


def _mean(codes: list[Codes], share: Any) -> Codes:
    def mean(tensors: list[Tensor]) -> Tensor:
        stacked = torch.cat(tensors)
        averaged: Tensor = torch.tensordot(torch.from_numpy(share).to(stacked), stacked, dims=1)
        return averaged[None]

    s = [each.s for each in codes if each.s is not None]
    return Codes(mean([each.w for each in codes]), mean(s) if s else None)


def _painted(items: Iterator[Item], painter: Painter, first: int) -> Iterator[Drawn]:
    for item in items:
        if item.run < 0 or item.still.index < first or item.aligned is None:
            yield item, item.still, {}
            continue
        photo = Photo(item.still.pixels())
        result = painter.paint(photo, item.aligned, item.legs)
        pixels = _faded(photo.pixels, result.pixels, item.plan.strength)
        seen = _seen(painter, item, photo, Photo(pixels)) if item.plan.probed else {}
        yield item, item.still.with_pixels(pixels, photo.pixels), seen


def _seen(painter: Painter, item: Item, photo: Photo, result: Photo) -> dict[str, Pixels]:
    """The face in the source, edited with nothing smoothed, and edited: all three in one place."""
    assert item.own is not None
    try:
        crop = painter.cut(photo, item.plan.landmarks, item.plan.mesh)
    except ValueError:
        return {}
    loose = painter.paint(photo, crop, painter.legs([crop], item.own)[0])
    loose = Photo(_faded(photo.pixels, loose.pixels, item.plan.strength))
    shown = {"source": photo, "frame by frame": loose, "smoothed": result}
    return {name: painter.cut(each, item.plan.calm).pixels for name, each in shown.items()}


def _faded(before: Pixels, after: Pixels, strength: float) -> Pixels:
    if strength >= 1:
        return after
    mixed = before + strength * (after.astype(np.float32) - before)
    return mixed.round().clip(0, 255).astype(np.uint8)


class Flicker:
    """How far each frame's face is from the mean of its two neighbours, over some frames on end.

    Of an edited face, it is what the edit added that counts: the source's own grain and talking are in both. A face
    is compared by the means of 8 × 8 parts: of single pixels, rounding to whole levels alone makes 0.3 of a level.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.triples = 0
        self._last: deque[dict[str, Values]] = deque(maxlen=3)

    def add(self, seen: dict[str, Pixels]) -> None:
        if not seen:
            self._last.clear()
            return
        parts = {name: _parts(face) for name, face in seen.items()}
        source = parts["source"]
        self._last.append({name: face - source if name != "source" else source for name, face in parts.items()})
        if len(self._last) < 3:
            return
        self.triples += 1
        for name in seen:
            before, here, after = (each[name] for each in self._last)
            self.sums[name] = self.sums.get(name, 0.0) + float(np.abs(here - (before + after) / 2).mean())


def _parts(face: Pixels) -> Values:
    each = max(1, face.shape[0] // 8)
    whole = face[: face.shape[0] // each * each, : face.shape[1] // each * each].astype(np.float32)
    means: Values = whole.reshape(whole.shape[0] // each, each, -1, each, 3).mean(axis=(1, 3))
    return means


def _report(clip: Clip, work: Work, target: Path, went_on_from: int) -> Report:
    measured = [work.measured(chunk) or {} for chunk in range(work.chunks)]
    triples = sum(each["triples"] for each in measured)
    moments = sum(each["moments"] for each in measured)
    names = sorted({name for each in measured for name in each["flicker"]})
    cuts = sum(int(part.cuts.sum()) for k in range(work.chunks) if (part := work.found(k)) is not None)
    return Report(
        frames=work.total or 0,
        edited=sum(each["edited"] for each in measured),
        shots=cuts,
        went_on_from=went_on_from,
        flicker={name: sum(each["flicker"].get(name, 0.0) for each in measured) / triples for name in names},
        shaking={
            name: float(np.sqrt(sum(each[name] for each in measured) / moments))
            for name in ("found", "calm")
            if moments
        },
        recoded=tuple(recoded(clip, target)),
        dropped=clip.dropped,
        missing=max(0, clip.counted - (work.total or 0)),
    )


# ---- small things


def _batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while group := list(islice(items, size)):
        yield group


def _digest(path: Path) -> str:
    """Of a file's size and of its first and last megabyte: films are long."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(0, size - (1 << 20)))
        digest.update(file.read(1 << 20))
    return digest.hexdigest()


def _state_key(method: Method[Any]) -> str:
    """Tells one method's weights from another's, by a sum of each tensor."""
    sums = {name: float(value.double().sum()) for name, value in method.state_dict().items()}
    return hashlib.sha256(json.dumps([method.name, repr(method.config), sums]).encode()).hexdigest()


def _edit_key(edits: Edits) -> str:
    total = combine(edits)
    digest = hashlib.sha256()
    for offset in (total.w, total.s) if total else ():
        digest.update(b"none" if offset is None else offset.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
