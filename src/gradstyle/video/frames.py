"""Inverts, edits and encodes the frames of a video; a few before and after each are held, to smooth over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..edits import Edits
from ..methods import Inversion, Method
from ..photos.align import Aligned, Frame, HasCrop, align, aligned_by, frame_of
from ..photos.carry import Carrier
from ..photos.faces import Face, Pixels, Points
from ..photos.head import Likeness
from ..photos.legs import Leg, legs_of, meshes_of, turning_steps
from ..photos.paste import put
from ..photos.photo import Photo
from ..progress import Progress
from ..stylegan2 import Codes
from .checkpoint import Planned, Work
from .flicker import Flicker
from .reading import Clip, Still
from .smooth import REACH, Values, around, weights
from .track import bounds
from .writing import QUALITY, Format, Segment

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


@dataclass(eq=False)
class Item:
    """A frame on its way through the stages."""

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
    """Applies a method to the faces of frames."""

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
        """Renders the edit for each crop."""
        inversion = self.method.invert(self._batch(crops), codes)
        return [self._legs(crop, inversion[k]) for k, crop in enumerate(crops)]

    def _legs(self, crop: Aligned, inversion: Inversion) -> list[Leg]:
        def render(entries: Sequence[Edits]) -> Tensor:
            return self.method.render_each(inversion, entries).clamp(-1, 1)

        meshed = crop.face is not None and crop.face.mesh is not None
        return legs_of(render, self.edits, turning=turning_steps(meshed))

    def paint(self, photo: Photo, crop: Aligned, legs: list[Leg]) -> Photo:
        """Returns the photo with the face edited."""
        carry = Carrier.of(photo, crop, legs[0].path[0]).along(legs)
        return photo if carry is None else replace(photo, pixels=put(photo.pixels, crop.frame, carry))

    def _batch(self, crops: list[Aligned]) -> Tensor:
        return torch.cat([crop.image for crop in crops]).to(self.device)


def edit_frames(clip: Clip, work: Work, painter: Painter, form: Format, options: Options, tell: Progress) -> None:
    chunk = next((k for k in range(work.chunks) if not work.finished(k)), None)
    if chunk is None:
        return
    first = chunk * work.length
    total = work.total or 0
    batch = max(1, min(8, HELD // (clip.width * clip.height * 3)))
    items = _read(clip, work, options, max(0, first - 2 * REACH))
    items = _rendered(_smoothed(_encoded(items, painter, batch), options.codes), painter, batch, first - REACH)
    drawn = _edited(_with_steady_meshes(items, LONGER * options.codes), painter, first)
    done = (each for each in drawn if each[0].still.index >= first)
    for chunk, group in groupby(done, key=lambda each: each[0].still.index // work.length):
        flicker = Flicker()
        edited = 0
        with Segment(work.segment(chunk), clip, form) as segment:
            for item, still, faces in group:
                segment.write(still)
                edited += item.run >= 0
                flicker.add(faces)
                tell("editing", item.still.index + 1, total)
        _, shaken = work.plan(chunk, float(clip.time_base), options.landmarks)
        work.measure(chunk, {"edited": edited, "flicker": flicker.sums, "triples": flicker.triples, **shaken})


Drawn = tuple[Item, Still, dict[str, Pixels]]


def _read(clip: Clip, work: Work, options: Options, start: int) -> Iterator[Item]:
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


def _encoded(items: Iterator[Item], painter: Painter, batch: int) -> Iterator[Item]:
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


def _smoothed(items: Iterator[Item], sigma: float) -> Iterator[Item]:
    """Smooths codes over time, of one face at a time."""
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


def _with_steady_meshes(items: Iterator[Item], sigma: float) -> Iterator[Item]:
    """Averages an edit's meshes over time: those found in small renderings tremble."""
    for item, near, share in _windows(items, sigma, degree=0):
        ways = [[other.meshes[k] if other.meshes else None for other in near] for k in range(len(item.legs))]
        item.legs = [replace(leg, meshes=steadied(way, share, near.index(item))) for leg, way in zip(item.legs, ways)]
        yield item


def steadied(meshes: Sequence[Points | None], share: Values, here: int) -> Points | None:
    """Averages meshes before and after an edit [2, 468, 3], each moved to where the one `here` is before it."""
    there = meshes[here]
    known = [(mesh, weight) for mesh, weight in zip(meshes, share.tolist()) if mesh is not None]
    if not known:
        return None
    place = known[0][0][0] if there is None else there[0]
    brought = [weight * Likeness.between(mesh[0], place)(mesh) for mesh, weight in known]
    return np.asarray(sum(brought) / sum(weight for _, weight in known), np.float64)


def _windows(items: Iterator[Item], sigma: float, degree: int = 2) -> Iterator[tuple[Item, list[Item], Values]]:
    """Yields each frame with those of the same face around it in time, and the weight of each."""
    past: deque[Item] = deque(maxlen=REACH)
    waiting: deque[Item] = deque()

    def first() -> tuple[Item, list[Item], Values]:
        item = waiting.popleft()
        window = [*past, item, *waiting]
        times, runs = np.array([i.seconds for i in window]), np.array([i.run for i in window])
        # Later frames need only its codes and meshes.
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


def _edited(items: Iterator[Item], painter: Painter, first: int) -> Iterator[Drawn]:
    for item in items:
        if item.run < 0 or item.still.index < first or item.aligned is None:
            yield item, item.still, {}
            continue
        photo = Photo(item.still.pixels())
        result = painter.paint(photo, item.aligned, item.legs)
        pixels = _faded(photo.pixels, result.pixels, item.plan.strength)
        faces = _probe(painter, item, photo, Photo(pixels)) if item.plan.probed else {}
        yield item, item.still.with_pixels(pixels, photo.pixels), faces


def _probe(painter: Painter, item: Item, photo: Photo, result: Photo) -> dict[str, Pixels]:
    """Cuts the face out of the source, of the edit with nothing smoothed, and of the edit, all in one place."""
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


def _batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while group := list(islice(items, size)):
        yield group
