"""Whether the aligners of a bundle's weights align: error after alignment over that of leaving residuals as they lie.

    python -m benchmarks aligner --bundle faces --data celeba.zip --photos 200

Of warps, on photos if they are given, else on the generator's samples; and of edits, on samples, whose truth is known.
Below 1 alignment helps; at 1 it does nothing; above it harms.
"""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table
from torch import Tensor

from gradstyle.bundles import Bundle
from gradstyle.evaluation.alignment import Alignment, of_edits, under_warps
from gradstyle.evaluation.photos import Photos, Selection, default_split
from gradstyle.methods.gradmove import GradMove
from gradstyle.methods.gradstyle import GradStyle

EDITS = ("smile", "age", "yaw")


def photos_of(bundle: Bundle, data: str, count: int) -> Tensor:
    side = bundle.config("encoder").input_size
    width, height = bundle.domain.aspect
    selection = Selection(data, default_split(data), count, "center", width / height)
    return Photos(selection, side, count)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="faces")
    parser.add_argument("--data", help="photos: a folder, a zip or a tar; their test part, if a table beside them says")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--amount", type=float, default=1.5, help="of the edits")
    given = parser.parse_args()
    bundle = Bundle.load(given.bundle)
    codes = bundle.generator().sample(given.photos, 0.7, seed=1)
    photos = photos_of(bundle, given.data, given.photos) if given.data else bundle.generator()(codes).clamp(-1, 1)
    edits = [bundle.edits[name] for name in EDITS if name in bundle.edits]
    table = Table("method", "task", "stage by stage", "together")

    def add(name: str, task: str, found: Alignment) -> None:
        table.add_row(name, task, "  ".join(f"{ratio:.2f}" for ratio in found.ratios), f"{found.together:.2f}")

    for name in bundle.methods:
        method = bundle.method(name)
        if isinstance(method, GradStyle | GradMove):
            add(name, "warps", under_warps(method, photos))
            for edit in edits:
                for sign in (1, -1):
                    amount = sign * given.amount
                    add(name, f"{edit.name} {amount:+g}", of_edits(method, codes, amount * edit))
    Console().print(table)


if __name__ == "__main__":
    main()
