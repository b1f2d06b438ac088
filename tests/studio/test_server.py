"""The server as people run it: health, passwords, uploads that mean harm, programs, and what it leaves behind."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from typer.testing import CliRunner

from gradstyle.cli import app
from gradstyle.studio.entrance import MOST_WRONG
from tests.support.studios import MAX_UPLOAD, Running, a_photo, edit, run_studio, upload

PAGE = (Path(__file__).parents[2] / "docs" / "studio.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def client(studio: Running) -> Client:
    return Client(studio.address, verbose=False)


def test_health(studio: Running) -> None:
    health = studio.health()
    assert health["status"] == "ok" and list(health["bundles"]) == ["tiny"]  # type: ignore[call-overload]
    assert "/" not in json.dumps(health)  # nothing of where it runs


def test_only_this_machine_reaches_it(studio: Running) -> None:
    port = int(studio.address.rpartition(":")[2])
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        listening += [row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
    assert listening == [f"0100007F:{port:04X}"]


def test_a_program_edits_a_photo(client: Client, tmp_path: Path) -> None:
    photo = a_photo(tmp_path, "me.png", (300, 200))
    edited = client.predict(handle_file(photo), {"smile": 2}, "", "gradstyle", "largest", api_name="/edit")
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (photo, edited))
    assert Path(edited).name == "me-edited.png" and after.shape == (200, 300, 3) and np.abs(after - before).max() > 5
    same = client.predict(handle_file(photo), {}, "", "", "all", api_name="/edit")
    assert (np.asarray(Image.open(same).convert("RGB")) == before).all()
    known = client.predict(api_name="/bundles")
    assert known["tiny"]["edits"]["smile"] == [-2, 3] and known["tiny"]["methods"][0] == "gradmove"
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/edit", "/bundles"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (({"grin": 1}, "", "", "1"), "has no edit 'grin'"),
        (({"smile": "much"}, "", "", "1"), "is a number"),
        (({"smile": 10**400}, "", "", "1"), "the amount of 'smile' is a number"),
        (({}, 5, "", "1"), "no bundle '5'"),
        (({}, "", ["best"], "1"), "no method"),
        (([1], "", "", "1"), "edits are names and amounts"),
        (({}, "cars", "", "1"), "no bundle 'cars'"),
        (({}, "", "best", "1"), "no method 'best'"),
        (({}, "", "", "2"), "a number from 1 to 1, got '2'"),
    ],
)
def test_a_program_is_told_what_is_wrong(studio: Running, tmp_path: Path, given: tuple[Any, ...], said: str) -> None:
    path = upload(studio, "me.jpg", a_photo(tmp_path).read_bytes())
    kind, answer = edit(studio, path, "me.jpg", *given)
    assert kind == "error" and said in json.dumps(answer)


def test_the_pages_commands_are_right(studio: Running, tmp_path: Path) -> None:
    """The page's shell and Python, run as they stand but for the address."""
    a_photo(tmp_path, "me.jpg", (300, 200))
    (python,) = re.findall(r"^```python\n(import shutil.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (shell,) = re.findall(r"^```sh\n(studio=.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:7860" in python and "http://127.0.0.1:7860" in shell
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(compile(python.replace("http://127.0.0.1:7860", studio.address), "docs/studio.md", "exec"), {})
        script = shell.replace("http://127.0.0.1:7860", studio.address)
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, capture_output=True, timeout=120)
    finally:
        os.chdir(before)
    by_python, by_shell = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("by-python", "by-curl"))
    assert by_python.shape == (200, 300, 3) and (by_python == by_shell).all()


SCRIPT = "<script>fetch('/gradio_api/config')</script>"
HOSTILE = {
    "drawing.svg": (f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>", "image/svg+xml"),
    "page.html": (f"<!doctype html>{SCRIPT}", "text/html"),
    "page.jpg": (f"<!doctype html>{SCRIPT}", "image/jpeg"),
    "drawing.png": (f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>", "image/svg+xml"),
    "program.jpg": ("#!/bin/sh\ntouch owned\n", "application/x-sh"),
    "postscript.jpg": ("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "image/jpeg"),
    "nothing.jpg": ("", "image/jpeg"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_refused_and_runs_nowhere(studio: Running, name: str) -> None:
    content, kind = HOSTILE[name]
    path = upload(studio, name, content.encode(), kind)
    served = httpx.get(f"{studio.address}/gradio_api/file={path}", timeout=30)
    assert "sandbox" in served.headers["content-security-policy"]
    assert served.headers["x-content-type-options"] == "nosniff"
    pictures = ("image/jpeg", "image/png")  # by its name: nothing that a browser runs
    assert served.headers["content-type"] in pictures or served.headers["content-disposition"].startswith("attachment")
    how, answer = edit(studio, path, name)
    assert how == "error" and name in json.dumps(answer) and str(studio.temp) not in json.dumps(answer)
    assert httpx.get(f"{studio.address}/gradio_api/file={path}", timeout=30).status_code == 403  # and is gone
    assert studio.health()["status"] == "ok"


def test_names_that_lead_elsewhere_stay_in_the_folder(studio: Running, tmp_path: Path) -> None:
    photo = a_photo(tmp_path, "me.png").read_bytes()
    before = {path for path in Path(studio.temp).parent.rglob("*") if studio.temp not in path.parents}
    for name in (
        "../../../escaped.png",
        "..\\..\\escaped.png",
        "/escaped.png",
        "a/../../escaped.png",
        "con\x01.png",
        ".htaccess",
    ):
        path = Path(upload(studio, name, photo, "image/png"))
        assert path.resolve().is_relative_to(studio.temp.resolve()), path
        how, answer = edit(studio, str(path), name)
        assert how == "complete", answer
        assert Path(answer[0]["path"]).resolve().is_relative_to(studio.temp.resolve())
    assert before == {path for path in Path(studio.temp).parent.rglob("*") if studio.temp not in path.parents}


def test_the_same_picture_twice_is_two_pictures(studio: Running, tmp_path: Path) -> None:
    photo = a_photo(tmp_path, "me.png").read_bytes()
    files = [("files", ("me.png", photo, "image/png"))] * 2
    answer = httpx.post(f"{studio.address}/gradio_api/upload", files=files, timeout=60)
    paths = [*answer.json(), upload(studio, "me.png", photo)]
    assert len(set(paths)) == 3
    for path in paths:  # the first takes nothing away from the others
        assert edit(studio, path, "me.png", {"smile": 1})[0] == "complete"


def test_pages_from_elsewhere_and_other_names_get_nothing(studio: Running) -> None:
    before = studio.files()
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        for method, path in (("GET", "health"), ("GET", ""), ("OPTIONS", "config"), ("POST", "gradio_api/upload")):
            files = {"files": b"x"} if method == "POST" else None
            asked = {**headers, "Access-Control-Request-Method": "POST"}
            answer = httpx.request(method, f"{studio.address}/{path}", headers=asked, files=files, timeout=30)
            assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    assert studio.files() == before
    assert httpx.get(f"{studio.address}/health", headers={"Origin": studio.address}, timeout=30).status_code == 200


def test_files_of_the_machine_cannot_be_had(studio: Running, bundle: Path) -> None:
    for path in ("/etc/passwd", str(bundle / "bundle.json"), "../bundle.json", "http://127.0.0.1:9/x.png"):
        how, _ = edit(studio, path)
        assert how == "403"
        assert httpx.get(f"{studio.address}/gradio_api/file={path}", timeout=30).status_code == 403
        assert httpx.get(f"{studio.address}/gradio_api/proxy={path}", timeout=30).status_code >= 400


def test_too_large_a_file_is_refused_while_it_comes(studio: Running) -> None:
    files = {"files": ("large.jpg", b"\xff\xd8" + bytes((MAX_UPLOAD + 1) << 20), "image/jpeg")}
    assert httpx.post(f"{studio.address}/gradio_api/upload", files=files, timeout=60).status_code == 413
    with socket.create_connection(("127.0.0.1", int(studio.address.rpartition(":")[2]))) as line:  # 200 GB, it says
        line.sendall(b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 214748364800\r\n\r\nx")
        assert b" 413 " in line.recv(1000)
    assert max((path.stat().st_size for path in studio.files()), default=0) <= MAX_UPLOAD << 20
    assert studio.health()["status"] == "ok"


NAMED = ("--allow-host", "studio.example", "--allow-frame", "https://huggingface.co")


def test_a_password_keeps_out_and_files_are_gone_in_the_end(bundle: Path, tmp_path: Path) -> None:
    """One server for both, since each takes seconds to start."""
    running = run_studio(bundle, tmp_path / "temp", "--auth", "ada:lovelace", "--keep", "0.05", *NAMED)
    studio = next(running)
    try:
        assert httpx.get(f"{studio.address}/gradio_api/info", timeout=30).status_code == 401
        assert httpx.post(f"{studio.address}/gradio_api/upload", files={"files": b"x"}, timeout=30).status_code == 401
        wrong = httpx.post(f"{studio.address}/login", data={"username": "ada", "password": "x"}, timeout=30)
        assert wrong.status_code == 400
        for path in ("openapi.json", "heartbeat/x", "queue/data", "token", "user", "config"):
            assert httpx.get(f"{studio.address}/gradio_api/{path}", timeout=30).status_code == 401, path
        for path in ("cancel", "reset", "run/edit", "queue/join"):
            assert httpx.post(f"{studio.address}/gradio_api/{path}", json={}, timeout=30).status_code == 401, path
        page = httpx.get(studio.address, headers={"Host": "studio.example"}, timeout=30)
        assert (
            page.status_code == 200
            and '"auth_required":true' in page.text.replace(" ", "")
            and "smile" not in page.text
        )
        assert page.headers["content-security-policy"].endswith("frame-ancestors 'self' https://huggingface.co")
        client = Client(studio.address, auth=("ada", "lovelace"), verbose=False)
        photo = a_photo(tmp_path, "me.png")
        assert Path(client.predict(handle_file(photo), {"smile": 1}, "", "", "", api_name="/edit")).is_file()
        assert len(studio.files()) > 1
        for _ in range(100):  # three seconds are what it keeps them
            if len(studio.files()) == 1:
                break
            time.sleep(0.2)
        assert [path.suffix for path in studio.files()] == [".lock"]
        client.predict(handle_file(photo), {"smile": 2}, "", "", "", api_name="/edit")
        assert [path for path in studio.files() if path.suffix != ".lock"]
        wrong = {"username": "ada", "password": "x"}
        guesses = [httpx.post(f"{studio.address}/login", data=wrong, timeout=30) for _ in range(MOST_WRONG)]
        assert [guess.status_code for guess in guesses] == [400] * (MOST_WRONG - 1) + [429]  # one was before
        assert int(guesses[-1].headers["retry-after"]) > 60
    finally:
        running.close()  # type: ignore[attr-defined]
    assert list(studio.temp.iterdir()) == [] and studio.process.returncode == 0


def test_a_wrong_start_is_told_in_a_line(studio: Running, bundle: Path) -> None:
    port = studio.address.rpartition(":")[2]
    for options, said in (
        (["--bundle", str(bundle), "--port", port], f"port {port}: Address already in use; choose another --port"),
        (["--bundle", "nowhere"], "there is no bundle 'nowhere'"),
        (["--bundle", str(bundle), "--auth", "secretword"], "--auth is USER:PASSWORD"),
        (["--bundle", str(bundle), "--bundle", str(bundle)], "two bundles are called 'tiny'"),
    ):
        done = CliRunner().invoke(app, ["studio", *options])
        assert done.exit_code == 1 and said in done.output and "secretword" not in done.output


def test_a_picture_of_another_kind_comes_out_as_one(studio: Running) -> None:
    """A GIF, a picture with transparency and one of 16 bits, as phones and programs write them."""
    for kind, picture in (
        ("GIF", Image.new("P", (40, 30))),
        ("PNG", Image.new("RGBA", (40, 30), (9, 8, 7, 0))),
        ("TIFF", Image.fromarray(np.zeros((30, 40), np.uint16))),
    ):
        data = io.BytesIO()
        picture.save(data, kind)
        path = upload(studio, f"x.{kind.lower()}", data.getvalue(), "image/x")
        how, answer = edit(studio, path, "x", {"smile": 1})
        assert how == "complete", (kind, answer)
