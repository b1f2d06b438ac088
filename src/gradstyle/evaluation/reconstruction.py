"""How near each method comes to the photo itself: the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..metrics.similarity import frechet, kernel_distance
from ..metrics.values import Row, contenders
from ..progress import Progress
from .evaluators import INCEPTION, INCEPTION_SETS, JUDGE_SETS, Features
from .measurement import Measurement
from .protocol import Protocol
from .run import Run, Sets
from .store import Record, RunFolder


def reconstruction(protocol: Protocol, progress: Progress | None = None) -> RunFolder:
    """Measures every method's reconstruction of every photo, and writes the run's folder."""
    run = Run("reconstruction", protocol, progress)
    evaluators = run.evaluators

    def work(method: str, photos: Tensor, sources: Features, first: int) -> Measurement:
        editor = run.editors[method]
        pictures = evaluators.look(editor.render(editor.invert(photos)))
        measurement = Measurement(sets=pictures.sets(""), pictures={"": pictures.images})
        measurement.add("", evaluators.compare(pictures, sources))
        return measurement

    record = run.record([""], [*evaluators.pair_metrics, *evaluators.set_metrics])
    record, values, sets = run.measure(record, work)
    summary = run.summary(record, values)
    rows = (*summary.rows, *set_rows(record, sets, source_vectors(run)))
    return run.finish(record, replace(summary, rows=rows))


def source_vectors(run: Run) -> dict[str, dict[str, Tensor]]:
    """Every photo's own vector, by network as a set's name ends."""
    by_network: dict[str, dict[str, Tensor]] = {}
    for batch in range(run.photos.batches):
        for network, vectors in run.sources(batch).sets("").items():
            by_network.setdefault(network, {}).update(zip(run.photos.names_of(batch), vectors))
    return by_network


def set_rows(record: Record, sets: Sets, photos: Mapping[str, Mapping[str, Tensor]], condition: str = "") -> list[Row]:
    """Distances of sets: of what all methods have under a condition, to a set of photos."""
    rows: list[Row] = []
    for network, metrics in (("", JUDGE_SETS), (INCEPTION, INCEPTION_SETS)):
        reference = photos.get(network, {})
        measured = {m: vectors for m in record.methods if (vectors := sets.get((m, condition + network)))}
        shared = [photo for photo in record.photos if all(photo in vectors for vectors in measured.values())]
        if not measured or len(shared) < 2 or len(reference) < 2:
            continue
        theirs = torch.stack(list(reference.values()))
        ours = {m: torch.stack([vectors[photo] for photo in shared]) for m, vectors in measured.items()}
        for metric, distance in zip(metrics, (frechet, kernel_distance)):
            distances = {m: distance(vectors, theirs) for m, vectors in ours.items()}
            rivals = contenders(distances, condition)
            best = min(rivals, key=lambda m: distances[m]) if len(rivals) > 1 else None
            for m, value in distances.items():
                missing = len(record.photos) - len(measured[m])
                row = Row(m, condition, metric.name, value, None, None, len(shared), missing, best=m == best)
                rows.append(row)
    return rows
