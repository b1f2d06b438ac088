"""Limits connections: a slow client is cut off, and where there are too many, one is closed.

Uvicorn limits how long a line may be idle between two requests; here are the limits within a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD = 10.0  # seconds for the head of a request
BODY = 20.0  # seconds for a body, and as many more as its bytes take at the slowest rate
SLOWEST = 4096  # bytes a second
READ = 30.0  # seconds in which a client takes nothing of its answer
LOOK = 1.0  # seconds from one look at a line to the next
AT_ONCE = 32  # lines that are accepted before any is looked at
MOST = 1000  # lines
FEWEST_FILES = 4096  # that the process may have open, where the system allows it


class Connection(H11Protocol):
    """Is an HTTP/1.1 connection, of which at most `most` are open."""

    most = MOST

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.received = 0
        self._awaited: tuple[Any, ...] = ()
        self._since = self.loop.time()
        self._next = self.loop.call_later(LOOK, self._look)
        lines = [line for line in self.connections if not line.transport.is_closing()]
        if len(lines) > self.most:
            others = [line for line in lines if isinstance(line, Connection) and line is not self]
            max(others, key=Connection._worth_cutting, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)

    @property
    def _patience(self) -> float:
        """Gives the seconds that the client may still take; no limit while it is the server's turn."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return HEAD
        if cycle.more_body and not self.flow.read_paused:
            return BODY + self.received / SLOWEST
        return READ if self.flow.write_paused else float("inf")

    def _look(self) -> None:
        """Closes the connection if the client's time is over."""
        cycle = self.cycle
        turn = cycle, cycle and (cycle.more_body, cycle.response_complete), self.transport.get_write_buffer_size()
        if turn != self._awaited:  # something went on
            self._awaited, self._since, self.received = turn, self.loop.time(), 0
        elif self.loop.time() - self._since > self._patience:
            self.transport.abort()
            return
        self._next = self.loop.call_later(LOOK, self._look)

    def _worth_cutting(self) -> tuple[int, float, float]:
        """Orders connections: first those without a request, then idle ones, half bodies, and long answers."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            kind = 4
        elif cycle.response_complete:
            kind = 3
        elif cycle.more_body or self.flow.write_paused:
            kind = 2
        else:
            kind = int(cycle.response_started)
        return kind, -self.received, -self._since


def most_connections() -> int:
    """A third of the files that the process may have open, after asking the system for enough."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FEWEST_FILES:
        soft = FEWEST_FILES if hard < 0 else min(hard, FEWEST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST if soft < 0 else max(1, min(MOST, soft // 3))


class Sparing(logging.Filter):
    """Lets at most `most` records of a logger through in a minute, so that strangers cannot fill the disk."""

    def __init__(self, most: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.most, self.clock = most, clock
        self.begun, self.passed = clock(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = self.clock()
        if now - self.begun >= 60:
            self.begun, self.passed = now, 0
        self.passed += 1
        if self.passed == self.most:
            record.msg = f"{record.msg} (the last for this minute)"
        return self.passed <= self.most


def log_sparingly() -> None:
    """The server's log, our own, and asyncio's of what went wrong outside of a request."""
    for name in ("uvicorn.error", "asyncio", "gradstyle.studio"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, Sparing) for each in logger.filters):
            logger.addFilter(Sparing())
