"""How near each method comes to the photo itself: the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..metrics.similarity import frechet, kernel_distance
from ..metrics.values import Row, contenders
from ..progress import Progress
from .bench import Bench, Outcome, Request
from .evaluators import DEFINED, INCEPTION, JUDGED, Seen
from .store import Record, RunFolder


def reconstruction(request: Request, say: Progress | None = None) -> RunFolder:
    """Measure every method's reconstruction of every photo, and write the run's folder."""
    bench = Bench("reconstruction", request, say)
    record = bench.record([""], [*bench.gauge.pair_metrics, *bench.gauge.set_metrics])

    def work(method: str, photos: Tensor, seen: Seen, first: int) -> Outcome:
        editor = bench.editors[method]
        image = editor.render(editor.invert(photos))
        again = bench.gauge.look(image)
        values = {("", metric): value for metric, value in bench.gauge.compare(again, seen).items()}
        return Outcome(values, again.sets(""), {"": again.images})

    record, values, sets = bench.measure(record, work)
    _, summary = bench.summary(record, values)
    rows = [*summary.rows, *set_rows(bench, record, sets, source_vectors(bench))]
    bench.finish(record, replace(summary, rows=tuple(rows)))
    return bench.folder


Sets = dict[tuple[str, str], dict[str, Tensor]]  # by method and condition, then by photo


def source_vectors(bench: Bench) -> dict[str, dict[str, Tensor]]:
    """Every photo's own vector, by network as a set's name ends."""
    found: dict[str, dict[str, Tensor]] = {}
    for batch in range(bench.photos.batches):
        vectors = {"": bench.judged(batch)[0]} if bench.judges else {}
        if bench.gauge.inception is not None:
            with torch.inference_mode():
                vectors[INCEPTION] = bench.gauge.inception(bench.at_resolution(batch)).cpu()
        for network, each in vectors.items():
            found.setdefault(network, {}).update(zip(bench.photos.names_of(batch), each))
    return found


def set_rows(
    bench: Bench, record: Record, sets: Sets, photos: Mapping[str, Mapping[str, Tensor]], condition: str = ""
) -> list[Row]:
    """Distances of sets: of what all methods have under a condition, to a set of photos."""
    rows: list[Row] = []
    for network, metrics in (("", JUDGED), (INCEPTION, DEFINED)):
        reference = photos.get(network, {})
        there = {m: each for m in record.methods if (each := sets.get((m, condition + network)))}
        shared = [photo for photo in record.photos if all(photo in vectors for vectors in there.values())]
        if not there or len(shared) < 2 or len(reference) < 2:
            continue
        theirs = torch.stack(list(reference.values()))
        for metric, measure in zip(metrics, (frechet, kernel_distance)):
            found = {m: measure(torch.stack([v[photo] for photo in shared]), theirs) for m, v in there.items()}
            rivals = contenders(found, condition)
            best = min(rivals, key=lambda m: found[m]) if len(rivals) > 1 else None
            rows += [
                Row(
                    m,
                    condition,
                    metric.name,
                    value,
                    None,
                    None,
                    len(shared),
                    len(record.photos) - len(there[m]),
                    None,
                    m == best,
                )
                for m, value in found.items()
            ]
    return rows
