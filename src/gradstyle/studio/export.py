"""Writes what a visitor downloads: a sweep as moving pictures, and a batch of photos as a ZIP."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..files import replacing
from ..photos import Photo, pixels_in, write_picture
from .engine import Engine
from .pictures import plain_name
from .session import Amounts, Session

PASS = 1600  # milliseconds from one end of a sweep to the other
FRAMES = 25
SIDES = {"gif": 320, "mp4": 512}
LARGEST_SWEEP = FRAMES * max(SIDES.values()) ** 2 * 3  # bytes, which no codec needs
ZIP_DATE = (1980, 1, 1, 0, 0, 0)

Progress = Callable[[int, int, str], bool]  # photos done, photos in all, what is next; false: stop
Room = Callable[[int], AbstractContextManager[None]]  # on the disk, while so many bytes are written


def room_for(pixels: int) -> int:
    """Bytes that a photo of so many pixels has at most as a PNG with transparency, and its metadata with it."""
    return 4 * pixels + (1 << 20)


def write_sweep(session: Session, name: str, to: Path) -> Path:
    """The face with one edit going over its range, there and back: a GIF or an MP4 by the name's end."""
    kind = to.suffix[1:].lower()
    if kind not in SIDES:
        raise ValueError(f"a sweep is written as {' or '.join(SIDES)}, got {to.name!r}")
    frames = session.frames(name, FRAMES, SIDES[kind])
    if kind == "mp4":
        _write_mp4(frames + frames[-2:0:-1], to)
    else:
        drawn = [Image.fromarray(frame.pixels).quantize(256, Image.Quantize.FASTOCTREE) for frame in frames]
        first, *others = drawn + drawn[-2:0:-1]
        write_picture(first, to, save_all=True, append_images=others, duration=PASS // FRAMES, loop=0)
    return to


def _write_mp4(frames: Sequence[Photo], to: Path, times: int = 3) -> None:
    """H.264, as every browser and phone plays it; there and back a few times, for players that do not repeat."""
    try:
        import av
    except ImportError as error:
        raise ValueError(f'MP4 needs PyAV: pip install "gradstyle[video]" ({error})') from error
    width, height = (side - side % 2 for side in frames[0].size)
    with replacing(to) as partial, av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=round(1000 * FRAMES / PASS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for frame in list(frames) * times:
            drawn = av.VideoFrame.from_ndarray(frame.pixels[:height, :width].copy(), format="rgb24")
            out.mux(stream.encode(drawn))
        out.mux(stream.encode())


@dataclass(frozen=True)
class PhotoOutcome:
    """Says what became of one photo of a batch."""

    name: str
    result: str  # the name in the ZIP; empty where it failed
    error: str = ""
    remark: str = ""  # on how the edit went


def write_batch(
    engine: Engine,
    photos: Sequence[tuple[Path, str]],
    bundle: str,
    method: str,
    amounts: Amounts,
    every_face: bool,
    to: Path,
    progress: Progress = lambda done, of, name: True,
    room: Room = lambda size: nullcontext(),
) -> list[PhotoOutcome]:
    """The same edits on many photos, as one ZIP with a list of what became of each. One that fails stops no other."""
    outcomes: list[PhotoOutcome] = []
    work = to.parent / "work"
    with replacing(to) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for number, (path, name) in enumerate(photos):
            if not progress(number, len(photos), name):
                break
            outcome = _edited(engine, path, name, bundle, method, amounts, every_face, work, archive, number, room)
            outcomes.append(outcome)
        progress(len(photos), len(photos), "")
        archive.writestr(zipfile.ZipInfo("report.csv", ZIP_DATE), report(outcomes))
    return outcomes


def report(outcomes: Sequence[PhotoOutcome]) -> str:
    """A line for each photo, as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["photo", "result", "error", "remark"])
    rows.writerows([_inert(each.name), each.result, _inert(each.error), _inert(each.remark)] for each in outcomes)
    return text.getvalue()


def _edited(
    engine: Engine,
    path: Path,
    name: str,
    bundle: str,
    method: str,
    amounts: Amounts,
    every_face: bool,
    work: Path,
    archive: zipfile.ZipFile,
    number: int,
    room: Room,
) -> PhotoOutcome:
    session, pixels = Session(engine, work, bundle), pixels_in(path)
    try:
        with engine.pixels.room(pixels), room(2 * room_for(pixels)):  # beside the archive, and in it
            session.open(path, name, needs_face=True)
            session.choose_method(method)
            for face in range(len(session.faces)) if every_face else [session.step.face]:
                session.choose_face(face)
                session.move(amounts)
            result = f"{number + 1:03d}-{plain_name(name)}.png"
            written = session.save(session.folder / result)
            archive.writestr(zipfile.ZipInfo(result, ZIP_DATE), written.read_bytes())
            return PhotoOutcome(name, result, remark=session.remarks)
    except (ValueError, OSError, MemoryError) as error:
        return PhotoOutcome(name, "", str(error) or type(error).__name__)
    finally:
        session.close()


def _inert(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
