"""Twenty people at once: nobody sees another's photo, everyone's last move is answered, and nothing stays behind."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.support.studios import Running, pixels

PEOPLE, EDITS = 20, 10
COLOURS = list(product((116, 128, 140), repeat=3))[:PEOPLE]


class Visitor:
    """What a browser does, without drawing: it joins the queue, and listens until its call is done."""

    def __init__(self, studio: Running, number: int) -> None:
        self.http = httpx.Client(base_url=f"{studio.address}/gradio_api", timeout=120)
        self.key = f"visitor{number:04d}"
        self.config: dict[str, Any] = httpx.get(f"{studio.address}/config", timeout=60).json()
        self.ids = {part["props"].get("elem_id"): part["id"] for part in self.config["components"]}
        self.labels = {part["props"].get("label"): part["id"] for part in self.config["components"]}

    def __enter__(self) -> Visitor:
        """As a browser's open tab does, it keeps a line open: when that is cut, the visitor has left."""
        self.line = httpx.Client(timeout=None)
        opened, self.leave = threading.Event(), threading.Event()

        def listen() -> None:
            with self.line.stream("GET", f"{self.http.base_url}heartbeat/{self.key}") as alive:
                for _ in alive.iter_lines():
                    opened.set()
                    if self.leave.is_set():
                        return

        self.thread = threading.Thread(target=listen, daemon=True)
        self.thread.start()
        assert opened.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.leave.set()
        self.line.close()
        self.http.close()

    def call(self, component: int, event: str, data: list[Any]) -> dict[int, Any]:
        """What comes back when a component is used, by the component that shows it."""
        (function,) = [f for f in self.config["dependencies"] if [component, event] in [list(t) for t in f["targets"]]]
        call = {"fn_index": function["id"], "session_hash": self.key, "data": data, "trigger_id": component}
        if not function["queue"]:
            answer = self.http.post("/run/predict", json=call)
            answer.raise_for_status()
            return dict(zip(function["outputs"], answer.json()["data"]))
        joined = self.http.post("/queue/join", json=call)
        joined.raise_for_status()
        with self.http.stream("GET", "/queue/data", params={"session_hash": self.key}) as events:
            for line in events.iter_lines():
                told = json.loads(line[6:]) if line.startswith("data: ") else {}
                if told.get("msg") == "process_completed":
                    assert told["success"], told
                    return dict(zip(function["outputs"], told["output"]["data"]))
        raise AssertionError("no answer")


def visit(studio: Running, number: int) -> None:
    colour = np.array(COLOURS[number], np.uint8)
    picture = np.broadcast_to(colour, (48, 64, 3))
    with Visitor(studio, number) as visitor:
        path = studio.temp / f"sent-{number}.png"
        Image.fromarray(picture.copy()).save(path)
        uploaded = visitor.http.post("/upload", files={"files": ("me.png", path.read_bytes(), "image/png")}).json()[0]
        path.unlink()
        stage, sliders = visitor.ids["gs-stage"], [visitor.labels[label] for label in ("Smile", "Age", "Hair colour")]
        file = {"path": uploaded, "orig_name": "me.png", "meta": {"_type": "gradio.FileData"}}
        came = visitor.call(visitor.ids["gs-photo"], "input", [file])
        own = pixels(came[stage]["whole"]).reshape(-1, 3).mean(axis=0)
        assert np.abs(own - colour).max() < 2, (number, own, colour)
        for edit in range(EDITS):
            amounts = [
                round(-1.5 + 0.1 * number + 0.2 * edit, 2) or 0.05,
                0.1 * (edit + 1),
                0.05 * number - 0.5 or 0.05,
            ]
            amounts[0] = min(amounts[0], 3.0)
            answer = visitor.call(sliders[0], "input", amounts)[stage]
            assert answer["says"] == (
                f"smile {amounts[0]:+.3g}, age {amounts[1]:+.3g}, hair colour {amounts[2]:+.3g}"
            ), number
        back = visitor.call(stage, "reset", [])[stage]  # the photo that is left is one's own
        assert np.abs(pixels(back["whole"]).reshape(-1, 3).mean(axis=0) - colour).max() < 2


def test_twenty_people(studio: Running) -> None:
    visit(studio, 0)  # what is loaded once is loaded
    settled(studio)
    before = studio.megabytes
    with ThreadPoolExecutor(PEOPLE) as people:
        for visited in [people.submit(visit, studio, number) for number in range(PEOPLE)]:
            visited.result()
    settled(studio)
    assert studio.megabytes - before < 100
    assert float(str(studio.health()["kept_mb"])) < 1  # thumbnails of generated faces, which are everyone's


def settled(studio: Running) -> None:
    """Wait until the studio knows that all have left."""
    for _ in range(300):
        if studio.health()["visitors"] == 0:
            return
        time.sleep(0.2)
    raise AssertionError(f"visitors stay: {studio.health()}")
