"""How far generated, reconstructed and edited faces are from real ones, in the features of a bundle's judge.

    python -m benchmarks.realism faces celeba.zip --split attributes.csv:official_split=train \\
        --photos-of attributes.csv:official_split=test --edit smile --edit age --edit yaw

Each set is as large as the others, since the Fréchet distance depends on how many there are, and is compared with all
photos of --split. The photos of --photos-of themselves stand first: nearer than they are is nobody.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from gradstyle.bundles import Bundle
from gradstyle.editor import Editor
from gradstyle.evaluation.metrics import frechet, kernel_distance, rounded
from gradstyle.evaluation.photos import Photos, Selection
from gradstyle.losses.teacher import folded
from gradstyle.training.data import Split

BATCH = 16


def split_of(text: str) -> Split:
    file, _, rule = text.rpartition(":")
    column, _, value = rule.partition("=")
    return Split(file, column, value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("photos")
    parser.add_argument("--split", required=True, metavar="FILE:COLUMN=VALUE", help="the real faces to compare with")
    parser.add_argument("--photos-of", required=True, metavar="FILE:COLUMN=VALUE", help="the photos to work on")
    parser.add_argument("--count", type=int, default=1000, help="of those photos, and of samples")
    parser.add_argument("--edit", action="append", default=[], help="measured at amount 2, or its slider's end")
    given = parser.parse_args()

    bundle = Bundle.load(given.bundle)
    generator, judge = bundle.generator(), folded(bundle.judge())
    side = bundle.config("encoder").input_size

    def seen(batches: Iterator[Tensor], total: int, what: str) -> Tensor:
        steps = track(batches, what, total=-(-total // BATCH), transient=True)
        with torch.inference_mode():
            return torch.cat([judge.embed(rounded(each)) for each in steps]).double()

    def photos_of(split: str, count: int | None) -> Photos:
        return Photos(Selection(given.photos, split_of(split), count), side, BATCH)

    def each_of(photos: Photos, draw: Callable[[Tensor], Tensor] = lambda photo: photo) -> Iterator[Tensor]:
        return (draw(photos[batch]) for batch in range(photos.batches))

    real = photos_of(given.split, None)
    truth = seen(each_of(real), len(real), "real faces")
    held = photos_of(given.photos_of, given.count)
    count = len(held)

    def samples(truncation: float) -> Iterator[Tensor]:
        for first in range(0, count, BATCH):
            yield generator(generator.sample(min(BATCH, count - first), truncation, seed=first)).clamp(-1, 1)

    table = Table("", title=f"{count:,} pictures each, to {len(real):,} real faces, in the judge's features")
    for column in ("Fréchet distance", "kernel distance × 1000"):
        table.add_column(column, justify="right")

    def tell(what: str, batches: Iterator[Tensor]) -> None:
        features = seen(batches, count, what)
        table.add_row(what, f"{frechet(features, truth):.2f}", f"{1000 * kernel_distance(features, truth):.1f}")

    tell("photos held out", each_of(held))
    for truncation in (1.0, 0.7):
        tell(f"samples, truncation {truncation}", samples(truncation))
    for method in bundle.methods:
        editor = Editor(bundle, method)
        tell(f"{method}, reconstructions", each_of(held, lambda photo, e=editor: e.render(e.invert(photo))))  # type: ignore[misc]
        for name in given.edit:
            amount = min(2.0, bundle.sliders[name].high) if name in bundle.sliders else 2.0
            change = amount * bundle.edits[name]
            draw = lambda photo, e=editor, c=change: e.render(e.invert(photo), c)  # noqa: E731
            tell(f"{method}, {name} {amount:+g}", each_of(held, draw))
    Console().print(table)


if __name__ == "__main__":
    main()
