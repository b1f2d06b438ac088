"""Edits a video: the face is found in every frame first, then each frame is inverted, edited and encoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..edits import Edits, combine
from ..methods import Method
from ..photos.align import HasCrop
from ..photos.faces import Points
from ..progress import Progress, silent
from .checkpoint import FaceTrack, Work
from .frames import Options, Painter, edit_frames
from .reading import Clip, open_clip
from .track import Cuts, Follower
from .writing import Format, check_video_name, join, recoded

DEFAULTS = Options()


@dataclass(frozen=True)
class VideoReport:
    """What was done to a video.

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
    options: Options = DEFAULTS,
    tell: Progress = silent,
    follower: Callable[[], Follower] = Follower,
    note: str = "",
) -> VideoReport:
    """Edits the largest face of each shot. A stopped run resumes when it is started again."""
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
    if work.total is None or not all(work.faces(chunk) for chunk in range(work.chunks)):
        _search(clip, work, None if options.aligned else follower(), tell)
    painter = Painter(method, edits, domain, options)
    before = next((k for k in range(work.chunks) if not work.finished(k)), work.chunks) * work.length
    edit_frames(clip, work, painter, form, options, tell)
    metadata = {k: v for k, v in clip.metadata.items() if k.lower() in KEPT}
    metadata["comment"] = "; ".join(filter(None, [metadata.get("comment"), note or "edited with GradStyle"]))
    parts = [work.faces(chunk) for chunk in range(work.chunks)]
    join([(work.segment(k), int(part.times[0])) for k, part in enumerate(parts) if part], clip, target, metadata)
    report = _report(clip, work, target, min(before, work.total or 0))
    work.remove()
    return report


KEPT = ("title", "artist", "comment", "date", "creation_time", "location", "copyright", "description", "genre", "album")


NO_MESH = np.zeros((468, 3))


def _search(clip: Clip, work: Work, follow: Follower | None, tell: Progress) -> None:
    cuts, chunk, rows, any_face, count = Cuts(), 0, [], False, 0
    while (part := work.faces(chunk)) is not None and len(part) == work.length:
        chunk, any_face = chunk + 1, any_face or bool(part.known.any())
        if follow is not None and part.known[-1]:
            follow.last = part.landmarks[-1]
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
            any_face |= _store(work, chunk, rows)
            chunk, rows = chunk + 1, []
        tell("finding the face", count, max(clip.frames, count))
    if rows:
        any_face |= _store(work, chunk, rows)
    if not any_face:
        work.remove()
        raise ValueError(
            f"{clip.path}: no face was found in any of its {count} frames; "
            "if all of it is one face, cut as the bundle's photos are, say --aligned"
        )
    work.finish_search(count)


def _store(work: Work, chunk: int, rows: list[tuple[int, bool, bool, Points, Points]]) -> bool:
    part = FaceTrack(*(np.array(column) for column in zip(*rows)))
    work.put(chunk, part)
    return bool(part.known.any())


def _report(clip: Clip, work: Work, target: Path, went_on_from: int) -> VideoReport:
    measured = [work.measured(chunk) or {} for chunk in range(work.chunks)]
    triples = sum(each["triples"] for each in measured)
    moments = sum(each["moments"] for each in measured)
    names = sorted({name for each in measured for name in each["flicker"]})
    cuts = sum(int(part.cuts.sum()) for k in range(work.chunks) if (part := work.faces(k)) is not None)
    return VideoReport(
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


def _digest(path: Path) -> str:
    """Hashes a file's size and its first and last megabyte: films are long."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(0, size - (1 << 20)))
        digest.update(file.read(1 << 20))
    return digest.hexdigest()


def _state_key(method: Method[Any]) -> str:
    """Hashes a method's config and the sum of each weight tensor."""
    sums = {name: float(value.double().sum()) for name, value in method.state_dict().items()}
    return hashlib.sha256(json.dumps([method.name, repr(method.config), sums]).encode()).hexdigest()


def _edit_key(edits: Edits) -> str:
    total = combine(edits)
    digest = hashlib.sha256()
    for offset in (total.w, total.s) if total else ():
        digest.update(b"none" if offset is None else offset.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
