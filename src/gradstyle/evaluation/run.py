"""One run: the same photos, in the same batches, for every method, measured by the same networks.

A kind of run hands over what it measures of a batch. What all kinds share is here: going on where a run stopped,
keeping one photo's failure from costing the others, and writing the folder.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ..bundles import Bundle
from ..editor import Editor, device_of
from ..encoder.e4e import fit
from ..files import file_sha256
from ..methods import BASELINES
from ..metrics.stats import INTERVAL, TEST, agreement, summarise
from ..metrics.values import UNEDITED, Metric, Values
from ..photos import to_photo
from ..photos.framing import Crop
from ..progress import Progress, silent
from ..version import __version__
from .costs import measure_costs
from .evaluators import Evaluators, Features
from .measurement import Measurement, OncePerBatch, Work, attempt, side_by_side
from .photos import Photos, Pictures, Selection, default_split
from .protocol import Protocol
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

COSTLESS = {  # what a method is to beat
    "e4e": "the codes alone",
    "paste": "the edited picture of the codes, and what they lack of the photo laid over it, where it was",
    "carried": "the same, carried along the motion between the generator's two pictures",
    UNEDITED: "the photo as it is, whatever the edit",
}
FRAMING: Crop = "center"
SMALL = 128  # pixels up to which one picture's work does not fill several processors
Sets = dict[tuple[str, str], dict[str, Tensor]]  # vectors by method and condition, then by photo


class Run:
    """A protocol with everything that it names, opened and checked before anything is measured."""

    def __init__(self, kind: Kind, protocol: Protocol, progress: Progress | None = None) -> None:
        self.kind, self.protocol, self.progress = kind, protocol, progress or silent
        self.bundle, self.device = Bundle.load(protocol.bundle), device_of(protocol.device)
        self.methods = self._methods()
        self.editors = {name: Editor(self.bundle, name, self.device) for name in self.methods}
        self.notes: list[str] = []
        self.evaluators = Evaluators.open(protocol, self.bundle, self.device, self.notes.append)
        self.photos = self._open_photos()
        self.folder = RunFolder(protocol.out)
        small = self.device.type == "cpu" and self.bundle.resolution <= SMALL
        self.workers = torch.get_num_threads() if small else 1
        self.sources = OncePerBatch(self._look_at_sources, self.workers + 1)

    def _methods(self) -> tuple[str, ...]:
        if not self.bundle.methods:
            raise ValueError(f"bundle {self.bundle.name!r} has no method to measure: it has no encoder")
        methods, wanted = (*self.bundle.methods, *BASELINES), self.protocol.methods
        for name in wanted:
            if name not in methods:
                raise ValueError(f"bundle {self.bundle.name!r} has no {name}; it has {', '.join(methods)}")
        return tuple(name for name in methods if name in wanted) if wanted else methods

    def _open_photos(self) -> Pictures:
        protocol, (width, height) = self.protocol, self.bundle.domain.aspect
        split = protocol.split if protocol.split or protocol.every_photo else default_split(protocol.data)
        return Photos(
            Selection(protocol.data, split, protocol.photos, FRAMING, width / height),
            max(self.bundle.resolution, self.bundle.config("encoder").input_size),
            protocol.batch,
            lambda done, total: self.progress("reading photos", done, total),
        )

    # ---- the photos

    def _look_at_sources(self, batch: int) -> Features:
        """The photos at the generator's size, as the networks see them."""
        return self.evaluators.look(fit(self.photos[batch].to(self.device), self.bundle.resolution))

    # ---- the run

    def record(self, conditions: Sequence[str], metrics: Sequence[Metric], **choices: Any) -> Record:
        """What this run is, before anything is measured."""
        protocol, bundle = self.protocol, self.bundle
        networks = ("judge", "second_judge", "face_network", "lpips", "heads", "inception")
        files = {name.removesuffix("_network").replace("_", " "): getattr(protocol, name) for name in networks}
        recorded = {
            "seed": protocol.seed,
            "photos": protocol.photos,
            "batch": protocol.batch,
            "resolution": bundle.resolution,
            "framing": FRAMING,
            "identity": [identity.provenance for identity in self.evaluators.identities],
            "judge": "the bundle's"
            if self.evaluators.judges and not protocol.judge
            else Path(protocol.judge or "").name,
            "second judge": Path(protocol.second_judge or "").name,
            "networks": {name: file_sha256(Path(file)) for name, file in files.items() if file},
            "device": self.device.type,
            "shown": protocol.shown,
            **choices,
        }
        python, version = platform.python_version(), numpy.__version__
        versions = {"gradstyle": __version__, "python": python, "torch": torch.__version__, "numpy": version}
        return Record(
            kind=self.kind,
            protocol=recorded,
            bundle=_described(bundle),
            data={**self.photos.about, "photos": len(self.photos)},
            methods=self.methods,
            conditions=tuple(conditions),
            metrics=tuple(metrics),
            photos=self.photos.names,
            failures=tuple(self.photos.broken),
            versions=versions,
            command=protocol.command,
        )

    def _begin(self, record: Record) -> None:
        """Takes the folder, or goes on in it."""
        path = self.folder.path
        names = [each.name for each in path.iterdir()] if path.is_dir() else []
        if names and RUN not in names:
            raise ValueError(f"{path} is not empty and holds no run: give another --out")
        if names:
            try:
                same = self.folder.record().identity == record.identity
            except ValueError:
                same = False
            if not same and not self.protocol.force:
                raise ValueError(
                    f"{path} holds a run of other methods, photos, networks or choices, with which this one cannot "
                    "go on: give another --out, or --force to replace it"
                )
            if self.protocol.force:
                for name in (RUN, VALUES, SUMMARY, COSTS):
                    (path / name).unlink(missing_ok=True)
                for name in (PARTS, PICTURES):
                    shutil.rmtree(path / name, ignore_errors=True)
        self.folder.write_record(record)

    def measure(self, record: Record, work: Work) -> tuple[Record, Values, Sets]:
        """Measures every method on every batch, but for those that the folder has already.

        Gives the record with failures and pictures, the values, and the vectors of set distances.
        """
        self._begin(record)
        values, sets = Values(), Sets()
        failures, pictures = list(record.failures), list[Picture]()
        tasks = [(batch, method) for batch in range(self.photos.batches) for method in self.methods]
        with side_by_side(self.workers) as map_:
            parts = map_(lambda n: self.folder.part(n) or self._measure_part(n, *tasks[n], work), range(len(tasks)))
            for done, ((batch, method), part) in enumerate(zip(tasks, parts), 1):
                names = self.photos.names_of(batch)
                for photo, condition, metric, value in part["values"]:
                    values.setdefault((method, condition, metric), {})[photo] = value
                for condition, vectors in part["sets"].items():
                    sets.setdefault((method, condition), {}).update({names[row]: v for row, v in vectors.items()})
                failures += [Failure(photo, method, why) for photo, why in part["failures"]]
                pictures += [Picture(*each) for each in part["pictures"]]
                self.progress("measuring", done, len(tasks))
        values = {key: values[key] for method in self.methods for key in values if key[0] == method}
        self.folder.write_values(values, self.photos.names)
        unique = tuple(dict.fromkeys(pictures))
        return replace(record, failures=tuple(failures), pictures=unique, complete=True), values, sets

    def summary(self, record: Record, values: Values) -> Summary:
        rows = summarise(values, record.photos, self.methods, record.metrics, self.protocol.seed)
        baselines = "; ".join(f"{name}, {what}" for name, what in COSTLESS.items() if name in self.methods)
        beaten = [f"Baselines, to be beaten: {baselines}."] if baselines else []
        notes = (*self.notes, *beaten, *failure_notes(record))
        agreed = agreement(rows, self.evaluators.agreement_pairs("distance"))
        return Summary(INTERVAL, TEST, tuple(rows), (), tuple(agreed), notes)

    def finish(self, record: Record, summary: Summary) -> RunFolder:
        self.folder.write_summary(summary)
        if not (self.folder.path / COSTS).is_file():
            self.folder.write_costs(measure_costs(self.editors, self.photos[0][:1].to(self.device)))
        self.folder.write_record(record)
        return self.folder

    # ---- one batch of one method

    def _measure_part(self, index: int, batch: int, method: str, work: Work) -> dict[str, Any]:
        names, photos = self.photos.names_of(batch), self.photos[batch].to(self.device)
        started = time.perf_counter()
        measured, failed = attempt(work, method, photos, self.sources(batch), batch * self.protocol.batch)
        seconds = time.perf_counter() - started
        sets: dict[str, dict[int, Tensor]] = {}
        for row, measurement in measured.items():
            for condition, vector in measurement.sets.items():
                sets.setdefault(condition, {})[row] = vector[0]
        values = [
            [names[row], condition, metric, float(value)]
            for row, measurement in measured.items()
            for (condition, metric), value in measurement.values.items()
        ]
        failures = [[names[row], why] for row, why in failed.items()]
        part = {"values": values, "failures": failures, "pictures": self._write_pictures(batch, method, measured)}
        part |= {"sets": {condition: list(rows) for condition, rows in sets.items()}, "seconds": seconds}
        self.folder.write_part(index, part, sets)
        return part | {"sets": sets}

    def _write_pictures(self, batch: int, method: str, measured: Mapping[int, Measurement]) -> list[list[str]]:
        pictures: list[list[str]] = []
        first = batch * self.protocol.batch
        for row, photo in enumerate(self.photos.names_of(batch)[: max(0, self.protocol.shown - first)]):
            drawn = measured[row].pictures if row in measured else {}
            images = [(SOURCE, "", self.sources(batch).images[row])]
            images += [(method, condition, image[0]) for condition, image in drawn.items()]
            for who, condition, image in images:
                file = picture_name(first + row, who, condition)
                if who != SOURCE or not (self.folder.path / file).is_file():
                    self.save_picture(image, file)
                pictures.append([photo, who, condition, file])
        return pictures

    def save_picture(self, image: Tensor, file: str) -> None:
        to_photo(image.cpu(), self.bundle.domain.aspect).save(self.folder.path / file)


def _described(bundle: Bundle) -> dict[str, Any]:
    names = ("name", "fingerprint", "resolution", "domain", "origin", "licence")
    about = {name: getattr(bundle, name) for name in names}
    return about | {"domain": bundle.domain.name, "parts": bundle.digests}


def failure_notes(record: Record) -> list[str]:
    """What a reader of the means must know of what failed."""
    notes = []
    for method in ("", *record.methods):
        failures = [failure for failure in record.failures if failure.method == method]
        if failures:
            count = f"{len(failures):,} photo{'s' * (len(failures) != 1)}"
            first = f"({failures[0].photo}: {failures[0].reason})"
            if method:
                notes.append(f"{method} failed on {count}, which count for no method where it is compared {first}.")
            else:
                notes.append(f"{count} cannot be read and left out of every method {first}.")
    return notes
