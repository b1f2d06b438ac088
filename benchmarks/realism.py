"""How far generated, reconstructed and edited faces are from real ones, in the features of a bundle's judge.

    python -m benchmarks.realism faces celeba.zip --split attributes.csv:official_split=train \\
        --photos-of attributes.csv:official_split=test --edit smile --edit age --edit yaw

Each set is as large as the others, since the Fréchet distance depends on how many there are, and is compared with all
photos of --split. The photos of --photos-of themselves stand first: nearer than they are is nobody.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from gradstyle.bundles import Bundle
from gradstyle.editor import Editor
from gradstyle.evaluation.metrics import frechet, rounded
from gradstyle.evaluation.photos import Photos, Selection
from gradstyle.losses.teacher import folded
from gradstyle.training.data import Split

BATCH = 16


def amount_of(bundle: Bundle, edit: str) -> float:
    return min(2.0, bundle.sliders[edit].high) if edit in bundle.sliders else 2.0


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

    @torch.inference_mode()
    def look(images: Tensor) -> Tensor:
        return judge.embed(rounded(images)).double()

    def seen(batches: Iterator[Tensor], total: int, what: str) -> Tensor:
        return torch.cat([look(each) for each in track(batches, what, total=-(-total // BATCH), transient=True)])

    def photos_of(split: str, count: int | None) -> Photos:
        return Photos(Selection(given.photos, Split.parse(split), count), side, BATCH)

    def each_of(photos: Photos) -> Iterator[Tensor]:
        return (photos[batch] for batch in range(photos.batches))

    real = photos_of(given.split, None)
    truth = seen(each_of(real), len(real), "real faces")
    held = photos_of(given.photos_of, given.count)
    count = len(held)

    @torch.inference_mode()
    def sample(first: int, truncation: float) -> Tensor:
        return generator(generator.sample(min(BATCH, count - first), truncation, seed=first))  # type: ignore[no-any-return]

    def samples(truncation: float) -> Iterator[Tensor]:
        return (sample(first, truncation) for first in range(0, count, BATCH))

    table = Table("", title=f"{count:,} pictures each, to {len(real):,} real faces, in the judge's features")
    table.add_column("Fréchet distance", justify="right")

    def tell(what: str, features: Tensor) -> None:
        table.add_row(what, f"{frechet(features, truth):.2f}")

    tell("photos held out", seen(each_of(held), count, "photos held out"))
    for truncation in (1.0, 0.7):
        what = f"samples, truncation {truncation}"
        tell(what, seen(samples(truncation), count, what))
    edits, amounts = bundle.edits, {name: amount_of(bundle, name) for name in given.edit}
    changes = {f"{name} {amount:+g}": amount * edits[name] for name, amount in amounts.items()}
    for method in bundle.methods:
        editor, found = Editor(bundle, method), dict[str, list[Tensor]]()
        for batch in track(range(held.batches), method, transient=True):
            inversion = editor.invert(held[batch])
            for what, change in {"reconstructions": (), **changes}.items():
                found.setdefault(what, []).append(look(editor.render(inversion, change)))
        for what, features in found.items():
            tell(f"{method}, {what}", torch.cat(features))
    Console().print(table)


if __name__ == "__main__":
    main()
