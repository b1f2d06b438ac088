"""gradstyle sweep, compare: an edit over a range of amounts, and methods side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import (
    AlignedOption,
    BeyondOption,
    BundleOption,
    DeviceOption,
    EditOption,
    FaceOption,
    ForceOption,
    MethodOption,
    OutOption,
    picture_target,
    say,
)  # fmt: skip
from .edit import allowed, amounts_of, loaded, which_face

if TYPE_CHECKING:
    from torch import Tensor

    from ..editor import Which

PhotoArgument = Annotated[Path, typer.Argument(help="A photo.", show_default=False)]
PASS = 1400  # milliseconds from one end of a moving sweep to the other


def sweep(
    photo: PhotoArgument,
    name: Annotated[str, typer.Argument(help="The edit to sweep over.")],
    low: Annotated[float | None, typer.Option(help="The first amount; the slider's least, or -3.")] = None,
    high: Annotated[float | None, typer.Option(help="The last amount; the slider's largest, or 3.")] = None,
    steps: Annotated[int, typer.Option(min=2, max=200, help="How many pictures.")] = 7,
    bundle: BundleOption = "faces",
    method: MethodOption = None,
    out: OutOption = None,
    face: FaceOption = "largest",
    aligned: AlignedOption = False,
    beyond: BeyondOption = False,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Show an edit over a range of amounts: a strip, or a moving picture if --out ends in .gif or .webp."""
    import torch
    from PIL import Image

    from ..photos import contact_sheet, open_photo, to_photo, write_picture

    editor = loaded(bundle, method, device, {}, beyond)
    slider = editor.sliders.get(name)
    first = low if low is not None else slider.low if slider else -3.0
    last = high if high is not None else slider.high if slider else 3.0
    for end in (first, last):
        allowed(editor, {name: end}, beyond)
    target = picture_target(out or photo.with_name(f"{photo.stem}-{name}.png"), force)
    picture = open_photo(photo)
    inversion = editor.invert(editor.crops(picture, _one(face), aligned)[0])
    amounts = torch.linspace(editor.within(name, first), editor.within(name, last), steps).tolist()
    images = [editor.render(inversion, {name: amount})[0].cpu() for amount in amounts]
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
    face: FaceOption = "largest",
    aligned: AlignedOption = False,
    beyond: BeyondOption = False,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Put all methods of a bundle side by side: the source, each reconstruction, each edit."""
    from ..bundles import Bundle
    from ..editor import Editor
    from ..encoder.e4e import fit
    from ..photos import contact_sheet, open_photo, write_picture

    wanted, opened = amounts_of(edits), Bundle.load(bundle)
    target = picture_target(out or photo.with_name(f"{photo.stem}-compared.png"), force)
    picture = open_photo(photo)
    rows: list[list[Tensor]] = []
    for method in opened.methods:
        editor = allowed(Editor(opened, method, device), wanted, beyond)
        wanted = {name: editor.within(name, amount) for name, amount in wanted.items()}  # what is too much is said once
        crop = editor.crops(picture, _one(face), aligned)[0]
        rows = rows or [[fit(crop.image, opened.resolution)[0]] for _ in range(2 if edits else 1)]
        inversion = editor.invert(crop)
        for row, shown in zip(rows, ({}, wanted)):
            row.append(editor.render(inversion, shown)[0].cpu())
    write_picture(contact_sheet(rows, ["source", *opened.methods]), target)
    say(str(target))


def _one(face: str) -> Which:
    """Reads --face for a verb that shows one face."""
    if (which := which_face(face)) == "all":
        raise ValueError("one face is shown: --face largest, or a number from 1, from left to right")
    return which
