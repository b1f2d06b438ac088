"""Lines to clients: who keeps the server waiting is cut, and a crowd of them keeps out nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gradstyle.studio import connections
from gradstyle.studio.connections import AT_ONCE, Connection, Sparing
from tests.support.studios import Running, run_studio

MOST = 20
HALVES = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-",
    "half a body": b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf",
}


@dataclass
class Server:
    port: int
    go_on: threading.Event
    lines: set[object]

    def line(self, sent: bytes = b"") -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        line.sendall(sent)
        return line


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of few lines, on which all goes fifty times as fast."""
    for name in ("HEAD", "BODY", "READ", "LOOK"):
        monkeypatch.setattr(connections, name, getattr(connections, name) / 50)
    monkeypatch.setattr(connections.Connection, "most", MOST)
    go_on = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def much() -> Iterator[bytes]:
            for _ in range(1000):
                yield bytes(1 << 20)

        body = await Request(scope, receive).body()
        if scope["path"] == "/wait":
            await asyncio.to_thread(go_on.wait, 60)
        answer = StreamingResponse(much()) if scope["path"] == "/much" else Response(str(len(body)))
        await answer(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_level="error",
            backlog=AT_ONCE,
            timeout_graceful_shutdown=1,
        )
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield Server(listening.getsockname()[1], go_on, running.server_state.connections)
        finally:
            go_on.set()
            running.should_exit = True
            thread.join()


def ends(line: socket.socket) -> bytes:
    """What comes until the server ends the line."""
    came = b""
    try:
        while data := line.recv(1000):
            came += data
    except ConnectionResetError:
        pass
    return came


@pytest.mark.parametrize("half", HALVES)
def test_a_client_that_does_not_go_on_is_cut(server: Server, half: str) -> None:
    with server.line(HALVES[half]) as line:
        assert ends(line) == b""


def test_a_client_that_drips_is_cut(server: Server) -> None:
    with server.line(b"GET / HTTP/1.1\r\nHost: x\r\nX-") as line, pytest.raises(OSError):
        for _ in range(6000):  # a minute, of which a fifth of a second is allowed
            line.sendall(b"a")
            time.sleep(0.01)


def test_a_client_that_takes_nothing_of_its_answer_is_cut(server: Server) -> None:
    with server.line(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n"):
        wait_for(lambda: len(server.lines) == 1)
        wait_for(lambda: not server.lines)


def test_a_body_that_comes_slowly_is_taken(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SLOWEST", 100)
    with server.line(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\nConnection: close\r\n\r\n") as line:
        for _ in range(20):  # longer than a body without bytes may take
            line.sendall(bytes(1000))
            time.sleep(connections.BODY / 10)
        assert ends(line).endswith(b"20000")


def test_a_flood_of_half_requests_keeps_out_nobody_and_ends_no_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEAD", "BODY", "READ"):  # not even while none of them is late
        monkeypatch.setattr(connections, name, 60.0)
    waiting = server.line(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    wait_for(lambda: len(server.lines) == 1)
    flood = [server.line(list(HALVES.values())[number % 3]) for number in range(6 * MOST)]
    for _ in range(3):
        assert httpx.get(f"http://127.0.0.1:{server.port}/", timeout=60).text == "0"
    wait_for(lambda: len(server.lines) <= MOST)
    server.go_on.set()
    assert ends(waiting).endswith(b"0")
    for line in (waiting, *flood):
        line.close()


def wait_for(there: object) -> None:
    for _ in range(3000):
        if there():  # type: ignore[operator]
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_a_log_takes_a_few_lines_a_minute() -> None:
    now = [0.0]
    sparing = Sparing(3, lambda: now[0])
    records = [logging.LogRecord("x", logging.WARNING, "", 0, "bad request", (), None) for _ in range(9)]
    assert [sparing.filter(record) for record in records[:5]] == [True] * 3 + [False] * 2
    assert [record.getMessage() for record in records[1:3]] == ["bad request", "bad request (the last for this minute)"]
    now[0] = 60.0
    assert sparing.filter(records[5])


LEAVING = (
    b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b'Content-Length: 9999\r\n\r\n--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nabc',
    b"POST /gradio_api/run/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n{",
    b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\nu",
    b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /gradio_api/queue/data?session_hash=nobody HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /config HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"no HTTP at all\r\n\r\n",
)


def test_a_studio_of_few_files_lives_through_a_flood_and_writes_no_tracebacks(bundle: Path, tmp_path: Path) -> None:
    running = run_studio(bundle, tmp_path / "temp", files=256)
    studio: Running = next(running)
    try:
        server = Server(int(studio.address.rpartition(":")[2]), threading.Event(), set())
        flood = [server.line(list(HALVES.values())[number % 3]) for number in range(400)]
        assert studio.health()["status"] == "ok"
        config = httpx.get(f"{studio.address}/config", timeout=60).json()
        for number in range(50):
            with server.line(LEAVING[number % len(LEAVING)]):
                time.sleep(0.01)
        malformed = httpx.post(f"{studio.address}/gradio_api/call/edit", json={"data": [5, {}]}, timeout=60).json()
        said = httpx.get(f"{studio.address}/gradio_api/call/edit/{malformed['event_id']}", timeout=60).text
        assert "not in the form" in json.loads(said.rpartition("data: ")[2])["error"]
        assert config["title"] == "GradStyle studio" and studio.health()["status"] == "ok"
        for line in flood:
            line.close()
        wait_for(lambda: [path.suffix for path in studio.files()] == [".lock"])  # nothing of broken-off uploads
        studio.process.terminate()
        log, _ = studio.process.communicate(timeout=60)
        assert "Traceback" not in log and len(log) < 10_000, log
    finally:
        running.close()  # type: ignore[attr-defined]
