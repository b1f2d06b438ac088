"""How near each method comes to the photo itself: the paper's Table 1."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .bench import Bench, Outcome, Request, Say
from .gauge import FIRST, Seen
from .metrics import frechet, kernel_distance
from .store import Metric, Record, Row, RunFolder

SETS = (
    Metric(
        "judge_frechet",
        "Fréchet distance (judge features)",
        "lower",
        "of all reconstructions to all photos, in the judge's embedding; not FID",
    ),
    Metric(
        "judge_kernel",
        "Kernel distance (judge features)",
        "lower",
        "squared maximum mean discrepancy, cubic kernel, in the judge's embedding; not KID",
    ),
)


def reconstruction(request: Request, say: Say | None = None) -> RunFolder:
    """Measure every method's reconstruction of every photo, and write the run's folder."""
    bench = Bench("reconstruction", request, say)
    judged = bool(bench.judges)
    record = bench.record([""], [*bench.gauge.pair_metrics, *(SETS if judged else ())])

    def work(method: str, photos: Tensor, seen: Seen, first: int) -> Outcome:
        editor = bench.editors[method]
        image = editor.render(editor.invert(photos))
        again = bench.gauge.look(image)
        values = {("", metric): value for metric, value in bench.gauge.compare(again, seen).items()}
        return Outcome(values, {"": again.embeddings[0]} if judged else {}, {"": again.images})

    record, values, sets = bench.measure(record, work)
    _, summary = bench.summary(record, values)
    rows = list(summary.rows)
    if judged:
        rows += set_rows(record, sets, source_vectors(bench))
    bench.finish(record, replace(summary, rows=tuple(rows)))
    return bench.folder


def source_vectors(bench: Bench) -> dict[str, Tensor]:
    """The judge's vector of every photo."""
    each = [bench.judged(batch)[0] for batch in range(bench.photos.batches)]
    return dict(zip(bench.photos.names, torch.cat(each)))


def set_rows(
    record: Record,
    sets: dict[tuple[str, str], dict[str, Tensor]],
    reference: dict[str, Tensor],
    condition: str = "",
) -> list[Row]:
    """Distances of sets: of what all methods have under a condition, to a set of photos."""
    there = {m: sets[m, condition] for m in record.methods if sets.get((m, condition))}
    shared = [photo for photo in record.photos if all(photo in vectors for vectors in there.values())]
    if len(shared) < 2 or len(reference) < 2:
        return []
    theirs = torch.stack(list(reference.values()))
    rows = []
    for metric, measure in ((f"{FIRST}_frechet", frechet), (f"{FIRST}_kernel", kernel_distance)):
        found = {m: measure(torch.stack([v[photo] for photo in shared]), theirs) for m, v in there.items()}
        best = min(found, key=lambda m: found[m]) if len(found) > 1 else None
        rows += [
            Row(
                m,
                condition,
                metric,
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
