"""Encodes frames into segments, so that a stopped run resumes, and joins them with the audio."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from .reading import BadVideo, Clip, Still, _opened, library

QUALITY = 18  # H.264's constant rate factor: 18 is hard to tell from the source
# What a file's name says: the container, the video codecs in it for 8 and for more bits, and one for audio that it
# cannot hold as it is.
KINDS = {
    ".mp4": ("mp4", "libx264", "libx265", "aac"),
    ".m4v": ("mp4", "libx264", "libx265", "aac"),
    ".mov": ("mov", "libx264", "libx265", "aac"),
    ".mkv": ("matroska", "libx264", "libx265", "libopus"),
    ".webm": ("webm", "libvpx-vp9", "libvpx-vp9", "libopus"),
}
OPTIONS = {
    "libx264": {"preset": "faster"},
    "libx265": {"preset": "faster", "x265-params": "bframes=0:log-level=error"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0", "b": "0"},
}


def check_video_name(path: Path) -> None:
    """Checks that a video can be written under that name."""
    if path.suffix.lower() not in KINDS:
        raise ValueError(f"{path}: no kind of video that is written; end the name in {', '.join(KINDS)}")


@dataclass(frozen=True)
class Format:
    """How frames are encoded."""

    codec: str
    pixels: str
    quality: int

    @staticmethod
    def of(clip: Clip, target: Path, quality: int = QUALITY) -> Format:
        """Takes the source's own pixel format where the codec has it, else the nearest in bits."""
        av = library()
        _, plain, deep, _ = KINDS[target.suffix.lower()]
        bits = max(part.bits for part in av.VideoFormat(clip.pixel_format).components)
        codec = deep if bits > 8 else plain
        try:
            known = {form.name for form in av.Codec(codec, "w").video_formats or ()}
        except ValueError:
            raise ValueError(f"this PyAV was built without {codec}, which {target.suffix} needs") from None
        wanted = clip.pixel_format.replace("yuvj", "yuv")
        even = clip.width % 2 == 0 and clip.height % 2 == 0
        usual = ("yuv420p10le" if even else "yuv444p10le") if bits > 8 else ("yuv420p" if even else "yuv444p")
        fits = wanted in known and wanted.startswith("yuv4") and (even or wanted.startswith("yuv444"))
        return Format(codec, wanted if fits else usual, quality)


class Segment:
    """Encodes a stretch of frames into a file of its own, atomically.

    Every segment begins with a key frame, and none reorders its frames: joined, they are one stream.
    """

    def __init__(self, path: Path, clip: Clip, form: Format) -> None:
        self.path, self.clip, self.form = path, clip, form
        self.partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.origin: int | None = None
        self.container: Any = None
        self.upright = bool(clip.turn.matrix) and not keeps_turn()

    def __enter__(self) -> Self:
        av = library()
        clip, form = self.clip, self.form
        self.container = av.open(str(self.partial), "w", format="nut")
        options = {**OPTIONS.get(form.codec, {}), "crf": str(form.quality)}
        self.stream = self.container.add_stream(form.codec, rate=clip.rate, options=options)
        self.stream.width, self.stream.height = clip.seen if self.upright else (clip.width, clip.height)
        self.stream.pix_fmt = form.pixels
        context = self.stream.codec_context
        context.time_base = self.stream.time_base = clip.time_base
        context.max_b_frames = 0
        context.sample_aspect_ratio = clip.shape
        context.colorspace, context.color_range = clip.colours.space, clip.colours.range
        context.color_primaries, context.color_trc = clip.colours.primaries, clip.colours.transfer
        return self

    def write(self, frame: Still) -> None:
        picture = frame.upright() if self.upright else frame.picture
        if picture.format.name != self.form.pixels:
            picture = picture.reformat(format=self.form.pixels, dst_color_range=self.clip.colours.range)
        self.origin = frame.time if self.origin is None else self.origin
        picture.pts, picture.time_base, picture.pict_type = frame.time - self.origin, self.clip.time_base, 0
        self.container.mux(self.stream.encode(picture))

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.container.mux(self.stream.encode(None))
            self.container.close()
            if kind is None:
                self.partial.replace(self.path)
        finally:
            self.partial.unlink(missing_ok=True)


def keeps_turn() -> bool:
    """Tells whether this PyAV writes a rotation; before its version 18, frames are turned themselves."""
    return hasattr(library().VideoStream, "set_display_matrix")


def join(
    segments: Sequence[tuple[Path, int]],  # each with the time of its first frame
    clip: Clip,
    target: Path,
    metadata: Mapping[str, str],
) -> None:
    """Joins all segments to one video, with the source's audio and rotation, atomically."""
    av = library()
    kind = KINDS[target.suffix.lower()][0]
    partial = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(av.open(str(partial), "w", format=kind))
            source = stack.enter_context(_opened(clip.path))
            first = stack.enter_context(av.open(str(segments[0][0])))
            film = out.add_stream_from_template(first.streams.video[0])
            film.time_base = clip.time_base
            film.codec_context.framerate = clip.rate
            if clip.turn.matrix and keeps_turn():
                film.set_display_matrix(clip.turn.matrix)
            if film.codec_context.name == "hevc" and kind != "matroska":
                film.codec_context.codec_tag = "hvc1"  # QuickTime plays no other
            out.metadata.update(metadata)
            sounds = [_Sound(out, stream, target) for stream in source.streams.audio if stream.codec_context]
            heard = _audio(source, sounds)
            waiting = next(heard, None)
            for packet in _film(segments, film, clip.time_base):
                while waiting is not None and waiting.dts * waiting.time_base <= packet.pts * packet.time_base:
                    out.mux_one(waiting)
                    waiting = next(heard, None)
                out.mux_one(packet)
            while waiting is not None:
                out.mux_one(waiting)
                waiting = next(heard, None)
        partial.replace(target)
    except av.FFmpegError as error:
        raise BadVideo(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)


def _film(segments: Sequence[tuple[Path, int]], film: Any, base: Fraction) -> Iterator[Any]:
    av = library()
    for path, origin in segments:
        with av.open(str(path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.pts is None:
                    continue
                shift = round(origin * base / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.pts + shift
                packet.stream = film
                yield packet


class _Sound:
    """Copies an audio stream to the other container, or encodes it anew where it must be."""

    def __init__(self, out: Any, source: Any, target: Path) -> None:
        self.source = source
        codec = source.codec_context
        self.copied = codec.name in out.supported_codecs
        if self.copied:
            self.stream = out.add_stream_from_template(source)
        else:
            name = KINDS[target.suffix.lower()][3]
            rate = 48000 if name == "libopus" else codec.sample_rate  # Opus has but a few
            self.stream = out.add_stream(name, rate=rate, layout=codec.layout.name)
        self.stream.metadata.update(source.metadata)

    def __call__(self, packet: Any) -> Iterator[Any]:
        if self.copied:
            if packet.dts is not None:
                packet.stream = self.stream
                yield packet
            return
        with contextlib.suppress(library().FFmpegError):
            for frame in packet.decode():
                yield from self._encoded(frame)

    def end(self) -> Iterator[Any]:
        if not self.copied:
            yield from self._encoded(None)

    def _encoded(self, frame: Any) -> Iterator[Any]:
        for packet in self.stream.encode(frame):
            if packet.dts is not None:
                yield packet


def _audio(source: Any, sounds: Sequence[_Sound]) -> Iterator[Any]:
    """Yields the packets of all audio streams in the source's order, up to the first damaged one."""
    if not sounds:
        return
    av = library()
    by_index = {sound.source.index: sound for sound in sounds}
    packets = source.demux(*(sound.source for sound in sounds))
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):
            packet = None
        if packet is None:
            break
        yield from by_index[packet.stream.index](packet)
    for sound in sounds:
        yield from sound.end()


def recoded(clip: Clip, target: Path) -> list[str]:
    """Lists the audio codecs that the target's container does not hold, whose streams are encoded anew."""
    av = library()
    with av.open(os.devnull, "w", format=KINDS[target.suffix.lower()][0]) as out:
        return [name for name in clip.audio if name not in out.supported_codecs]
