"""What gets through to Gradio, and what a browser may do with what comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from gradstyle.studio.guard import LARGEST_CALL, Guard


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "ours.png").write_bytes(b"x" * 100)
    (tmp_path / "secret.txt").write_text("secret")
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    return TestClient(Guard(app, tmp_path / "files", max_upload=1000, most_on_disk=1 << 21, most_waiting=2))


def test_a_call_comes_through_as_it_was(client: TestClient, tmp_path: Path) -> None:
    call = {"data": [{"path": str(tmp_path / "files" / "ours.png")}, 1, {"smile": 2}]}
    answer = client.post("/gradio_api/queue/join", json=call)
    assert answer.status_code == 200 and int(answer.text) == int(answer.request.headers["content-length"])
    assert client.post("/gradio_api/queue/join").status_code == 200  # an empty body is no file either
    assert client.post("/login", content=b"username=a&password=b").status_code == 200


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.txt", "http://other.example/x.png", "files/../../secret.txt", 7, ["x"], "\x00"]
)
def test_a_call_names_no_file_of_the_machine(client: TestClient, path: object) -> None:
    for call in ({"data": [{"path": path}]}, {"data": [[{"a": {"b": [{"path": path, "url": "x"}]}}]]}):
        answer = client.post("/gradio_api/call/edit", json=call)
        assert answer.status_code == 403 and "not uploaded here" in answer.text


def test_a_link_out_of_the_folder_is_followed_no_further(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "files" / "link").symlink_to(tmp_path / "secret.txt")
    path = str(tmp_path / "files" / "link")
    assert client.post("/gradio_api/run/edit", json={"data": [{"path": path}]}).status_code == 403
    assert client.get(f"/gradio_api/file={path}").status_code == 403


def test_calls_and_uploads_are_bounded(client: TestClient) -> None:
    assert client.post("/gradio_api/queue/join", content=b" " * (LARGEST_CALL + 1)).status_code == 413
    assert client.post("/gradio_api/queue/join", content=b"{").status_code == 400
    assert client.post("/gradio_api/queue/join", content=b"[" * 100_000).status_code == 400
    assert client.post("/gradio_api/upload", content=b"x" * 5000).text == "5000"
    assert client.post("/gradio_api/upload", content=b"x", headers={"content-length": "9999999"}).status_code == 413
    assert client.post("/gradio_api/upload", content=b"x", headers={"content-length": "-1"}).status_code == 413


def test_a_full_disk_takes_no_more(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "files" / "many.png").write_bytes(b"x" * (1 << 21))
    answer = client.post("/gradio_api/upload", content=b"x" * 500)
    assert answer.status_code == 507 and "disk is full" in answer.text


def test_files_are_given_out_as_nothing_that_runs(client: TestClient, tmp_path: Path) -> None:
    answer = client.get(f"/gradio_api/file={tmp_path / 'files' / 'ours.png'}")
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    for other in ("/etc/passwd", "http://other.example/", f"{tmp_path}/files/../secret.txt", "file:///etc/passwd"):
        assert client.get(f"/gradio_api/file={other}").status_code == 403, other
    page = client.get("/").headers["content-security-policy"]
    assert page.startswith("default-src 'self'") and "http" not in page


def test_more_than_may_wait_are_sent_away(tmp_path: Path) -> None:
    async def crowd() -> list[int]:
        go_on = asyncio.Event()

        async def slow(request: Request) -> PlainTextResponse:
            await go_on.wait()
            return PlainTextResponse("done")

        app = Starlette(routes=[Route("/{path:path}", slow, methods=["GET", "POST"])])
        guard = Guard(app, tmp_path, max_upload=1000, most_on_disk=1 << 21, most_waiting=2)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://studio") as visitors:
            calls = [asyncio.create_task(visitors.post("/gradio_api/run/predict", json={})) for _ in range(2)]
            await asyncio.sleep(0.05)
            third = await visitors.post("/gradio_api/run/predict", json={})
            assert third.json() == {"error": "too many people at once: try again in a moment"}
            go_on.set()
            answers = [third, *[await call for call in calls], await visitors.post("/gradio_api/run/predict", json={})]
        return [answer.status_code for answer in answers]

    assert asyncio.run(crowd()) == [503, 200, 200, 200]
