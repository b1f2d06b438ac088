"""One protocol for every method of a bundle: the same photos, in the same batches, measured by the same networks.

What is measured stands in a function that a kind of run hands over; here is what all kinds share: reading, going on
where a run stopped, keeping one photo's failure from costing the others, and writing the folder.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bundles import Bundle
from ..bundles.bundle import find_bundle
from ..bundles.manifest import read_manifest
from ..editor import Editor, device_of
from ..files import file_sha256
from ..losses.inception import Inception
from ..losses.judge import Judge
from ..losses.perceptual import LPIPS, Backbone
from ..losses.teacher import folded
from ..methods import BASELINES
from ..metrics.identity import DlibIdentity, FaceIdentity, Identity
from ..metrics.similarity import rounded
from ..metrics.stats import INTERVAL, TEST, Summariser, agreement
from ..metrics.values import UNEDITED, Metric, Values
from ..photos import to_photo
from ..photos.framing import Crop
from ..progress import Progress
from ..tensors import BadTensors, read_tensors, write_tensors
from ..training.table import Split
from ..version import __version__
from .evaluators import Gauge, Seen
from .photos import Photos, Pictures, Selection, default_split, reason
from .store import (
    COSTS,
    PARTS,
    PICTURES,
    RUN,
    SOURCE,
    SUMMARY,
    VALUES,
    Failure,
    Kind,
    Picture,
    Record,
    RunFolder,
    Summary,
    picture_name,
)

PROBES = 5  # renders of one photo, of whose times the median counts
COSTLESS = {  # what a method is to beat
    "e4e": "the codes alone",
    "paste": "the edited picture of the codes, and what they lack of the photo laid over it, where it was",
    "carried": "the same, carried along the motion between the generator's two pictures",
    UNEDITED: "the photo as it is, whatever the edit",
}
SMALL = 128  # pixels up to which one picture's work does not fill several processors


@dataclass(frozen=True)
class Request:
    """What a person asks for. Of two requests that differ in nothing but `out`, every figure is the same."""

    bundle: str
    data: str
    out: Path
    methods: tuple[str, ...] = ()  # all that the bundle has, and the baselines, if none is named
    split: Split | None = None  # the test part of the table beside the photos, if there is one and this is not given
    every_photo: bool = False  # no split, even where there is one
    photos: int | None = 1000  # the first so many
    framing: Crop = "center"
    judge: str | None = None  # a file; the bundle's own part, if not given
    second_judge: str | None = None
    face: str | None = None  # a published face network
    face_crop: str | None = None  # how the photos show faces, where the bundle does not say
    lpips: str | None = None
    heads: str | None = None
    backbone: str = "alex"
    inception: str | None = None  # the network that defines the FID
    labels: str | None = None  # a table of attributes
    batch: int = 20
    seed: int = 0
    shown: int = 12  # photos of which pictures are kept
    device: str | None = None
    force: bool = False
    command: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)  # what else a kind of run asks


@dataclass
class Outcome:
    """What one method did with a batch of photos."""

    values: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # by condition and metric, [N]
    sets: dict[str, Tensor] = field(default_factory=dict)  # by condition, vectors [N, D] of what set distances compare
    pictures: dict[str, Tensor] = field(default_factory=dict)  # by condition, [N, 3, H, W]
    gaps: frozenset[str] = frozenset()  # metrics whose NaN says that a picture has no such figure, not that it failed


# Method, photos as the encoder takes them, photos as they were seen, the number of the first of them. A figure that is
# taken of the first few photos alone has as many rows.
Work = Callable[[str, Tensor, Seen, int], Outcome]


class Bench:
    """Everything that a run needs, opened and checked before anything is measured."""

    def __init__(self, kind: Kind, request: Request, say: Progress | None = None) -> None:
        self.kind, self.request, self.say = kind, request, say or (lambda what, done, total: None)
        folder = find_bundle(request.bundle)
        self.bundle, self.manifest = Bundle.load(folder), read_manifest(folder)
        self.device = device_of(request.device)
        self.methods = self._methods()
        self.editors = {name: Editor(self.bundle, name, self.device) for name in self.methods}
        self.notes: list[str] = []
        self.judges = self._judges()
        inception = Inception.open(request.inception).to(self.device) if request.inception else None
        self.gauge = Gauge(
            self.bundle.resolution, self._identities(), self.judges, self._lpips(), self._lpips_title, inception
        )
        self.photos = self._open_photos()
        self.folder = RunFolder(request.out)
        small = self.device.type == "cpu" and self.bundle.resolution <= SMALL
        self.workers = torch.get_num_threads() if small else 1
        self._sources: dict[int, Seen] = {}
        self._looking = threading.Lock()

    # ---- what is there

    def _open_photos(self) -> Pictures:
        request = self.request
        split = request.split if request.split or request.every_photo else default_split(request.data)
        width, height = self.bundle.domain.aspect
        return Photos(
            Selection(request.data, split, request.photos, request.framing, width / height),
            max(self.bundle.resolution, self.bundle.config("encoder").input_size),
            request.batch,
            lambda done, total: self.say("reading photos", done, total),
        )

    def _methods(self) -> tuple[str, ...]:
        if not self.bundle.methods:
            raise ValueError(f"bundle {self.bundle.name!r} has no method to measure: it has no encoder")
        there = (*self.bundle.methods, *BASELINES)
        for name in self.request.methods:
            if name not in there:
                raise ValueError(f"bundle {self.bundle.name!r} has no {name}; it has {', '.join(there)}")
        return tuple(name for name in there if name in self.request.methods) if self.request.methods else there

    def _judges(self) -> list[Judge]:
        judges = []
        if self.request.judge:
            judges.append(self._judge(self.request.judge))
        elif "judge" in self.bundle:
            judges.append(self.bundle.judge())
        if self.request.second_judge:
            if not judges:
                raise ValueError("a second judge needs a first one: give --judge FILE too")
            judges.append(self._judge(self.request.second_judge))
            if judges[0].config.attributes != judges[1].config.attributes:
                raise ValueError("the two judges tell other attributes apart, so they cannot be compared")
        if not judges:
            self.notes.append("There is no judge in the bundle, and none was given: no distance of features.")
        return [folded(judge).to(self.device) for judge in judges]

    def _judge(self, file: str) -> Judge:
        judge = Judge.open(file)
        judge.check_no_teacher(file)
        if not judge.role:
            self.notes.append(
                f"{Path(file).name} is of before networks said what they are for: if methods of this bundle have "
                "learned from it, it is no judge of them."
            )
        return judge

    def _identities(self) -> list[Identity]:
        found: list[Identity] = []
        if self.request.face:
            found.append(FaceIdentity.open(self.request.face, self.device))
        crop = self.request.face_crop or self.bundle.domain.crop
        try:
            found.append(DlibIdentity(crop, self.device))
        except ValueError as error:
            if self.request.face_crop:
                raise
            self.notes.append(f"No identity by dlib's network: {error}.")
        return found

    def _lpips(self) -> LPIPS | None:
        given = [self.request.lpips, self.request.heads]
        if not any(given):
            return None
        if self.request.lpips is None or self.request.heads is None:
            raise ValueError("LPIPS needs the backbone's weights and its linear heads: give --lpips and --heads")
        if self.request.backbone not in ("alex", "vgg"):
            raise ValueError(f"LPIPS is defined on alex and vgg, not on {self.request.backbone!r}")
        backbone: Backbone = "alex" if self.request.backbone == "alex" else "vgg"
        return LPIPS.open(backbone, self.request.lpips, self.request.heads).to(self.device)

    @property
    def _lpips_title(self) -> str:
        return f"LPIPS ({'AlexNet' if self.request.backbone == 'alex' else 'VGG'})"

    # ---- the run

    def record(self, conditions: Sequence[str], metrics: Sequence[Metric], **choices: Any) -> Record:
        """What this run is, before anything is measured."""
        request = self.request
        parts = {name: info.sha256 for name, info in self.manifest.parts.items()}
        networks = {
            name: file_sha256(Path(file))
            for name, file in {
                "judge": request.judge,
                "second judge": request.second_judge,
                "face": request.face,
                "lpips": request.lpips,
                "heads": request.heads,
                "inception": request.inception,
            }.items()
            if file
        }
        protocol = {
            "seed": request.seed,
            "photos": request.photos,
            "batch": request.batch,
            "resolution": self.bundle.resolution,
            "framing": request.framing,
            "identity": [identity.provenance for identity in self.gauge.identities],
            "judge": "the bundle's" if self.judges and not request.judge else Path(request.judge or "").name,
            "second judge": Path(request.second_judge or "").name,
            "networks": networks,
            "device": self.device.type,
            "shown": request.shown,
            **choices,
        }
        return Record(
            kind=self.kind,
            protocol=protocol,
            bundle={
                "name": self.bundle.name,
                "fingerprint": self.bundle.fingerprint,
                "resolution": self.bundle.resolution,
                "domain": self.bundle.domain.name,
                "origin": self.bundle.origin,
                "licence": self.bundle.licence,
                "parts": parts,
            },
            data={**self.photos.about, "photos": len(self.photos)},
            methods=self.methods,
            conditions=tuple(conditions),
            metrics=tuple(metrics),
            photos=self.photos.names,
            failures=tuple(self.photos.broken),
            versions=versions(),
            command=request.command,
        )

    def begin(self, record: Record) -> None:
        """Take the folder, or go on in it."""
        path = self.folder.path
        held = [each.name for each in path.iterdir()] if path.is_dir() else []
        if RUN in held:
            try:
                same = self.folder.record().identity == record.identity
            except ValueError:
                same = False
            if not same and not self.request.force:
                raise ValueError(
                    f"{path} holds a run of other methods, photos, networks or choices, with which this one cannot "
                    "go on: give another --out, or --force to replace it"
                )
            if not same or self.request.force:
                self._clear()
        elif held:
            raise ValueError(f"{path} is not empty and holds no run: give another --out")
        self.folder.write_record(record)

    def _clear(self) -> None:
        for name in (RUN, VALUES, SUMMARY, COSTS):
            (self.folder.path / name).unlink(missing_ok=True)
        for name in (PARTS, PICTURES):
            shutil.rmtree(self.folder.path / name, ignore_errors=True)

    def measure(self, record: Record, work: Work) -> tuple[Record, Values, dict[tuple[str, str], dict[str, Tensor]]]:
        """Every method on every batch, those done before taken from the folder. Gives the record with failures and
        pictures, the values, and the vectors by method and condition, by photo."""
        self.begin(record)
        values: Values = {}
        sets: dict[tuple[str, str], dict[str, Tensor]] = {}
        failures, pictures = list(record.failures), list[Picture]()
        every = [(batch, method) for batch in range(self.photos.batches) for method in self.methods]
        with _side_by_side(self.workers) as each_of:
            parts = each_of(lambda n: self._part(n) or self._measured(n, *every[n], work), range(len(every)))
            for done, ((batch, method), part) in enumerate(zip(every, parts), 1):
                names = self.photos.names_of(batch)
                for photo, condition, metric, value in part["values"]:
                    values.setdefault((method, condition, metric), {})[photo] = value
                for condition, (rows, vectors) in part["sets"].items():
                    held = sets.setdefault((method, condition), {})
                    held |= {names[row]: vector for row, vector in zip(rows, vectors)}
                failures += [Failure(photo, method, why) for photo, why in part["failures"]]
                pictures += [Picture(*each) for each in part["pictures"]]
                self.say("measuring", done, len(every))
        ordered = {key: values[key] for m in self.methods for key in values if key[0] == m}
        self.folder.write_values(ordered, self.photos.names)
        found = replace(record, failures=tuple(failures), pictures=tuple(dict.fromkeys(pictures)), complete=True)
        return found, ordered, sets

    def sources(self, batch: int) -> Seen:
        """A batch of the photos as they are: seen once for all methods."""
        with self._looking:
            if batch not in self._sources:
                if len(self._sources) > self.workers:
                    del self._sources[min(self._sources)]
                photos = _at(self.photos[batch].to(self.device), self.bundle.resolution)
                self._sources[batch] = self.gauge.look(photos)
            return self._sources[batch]

    def at_resolution(self, batch: int) -> Tensor:
        """A batch of the photos at the generator's size, as 8 bits keep them."""
        return rounded(_at(self.photos[batch].to(self.device), self.bundle.resolution))

    @torch.inference_mode()
    def judged(self, batch: int, judge: int = 0) -> tuple[Tensor, Tensor]:
        """What a judge alone makes of a batch of the photos: its vectors [N, D] and its logits [N, attributes]."""
        network = self.judges[judge]
        embedded = network.embed(self.at_resolution(batch))
        return embedded.float().cpu(), network.out(torch.relu(embedded)).float().cpu()

    def finish(self, record: Record, summary: Summary) -> None:
        self.folder.write_summary(summary)
        if not (self.folder.path / COSTS).is_file():
            self.folder.write_costs(self.costs())
        self.folder.write_record(record)

    # ---- one batch of one method

    def _measured(self, index: int, batch: int, method: str, work: Work) -> dict[str, Any]:
        names, photos = self.photos.names_of(batch), self.photos[batch].to(self.device)
        started = time.perf_counter()
        each, failed = attempt(work, method, photos, self.sources(batch), batch * self.request.batch)
        seconds = time.perf_counter() - started
        values = [
            [names[row], condition, metric, float(value)]
            for row, outcome in each.items()
            for (condition, metric), value in outcome.values.items()
        ]
        sets: dict[str, tuple[list[int], Tensor]] = {}
        for row, outcome in each.items():
            for condition, vector in outcome.sets.items():
                rows, vectors = sets.get(condition, ([], vector[:0]))
                sets[condition] = ([*rows, row], torch.cat([vectors, vector]))
        part = {
            "values": values,
            "failures": [[names[row], why] for row, why in failed.items()],
            "pictures": self._pictures(batch, method, each),
            "sets": {condition: rows for condition, (rows, _) in sets.items()},
            "seconds": seconds,
        }
        if sets:
            file = self.folder.path / PARTS / f"{index:05d}.safetensors"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(file, {condition or "-": vectors for condition, (_, vectors) in sets.items()})
        self.folder.write_part(index, part)
        return part | {"sets": sets}

    def _part(self, index: int) -> dict[str, Any] | None:
        part = self.folder.part(index)
        if part is None or not part["sets"]:
            return part
        try:
            vectors = read_tensors(self.folder.path / PARTS / f"{index:05d}.safetensors")[0]
            part["sets"] = {condition: (rows, vectors[condition or "-"]) for condition, rows in part["sets"].items()}
        except (BadTensors, KeyError):
            return None
        return part

    def _pictures(self, batch: int, method: str, each: Mapping[int, Outcome]) -> list[list[str]]:
        kept: list[list[str]] = []
        for row, photo in enumerate(self.photos.names_of(batch)):
            number = batch * self.request.batch + row
            if number >= self.request.shown:
                break
            drawn = each[row].pictures if row in each else {}
            shown = [(SOURCE, "", self.sources(batch).images[row])]
            shown += [(method, condition, image[0]) for condition, image in drawn.items()]
            for who, condition, image in shown:
                file = picture_name(number, who, condition)
                if who != SOURCE or not (self.folder.path / file).is_file():
                    to_photo(image.cpu(), self.bundle.domain.aspect).save(self.folder.path / file)
                kept.append([photo, who, condition, file])
        return kept

    # ---- what it costs

    def costs(self) -> dict[str, dict[str, float]]:
        """By method, of one photo alone: seconds to invert and to render, memory beyond what was there before."""
        found: dict[str, dict[str, float]] = {}
        photo = self.photos[0][:1].to(self.device)
        for method, editor in self.editors.items():
            try:
                memory = Memory(self.device)
                inversion = editor.invert(photo)
                editor.render(inversion)
                peak = memory.peak()
                invert = _median_seconds(lambda e=editor: e.invert(photo), self.device)  # type: ignore[misc]
                render = _median_seconds(lambda e=editor, i=inversion: e.render(i), self.device)  # type: ignore[misc]
            except Exception:  # it is among the failures
                continue
            found[method] = {"seconds_to_invert": invert, "seconds_to_render": render, "seconds": invert + render}
            if peak is not None:
                found[method]["peak_memory_mb"] = peak
        return found

    # ---- what it adds up to

    def summary(self, record: Record, values: Values) -> tuple[Summariser, Summary]:
        summariser = Summariser(self.methods, record.metrics, self.request.seed)
        rows = summariser.rows(values, record.photos)
        baselines = "; ".join(f"{name}, {what}" for name, what in COSTLESS.items() if name in self.methods)
        notes = [*self.notes, *([f"Baselines, to be beaten: {baselines}."] if baselines else []), *told(record)]
        agreed = agreement(rows, self.gauge.pairs) if self.gauge.pairs else []
        return summariser, Summary(INTERVAL, TEST, tuple(rows), (), tuple(agreed), tuple(notes))


def attempt(
    work: Work, method: str, photos: Tensor, seen: Seen, first: int = 0
) -> tuple[dict[int, Outcome], dict[int, str]]:
    """What became of each photo: its own outcome, or why there is none. One that fails does not stop the others."""
    try:
        whole = work(method, photos, seen, first)
        every = {row: _row(whole, row) for row in range(len(photos))}
    except Exception as error:
        if len(photos) == 1:
            return {}, {0: reason(error)}
        every, failed = dict[int, Outcome](), dict[int, str]()
        for row in range(len(photos)):
            good, bad = attempt(work, method, photos[row : row + 1], seen[row], first + row)
            every.update((row, outcome) for outcome in good.values())
            failed.update((row, why) for why in bad.values())
        return every, failed
    failed = {row: why for row, outcome in every.items() if (why := _wrong(outcome))}
    return {row: outcome for row, outcome in every.items() if row not in failed}, failed


def _row(outcome: Outcome, row: int) -> Outcome:
    def cut(tensors: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
        return {name: tensor[row : row + 1].cpu() for name, tensor in tensors.items() if row < len(tensor)}

    values = {at: value for at, value in cut(outcome.values).items() if at[1] not in outcome.gaps or not value.isnan()}
    return Outcome(values, cut(outcome.sets), cut(outcome.pictures))


def _wrong(outcome: Outcome) -> str:
    """A figure that is none: only an exact copy's ratio to its error may be infinite."""
    for (condition, metric), value in outcome.values.items():
        number = float(value)
        if not isfinite(number) and not (metric == "psnr" and number == inf):
            return f"{metric} is {number}" + f" under {condition}" * bool(condition)
    return ""


def told(record: Record) -> list[str]:
    """What a reader of the means must know of what failed."""
    broken = [failure for failure in record.failures if not failure.method]
    notes = []
    if broken:
        first = f"{broken[0].photo}: {broken[0].reason}"
        notes.append(f"{_count(len(broken), 'photo')} cannot be read and left out of every method ({first}).")
    for method in record.methods:
        failed = [failure for failure in record.failures if failure.method == method]
        if failed:
            notes.append(
                f"{method} failed on {_count(len(failed), 'photo')}, which count for no method where it is compared "
                f"({failed[0].photo}: {failed[0].reason})."
            )
    return notes


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def versions() -> dict[str, str]:
    import numpy

    return {
        "gradstyle": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def _at(photos: Tensor, side: int) -> Tensor:
    from ..encoder.e4e import fit

    return fit(photos, side)


@contextmanager
def _side_by_side(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` of so many threads. Each computes alone: two such do more than one that shares every small step out to
    two processors, and what is measured of a photo is that of one. Distances of sets are computed by all threads."""
    if workers == 1:
        yield map
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # threads to come take it from whoever said it last


# ---- time and memory


def _median_seconds(run: Callable[[], Any], device: torch.device) -> float:
    times = []
    for _ in range(PROBES):
        _wait(device)
        started = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - started)
    return sorted(times)[PROBES // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Memory:
    """The most memory that is held at once from here on, beyond what is held now, in MB; where it can be known."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = float(torch.cuda.memory_allocated(device))
        elif sys.platform == "linux":
            try:
                ctypes.CDLL(None).malloc_trim(0)  # what was freed before would hide what is taken
                Path("/proc/self/clear_refs").write_text("5")
                self.before = _status("VmRSS")
            except (OSError, AttributeError):
                self.before = -1.0
        else:
            self.before = -1.0

    def peak(self) -> float | None:
        if self.device.type == "cuda":
            return (torch.cuda.max_memory_allocated(self.device) - self.before) / 2**20
        return None if self.before < 0 else max(0.0, _status("VmHWM") - self.before) / 2**20


def _status(name: str) -> float:
    """Bytes, as Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
