"""HTTP with limits on time: for every read, for the head of an answer, and for all of it together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from io import BufferedReader, RawIOBase
from math import inf
from socket import socket
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)


class DownloadError(OSError):
    """A file could not be fetched; the message says what to do."""


class Late(Exception):
    """Says that the time for everything is over."""


@dataclass(frozen=True)
class Clock:
    """Limits how long a host may take: for one read, for the head of an answer, and for everything."""

    piece: float
    end: float

    @property
    def left(self) -> float:
        return max(self.end - time.monotonic(), 0.0)

    def seconds(self, until: float = inf) -> float:
        """How long the next read may take."""
        if not self.left:
            raise Late
        seconds = min(self.piece, self.left, until - time.monotonic())
        if seconds <= 0:
            raise TimeoutError
        return seconds


class Redirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        before, after = urlsplit(req.full_url), urlsplit(newurl).scheme
        if after not in ("http", "https") or (before.scheme == "https" and after == "http"):
            raise DownloadError(f"{before.netloc} redirects to {newurl}, which is not followed from {before.scheme}")
        fp.close()  # else its body is read to the end, if it has one
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Response(HTTPResponse):
    """Reads an answer under a clock; a socket's own limit would start anew with every byte."""

    def __init__(
        self, sock: socket, debuglevel: int = 0, method: str | None = None, url: str | None = None, *, clock: Clock
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.pieces = _Pieces(sock, self.fp.detach(), clock)
        self.fp = BufferedReader(self.pieces)

    def begin(self) -> None:
        super().begin()
        self.pieces.until = inf


class _Pieces(RawIOBase):
    def __init__(self, sock: socket, raw: RawIOBase, clock: Clock) -> None:
        self.sock, self.raw, self.clock = sock, raw, clock
        self.until = time.monotonic() + clock.piece  # for the head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.sock.settimeout(self.clock.seconds(self.until))
        return self.raw.readinto(buffer)

    def close(self) -> None:
        self.raw.close()
        super().close()


class _Http(HTTPHandler):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_connection, HTTPConnection, self.clock), req)


class _Https(HTTPSHandler):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_connection, HTTPSConnection, self.clock), req)


def _connection(kind: type[HTTPConnection], clock: Clock, host: str, timeout: float) -> HTTPConnection:
    connection = kind(host, timeout=min(timeout, clock.seconds()))
    connection.response_class = partial(_Response, clock=clock)  # type: ignore[assignment]
    return connection


def opener(clock: Clock) -> OpenerDirector:
    """Opens http and https alone: no redirect can lead to a file, ftp or data."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        _Http(clock),
        _Https(clock),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        Redirects(),
    ):
        opener.add_handler(handler)
    return opener
