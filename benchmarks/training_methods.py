"""Whether each method learns on real photos: PSNR on photos held out, before and after some minutes of training.

    python -m benchmarks.training_methods DATA --bundle BUNDLE --recipe faces-64 --minutes 1 \\
        --split attributes.csv:official_split=train --held-out val

A bundle without an encoder gets one first, for as many minutes. All methods see the same photos for the same time,
which is not the same number of photos; how many each saw is told. Before training, a method is as its constructor
makes it, on the trained encoder; e4e is that encoder alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from gradstyle.bundles import Bundle
from gradstyle.images import to_float
from gradstyle.methods import METHODS, Method
from gradstyle.training import recipe as recipes
from gradstyle.training.images import Images
from gradstyle.training.launch import Request, start, trainable
from gradstyle.training.table import Split
from gradstyle.training.trainable import Budget, Progress

TRAINED = ("gradmove", "gradstyle", "styleres", "sdic", "hfgi")


class Quiet:
    def show(self, progress: Progress, goal: int, terms: Mapping[str, float], left: float | None) -> None: ...

    def say(self, text: str) -> None: ...


@torch.no_grad()
def psnr(method: Method[Any], photos: Tensor) -> float:
    """The mean over photos, of pictures clipped to [−1, 1]."""
    every = []
    for part in photos.split(8):
        drawn = method.render(method.invert(part)).clamp(-1, 1)
        error = ((drawn - part) / 2).square().flatten(1).mean(dim=1)
        every.append(-10 * error.log10())
    return float(torch.cat(every).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--recipe", default="faces-64")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--split", default="", help="FILE:COLUMN=VALUE of the photos to learn from")
    parser.add_argument("--held-out", default="val", help="the same column's value for the photos to measure on")
    parser.add_argument("--photos", type=int, default=64, help="how many of those")
    parser.add_argument("--teacher", help="a teacher's file; without it pixels alone are compared")
    parser.add_argument("--methods", nargs="+", default=list(TRAINED), choices=TRAINED)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.KEY=VALUE")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="training-methods-"))
    file, _, rule = given.split.rpartition(":")
    column, _, value = rule.partition("=")
    chosen = [f'data.split=["{file}", "{column}", "{value}"]'] if file else []

    def train(kind: str, bundle: str) -> int:
        inputs = {"bundle": bundle, **({"teacher": given.teacher} if given.teacher else {})}
        changes = [*chosen, *(each.partition(".")[2] for each in given.set if each.startswith(f"{kind}."))]
        request = Request(
            kind, given.data, folder / kind, given.recipe, changes, inputs, cache=given.cache, export=True
        )
        return start(request, Budget(minutes=given.minutes), Quiet()).progress.images

    source, seen = given.bundle, 0
    if "encoder" not in Bundle.load(source):
        seen = train("encoder", source)
        source = str(folder / "encoder" / "bundle")
    bundle = Bundle.load(source)
    data = recipes.load(trainable("encoder").Recipe, "encoder", given.recipe).data
    split = Split(file, column, given.held_out) if file else None
    width, height = data.aspect
    images = Images.open(given.data, data.resolution, crop=data.crop, aspect=width / height, split=split, cache=None)
    photos = to_float(images.gather(range(min(given.photos, len(images)))))

    title = f"PSNR on {len(photos)} photos {'held out' if file else 'of the training set'}, {given.minutes:g} minutes"
    table = Table("method", "photos seen", "before", "after", "gained", title=title)
    console = Console()
    code = psnr(bundle.method("e4e"), photos)
    table.add_row("e4e", f"{seen:,}" if seen else "(given)", "", f"{code:.2f}", "")
    for kind in given.methods:
        count = train(kind, source)
        trained = Bundle.load(folder / kind / "bundle").method(kind)
        torch.manual_seed(0)
        untrained = METHODS[kind](bundle.generator(), bundle.encoder(), trained.config).eval()
        before, after = psnr(untrained, photos), psnr(trained, photos)
        table.add_row(kind, f"{count:,}", f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}")
    console.print(table)
    mean = photos.mean(dim=0, keepdim=True)  # of the photos that are measured, which flatters it
    flat = float((-10 * ((photos - mean) / 2).square().flatten(1).mean(dim=1).log10()).mean())
    console.print(f"the mean picture for every photo: {flat:.2f}; the runs are in {folder}")


if __name__ == "__main__":
    main()
