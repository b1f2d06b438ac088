"""gradstyle edit, sweep, compare: photos changed in one thing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import BundleOption, DeviceOption, ForceOption, MethodOption, OutOption, picture_target, say

if TYPE_CHECKING:
    from torch import Tensor

PhotoArgument = Annotated[Path, typer.Argument(help="A photo, cut as the bundle's own training photos are.")]
EditOption = Annotated[
    list[str], typer.Option("--edit", "-e", help="NAME=AMOUNT, such as smile=2. Several add up.", metavar="NAME=AMOUNT")
]
PASS = 1400  # milliseconds from one end of a moving sweep to the other


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

    target = picture_target(out or photo.with_name(f"{photo.stem}-edited.png"), force)
    picture = open_photo(photo)
    editor = load(bundle, method, device)
    editor.edit(picture, ", ".join(edits)).save(target)
    say(str(target))


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
    from ..photos import contact_sheet, open_photo, to_photo, write_picture

    target = picture_target(out or photo.with_name(f"{photo.stem}-{name}.png"), force)
    picture = open_photo(photo)
    editor = load(bundle, method, device)
    direction = editor.edit_named(name)
    inversion = editor.invert(picture)
    amounts = torch.linspace(low, high, steps).tolist()
    images = [editor.render(inversion, amount * direction)[0].cpu() for amount in amounts]
    if target.suffix.lower() in (".gif", ".webp"):
        frames = [Image.fromarray(to_photo(image, editor.bundle.domain.aspect).pixels) for image in images]
        frames += frames[-2:0:-1]  # there and back
        write_picture(
            frames[0], target, save_all=True, append_images=frames[1:], duration=max(PASS // steps, 20), loop=0
        )
    else:
        write_picture(contact_sheet([images], [f"{amount:+.3g}" for amount in amounts]), target)
    say(str(target))


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
    from ..editor import Editor
    from ..encoder.e4e import fit
    from ..photos import contact_sheet, open_photo, to_image, write_picture

    target = picture_target(out or photo.with_name(f"{photo.stem}-compared.png"), force)
    picture = open_photo(photo)
    opened = Bundle.load(bundle)
    source = fit(to_image(picture, opened.domain.aspect, opened.resolution), opened.resolution)[0]
    rows: list[list[Tensor]] = [[source], [source]] if edits else [[source]]
    for method in opened.methods:
        editor = Editor(opened, method, device)
        inversion = editor.invert(picture)
        for row, wanted in zip(rows, ("", ", ".join(edits))):
            row.append(editor.render(inversion, wanted)[0].cpu())
    write_picture(contact_sheet(rows, ["source", *opened.methods]), target)
    say(str(target))
