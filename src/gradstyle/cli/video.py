"""gradstyle video: a film edited, with landmarks and codes smoothed over time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..progress import Progress
from .app import (
    BeyondOption,
    BundleOption,
    DeviceOption,
    EditOption,
    ForceOption,
    MethodOption,
    errors,
    progress_bar,
    say,
    writable,
)
from .edit import amounts_of, loaded

if TYPE_CHECKING:
    from ..video import VideoReport

QUIET = 30.0  # seconds between lines where there is no terminal to draw a bar on


def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The video: mp4, mov, mkv, webm, avi …")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="What to write: .mp4, .m4v, .mov, .mkv or .webm.")],
    edits: EditOption = [],  # noqa: B006
    bundle: BundleOption = "faces",
    method: MethodOption = None,
    smooth: Annotated[
        float, typer.Option(min=0, max=2, help="Seconds over which landmarks and codes are smoothed; 0: not at all.")
    ] = 0.1,
    quality: Annotated[
        int, typer.Option(min=0, max=51, help="The encoder's rate factor: lower is better and larger.")
    ] = 18,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The whole frame is one face, cut as the bundle's photos are.")
    ] = False,
    beyond: BeyondOption = False,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Edit the largest face in a video; sound, frame rate and all else stay.

    gradstyle video me.mp4 me-smiling.mp4 --edit smile=2

    What is done is kept beside OUT until the video is whole: stopped, the same command goes on.
    """
    from ..video import Options, check_video_name

    check_video_name(target)
    amounts, options = amounts_of(edits), Options(smooth, smooth, quality, aligned)
    editor = loaded(bundle, method, device, amounts, beyond)
    wanted = editor.find(amounts)
    writable(target, force)
    try:
        with _progress() as tell:
            report = editor.edit_video(source, target, wanted, options, tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    for line in lines(report):
        say(line, "dim")
    say(str(target))


def lines(report: VideoReport) -> Iterator[str]:
    """What a person wants to know of what was done."""
    frames = f"{report.frames:,} frames"
    went_on = f", {report.went_on_from:,} of them by an earlier run" if report.went_on_from else ""
    shots = f" of {report.shots} shots" if report.shots > 1 else ""
    yield f"{report.edited:,} of {frames}{shots} edited{went_on}"
    if report.missing:
        yield f"{report.missing:,} further frames could not be decoded: the source is damaged"
    if report.flicker:
        source, loose, calm = (report.flicker[name] for name in ("source", "frame by frame", "smoothed"))
        yield (
            f"flicker, in levels of 255: the source's face {source:.2f}; "
            f"the edit adds {loose:.2f} frame by frame, {calm:.2f} smoothed"
        )
    if report.shaking:
        yield f"shaking of the landmarks: {report.shaking['found']:.2f} pixels, now {report.shaking['calm']:.2f}"
    if report.recoded:
        yield f"the sound was encoded anew: this kind of file holds no {', '.join(report.recoded)}"
    if report.dropped:
        yield f"left behind: {', '.join(report.dropped)}"


@contextmanager
def _progress() -> Iterator[Progress]:
    """Shows a bar for each stage; without a terminal, prints a line now and then."""
    if errors.is_terminal:
        with progress_bar() as show:
            yield show
        return
    printed, began = [time.monotonic()], dict[str, tuple[float, int]]()

    def tell(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, first = began.setdefault(what, (now, done))
        if now - printed[0] >= QUIET and done > first:
            left = (now - start) / (done - first) * (total - done)
            errors.print(f"{what}: {done:,} of {total:,} frames, {left:,.0f} s left", highlight=False)
            printed[0] = now

    yield tell
