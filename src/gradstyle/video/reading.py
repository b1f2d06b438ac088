"""Reads the frames of a video file, one after the other, as a person sees them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..photos.framing import Pixels
from .planes import grown, patched, span

MOST_PIXELS = 8192 * 4608  # of a frame: 8K
# What films lie in. Not the text formats that FFmpeg also plays, nor the playlists, which open other files.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,gif"
SCALER = 0x4 | 0x2000 | 0x40000  # FFmpeg's bicubic, with all chroma and rounding that does not drift
PLANAR = re.compile(r"yuvj?4\d\dp(\d+le)?$")
HD_LINES = 720  # a file that does not say which colours it has is BT.709 from here on, BT.601 below


class BadVideo(ValueError):
    """A file that is no video, or a damaged one."""


def library() -> ModuleType:
    """Imports PyAV, which is an extra."""
    try:
        import av
    except ImportError:
        raise ValueError("videos are read and written with PyAV: pip install 'gradstyle[video]'") from None
    av.logging.set_level(None)  # damage is told by what we raise, once
    return av


@dataclass(frozen=True)
class Turn:
    """How frames are turned to be shown: flipped left to right, then quarters counter-clockwise."""

    quarters: int = 0
    flipped: bool = False
    matrix: tuple[int, ...] = ()  # as the file has it, to be kept

    @staticmethod
    def of(matrix: tuple[int, ...]) -> Turn:
        """A display matrix is a, b, u, c, d, v, x, y, w: a point (p, q) is seen at (a p + c q + x, b p + d q + y)."""
        a, b, _, c, d = (value / 65536 for value in matrix[:5])
        flipped = a * d - b * c < 0
        if flipped:
            a, b = -a, -b
        degrees = np.degrees(np.arctan2(-b, a)) if np.isfinite([a, b]).all() else 0.0
        return Turn(round(degrees / 90) % 4, flipped, matrix)

    def upright(self, pixels: Pixels) -> Pixels:
        """Turns a stored frame to how it is shown."""
        return np.rot90(pixels[:, ::-1] if self.flipped else pixels, self.quarters)

    def stored(self, pixels: Pixels) -> Pixels:
        """Turns a shown frame back to how it is stored."""
        turned = np.rot90(pixels, -self.quarters)
        return turned[:, ::-1] if self.flipped else turned


@dataclass(frozen=True)
class Colours:
    """How a file's numbers mean colours; FFmpeg's own numbers for each."""

    space: int
    range: int
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True)
class Clip:
    """A video file, as its header and first frame describe it."""

    path: Path
    width: int  # as stored, before it is turned
    height: int
    pixel_format: str  # of its frames as they are read: planes of luma and chroma
    time_base: Fraction
    rate: Fraction  # on average
    frames: int  # about: as its header says, or as its length and rate tell; 0: neither does
    counted: int  # as its header says; 0: it does not
    turn: Turn
    colours: Colours
    shape: Fraction  # of a pixel: its width over its height
    audio: tuple[str, ...]  # codec names
    dropped: tuple[str, ...]  # kinds of streams that are not carried over
    metadata: dict[str, str]

    @property
    def seen(self) -> tuple[int, int]:
        """Width and height as seen."""
        return (self.height, self.width) if self.turn.quarters % 2 else (self.width, self.height)

    def read(self) -> Iterator[Still]:
        """Yields all frames in the order in which they are shown, each later than the one before."""
        last: int | None = None
        usual = max(round(1 / (self.rate * self.time_base)), 1)
        for index, frame in enumerate(_decoded(self.path)):
            if (frame.width, frame.height) != (self.width, self.height):
                raise BadVideo(
                    f"{self.path}: its size changes from {self.width}×{self.height} to {frame.width}×{frame.height} "
                    f"at frame {index}: cut it there"
                )
            time = frame.pts if frame.pts is not None else (0 if last is None else last + usual)
            last = time if last is None else max(time, last + 1)
            yield Still(index, last, self._planar(frame), self)

    def _planar(self, frame: Any) -> Any:
        if frame.format.name == self.pixel_format:
            return frame
        return frame.reformat(
            format=self.pixel_format,
            interpolation=SCALER,
            dst_colorspace=_matrix(self.colours.space),
            dst_color_range=self.colours.range,
        )


@dataclass(frozen=True, eq=False)
class Still:
    """One picture of a clip. It is held as it was decoded, in half the bytes of its pixels or less."""

    index: int
    time: int  # in units of the clip's time base
    picture: Any  # av.VideoFrame
    clip: Clip

    @property
    def seconds(self) -> float:
        return float(self.time * self.clip.time_base)

    def pixels(self, exact: bool = True) -> Pixels:
        """Upright RGB, [H, W, 3]; not exact, it is a level too dark, and there eight times sooner."""
        colours = self.clip.colours
        rgb = self.picture.reformat(
            format="rgb24",
            interpolation=SCALER if exact else SCALER & 0xFF,
            src_colorspace=_matrix(colours.space),
            src_color_range=colours.range,
            dst_color_range=2,
        )
        return np.ascontiguousarray(self.clip.turn.upright(rgb.to_ndarray()))

    def small(self, width: int = 64) -> npt.NDArray[np.int16]:
        """A thumbnail to compare frames by, as stored."""
        height = max(1, round(width * self.picture.height / self.picture.width))
        shrunk = self.picture.reformat(width, height, "rgb24", interpolation="AREA")
        return shrunk.to_ndarray().astype(np.int16)  # type: ignore[no-any-return]

    def with_pixels(self, pixels: Pixels, before: Pixels) -> Still:
        """The frame with what differs between two upright pictures of it drawn in; all else keeps its very bytes."""
        after, before = (self.clip.turn.stored(each) for each in (pixels, before))
        rows = span((after != before).reshape(len(after), -1).any(axis=1))
        if rows is None:
            return self
        columns = span((after[slice(*rows)] != before[slice(*rows)]).any(axis=(0, 2)))
        assert columns is not None
        (top, bottom), (left, right) = grown(rows, len(after)), grown(columns, after.shape[1])
        part = self._picture(np.ascontiguousarray(after[top:bottom, left:right]))
        return replace(self, picture=patched(self.picture, part, top, left, rows, columns))

    def upright(self) -> Any:
        """The picture turned to what is seen, for a file that cannot say that it is to be turned."""
        return self._picture(self.pixels())

    def _picture(self, stored: Pixels) -> Any:
        colours = self.clip.colours
        return library().VideoFrame.from_ndarray(stored, format="rgb24").reformat(
            format=self.picture.format.name, interpolation=SCALER, dst_colorspace=_matrix(colours.space),
            src_color_range=2, dst_color_range=colours.range,
        )  # fmt: skip


def open_clip(path: Path) -> Clip:
    """Opens a video file and decodes its first frame, so that an unreadable file fails now."""
    av = library()
    if not path.is_file():
        raise BadVideo(f"{path}: it is no file" if path.exists() else f"{path}: there is no such file")
    with _opened(path) as container:
        stream = _film(path, container)
        context = stream.codec_context
        audio = tuple(other.codec_context.name for other in container.streams.audio if other.codec_context)
        kinds = {other.type for other in container.streams if other.type != "audio" and other.index != stream.index}
        length, rate = stream.duration, stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = length * stream.time_base if length else Fraction(container.duration or 0, av.time_base)
        metadata = {**container.metadata}
        proportion = context.sample_aspect_ratio or Fraction(1)
        base, counted = stream.time_base, stream.frames
    with contextlib.closing(_decoded(path)) as frames:
        first = next(frames, None)
    if first is None:
        most = f"{MOST_PIXELS / 1e6:.0f} million pixels"
        raise BadVideo(f"{path}: none of its frames can be decoded: cut off, damaged, or larger than {most}")
    shape = first.width, first.height
    unsaid = 1 if first.height >= HD_LINES else 6
    space = first.colorspace if first.colorspace not in (0, 2, 3) else unsaid
    pixels = _planar_format(first)
    full = 2 if pixels == first.format.name and (first.color_range == 2 or pixels.startswith("yuvj")) else 1
    return Clip(
        path=path,
        width=shape[0],
        height=shape[1],
        pixel_format=pixels,
        time_base=base,
        rate=rate,
        frames=counted or round(seconds * rate),
        counted=counted,
        turn=_turn(first),
        colours=Colours(space, full, int(first.color_primaries), int(first.color_trc)),
        shape=proportion,
        audio=audio,
        dropped=tuple(sorted(kinds)),
        metadata=metadata,
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens the container, from this one file alone and of kinds that hold videos."""
    av = library()
    limits = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(MOST_PIXELS)}
    try:
        container = av.open(f"file:{path.absolute()}", metadata_errors="replace", options=limits)
    except (av.FFmpegError, ValueError) as error:
        raise BadVideo(f"{path}: not a video, or one that is cut off before its frames ({_reason(error)})") from error
    with container:
        yield container


def _film(path: Path, container: Any) -> Any:
    """Returns the stream to edit: the first that is not an attached cover picture."""
    for stream in container.streams.video:
        if not stream.disposition & type(stream.disposition).attached_pic and stream.codec_context is not None:
            return stream
    found = sorted({stream.type for stream in container.streams})
    has = f"only {', '.join(found)}" if found else "nothing"
    raise BadVideo(f"{path}: there is no video in it, {has}")


def _decoded(path: Path) -> Generator[Any, None, None]:
    """Yields the frames that can be decoded; damaged packets are skipped, as players do."""
    av = library()
    with _opened(path) as container:
        stream = _film(path, container)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):  # cut off
                packet = None
            if packet is None:
                break
            with contextlib.suppress(av.FFmpegError):
                yield from packet.decode()
        with contextlib.suppress(av.FFmpegError, EOFError):
            yield from stream.decode(None)


def _planar_format(frame: Any) -> str:
    """The frame's own format, or what it is brought to: a plane each for luma and chroma, so that parts are put in."""
    if PLANAR.match(frame.format.name):
        return str(frame.format.name)
    even = frame.width % 2 == 0 and frame.height % 2 == 0
    deep = max(part.bits for part in frame.format.components) > 8
    return f"{'yuv420p' if even else 'yuv444p'}{'10le' * deep}"


def _turn(frame: Any) -> Turn:
    for data in (frame.side_data[place] for place in range(len(frame.side_data))):
        if data.type.name == "DISPLAYMATRIX":
            return Turn.of(tuple(np.frombuffer(bytes(data), np.int32).tolist()))
    return Turn(round(getattr(frame, "rotation", 0) / 90) % 4)


def _matrix(space: int) -> int:
    """Translates FFmpeg's number of a colour matrix to its scaler's."""
    return {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}.get(space, 5)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".").lower()
