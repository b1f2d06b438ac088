"""A web server on this machine that misbehaves on request."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BODY = bytes(range(256)) * 4096  # 1 MiB, and no page
SHA = hashlib.sha256(BODY).hexdigest()


class Exchange(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        self.server.answer(self)

    def reply(
        self, body: bytes, *, status: int = 200, declare: int | None = -1, send: int | None = None, **headers: str
    ) -> None:
        """`declare`s a length (None: no length at all) and `send`s so many bytes before hanging up."""
        self.send_response(status)
        if declare is not None:
            self.send_header("Content-Length", str(len(body) if declare == -1 else declare))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:send])

    def log_message(self, *_: object) -> None: ...


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.asked: list[dict[str, str]] = []
        self.answer: Callable[[Exchange], None] = lambda exchange: exchange.reply(BODY)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.pt"

    def serve(
        self, body: bytes = BODY, *, cut: tuple[int, ...] = (), etag: str | None = '"one"', **headers: str
    ) -> None:
        """A proper host, but for hanging up after the n-th of `cut` bytes of its n-th answer."""
        limits = iter(cut)

        def answer(exchange: Exchange) -> None:
            known = {"ETag": etag, **headers} if etag else dict(headers)
            wanted, condition = exchange.headers.get("Range"), exchange.headers.get("If-Range")
            if wanted and condition in (None, *known.values()):
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    return exchange.reply(b"", status=416)
                span = f"bytes {start}-{len(body) - 1}/{len(body)}"
                return exchange.reply(body[start:], status=206, send=next(limits, None), Content_Range=span, **known)
            return exchange.reply(body, send=next(limits, None), **known)

        self.answer = answer


@contextmanager
def running() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                patch.delenv(name, raising=False)
            yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
