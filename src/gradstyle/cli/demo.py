"""gradstyle demo: a real photo edited, within a minute of cloning."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import BundleOption, DeviceOption, errors, say
from .edit import note

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundles import Bundle
    from ..photos import Aligned, Photo

FIRST = ("yaw", "smile", "blond", "mouth", "gender", "makeup")  # the edits that are shown before others
MOST = 6  # edits
SHARE = 0.8  # of the way to a slider's end
GENERATED, SEED, TRUNCATION = 4, 3, 0.6


@dataclass(frozen=True)
class Shown:
    """All that the page shows."""

    bundle: Bundle
    about: str  # the portrait
    photo: Photo
    head: tuple[int, int, int, int]  # left, top, right and bottom of the part of it that is shown
    crop: Tensor  # [3, S, S]
    edits: dict[str, dict[str, float]]  # captions to amounts
    methods: dict[str, list[Tensor]]  # the reconstruction, then one an edit
    photos: dict[str, Photo]  # the whole photo, by caption
    generated: list[list[Tensor]]  # rows: the generated face, then one an edit
    first_edit: float  # seconds, with the loading of the bundle
    next_edit: float


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("out"),
    bundle: BundleOption = "faces",
    device: DeviceOption = None,
) -> None:
    """Edit a portrait and some generated faces with every method, offline, and write a page that shows it.

    The portrait is of the astronaut Eileen Collins (NASA, public domain). Both it and the model come with the package.
    """
    from ..files import write_text
    from ..photos import contact_sheet, write_picture

    began = time.perf_counter()
    with errors.status("inverting and editing"):
        shown = show(bundle, device)
    captions = ["photo", "no edit", *shown.edits]
    rows = [[shown.crop, *pictures] for pictures in shown.methods.values()]
    write_picture(contact_sheet(rows, captions, scale=2), out / "methods.png")
    write_picture(contact_sheet(shown.generated, ["generated", *shown.edits], scale=2), out / "generated.png")
    for number, photo in enumerate(shown.photos.values()):
        photo.save(out / f"portrait-{number + 1}.png")
    index = out / "index.html"
    write_text(index, page(shown))
    say(f"{index}: the page; open it in a browser")
    say(f"{out / 'methods.png'}: {', '.join(shown.methods)}, from top to bottom")
    say(f"{out / 'generated.png'}: faces of nobody, edited with {shown.bundle.usual_method}")
    if shown.photos:
        say(f"{out / 'portrait-1.png'} …: the whole photo with {', '.join(shown.photos)}")
    say(f"{time.perf_counter() - began:.0f} s. `gradstyle edit PHOTO --edit NAME=AMOUNT` does it with yours", "dim")


def show(name: str, device: str | None = None) -> Shown:
    import torch

    from ..bundles import Bundle
    from ..editor import Editor
    from ..encoder.e4e import fit
    from ..photos import align
    from ..photos.portraits import ABOUT, astronaut

    photo = astronaut()
    face = photo.faces[0]
    opened = Bundle.load(name)
    edits = chosen(opened)
    wanted = [{}, *edits.values()]
    methods: dict[str, list[Tensor]] = {}
    photos: dict[str, Photo] = {}
    generated: list[list[Tensor]] = []
    first = following = 0.0
    for method in opened.methods:
        began = time.perf_counter()
        editor = Editor(opened, method, device)
        crop: Aligned = align(photo, face, opened.domain, max(editor.resolution, opened.config("encoder").input_size))
        inversion = editor.invert(crop)
        if not methods:
            editor.render(inversion, wanted[-1])
            first, began = time.perf_counter() - began, time.perf_counter()
            editor.render(inversion, wanted[-1])
            following = time.perf_counter() - began
        methods[method] = list(editor.render_each(inversion, wanted).cpu())
        if method == opened.usual_method:
            photos = {caption: editor.edit(photo, amounts, tell=note) for caption, amounts in edits.items()}
            generator = opened.generator(device=editor.device)
            with torch.inference_mode():
                faces = generator(generator.sample(GENERATED, TRUNCATION, SEED)).clamp(-1, 1)
            of_each = [editor.render(editor.invert(faces), each).cpu() for each in edits.values()]
            generated = [list(row) for row in zip(faces.cpu(), *of_each)]
    small = fit(crop.image, opened.resolution)[0]
    return Shown(opened, ABOUT, photo, around_head(photo), small, edits, methods, photos, generated, first, following)


def page(shown: Shown) -> str:
    """Shows all of it in one file, which needs no network."""
    from PIL import Image

    from ..photos import to_photo
    from ..report.templates import data_uri, render

    def png(images: Iterable[Tensor]) -> list[str]:
        return [data_uri(Image.fromarray(to_photo(image).pixels), "png") for image in images]

    def head(photo: Photo) -> str:
        return data_uri(Image.fromarray(photo.pixels).crop(shown.head), "jpeg", quality=92)

    return render(
        "cli/demo.html.j2",
        shown=shown,
        portrait=head(shown.photo),
        portraits={caption: head(photo) for caption, photo in shown.photos.items()},
        methods={method: png([shown.crop, *images]) for method, images in shown.methods.items()},
        generated={number: png(images) for number, images in enumerate(shown.generated, 1)},
    )


def around_head(photo: Photo) -> tuple[int, int, int, int]:
    """A square of a photo around its largest face: hair, shoulders and some wall."""
    face = photo.faces[0]
    (x, y), half = face.landmarks.mean(axis=0), 1.7 * face.size
    side = int(min(2 * half, *photo.size))
    left, top = (
        int(min(max(0, middle - side / 2), length - side)) for middle, length in zip((x, y - 0.2 * half), photo.size)
    )
    return left, top, left + side, top + side


def chosen(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Some of the bundle's sliders, most of the way to the upper end, or to a lower one that is twice as far."""
    sliders = bundle.sliders
    order = sorted(sliders, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    ends = {}
    for name in order[:MOST]:
        low, high = sliders[name].low, sliders[name].high
        ends[name] = SHARE * (low if -low >= 2 * high else high)
    return {f"{name} {amount:+.1f}": {name: amount} for name, amount in ends.items()}
