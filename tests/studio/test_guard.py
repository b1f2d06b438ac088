"""What gets through to Gradio, and what a browser may do with what comes back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gradstyle.studio.disk import Disk
from gradstyle.studio.entrance import Logins, Names
from gradstyle.studio.guard import LARGEST_CALL, Guard

ADDRESS = "http://127.0.0.1:7860"


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def guarded(app: ASGIApp, disk: Disk, frames: Sequence[str] = ()) -> Guard:
    logins = Logins(needed=False, is_known=lambda cookies: False)
    return Guard(app, disk, Names(), logins, max_upload=1000, most_waiting=2, frames=frames)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    disk = Disk(1 << 21)
    yield disk
    disk.close()


@pytest.fixture
def client(tmp_path: Path, disk: Disk) -> TestClient:
    (disk.files / "ours.png").write_bytes(b"x" * 100)
    (tmp_path / "secret.txt").write_text("secret")
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    return TestClient(guarded(app, disk), ADDRESS)


def test_a_call_comes_through_as_it_was(client: TestClient, disk: Disk) -> None:
    call = {"data": [{"path": str(disk.files / "ours.png")}, 1, {"smile": 2}]}
    answer = client.post("/gradio_api/queue/join", json=call)
    assert answer.status_code == 200 and int(answer.text) == int(answer.request.headers["content-length"])
    assert client.post("/gradio_api/queue/join").status_code == 200  # an empty body is no file either
    assert client.post("/login", content=b"username=a&password=b").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../secret.txt", "http://other.example/x.png", "files/../../../secret.txt", 7, ["x"], "\x00"],
)
def test_a_call_names_no_file_of_the_machine(client: TestClient, path: object) -> None:
    for call in ({"data": [{"path": path}]}, {"data": [[{"a": {"b": [{"path": path, "url": "x"}]}}]]}):
        answer = client.post("/gradio_api/call/edit", json=call)
        assert answer.status_code == 403 and "not uploaded here" in answer.text


def test_a_link_out_of_the_folder_is_followed_no_further(client: TestClient, disk: Disk) -> None:
    (disk.files / "link").symlink_to(disk.folder.parent / "secret.txt")
    path = str(disk.files / "link")
    assert client.post("/gradio_api/run/edit", json={"data": [{"path": path}]}).status_code == 403
    assert client.get(f"/gradio_api/file={path}").status_code == 403


def test_calls_and_uploads_are_bounded(client: TestClient) -> None:
    assert client.post("/gradio_api/queue/join", content=b" " * (LARGEST_CALL + 1)).status_code == 413
    assert client.post("/gradio_api/queue/join", content=b"{").status_code == 400
    assert client.post("/gradio_api/queue/join", content=b"[" * 100_000).status_code == 400
    assert client.post("/gradio_api/upload", content=b"x" * 5000).text == "5000"
    assert client.post("/gradio_api/upload", content=b"x", headers={"content-length": "9999999"}).status_code == 413
    assert client.post("/gradio_api/upload", content=b"x", headers={"content-length": "-1"}).status_code == 413


def test_a_full_disk_takes_no_more(client: TestClient, disk: Disk) -> None:
    (disk.files / "many.png").write_bytes(b"x" * (1 << 21))
    answer = client.post("/gradio_api/upload", content=b"x" * 500)
    assert answer.status_code == 507 and "disk is full" in answer.text


def test_files_are_given_out_as_nothing_that_runs(client: TestClient, disk: Disk) -> None:
    answer = client.get(f"/gradio_api/file={disk.files / 'ours.png'}")
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; sandbox")
    for other in ("/etc/passwd", "http://other.example/", f"{disk.files}/../../secret.txt", "file:///etc/passwd"):
        assert client.get(f"/gradio_api/file={other}").status_code == 403, other
    page = client.get("/").headers["content-security-policy"]
    assert page.startswith("default-src 'self'") and "http" not in page


def test_only_the_studio_and_who_is_named_may_show_it_within_a_page(client: TestClient, disk: Disk) -> None:
    assert client.get("/").headers["content-security-policy"].endswith("; frame-ancestors 'self'")
    file = client.get(f"/gradio_api/file={disk.files / 'ours.png'}").headers["content-security-policy"]
    assert file.endswith("; frame-ancestors 'none'")
    app = Starlette(routes=[Route("/", echo)])
    framed = TestClient(guarded(app, disk, ["https://huggingface.co"]), ADDRESS).get("/")
    assert framed.headers["content-security-policy"].endswith("; frame-ancestors 'self' https://huggingface.co")


def test_uploads_side_by_side_fill_no_more_than_the_disk(disk: Disk) -> None:
    """Of eight at once, as many as fit are taken, and the others are refused before they send anything."""

    async def uploads() -> list[int]:
        decided, go_on = 0, asyncio.Event()

        def one_more() -> None:
            nonlocal decided
            decided += 1
            if decided == 8:  # all are taken or refused
                go_on.set()

        async def slow(request: Request) -> PlainTextResponse:
            one_more()
            await go_on.wait()
            return PlainTextResponse(str(len(await request.body())))

        transport = httpx.ASGITransport(
            guarded(Starlette(routes=[Route("/{path:path}", slow, methods=["POST"])]), disk)
        )
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as visitors:

            async def upload() -> int:
                answer = await visitors.post("/gradio_api/upload", content=b"x" * (600 << 10))
                if answer.status_code == 507:
                    one_more()
                return answer.status_code

            first = list(await asyncio.gather(*(upload() for _ in range(8))))
            return [*first, await upload()]  # what was promised to them is free again, since nothing was written

    assert sorted(asyncio.run(uploads())) == [200] * 4 + [507] * 5


def test_an_upload_says_how_long_it_is(client: TestClient) -> None:
    assert client.post("/gradio_api/upload", content=iter([b"x"])).status_code == 411


def test_a_login_is_small(client: TestClient) -> None:
    assert client.post("/login", content=b"x" * (LARGEST_CALL + 1)).status_code == 413


def test_who_leaves_while_they_send_makes_no_error(disk: Disk) -> None:
    """The application ends without an exception, and without an answer to nobody."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    for path in ("/gradio_api/upload", "/gradio_api/run/predict", "/login"):
        headers = [(b"host", b"127.0.0.1"), (b"content-length", b"100")]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
        asyncio.run(guarded(app, disk)(scope, receive, send))
    assert not sent
    disk.take(1 << 21)  # all of the disk is free again


def test_more_than_may_wait_are_sent_away(disk: Disk) -> None:
    async def crowd() -> list[int]:
        go_on = asyncio.Event()

        async def slow(request: Request) -> PlainTextResponse:
            await go_on.wait()
            return PlainTextResponse("done")

        app = Starlette(routes=[Route("/{path:path}", slow, methods=["GET", "POST"])])
        transport = httpx.ASGITransport(guarded(app, disk))
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as visitors:
            calls = [asyncio.create_task(visitors.post("/gradio_api/run/predict", json={})) for _ in range(2)]
            await asyncio.sleep(0.05)
            third = await visitors.post("/gradio_api/run/predict", json={})
            assert third.json()["error"] == "too many people at once: try again in a moment"
            go_on.set()
            answers = [third, *[await call for call in calls], await visitors.post("/gradio_api/run/predict", json={})]
        return [answer.status_code for answer in answers]

    assert asyncio.run(crowd()) == [503, 200, 200, 200]
