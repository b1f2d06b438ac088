"""How a training goes, as one line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .app import console

if TYPE_CHECKING:
    from ..training.trainable import Progress

HALF_LIFE = 20.0  # seconds, of what the shown speed is the mean of


class ProgressLine:
    """A progress line on a terminal; elsewhere a line every half minute."""

    def __init__(self, interval: float = 30.0) -> None:
        self.interval, self.shown_at = interval, float("-inf")
        self.images = self.seconds = 0.0  # the later ones weigh more
        self.last: Progress | None = None
        self.status: Any = None

    def __enter__(self) -> ProgressLine:
        if console.is_terminal:
            self.status = console.status("starting")
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is not None:
            with suppress(OSError):
                self.status.stop()

    def show(self, progress: Progress, goal: int, terms: Mapping[str, float], left: float | None) -> None:
        speed = self.speed(progress, terms)
        if self.status is None and time.monotonic() - self.shown_at < self.interval:
            return
        self.shown_at = time.monotonic()
        remaining = (goal - progress.images) / max(speed, 1e-9)
        if left is not None:
            remaining = min(remaining, max(left, 0))
        shown = "  ".join(f"{name} {value:.3g}" for name, value in terms.items() if name != "images_per_second")
        text = f"{progress.images:,} of {goal:,} images  {speed:.1f}/s  {_clock(remaining)} left  {shown}"
        if self.status is None:
            self.say(text)
        else:
            with suppress(OSError):
                self.status.update(text)

    def speed(self, progress: Progress, terms: Mapping[str, float]) -> float:
        """Pictures a second, of late."""
        if self.last is None or progress.images <= self.last.images:  # another training
            self.images = self.seconds = 0.0
            images = seconds = 0.0
        else:
            images, seconds = progress.images - self.last.images, progress.seconds - self.last.seconds
        self.last = replace(progress)
        keep = 0.5 ** (seconds / HALF_LIFE)
        self.images, self.seconds = keep * self.images + images, keep * self.seconds + seconds
        return self.images / self.seconds if self.seconds else terms["images_per_second"]

    def say(self, text: str) -> None:
        """A terminal may have gone; the training goes on, or ends with its snapshot, without it."""
        with suppress(OSError):
            console.print(text, soft_wrap=True, highlight=False, markup=False)


def _clock(seconds: float) -> str:
    minutes, hours = int(seconds / 60) % 60, int(seconds / 3600)
    return f"{hours}:{minutes:02}:{int(seconds) % 60:02}"
