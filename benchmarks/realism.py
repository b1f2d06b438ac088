"""How far generated, reconstructed and edited faces are from real ones, in the features of a network.

    python -m benchmarks realism faces celeba.zip --split attributes.csv:official_split=train \\
        --photos-of attributes.csv:official_split=test --edit smile --edit age --edit yaw
    python -m benchmarks realism … --descriptor dlib --at yaw=10 --at yaw=-10 --at smile=0.5

The judge's features are those of labels that the teacher of the methods has learned too; dlib's face descriptor shares
nothing with it. `--edit` renders the same amount of an edit with every method; `--at` the same change, as an onlooker
sees it on the mean of the first photos, so that whoever changes little is not the more real for it. Beside an edited
set stands its sharpness over the same method's reconstructions.

Each set is as large as the others, since the Fréchet distance depends on how many there are, and is compared with all
photos of --split. The photos of --photos-of themselves stand first: nearer than they are is nobody.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from gradstyle.bundles import Bundle
from gradstyle.editor import Editor
from gradstyle.encoder.e4e import fit
from gradstyle.evaluation.matching import VANISHES, crossing
from gradstyle.evaluation.photos import Photos, Selection
from gradstyle.losses.teacher import folded
from gradstyle.methods import BASELINES
from gradstyle.metrics.attributes import Target, target_of
from gradstyle.metrics.identity import DlibIdentity
from gradstyle.metrics.onlookers import ONLOOKERS, faces_of, measured
from gradstyle.metrics.similarity import frechet, rounded, sharpness
from gradstyle.training.table import Split

BATCH = 16
LOOKED_AT = 64  # photos, the first, whose mean change says which amount is rendered
AMOUNTS = (0.75, 1.5, 2.25, 3.0, 4.5)  # between which it is interpolated


def amount_of(bundle: Bundle, edit: str) -> float:
    return min(2.0, bundle.sliders[edit].high) if edit in bundle.sliders else 2.0


@torch.inference_mode()
def amount_at(editor: Editor, photos: Tensor, target: Target, goal: float) -> float | None:
    """The amount of an edit at which the mean change of photos comes to the goal; none where it never does."""
    onlooker, edit = ONLOOKERS[target.attribute], target.edit
    sense = onlooker.sign * (-1 if target.reverse else 1)
    photos = rounded(fit(photos, editor.resolution))
    inversion, places = editor.invert(photos), faces_of(photos)

    def seen(images: Tensor) -> Tensor:
        return sense * measured([onlooker], rounded(images), places)[onlooker.name]

    plain, own = seen(editor.render(inversion)), seen(photos)
    unit = float(own[~own.isnan()].std()) if onlooker.in_deviations else 1.0
    sign, path = (1 if goal > 0 else -1), [(VANISHES, 0.0)]
    for amount in AMOUNTS:
        change = sign * float((seen(editor.render(inversion, sign * amount * edit)) - plain).nanmean()) / unit
        path.append((f"{amount:g}", change))
        if (at := crossing(path[-2:], abs(goal))) is not None:
            return sign * at.value({f"{each:g}": each for each in AMOUNTS})
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("photos")
    parser.add_argument("--split", required=True, metavar="FILE:COLUMN=VALUE", help="the real faces to compare with")
    parser.add_argument("--photos-of", required=True, metavar="FILE:COLUMN=VALUE", help="the photos to work on")
    parser.add_argument("--count", type=int, default=1000, help="of those photos, and of samples")
    parser.add_argument("--edit", action="append", default=[], help="measured at amount 2, or its slider's end")
    parser.add_argument("--at", action="append", default=[], metavar="EDIT=CHANGE", help="in degrees, or deviations")
    parser.add_argument("--descriptor", choices=("judge", "dlib"), default="judge")
    parser.add_argument("--method", action="append", help="of the bundle's, or a baseline; all if not given")
    given = parser.parse_args()

    bundle = Bundle.load(given.bundle)
    generator, judge = bundle.generator(), folded(bundle.judge())
    side = bundle.config("encoder").input_size

    dlib = DlibIdentity(bundle.domain.crop) if given.descriptor == "dlib" else None

    @torch.inference_mode()
    def look(images: Tensor) -> Tensor:
        images = rounded(fit(images, generator.config.resolution))
        return (judge.embed(images) if dlib is None else dlib.embed(images)).double()

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

    table = Table("", title=f"{count:,} pictures each, to {len(real):,} real faces, in {given.descriptor}'s features")
    table.add_column("Fréchet distance", justify="right")
    table.add_column("sharpness", justify="right")
    scale = 1 if dlib is None else 1000  # its vectors have a length of about one

    def tell(what: str, features: Tensor, sharp: Sequence[Tensor] = ()) -> None:
        mean = f"{torch.cat([*sharp]).mean():.3f}" if sharp else ""
        table.add_row(what, f"{scale * frechet(features, truth):.2f}", mean)

    tell("photos held out", seen(each_of(held), count, "photos held out"))
    for truncation in (1.0, 0.7):
        what = f"samples, truncation {truncation}"
        tell(what, seen(samples(truncation), count, what))
    edits, amounts = bundle.edits, {name: amount_of(bundle, name) for name in given.edit}
    changes = {f"{name} {amount:+g}": amount * edits[name] for name, amount in amounts.items()}
    wanted = [text.partition("=") for text in given.at]
    for method in given.method or [*bundle.methods, *BASELINES]:
        editor, found, sharp = Editor(bundle, method), dict[str, list[Tensor]](), dict[str, list[Tensor]]()
        first = torch.cat([held[batch] for batch in range(min(held.batches, LOOKED_AT // BATCH))])
        mine = dict(changes)
        for name, _, goal in wanted:
            target = target_of(name, edits[name], bundle.sliders.get(name), judge.config.attributes)
            amount = amount_at(editor, first, target, float(goal))
            if amount is None:
                table.add_row(f"{method}, {name} changed by {goal}", "not reached", "")
            else:
                mine[f"{name} changed by {goal} (amount {amount:+.2f})"] = amount * edits[name]
        for batch in track(range(held.batches), method, transient=True):
            inversion = editor.invert(held[batch])
            plain = editor.render(inversion)
            found.setdefault("reconstructions", []).append(look(plain))
            for what, change in mine.items():
                drawn = editor.render(inversion, change)
                found.setdefault(what, []).append(look(drawn))
                sharp.setdefault(what, []).append(sharpness(rounded(drawn), rounded(plain)))
        for what, features in found.items():
            tell(f"{method}, {what}", torch.cat(features), sharp.get(what, ()))
    Console().print(table)


if __name__ == "__main__":
    main()
