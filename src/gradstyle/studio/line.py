"""Shares a budget between calls: a call that needs more than is left waits, in a thread or without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

MOST_PASSING = 32  # before who waits for more
MOST_WAITING = 20


class LineFull(ValueError):
    """Says that too many calls wait."""


@dataclass(eq=False)
class Ticket:
    wanted: int
    turn: Future[None] = field(default_factory=Future)
    passed: int = 0


class Line:
    """Limits what is in use at once to `most`; a call that needs more than that runs alone.

    Who wants no more than is left passes those who wait for more, but not for ever.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._waiting: list[Ticket] = []
        self._lock = threading.Lock()

    @contextmanager
    def room(self, wanted: int) -> Iterator[None]:
        ticket = self._ask(wanted)
        try:
            ticket.turn.result()
            yield
        finally:
            self._leave(ticket)

    @asynccontextmanager
    async def turn(self, wanted: int) -> AsyncIterator[None]:
        """The same, for who holds no thread while they wait; when many do, no more may."""
        ticket = self._ask(wanted)
        try:
            if len(self._waiting) > MOST_WAITING and not ticket.turn.done():
                raise LineFull("too many people have large photos at work: try again in a moment")
            await asyncio.wrap_future(ticket.turn)
            yield
        finally:
            self._leave(ticket)

    def _ask(self, wanted: int) -> Ticket:
        ticket = Ticket(min(wanted, self.most))
        with self._lock:
            self._waiting.append(ticket)
            self._call()
        return ticket

    def _leave(self, ticket: Ticket) -> None:
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            else:
                self.used -= ticket.wanted
            self._call()

    def _call(self) -> None:
        """Let in who can come in now."""
        waiting, self._waiting = self._waiting, []
        for ticket in waiting:
            if self.used + ticket.wanted > self.most or any(each.passed >= MOST_PASSING for each in self._waiting):
                self._waiting.append(ticket)
                continue
            self.used += ticket.wanted
            for each in self._waiting:
                each.passed += 1
            if ticket.turn.set_running_or_notify_cancel():
                ticket.turn.set_result(None)
