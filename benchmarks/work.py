"""How much arithmetic editing a photo takes at 1024 pixels: ours, and the published inference code's.

python -m benchmarks.work

A method's own arithmetic is the same in both; what differs is how often it is done. The published code of StyleRes,
SDIC and HFGI makes every edit from the photo, so that all that depends on the photo alone is done again. Here `invert`
does that once. It also finishes what the reconstruction needs, which an edit alone would not have asked for: so the
first edit of StyleRes and HFGI costs more than theirs, and each further one about half.

Counted with torch's FLOP counter, on networks without weights and pictures without pixels: convolutions, matrix
products and attention, two FLOP for a multiplication with its addition. Not counted: normalisation, activations,
resizing, noise, the building of modulated kernels, and the search for the best keys in Selective Attention (its scores
and products are counted in full, as they are computed). The flows below are the published ones, composed of our
modules, for one photo of 256 pixels and a generator of 1024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from gradstyle.edits import Edit
from gradstyle.encoder import Encoder
from gradstyle.methods import HFGI, METHODS, SDIC, Inversion, Method, StyleRes
from gradstyle.methods.method import at_encoder_size
from gradstyle.methods.selective_attention import selective_attention_reference
from gradstyle.stylegan2 import Canvas, Codes, Generator

# ---- one edit as the published inference code makes it


def of_e4e(method: Method[Any], photo: Tensor, edit: Edit) -> None:
    """Codes once, a picture for each edit. As ours."""
    inversion = method.invert(photo)
    method.render_codes(inversion, edit.apply(inversion.codes))


def of_hfgi(method: HFGI, photo: Tensor, edit: Edit) -> None:
    """The picture of the codes, that of the edit, and the edit's once more from the first layer on, with details."""
    codes = method.codes_of(photo, None)
    _, image = whole(method, codes)
    distortion = photo - at_encoder_size(image, method.side)
    moved = edit.apply(codes)
    _, image = whole(method, moved)
    aligned = method.aligner(distortion, at_encoder_size(image, method.side))
    canvas = method.generator.run(method.generator.start(moved), moved, to=method.config.layer)
    method.generator.run(method.consult(canvas, aligned), moved)


def of_sdic(method: SDIC, photo: Tensor, edit: Edit) -> None:
    """The picture of the codes and the compensation; the whole picture of the edit for its one feature; the edit."""
    inversion = method.invert(photo)
    moved = edit.apply(inversion.codes)
    canvas, _ = whole(method, moved)
    feature = canvas.feature + inversion.added
    canvas = method.generator.run(method.generator.start(moved), moved, to=method.config.layer)
    method.generator.run(canvas.replace(feature), moved)


def of_styleres(method: StyleRes, photo: Tensor, edit: Edit) -> None:
    """The encoder, the unedited feature, E1, the edited picture with E2 on its way."""
    codes, taps = method.encode(photo, None)
    moved = edit.apply(codes)
    here, there = (method.generator.run(method.generator.start(c), c, to=method.config.layer) for c in (codes, moved))
    feature, _ = method.e2(there.feature, method.e1(taps[method.config.tap], here.feature))
    method.generator.run(there.replace(feature), moved)


def whole(method: HFGI | SDIC, codes: Codes) -> tuple[Canvas, Tensor]:
    """A pass through all layers, and what it was at the method's one."""
    canvas = method.generator.run(method.generator.start(codes), codes, to=method.config.layer)
    return canvas, method.generator.run(canvas, codes).image


PUBLISHED: dict[str, Callable[..., None]] = {
    "styleres": of_styleres,
    "sdic": of_sdic,
    "hfgi": of_hfgi,
    "e4e": of_e4e,  # GradStyle's code is not public, and nobody else has GradMove's
}


# ---- counting


def gflop(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def megabytes(inversion: Inversion) -> float:
    held: list[int] = []

    def weigh(tensor: Tensor) -> Tensor:
        held.append(tensor.nbytes)
        return tensor

    inversion.map(weigh)
    return sum(held) / 1e6


def count(method: Method[Any], photo: Tensor, edit: Edit) -> dict[str, float]:
    """GFLOP of ours, and of one edit of the published code where there is one; what an inversion keeps, in MB."""
    inversion = method.invert(photo)
    figures = {
        "invert": gflop(lambda: method.invert(photo)),
        "reconstruct": gflop(lambda: method.reconstruct(inversion)),
        "edit": gflop(lambda: method.render_codes(inversion, edit.apply(inversion.codes))),
        "kept": megabytes(inversion),
    }
    if method.name in PUBLISHED:
        figures["published"] = gflop(lambda: PUBLISHED[method.name](method, photo, edit))
    return figures


def table(figures: dict[str, dict[str, float]]) -> str:
    lines = [
        "| GFLOP | kept, MB | invert | reconstruct | an edit | first edit | published: first | each further "
        "| ours to published: first | each further | ten |",
        "| --- " + "| ---: " * 10 + "|",
    ]
    for name, of in figures.items():
        invert, edit = of["invert"], of["edit"]
        row = [f"{of['kept']:.1f}"] + [f"{value:.0f}" for value in (invert, of["reconstruct"], edit, invert + edit)]
        if "published" in of:
            first = of["published"]
            further = edit if name == "e4e" else first  # e4e's script keeps the codes for all edits
            row += [f"{first:.0f}", f"{further:.0f}"]
            ratios = (invert + edit) / first, edit / further, (invert + 10 * edit) / (first + 9 * further)
            row += [f"{ratio:.2f}" for ratio in ratios]
        else:
            row += ["–"] * 5
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    # How Selective Attention keeps memory low asks for values, which there are none of here; its definition does not.
    attention = patch("gradstyle.methods.selective_attention.selective_attention", selective_attention_reference)
    with FakeTensorMode(), torch.no_grad(), attention:
        generator, encoder, photo = Generator(), Encoder(), torch.empty(1, 3, 256, 256)
        edit = Edit("any", torch.empty(generator.config.codes, generator.config.w_dim))
        figures = {name: count(kind(generator, encoder).eval(), photo, edit) for name, kind in METHODS.items()}
    print(table(figures))


if __name__ == "__main__":
    main()
