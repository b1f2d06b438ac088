"""Holds the sessions of all visitors, by the key that identifies each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .engine import Engine
from .session import Session


class Sessions:
    """Holds sessions by key; a visitor who is idle for long is dropped.

    A visitor is made by an upload. Anyone can come with any number of keys, so that those who only look around are
    guests: where there are too many, one of them makes room, who did nothing yet if there is one. Of visitors none
    makes room for another; when there are `most`, no more are taken.
    """

    def __init__(self, engine: Engine, folder: Path, keep: float = 3600.0, most: int = 200) -> None:
        self.engine, self.folder, self.keep, self.most = engine, folder, keep, most
        self._by_key: dict[str, Session] = {}
        self._uploading: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: str) -> Session:
        """Gives the session of a visitor; of a stranger a new one that is not stored."""
        session = self._by_key.get(key) or Session(self.engine, self.folder)
        session.touch()
        return session

    def __getitem__(self, key: str) -> Session:
        """The visitor's own session, a guest's if there is none."""
        with self._lock:
            session = self._of(key)
            guests = [other for other in self._by_key if other != key and not self._is_visitor(other)]
            guests.sort(key=lambda other: (len(self._by_key[other].steps) > 1, self._by_key[other].used))
            surplus = [self._by_key.pop(other) for other in guests[: max(0, len(guests) + 1 - self.most)]]
        for each in surplus:
            each.close()
        return session

    @contextmanager
    def uploading(self, key: str) -> Iterator[Session]:
        """Gives the session of a visitor who opens a photo of their own, if there is room for one more."""
        with self._lock:
            if sum(map(self._is_visitor, self._by_key.keys() - {key})) >= self.most:
                raise ValueError(f"{self.most} people have photos here, and there is room for no more: try again later")
            session = self._of(key)
            self._uploading.add(key)
        try:
            yield session
        finally:
            self._uploading.discard(key)

    def _is_visitor(self, key: str) -> bool:
        return key in self._uploading or self._by_key[key].own

    def _of(self, key: str) -> Session:
        session = self._by_key.setdefault(key, Session(self.engine, self.folder))
        session.touch()
        return session

    @property
    def present(self) -> int:
        """Counts the visitors who have not left."""
        return sum(not session.resting for session in list(self._by_key.values()))

    def rest(self, key: str) -> None:
        """Marks a visitor as gone; they may come back until they are dropped."""
        if (session := self._by_key.get(key)) is not None:
            session.rest()

    def close(self, key: str) -> None:
        with self._lock:
            session = self._by_key.pop(key, None)
        if session is not None:
            session.close()

    def sweep(self, now: float | None = None) -> None:
        """Drops visitors that have been idle for longer than `keep`."""
        now = time.monotonic() if now is None else now
        for key in [key for key, session in list(self._by_key.items()) if now - session.used > self.keep]:
            self.close(key)

    def close_all(self) -> None:
        for key in list(self._by_key):
            self.close(key)
