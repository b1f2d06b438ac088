"""Stores what a run has done so far in a folder beside its target, from which a stopped run resumes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..files import write_text
from ..tensors import BadTensors, read_tensors, write_tensors
from .smooth import Flags, Numbers, Values, departures, fill, smooth
from .track import runs_of, size_of

CHUNK = 240  # frames found, and encoded, as one piece: what is lost when a run is stopped
FADE = 0.2  # seconds in which an edit comes and goes where a face does
PROBED = 7  # frames of each chunk on which flicker is measured
KINDS: dict[str, type[np.generic]] = {  # of what is found
    "times": np.int64,
    "cuts": np.bool_,
    "known": np.bool_,
    "landmarks": np.float64,
    "meshes": np.float32,
}


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """The face that was found in each of some frames."""

    times: Numbers  # [N], in units of the clip's time base
    cuts: Flags  # [N]: the first frame of a shot
    known: Flags  # [N]: a face was found
    landmarks: Values  # [N, 68, 2]
    meshes: Values  # [N, 468, 3]; zeros where there is none

    def __len__(self) -> int:
        return len(self.times)

    def save(self, path: Path) -> None:
        write_tensors(
            path, {name: torch.from_numpy(np.asarray(getattr(self, name), kind)) for name, kind in KINDS.items()}
        )

    @staticmethod
    def load(path: Path) -> FaceTrack:
        tensors = read_tensors(path)[0]
        return FaceTrack(*(tensors[name].numpy() for name in KINDS))

    @staticmethod
    def joined(parts: list[FaceTrack]) -> FaceTrack:
        return FaceTrack(*(np.concatenate([getattr(part, name) for part in parts]) for name in KINDS))


@dataclass(frozen=True, eq=False)
class Planned:
    """What the plan says of one frame."""

    joined: bool  # the face is the same as in the frame before
    landmarks: Values | None = None  # as found, gaps filled; None: there is no face
    calm: Values | None = None  # smoothed
    mesh: Values | None = None  # as found; None: none was
    calm_mesh: Values | None = None  # smoothed
    strength: float = 1.0  # below 1 while a face comes or goes
    probed: bool = False


class Work:
    """The folder; what it holds of another source, edit or version is deleted."""

    def __init__(self, target: Path, key: dict[str, Any]) -> None:
        self.folder = target.with_name(f".{target.name}.gradstyle")
        self.length = CHUNK
        self.total: int | None = None
        plan = self._read("plan.json")
        if plan is None or plan.get("key") != json.loads(json.dumps(key)):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self.key = key
            self._write("plan.json", {"key": key})
        else:
            self.key, self.total = key, plan.get("total")

    def finish_search(self, total: int) -> None:
        self.total = total
        self._write("plan.json", {"key": self.key, "total": total})

    def faces(self, chunk: int) -> FaceTrack | None:
        path = self.folder / f"faces-{chunk:05}.safetensors"
        try:
            return FaceTrack.load(path) if chunk >= 0 and path.is_file() else None
        except (BadTensors, KeyError):
            return None

    def put(self, chunk: int, faces: FaceTrack) -> None:
        faces.save(self.folder / f"faces-{chunk:05}.safetensors")

    def segment(self, chunk: int) -> Path:
        return self.folder / f"part-{chunk:05}.nut"

    def measured(self, chunk: int) -> dict[str, Any] | None:
        return self._read(f"part-{chunk:05}.json")

    def measure(self, chunk: int, values: dict[str, Any]) -> None:
        self._write(f"part-{chunk:05}.json", values)

    @property
    def chunks(self) -> int:
        return -(-(self.total or 0) // self.length)

    def finished(self, chunk: int) -> bool:
        return self.segment(chunk).is_file() and self.measured(chunk) is not None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def plan(self, chunk: int, unit: float, sigma: float) -> tuple[list[Planned], dict[str, float]]:
        """Plans each frame of a chunk by its landmarks and its neighbours', and sums how much the landmarks shook
        before and after smoothing."""
        parts = {k: part for k in (chunk - 1, chunk, chunk + 1) if (part := self.faces(k)) is not None}
        around, start = FaceTrack.joined(list(parts.values())), len(parts[chunk - 1]) if chunk - 1 in parts else 0
        here = slice(start, start + len(parts[chunk]))
        times = around.times * unit
        runs = runs_of(around.landmarks, around.known, around.cuts, times)
        filled = fill(around.landmarks, around.known, times, runs)
        calm = smooth(filled, times, runs, sigma)
        found = np.where(around.meshes.any(axis=(1, 2), keepdims=True), around.meshes.astype(np.float64), np.nan)
        meshes = fill(found, around.known, times, runs)
        calm_meshes = smooth(meshes, times, runs, sigma)
        strength = _strength(runs, around.cuts, times, chunk - 1 not in parts, chunk + 1 not in parts)
        probed = _probed(runs[here])
        planned = []
        for index in range(here.start, here.stop):
            joined = index > 0 and runs[index] == runs[index - 1]
            if runs[index] < 0:
                planned.append(Planned(joined))
            else:
                shown = bool(probed[index - start])
                plan = Planned(joined, filled[index], calm[index], strength=float(strength[index]), probed=shown)
                if not np.isnan(calm_meshes[index]).any():
                    plan = replace(plan, mesh=meshes[index], calm_mesh=calm_meshes[index])
                planned.append(plan)
        inside = np.where(np.arange(len(runs)) >= here.start, runs, -1)[: here.stop]
        sides = [size_of(calm[index]) for index in (inside >= 0).nonzero()[0]]
        shaken = {
            name: float(np.square(departures(values[: here.stop], inside)).sum())
            for name, values in (("found", filled), ("calm", calm))
        }
        moments = departures(filled[: here.stop], inside).size
        return planned, {**shaken, "moments": moments, "side": float(np.mean(sides)) if sides else 0.0}

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            value = json.loads((self.folder / name).read_text(encoding="utf-8"))
            return value if isinstance(value, dict) else None
        except (OSError, ValueError):
            return None

    def _write(self, name: str, value: dict[str, Any]) -> None:
        write_text(self.folder / name, json.dumps(value))


def _strength(runs: Numbers, cuts: Flags, times: Values, from_start: bool, to_end: bool) -> Values:
    """Returns the strength of the edit in each frame: 1, but it fades where a face comes or goes inside a shot."""
    strength = np.ones(len(runs))
    for run in np.unique(runs[runs >= 0]):
        inside = (runs == run).nonzero()[0]
        first, last = inside[0], inside[-1]
        if first > 0 and not cuts[first]:
            step = times[first] - times[first - 1]
            strength[inside] = np.minimum(strength[inside], (times[inside] - times[first] + step) / (FADE + step))
        if last < len(runs) - 1 and not cuts[last + 1]:
            step = times[last + 1] - times[last]
            strength[inside] = np.minimum(strength[inside], (times[last] - times[inside] + step) / (FADE + step))
    return strength


def _probed(runs: Numbers) -> Flags:
    """Picks up to PROBED consecutive frames of one run, as near to the middle as possible."""
    probed = np.zeros(len(runs), np.bool_)
    for length in range(PROBED, 2, -1):
        starts = [
            start
            for start in range(len(runs) - length + 1)
            if runs[start] >= 0 and (runs[start : start + length] == runs[start]).all()
        ]
        if starts:
            start = min(starts, key=lambda at: abs(2 * at + length - len(runs)))
            probed[start : start + length] = True
            break
    return probed
