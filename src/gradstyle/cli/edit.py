"""gradstyle edit: one photo or many, edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    errors,
    picture_target,
    printable,
    progress_bar,
    say,
    writable,
)

if TYPE_CHECKING:
    from ..editor import Editor, Which
    from ..photos import Photo
    from ..photos.batch import Line


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
    from ..photos import open_photo
    from ..photos.batch import is_batch

    which, wanted = which_face(face), amounts_of(edits)
    picture = None if is_batch(photos) else open_photo(photos[0])
    editor = loaded(bundle, method, device, wanted, beyond)
    if not wanted and not bare:
        names = ", ".join(editor.edits) or "none"
        raise ValueError(f"nothing to change: give --edit NAME=AMOUNT; the edits of {editor.bundle.name!r} are {names}")
    wanted = {name: editor.within(name, amount) for name, amount in wanted.items()}
    editing = Editing(editor, wanted, which, aligned, detail, bare, strip)
    if picture is None:
        _edit_many(editing, photos, out, jobs, force)
    else:
        _edit_one(editing, photos[0], picture, out, force)


@dataclass(frozen=True)
class Editing:
    """What is done to each photo."""

    editor: Editor
    wanted: Mapping[str, float]
    face: Which
    aligned: bool
    detail: Detail
    bare: bool
    strip: bool

    def write(self, picture: Photo, target: Path) -> tuple[list[str], list[str]]:
        """Writes a photo edited; returns notes on how it was read, and remarks on how the edit went."""
        from ..photos import Paste

        remarks: list[str] = []
        if self.bare:
            edited = self.editor.draw(picture, self.wanted, self.face, self.aligned)
        else:
            paste = None if self.detail is Detail.move else Paste(self.detail.value)
            edited = self.editor.edit(picture, self.wanted, self.face, self.aligned, paste, remarks.append)
        edited.save(target, self.strip)
        return list(self._notes(picture)), remarks

    def _notes(self, picture: Photo) -> Iterator[str]:
        if picture.origin is not None:
            yield from picture.origin.notes
        whole = self.aligned or self.editor.bundle.domain.crop == "none"
        if not whole and self.face == "largest" and len(picture.faces) > 1:
            yield f"it has {len(picture.faces)} faces and the largest was edited; --face all edits all of them"

    @property
    def settings(self) -> dict[str, Any]:
        """All that a picture depends on beside the photo, for the batch's report."""
        bundle, method = self.editor.bundle, self.editor.method
        return {
            "edits": self.wanted, "bundle": bundle.name, "method": method, "face": str(self.face),
            "aligned": self.aligned, "detail": self.detail.value, "bare": self.bare, "strip": self.strip,
            "generator": bundle.fingerprint,
            "weights": [bundle.digests.get(part, "") for part in ("generator", "encoder", method, "edits")],
        }  # fmt: skip


def _edit_one(editing: Editing, photo: Path, picture: Photo, out: Path | None, force: bool) -> None:
    from ..photos.batch import same_kind

    if out is None:
        suffix = photo.suffix if same_kind(photo, _suffix(picture)) else _suffix(picture)
        target = writable(photo.with_name(f"{photo.stem}-edited{suffix}"), force)
    else:
        target = picture_target(out / photo.name if out.is_dir() else out, force)
    notes, remarks = editing.write(picture, target)
    for line in notes:
        note(f"{photo.name}: {line}", "dim")
    for line in remarks:
        note(f"{photo.name}: {line}")
    say(str(target))


def _edit_many(editing: Editing, photos: list[Path], out: Path | None, jobs: int, force: bool) -> None:
    from ..photos import open_photo
    from ..photos.batch import find_photos, missing_suffix, run, same_kind

    folder = out or (_beside(photos[0]) if len(photos) == 1 and photos[0].is_dir() else Path("edited"))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; several photos are written to a folder: give another --out")
    tasks, skipped = find_photos(photos, folder, missing_suffix)
    remarks: dict[str, list[str]] = {}

    def work(photo: Path, target: Path) -> tuple[str, ...]:
        picture = open_photo(photo)
        if not same_kind(target, _suffix(picture)):
            raise ValueError("it became another kind of picture meanwhile: run the same command again")
        notes, remarks[str(photo)] = editing.write(picture, target)
        return (*notes, *remarks[str(photo)])

    try:
        with progress_bar() as show:
            show("editing", 0, len(tasks))
            done = count(1)

            def tell(line: Line) -> None:
                """Shows at once that a photo failed, or what is remarked of its edit."""
                if line.status == "failed":
                    note(f"{line.photo}: {line.why}", "red")
                for remark in remarks.get(line.photo, ()) if line.status == "edited" else ():
                    note(f"{line.photo}: {remark}")
                show("editing", next(done), len(tasks))

            lines = run(tasks, work, folder, editing.settings, jobs, force, tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; what is done is in {folder}, and the same command goes on") from None
    _sum_up(lines, skipped, folder)


def _suffix(picture: Photo) -> str:
    """Returns the suffix of the kind of file that a photo is written as: its own, where that keeps it."""
    return picture.origin.suffix if picture.origin else ".png"


def amounts_of(edits: list[str]) -> dict[str, float]:
    from ..editor import parse_edits

    return parse_edits(", ".join(edits))


def loaded(bundle: str, method: str | None, device: str | None, wanted: Mapping[str, float], beyond: bool) -> Editor:
    """Loads an editor that may make these edits."""
    from ..editor import load

    return allowed(load(bundle, method, device), wanted, beyond)


def allowed(editor: Editor, wanted: Mapping[str, float], beyond: bool) -> Editor:
    """Checks that an editor may make these edits, and notes where an amount is beyond its slider's range."""
    editor.beyond = beyond
    editor.find(wanted)  # a wrong name costs nothing
    for name, amount in wanted.items():
        if (used := editor.within(name, amount)) != amount:
            note(f"{name}={amount:g} is more than it is good for: {used:g} is used (--beyond takes it as it is)")
    return editor


def note(text: str, style: str = "yellow") -> None:
    """Prints a remark beside the result, to the standard error stream."""
    errors.print(printable(text), style=style, soft_wrap=True, highlight=False, markup=False)


def which_face(face: str) -> Which:
    if face in ("largest", "all"):
        return face  # type: ignore[return-value]
    if not (face.isascii() and face.isdecimal() and int(face)):
        raise ValueError(f"--face is largest, all or a number from 1, got {face!r}")
    return int(face)


def _beside(folder: Path) -> Path:
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.with_name(f"{named.name}-edited")


def _sum_up(lines: list[Line], skipped: list[Line], folder: Path) -> None:
    from ..photos.batch import REPORT

    amounts = {status: sum(line.status == status for line in lines) for status in ("edited", "done before", "failed")}
    parts = [f"{amount} {status}" for status, amount in amounts.items() if amount]
    parts += [f"{len(skipped)} left alone, whose names are no picture's"] if skipped else []
    say(f"{', '.join(parts)}; {folder}, and {folder / REPORT} says how each went")
    if amounts["failed"]:
        raise typer.Exit(1)
