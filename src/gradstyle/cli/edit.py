"""gradstyle edit, sweep, compare: photos changed in one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .app import (
    BundleOption,
    DeviceOption,
    ForceOption,
    MethodOption,
    OutOption,
    errors,
    picture_target,
    printable,
    say,
    writable,
)
from .batch import REPORT, Line, found, is_batch, run

if TYPE_CHECKING:
    from torch import Tensor

    from ..editor import Editor, Which
    from ..photos import Photo

PhotoArgument = Annotated[Path, typer.Argument(help="A photo.", show_default=False)]
EditOption = Annotated[
    list[str], typer.Option("--edit", "-e", help="NAME=AMOUNT, such as smile=2. Several add up.", metavar="NAME=AMOUNT")
]
FaceOption = Annotated[
    str,
    typer.Option("--face", help="Which face: largest, all, or a number from 1, from left to right.", metavar="FACE"),
]
AlignedOption = Annotated[
    bool, typer.Option("--aligned", help="The photo is a face, cut as the bundle's training photos: look for none.")
]
BeyondOption = Annotated[
    bool, typer.Option("--beyond", help="Go beyond the range that a slider is good for, and take edits that have none.")
]
PASS = 1400  # milliseconds from one end of a moving sweep to the other


class Detail(str, Enum):
    move, auto, keep, crop = "move", "auto", "keep", "crop"


def edit(
    photos: Annotated[
        list[Path],
        typer.Argument(help="Photos, folders of them, or patterns such as '*.jpg'.", metavar="PHOTO…"),
    ],
    edits: EditOption = [],  # noqa: B006
    bundle: BundleOption = "faces",
    method: MethodOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The picture to write, or of several photos the folder.", show_default=False),
    ] = None,
    face: FaceOption = "largest",
    aligned: AlignedOption = False,
    detail: Annotated[
        Detail,
        typer.Option(
            help="move: carry the photo along the edit's motion. auto: add the change between two renderings to the "
            "photo, and put the crop itself where structure moved. keep: add it everywhere. crop: put the crop."
        ),
    ] = Detail.move,
    bare: Annotated[
        bool, typer.Option("--bare", help="Write the crop as the generator draws it, not the photo.")
    ] = False,
    strip: Annotated[
        bool, typer.Option("--strip", help="Leave out profile, EXIF and all else that the photo's file says.")
    ] = False,
    beyond: BeyondOption = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="How many photos at once.")] = 1,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Edit photos of any size and kind: the face is found, edited and put back; all else stays as it is.

    gradstyle edit me.jpg --edit smile=2 --edit yaw=1

    gradstyle edit holidays/ --edit smile=1 --face all --jobs 2

    One photo is written beside itself as me-edited.jpg. Several go to a folder, with a report of what was done and
    what was not; stopped, the same command goes on.
    """
    which, wanted = _which(face), amounts_of(edits)
    picture = None if is_batch(photos) else _opened(photos[0])
    editor = loaded(bundle, method, device, wanted, beyond)
    _must_change(wanted, bare, editor)
    wanted = {name: editor.within(name, amount) for name, amount in wanted.items()}
    if picture is not None:
        (photo,) = photos
        if out is None:
            ending = photo.suffix if _fits(photo, picture) else _kind(picture)
            target = writable(photo.with_name(f"{photo.stem}-edited{ending}"), force)
        else:
            target = picture_target(out / photo.name if out.is_dir() else out, force)
        done, remarks = _edited(editor, picture, wanted, which, aligned, detail, bare)
        done.save(target, strip)
        for line in _notes(picture, which, aligned, editor):
            note(f"{photo.name}: {line}", "dim")
        for line in remarks:
            note(f"{photo.name}: {line}")
        say(str(target))
        return

    folder = out or (_beside(photos[0]) if len(photos) == 1 and photos[0].is_dir() else Path("edited"))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; several photos are written to a folder: give another --out")
    tasks, left = found(photos, folder, _ending)
    remarked: dict[str, list[str]] = {}

    def work(photo: Path, place: Path) -> tuple[str, ...]:
        picture = _opened(photo)
        if not _fits(place, picture):
            raise ValueError("it became another kind of picture meanwhile: run the same command again")
        done, remarks = _edited(editor, picture, wanted, which, aligned, detail, bare)
        done.save(place, strip)
        remarked[str(photo)] = remarks
        return (*_notes(picture, which, aligned, editor), *remarks)

    digests = editor.bundle.digests
    how = {
        "edits": wanted, "bundle": editor.bundle.name, "method": editor.method, "face": face, "aligned": aligned,
        "detail": detail.value, "bare": bare, "strip": strip, "generator": editor.bundle.fingerprint,
        "weights": [digests.get(part, "") for part in ("generator", "encoder", editor.method, "edits")],
    }  # fmt: skip
    try:
        with _bar(len(tasks), remarked) as tell:
            lines = run(tasks, work, folder, how, jobs, force, tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; what is done is in {folder}, and the same command goes on") from None
    _sum_up(lines, left, folder)


def amounts_of(edits: list[str]) -> dict[str, float]:
    from ..editor import parse_edits

    return parse_edits(", ".join(edits))


def _opened(photo: Path) -> Photo:
    from ..photos import open_photo

    return open_photo(photo)


def _edited(
    editor: Editor,
    picture: Photo,
    wanted: Mapping[str, float],
    which: Which,
    aligned: bool,
    detail: Detail,
    bare: bool,
) -> tuple[Photo, list[str]]:
    """A photo edited, and what the editor has to say of how that went."""
    from ..photos import Paste

    if bare:
        return editor.draw(picture, wanted, which, aligned), []
    how, remarks = None if detail is Detail.move else Paste(detail.value), list[str]()
    return editor.edit(picture, wanted, which, aligned, how, remarks.append), remarks


def loaded(bundle: str, method: str | None, device: str | None, wanted: Mapping[str, float], beyond: bool) -> Editor:
    """An editor for these edits, as `allowed` gives it."""
    from ..editor import load

    return allowed(load(bundle, method, device), wanted, beyond)


def allowed(editor: Editor, wanted: Mapping[str, float], beyond: bool) -> Editor:
    """The editor, if it may make these edits. It says where an amount is more than its slider is good for."""
    editor.beyond = beyond
    editor.find(wanted)  # a wrong name costs nothing
    for name, amount in wanted.items():
        if (used := editor.within(name, amount)) != amount:
            note(f"{name}={amount:g} is more than it is good for: {used:g} is used (--beyond takes it as it is)")
    return editor


def note(text: str, style: str = "yellow") -> None:
    """What a person should know, beside what they asked for."""
    errors.print(printable(text), style=style, soft_wrap=True, highlight=False, markup=False)


def _which(face: str) -> Which:
    if face in ("largest", "all"):
        return face  # type: ignore[return-value]
    if not (face.isascii() and face.isdecimal() and int(face)):
        raise ValueError(f"--face is largest, all or a number from 1, got {face!r}")
    return int(face)


def _must_change(wanted: Mapping[str, float], bare: bool, editor: Editor) -> None:
    if not wanted and not bare:
        has = ", ".join(editor.edits) or "none"
        raise ValueError(f"nothing to change: give --edit NAME=AMOUNT; the edits of {editor.bundle.name!r} are {has}")


def _kind(picture: Photo) -> str:
    """The ending of the kind of file that a photo is written as: its own, where that keeps it."""
    return picture.origin.suffix if picture.origin else ".png"


def _fits(path: Path, picture: Photo) -> bool:
    return _is_of(path, _kind(picture))


def _is_of(path: Path, ending: str) -> bool:
    """Whether a path's own ending means the same kind of file."""
    from PIL import Image

    endings = Image.registered_extensions()
    return endings.get(path.suffix.lower()) == endings[ending]


def _ending(photo: Path) -> str:
    """What a photo's name lacks to be that of its edited copy; nothing, if it says that kind of file already."""
    from ..photos import suffix_for

    ending = suffix_for(photo)
    return "" if ending is None or _is_of(photo, ending) else ending


def _notes(picture: Photo, which: Which, aligned: bool, editor: Editor) -> Iterator[str]:
    """What a person should know of how a photo was read and edited."""
    if picture.origin is not None:
        yield from picture.origin.notes
    if not aligned and editor.bundle.domain.crop != "none" and which == "largest" and len(picture.faces) > 1:
        yield f"it has {len(picture.faces)} faces and the largest was edited; --face all edits all of them"


def _beside(folder: Path) -> Path:
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.with_name(f"{named.name}-edited")


@contextmanager
def _bar(count: int, remarked: Mapping[str, list[str]]) -> Iterator[Callable[[Line], None]]:
    """A bar over the photos, and a line at once for each that fails, or of whose edit something is remarked."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors) as progress:
        shown = progress.add_task("editing", total=count)

        def tell(line: Line) -> None:
            if line.status == "failed":
                text = printable(f"{line.photo}: {line.why}")
                progress.console.print(text, style="red", soft_wrap=True, highlight=False, markup=False)
            for remark in remarked.get(line.photo, ()) if line.status == "edited" else ():
                note(f"{line.photo}: {remark}")
            progress.advance(shown)

        yield tell


def _sum_up(lines: list[Line], left: list[Line], folder: Path) -> None:
    counts = {status: sum(line.status == status for line in lines) for status in ("edited", "done before", "failed")}
    said = [f"{count} {status}" for status, count in counts.items() if count]
    said += [f"{len(left)} left alone, whose names are no picture's"] if left else []
    say(f"{', '.join(said)}; {folder}, and {folder / REPORT} says how each went")
    if counts["failed"]:
        raise typer.Exit(1)


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
    """A face for a verb that shows one."""
    if (which := _which(face)) == "all":
        raise ValueError("one face is shown: --face largest, or a number from 1, from left to right")
    return which
