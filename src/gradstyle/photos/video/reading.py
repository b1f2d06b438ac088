"""Frames of a video file, one after the other, as a person sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..framing import Pixels

MOST_PIXELS = 8192 * 4608  # of a frame: 8K
MOST_PIXELS_SHOWN = f"{MOST_PIXELS / 1e6:.0f} million pixels"
# What films lie in. Not the text formats that FFmpeg also plays, nor the playlists, which open other files.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,gif"
SCALER = 0x4 | 0x2000 | 0x40000  # FFmpeg's bicubic, with all chroma and rounding that does not drift
HD_LINES = 720  # a file that does not say which colours it has is BT.709 from here on, BT.601 below


class BadVideo(ValueError):
    """A file that is no video, or a damaged one."""


def library() -> ModuleType:
    """PyAV, which is an extra."""
    try:
        import av
    except ImportError:
        raise ValueError("videos are read and written with PyAV: pip install 'gradstyle[video]'") from None
    av.logging.set_level(None)  # damage is told by what we raise, once
    return av


@dataclass(frozen=True)
class Turn:
    """How frames are turned before they are seen: flipped left to right, then quarters counter-clockwise."""

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
        """A frame as it is stored, turned to what is seen."""
        return np.rot90(pixels[:, ::-1] if self.flipped else pixels, self.quarters)

    def stored(self, pixels: Pixels) -> Pixels:
        """What is seen, turned back to how it is stored."""
        turned = np.rot90(pixels, -self.quarters)
        return turned[:, ::-1] if self.flipped else turned


@dataclass(frozen=True)
class Colours:
    """How a file's numbers mean colours; FFmpeg's own numbers for each."""

    space: int
    range: int
    primaries: int = 2
    transfer: int = 2

    @property
    def meant(self) -> dict[str, int]:
        return {"colorspace": self.space, "color_range": self.range}


@dataclass(frozen=True)
class Clip:
    """A video file: what there is to know before its frames are read."""

    path: Path
    width: int  # as stored, before it is turned
    height: int
    pixel_format: str
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
        """All frames in the order in which they are shown, each with a later time than the one before."""
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
            yield Still(index, last, frame, self)


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

    def pixels(self) -> Pixels:
        """Upright RGB, [H, W, 3]."""
        colours = self.clip.colours
        rgb = self.picture.reformat(
            format="rgb24",
            interpolation=SCALER,
            src_colorspace=_matrix(colours.space),
            src_color_range=colours.range,
            dst_color_range=2,
        )
        return np.ascontiguousarray(self.clip.turn.upright(rgb.to_ndarray()))

    def small(self, width: int = 64) -> np.ndarray[Any, np.dtype[np.int16]]:
        """A thumbnail to compare frames by, as stored."""
        height = max(1, round(width * self.picture.height / self.picture.width))
        shrunk = self.picture.reformat(width, height, "rgb24", interpolation="AREA")
        return shrunk.to_ndarray().astype(np.int16)  # type: ignore[no-any-return]

    def with_pixels(self, pixels: Pixels, before: Pixels) -> Still:
        """The frame with what differs between two upright pictures of it drawn in; all else keeps its very bytes."""
        changed = self.clip.turn.stored(np.asarray((pixels != before).any(axis=2), np.uint8))
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return self
        stored = np.ascontiguousarray(self.clip.turn.stored(pixels))
        drawn = self._picture(stored)
        _keep_around(drawn, self.picture, (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1))
        return replace(self, picture=drawn)

    def upright(self) -> Any:
        """The picture turned to what is seen, for a file that cannot say that it is to be turned."""
        return self._picture(self.pixels())

    def _picture(self, stored: Pixels) -> Any:
        colours = self.clip.colours
        return (
            library()
            .VideoFrame.from_ndarray(stored, format="rgb24")
            .reformat(
                format=self.picture.format.name,
                interpolation=SCALER,
                dst_colorspace=_matrix(colours.space),
                src_color_range=2,
                dst_color_range=colours.range,
            )
        )


def open_clip(path: Path) -> Clip:
    """Look at a video file: its first frame is decoded, so that what cannot be read says so now."""
    av = library()
    if not path.is_file():
        raise BadVideo(f"{path}: it is no file" if path.exists() else f"{path}: there is no such file")
    with _opened(path) as container:
        stream = _film(path, container)
        context = stream.codec_context
        if context.width * context.height > MOST_PIXELS:
            raise BadVideo(
                f"{path}: its frames are {context.width}×{context.height}, more than {MOST_PIXELS_SHOWN}: reduce it"
            )
        audio = tuple(other.codec_context.name for other in container.streams.audio if other.codec_context)
        kinds = {other.type for other in container.streams if other.type != "audio" and other.index != stream.index}
        length, rate = stream.duration, stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = length * stream.time_base if length else Fraction(container.duration or 0, av.time_base)
        metadata = {**container.metadata}
        base, counted = stream.time_base, stream.frames
    with contextlib.closing(_decoded(path)) as frames:
        first = next(frames, None)
    if first is None:
        raise BadVideo(f"{path}: none of its frames can be decoded: it is cut off or damaged")
    shape = first.width, first.height
    unsaid = 1 if first.height >= HD_LINES else 6
    space = first.colorspace if first.colorspace not in (0, 2, 3) else unsaid
    full = 2 if first.color_range == 2 or first.format.name.startswith(("yuvj", "rgb", "bgr", "gbr", "pal")) else 1
    return Clip(
        path=path,
        width=shape[0],
        height=shape[1],
        pixel_format=first.format.name,
        time_base=base,
        rate=rate,
        frames=counted or round(seconds * rate),
        counted=counted,
        turn=_turn(first),
        colours=Colours(space, full, int(first.color_primaries), int(first.color_trc)),
        shape=stream_shape(first, context),
        audio=audio,
        dropped=tuple(sorted(kinds)),
        metadata=metadata,
    )


def stream_shape(frame: Any, context: Any) -> Fraction:
    return context.sample_aspect_ratio or Fraction(1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The container, from this one file alone and of kinds that hold films."""
    av = library()
    limits = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(f"file:{path.absolute()}", metadata_errors="replace", container_options=limits)
    except (av.FFmpegError, ValueError) as error:
        raise BadVideo(f"{path}: not a video, or one that is cut off before its frames ({_reason(error)})") from error
    with container:
        yield container


def _film(path: Path, container: Any) -> Any:
    """The stream to edit: the first that moves; a song's cover does not."""
    for stream in container.streams.video:
        if not stream.disposition & type(stream.disposition).attached_pic and stream.codec_context is not None:
            return stream
    found = sorted({stream.type for stream in container.streams})
    has = f"only {', '.join(found)}" if found else "nothing"
    raise BadVideo(f"{path}: there is no video in it, {has}")


def _decoded(path: Path) -> Generator[Any, None, None]:
    """Frames that can be decoded; packets that cannot are passed over, as players do."""
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


def _turn(frame: Any) -> Turn:
    for data in (frame.side_data[place] for place in range(len(frame.side_data))):
        if data.type.name == "DISPLAYMATRIX":
            return Turn.of(tuple(np.frombuffer(bytes(data), np.int32).tolist()))
    return Turn(round(getattr(frame, "rotation", 0) / 90) % 4)


def _matrix(space: int) -> int:
    """FFmpeg's number of a colour matrix as its scaler numbers it."""
    return {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}.get(space, 5)


def _keep_around(drawn: Any, source: Any, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Put the source's bytes into all of a frame but a rectangle, rounded outward to whole chroma pixels."""
    for plane, kept in zip(drawn.planes, source.planes):
        down, across = drawn.height / plane.height, drawn.width / plane.width
        wide = plane.width * (plane.line_size // plane.width if plane.line_size >= 2 * plane.width else 1)
        mine = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, :wide]
        theirs = np.frombuffer(kept, np.uint8).reshape(kept.height, -1)[:, :wide]
        top, bottom = int(rows[0] // down), int(-(-rows[1] // down))
        each = wide // plane.width
        left, right = int(columns[0] // across) * each, int(-(-columns[1] // across)) * each
        mine[:top], mine[bottom:] = theirs[:top], theirs[bottom:]
        mine[:, :left], mine[:, right:] = theirs[:, :left], theirs[:, right:]


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".").lower()
