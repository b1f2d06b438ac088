"""What stands before Gradio: limits on what comes in, and on what a browser may do with what goes out.

Gradio keeps uploads in a folder of its own and serves files from it. What it is sent, though, may name any file, or an
address to fetch; here only names in that folder get through. Nothing is served as a page that somebody uploaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_CALL = 1 << 20  # bytes of what is sent to a function: names and numbers, never pictures
MOST_FILES = 200  # of one upload
# The page has scripts and styles within itself, and Gradio compiles templates; but nothing is from another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
FILE_POLICY = "default-src 'none'; sandbox"


class Guard:
    """ASGI middleware around the whole server."""

    def __init__(self, app: ASGIApp, files: Path, max_upload: int, most_on_disk: int, most_waiting: int) -> None:
        self.app, self.files = app, files.resolve()
        self.max_upload, self.most_on_disk, self.most_waiting = max_upload, most_on_disk, most_waiting
        self.waiting = 0  # calls that go past Gradio's queue, which has a limit of its own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, upload = scope["path"], scope["path"].rstrip("/").endswith("/upload")
        served = "/file" in path and "/gradio_api/" in path
        try:
            if served:
                self._check_served(path)
            if scope["method"] in ("POST", "PUT", "PATCH"):
                receive = await (self._limited(scope, receive) if upload else self._checked(scope, receive))
        except _Refused as refused:
            answer = JSONResponse({"detail": refused.message}, refused.status)
            await answer(scope, receive, self._closing(send, served=False))
            return
        if not path.partition("/gradio_api/")[2].startswith(("run/", "api/")):
            await self.app(scope, receive, self._closing(send, served))
            return
        if self.waiting >= self.most_waiting:
            answer = JSONResponse({"error": "too many people at once: try again in a moment"}, 503)
            await answer(scope, receive, self._closing(send, served=False))
            return
        self.waiting += 1
        try:
            await self.app(scope, receive, self._closing(send, served))
        finally:
            self.waiting -= 1

    def _closing(self, send: Send, served: bool) -> Send:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Content-Security-Policy"] = FILE_POLICY if served else POLICY
                if served:
                    headers["Cache-Control"] = "private, no-store"
            await send(message)

        return closing

    def _check_served(self, path: str) -> None:
        """Only files under the folder; Gradio would also fetch an address and pass on what is there."""
        name = path.partition("/file=")[2] or path.partition("/file/")[2]
        if name and not self._inside(name):
            raise _Refused(403, "this server gives out only what it made")

    def _inside(self, name: str) -> bool:
        try:
            return "://" not in name and (self.files / name).resolve().is_relative_to(self.files)
        except (OSError, ValueError):
            return False

    async def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """An upload: no more bytes than its files may have, whatever its headers say, and room for them on the disk."""
        most = self.max_upload * MOST_FILES + LARGEST_CALL
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > most:
            raise _Refused(413, f"an upload has at most {self.max_upload >> 20} MB a file")
        used = sum(file.stat().st_size for file in self.files.rglob("*") if file.is_file())
        room = self.most_on_disk - used
        if int(length) > room:
            raise _Refused(507, "the studio's disk is full: try again in an hour")
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return {"type": "http.disconnect"} if seen > min(most, room) else message

        return counted

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """A call: small, and with no file in it but those that were uploaded."""
        if not scope["path"].rstrip("/").endswith("/login"):
            body = b""
            async for chunk in Request(scope, receive).stream():
                body += chunk
                if len(body) > LARGEST_CALL:
                    raise _Refused(413, "a call has at most 1 MB: upload pictures first, then name them")
            try:
                call = json.loads(body) if body.strip() else None
            except (ValueError, RecursionError):
                raise _Refused(400, "the call is no JSON") from None
            for name in _files_in(call):
                if not self._inside(name):
                    raise _Refused(403, "the call names a file that was not uploaded here")
            sent = False

            async def again() -> Message:
                nonlocal sent
                if sent:
                    return await receive()
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}

            return again
        return receive


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def _files_in(value: Any) -> Iterator[str]:
    """Paths of all that looks like a file in a call, at any depth."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            path = found.get("path")
            if isinstance(path, str) and path:
                yield path
            elif path not in (None, ""):
                yield "://"
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
