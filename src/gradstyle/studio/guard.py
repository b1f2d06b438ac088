"""Checks requests before Gradio sees them: who may come in, what may be sent, and headers for the browser.

Gradio keeps uploads in a folder of its own and serves files from it. What it is sent, though, may name any file, or an
address to fetch; here only names in that folder get through. Nothing is served as a page that somebody uploaded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .disk import Disk, DiskFull
from .entrance import Logins, Names, Refused

LARGEST_CALL = 1 << 20  # bytes of what is sent to a function: names and numbers, never pictures
MOST_FILES = 200  # of one upload
# The page has scripts and styles within itself, and Gradio compiles templates; but nothing is from another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


class Guard:
    """ASGI middleware around the whole server."""

    def __init__(
        self,
        app: ASGIApp,
        disk: Disk,
        names: Names,
        logins: Logins,
        max_upload: int,
        most_waiting: int,
        frames: Sequence[str] = (),
    ) -> None:
        self.app, self.disk, self.files, self.names, self.logins = app, disk, disk.files.resolve(), names, logins
        self.max_upload, self.most_waiting = max_upload, most_waiting
        self.policy = " ".join([POLICY, *frames])
        self.waiting = 0  # calls that go past Gradio's queue, which has a limit of its own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            served = "/file" in scope["path"] and "/gradio_api/" in scope["path"]
            try:
                self.names.check(scope)
                self.logins.check(scope)
                if served:
                    self._check_served(scope["path"])
                await self._answer(scope, receive, self._closing(send, served))
            except Refused as refused:
                both = dict.fromkeys(("detail", "error"), refused.message)  # programs read the one, the page the other
                answer = JSONResponse(both, refused.status, refused.headers)
                await answer(scope, receive, self._closing(send, served=False))
            except ClientDisconnect:  # who left while they sent something is told nothing
                return
            except RuntimeError as error:  # Gradio refuses a stream after it began to answer: its visitor has left
                if not isinstance(error.__cause__, HTTPException):
                    raise

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, send)
        elif path.endswith("/upload"):
            await self._upload(scope, receive, send)
        elif path.endswith("/login"):
            await self._login(scope, await self._whole(scope, receive), send)
        else:
            receive = await self._whole(scope, receive, self._check_call)
            if not path.partition("/gradio_api/")[2].startswith(("run/", "api/")):
                await self.app(scope, receive, send)
                return
            if self.waiting >= self.most_waiting:
                raise Refused(503, "too many people at once: try again in a moment")
            self.waiting += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.waiting -= 1

    def _closing(self, send: Send, served: bool) -> Send:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Content-Security-Policy"] = FILE_POLICY if served else self.policy
                if served:
                    headers["Cache-Control"] = "private, no-store"
            await send(message)

        return closing

    def _check_served(self, path: str) -> None:
        """Lets only files under the folder through; Gradio would also fetch an address and pass it on."""
        name = path.partition("/file=")[2] or path.partition("/file/")[2]
        if name and not self._inside(name):
            raise Refused(403, "this server gives out only what it made")

    def _inside(self, name: str) -> bool:
        try:
            return "://" not in name and (self.files / name).resolve().is_relative_to(self.files)
        except (OSError, ValueError):
            return False

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Limits an upload to the bytes that a file may have, and reserves the disk before the first is read."""
        length = Headers(scope=scope).get("content-length")
        if length is None:
            raise Refused(411, "an upload says in its Content-Length how long it is")
        if not length.isdecimal() or int(length) > self.max_upload * MOST_FILES + LARGEST_CALL:
            raise Refused(413, f"an upload has at most {self.max_upload >> 20} MB a file")
        try:
            await asyncio.to_thread(self.disk.take, int(length))
        except DiskFull as full:
            raise Refused(507, str(full)) from None
        try:
            await self.app(scope, receive, send)
        finally:
            self.disk.give_back(int(length))

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        login = self.logins.begin(scope)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self.logins.right(login)
            await send(message)

        await self.app(scope, receive, noting)

    async def _whole(self, scope: Scope, receive: Receive, check: Callable[[bytes], None] | None = None) -> Receive:
        """Reads a small body to its end."""
        body = bytearray()
        async for chunk in Request(scope, receive).stream():
            body += chunk
            if len(body) > LARGEST_CALL:
                raise Refused(413, "a call has at most 1 MB: upload pictures first, then name them")
        if check is not None:
            check(bytes(body))
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return again

    def _check_call(self, body: bytes) -> None:
        """A call is JSON, with no file in it but those that were uploaded."""
        try:
            call = json.loads(body) if body.strip() else None
        except (ValueError, RecursionError):
            raise Refused(400, "the call is no JSON") from None
        for name in _files_in(call):
            if not self._inside(name):
                raise Refused(403, "the call names a file that was not uploaded here")


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
