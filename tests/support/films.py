"""Films with a drawn face that moves on a known path, and one who finds it by its colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from gradstyle.photos.faces import Face

SKIN = (224, 160, 120)
TONE = 440
Place = tuple[float, float, float]  # centre and side of a face


def _ring(x: float, y: float, wide: float, high: float, count: int) -> np.ndarray[Any, Any]:
    """Points around an ellipse, from its left."""
    angles = np.pi + 2 * np.pi * np.arange(count) / count
    return np.stack([x + wide * np.cos(angles), y + high * np.sin(angles)], axis=1)


_JAW = np.linspace(np.pi, 0, 17)
# Where the 68 landmarks are, in parts of the face's side from its centre.
MARKS = np.concatenate(
    [
        np.stack([0.5 * np.cos(_JAW), 0.6 * np.sin(_JAW)], axis=1),
        np.stack([[-0.35, -0.28, -0.2, -0.15, -0.1, 0.1, 0.15, 0.2, 0.28, 0.35], np.full(10, -0.28)], axis=1),
        np.stack([[0, 0, 0, 0, -0.1, -0.05, 0, 0.05, 0.1], [-0.15, -0.05, 0.05, 0.12, *[0.16] * 5]], axis=1),
        _ring(-0.2, -0.15, 0.07, 0.04, 6),
        _ring(0.2, -0.15, 0.07, 0.04, 6),
        _ring(0, 0.33, 0.18, 0.05, 12),
        _ring(0, 0.33, 0.15, 0.02, 8),
    ]
)


def drawn(width: int, height: int, place: Place | None, shade: int = 70) -> np.ndarray[Any, Any]:
    """A picture [height, width, 3] with a face at a place, to a part of a pixel."""
    ramp = np.linspace(shade - 30, shade + 30, width, dtype=np.float32)
    ground = np.stack([np.broadcast_to(ramp, (height, width))] * 3, axis=2).astype(np.uint8)
    picture = Image.fromarray(ground)
    if place is not None:
        x, y, side = place
        finer, half = 4, round(side * 0.7)
        left, top = int(x) - half, int(y) - half
        part = picture.crop((left, top, left + 2 * half, top + 2 * half)).resize((2 * half * finer,) * 2)
        draw = ImageDraw.Draw(part)

        def ellipse(dx: float, dy: float, rx: float, ry: float, colour: Any) -> None:
            cx, cy = (x - left + dx * side) * finer, (y - top + dy * side) * finer
            draw.ellipse(
                (cx - rx * side * finer, cy - ry * side * finer, cx + rx * side * finer, cy + ry * side * finer), colour
            )

        ellipse(0, 0, 0.5, 0.6, SKIN)
        for eye in (-0.2, 0.2):
            ellipse(eye, -0.15, 0.07, 0.04, (40, 40, 60))
        ellipse(0, 0.33, 0.18, 0.05, (170, 40, 60))
        picture.paste(part.resize((2 * half, 2 * half), Image.Resampling.BOX), (left, top))
    return np.asarray(picture)


class Finder:
    """Stands for a Follower: the face is where its colour is. It counts the frames that it looks at."""

    def __init__(self, shake: float = 0.0) -> None:
        self.last: Any = None
        self.looked = 0
        self.numbers = np.random.default_rng(0)
        self.shake = shake

    def __call__(self, pixels: np.ndarray[Any, Any], cut: bool = False) -> Face | None:
        self.looked += 1
        like = (np.abs(pixels[::2, ::2].astype(np.int16) - SKIN).max(axis=2) < 40).nonzero()
        if len(like[0]) < 30:
            return None
        (top, left), (bottom, right) = (
            (2 * np.stack(like, axis=1)).min(axis=0),
            (2 * np.stack(like, axis=1)).max(axis=0),
        )
        side = float(right - left)
        centre = np.array([(left + right) / 2, (top + bottom) / 2]) + self.numbers.normal(0, self.shake + 1e-9, 2)
        return Face((float(left), float(top), float(right), float(bottom)), centre + MARKS * side, 1.0)


def write(
    path: Path,
    frames: int = 24,
    place: Callable[[int], Place | None] = lambda index: (160 + 2 * index, 120, 80),
    size: tuple[int, int] = (320, 240),
    rate: int = 24,
    times: Sequence[int] | None = None,  # in milliseconds
    tone: bool = False,
    codec: str = "libx264",
    audio: str = "aac",
    pixels: str = "yuv420p",
    shade: Callable[[int], int] = lambda index: 70,
    turned: tuple[float, bool] | None = None,
    stored: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda picture: picture,
    **options: str,
) -> Path:
    """A film as a camera would write it; with `tone`, there is one as long as the film."""
    with av.open(str(path), "w") as out:
        lossless = {"libx264": {"preset": "ultrafast", "crf": "10"}}.get(codec, {})
        film: Any = out.add_stream(codec, rate=rate, options={**lossless, **options})
        film.width, film.height = stored(np.empty((size[1], size[0], 3), np.uint8)).shape[1::-1]
        film.pix_fmt = pixels
        base = Fraction(1, 1000) if times else Fraction(1, rate)
        film.codec_context.time_base = base
        if turned is not None:
            film.set_display_rotation(turned[0], hflip=turned[1])
        sound: Any = out.add_stream(audio, rate=48000, layout="mono") if tone else None
        for index in range(frames):
            picture = stored(drawn(*size, place(index), shade(index)))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = times[index] if times else index, base
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
        if sound is not None:
            last = times[-1] / 1000 if times else frames / rate
            for index in range(round(last * 48000 / 960)):
                moment = (np.arange(960) + 960 * index) / 48000
                wave = (0.3 * np.sin(2 * np.pi * TONE * moment)).astype(np.float32)
                heard = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
                heard.sample_rate, heard.pts = 48000, 960 * index
                out.mux(sound.encode(heard))
            out.mux(sound.encode(None))
    return path


def seen(path: Path) -> tuple[list[np.ndarray[Any, Any]], list[Fraction]]:
    """Frames as stored, and when each is shown."""
    with av.open(str(path)) as container:
        film = container.streams.video[0]
        frames = list(container.decode(film))
        return [frame.to_ndarray(format="rgb24") for frame in frames], [frame.pts * film.time_base for frame in frames]


def heard(path: Path) -> tuple[list[bytes], list[Fraction]]:
    """Packets of sound, and when each is heard."""
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        packets = [packet for packet in container.demux(sound) if packet.size]
        return [bytes(packet) for packet in packets], [packet.pts * packet.time_base for packet in packets]
