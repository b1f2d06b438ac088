"""What may end a run early: a loss that diverges, and signals."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from .run import Run


class Diverged(ValueError):
    """A loss that is not finite, or far too large."""


class Watch:
    """Collects loss terms between looks, so that a GPU is waited for at looks alone; stops a run that diverges."""

    def __init__(self, engine: Accelerator, largest: float, run: Run | None) -> None:
        self.engine, self.largest, self.run = engine, largest, run
        self.waiting: list[tuple[int, str, Tensor]] = []
        self.looked = 0

    def add(self, step: int, terms: Mapping[str, Tensor]) -> None:
        self.waiting += [(step, name, value.detach().float()) for name, value in terms.items()]

    def look(self) -> dict[str, float]:
        """The mean of each term since the last look, over all processes."""
        values = self.engine.reduce(torch.stack([value for *_, value in self.waiting]), "mean").tolist()
        terms: dict[str, list[float]] = {}
        for (step, name, _), value in zip(self.waiting, values):
            if not math.isfinite(value) or abs(value) > self.largest:
                where = self.run.last_good() if self.run else "the first process knows the last good snapshot"
                raise Diverged(
                    f"training diverged at step {step}: {name} is {value:.6g}; {where}. "
                    "Resume from it with a lower learning rate, or with loop.precision=fp32"
                )
            terms.setdefault(name, []).append(value)
        self.looked = len({step for step, *_ in self.waiting})
        self.waiting = []
        return {name: sum(each) / len(each) for name, each in terms.items()}


def any_process(engine: Accelerator, mine: bool) -> bool:
    """Whether it holds for any process; all come to the same answer."""
    if engine.num_processes == 1:
        return mine
    votes = engine.reduce(torch.tensor(float(mine), device=engine.device), "sum")
    return bool(votes > 0)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Signals to stop are noted, for the loop to end at its next look; the second one ends the process."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # a terminal that closes, a connection that ends
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # as nohup sets it
        before[hangup] = signal.getsignal(hangup)

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
