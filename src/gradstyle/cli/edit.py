"""gradstyle edit, sweep, compare: photos changed in one thing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import BundleOption, DeviceOption, ForceOption, MethodOption, OutOption, console, writable

if TYPE_CHECKING:
    from torch import Tensor

PhotoArgument = Annotated[Path, typer.Argument(help="A photo, cut as the bundle's own training photos are.")]
EditOption = Annotated[
    list[str], typer.Option("--edit", "-e", help="NAME=AMOUNT, such as smile=2. Several add up.", metavar="NAME=AMOUNT")
]


def edit(
    photo: PhotoArgument,
    edits: EditOption = [],  # noqa: B006
    bundle: BundleOption = "faces",
    method: MethodOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Edit a photo. Without --edit it comes back reconstructed.

    gradstyle edit me.jpg --edit smile=2 --edit age=-1 --bundle ffhq --method gradstyle
    """
    from ..editor import load
    from ..photos import open_photo

    target = writable(out or photo.with_name(f"{photo.stem}-edited.png"), force)
    picture = open_photo(photo)
    editor = load(bundle, method, device)
    editor.edit(picture, ", ".join(edits) if edits else ()).save(target)
    console.print(str(target), soft_wrap=True, highlight=False)


def sweep(
    photo: PhotoArgument,
    name: Annotated[str, typer.Argument(help="The edit to sweep over.")],
    low: Annotated[float, typer.Option(help="The first amount.")] = -3.0,
    high: Annotated[float, typer.Option(help="The last amount.")] = 3.0,
    steps: Annotated[int, typer.Option(min=2, max=200, help="How many pictures.")] = 7,
    bundle: BundleOption = "faces",
    method: MethodOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Show an edit over a range of amounts: a strip, or a moving picture if --out ends in .gif or .webp."""
    import torch
    from PIL import Image

    from ..editor import load
    from ..photos import contact_sheet, open_photo, to_photo

    target = writable(out or photo.with_name(f"{photo.stem}-{name}.png"), force)
    editor = load(bundle, method, device)
    inversion = editor.invert(open_photo(photo))
    amounts = torch.linspace(low, high, steps).tolist()
    images = [editor.render(inversion, {name: amount})[0].cpu() for amount in amounts]
    if target.suffix in (".gif", ".webp"):
        frames = [Image.fromarray(to_photo(image, editor.bundle.domain.aspect).pixels) for image in images]
        frames += frames[-2:0:-1]  # there and back
        frames[0].save(target, save_all=True, append_images=frames[1:], duration=1400 // steps, loop=0)
    else:
        contact_sheet([images], [f"{amount:+.3g}" for amount in amounts]).save(target)
    console.print(str(target), soft_wrap=True, highlight=False)


def compare(
    photo: PhotoArgument,
    edits: EditOption = [],  # noqa: B006
    bundle: BundleOption = "faces",
    out: OutOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Put all methods of a bundle side by side: the source, each reconstruction, each edit."""
    from ..bundles import Bundle
    from ..editor import Editor, parse_edits
    from ..encoder.e4e import fit
    from ..photos import contact_sheet, open_photo, to_image

    target = writable(out or photo.with_name(f"{photo.stem}-compared.png"), force)
    opened = Bundle.load(bundle)
    picture = open_photo(photo)
    wanted = parse_edits(", ".join(edits)) if edits else {}
    rows: list[list[Tensor]] = [[], []] if wanted else [[]]
    for method in opened.methods:
        editor = Editor(opened, method, device)
        inversion = editor.invert(picture)
        rows[0].append(editor.render(inversion)[0].cpu())
        if wanted:
            rows[1].append(editor.render(inversion, wanted)[0].cpu())
    source = to_image(picture, opened.domain.aspect, opened.resolution)
    for row in rows:
        row.insert(0, fit(source, opened.resolution)[0])
    contact_sheet(rows, ["source", *opened.methods]).save(target)
    console.print(str(target), soft_wrap=True, highlight=False)
