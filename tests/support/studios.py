"""A bundle of tiny networks with all methods, and a studio that runs on it as people run one: as a process."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from gradstyle.bundles import Bundle, Domain, Slider
from gradstyle.edits import Edit
from gradstyle.methods import METHODS
from tests.support import tiny

CHROMIUM = os.environ.get("GRADSTYLE_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MAX_UPLOAD = 4  # MB


def make_bundle(name: str = "tiny", crop: str = "none") -> Bundle:
    """It draws greys, and so knows photos of greys; what its edits change is put into them."""
    bundle, generator = Bundle(name, Domain("things", crop=crop)), tiny.generator()
    with torch.no_grad():
        for to_rgb in generator.to_rgb:
            to_rgb.weight *= 0.03
    bundle.put("generator", generator)
    bundle.put("encoder", tiny.encoder())
    for method in METHODS:
        if method != "e4e":
            bundle.put(method, tiny.method(method))
    edits = {name: Edit(name, tiny.an_edit(2.5, seed).w) for seed, name in enumerate(("smile", "age", "hair colour"))}
    sliders = {
        "smile": Slider(-2.0, 3.0, "face", "how far the corners of the mouth are up"),
        "age": Slider(-2.5, 2.5, "face"),
        "hair colour": Slider(-1.0, 1.0, "hair"),
    }
    bundle.put_edits(edits, sliders)
    return bundle


@dataclass(frozen=True)
class Running:
    """A studio in a process of its own."""

    address: str
    process: subprocess.Popen[str]
    temp: Path  # where it may leave files

    @property
    def megabytes(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    def health(self) -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{self.address}/health", timeout=30).json()
        return answer

    def files(self) -> list[Path]:
        return [path for path in self.temp.rglob("*") if path.is_file()]


def run_studio(bundle: Path, temp: Path, *options: str, files: int = 0) -> Iterator[Running]:
    """With `files`, the process may have no more of them open."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temp.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "gradstyle",
        "studio",
        "--bundle",
        str(bundle),
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "TMPDIR": str(temp), "OMP_NUM_THREADS": "1"}
    if files:
        command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
    process = subprocess.Popen(
        [*command, "--threads", "1", "--max-upload", str(MAX_UPLOAD), *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    studio = Running(f"http://127.0.0.1:{port}", process, temp)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(f"the studio did not start: {process.stdout and process.stdout.read()}")
            try:
                studio.health()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield studio
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def a_photo(folder: Path, name: str = "me.jpg", size: tuple[int, int] = (90, 80), seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).integers(114, 142, (6, 6, 3), np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder / name


def pixels(address: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture as the page gets it."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))


def far(a: str, b: str) -> float:
    return float(np.abs(pixels(a).astype(float) - pixels(b)).mean())


def upload(studio: Running, name: str, data: bytes, kind: str = "image/jpeg") -> str:
    answer = httpx.post(f"{studio.address}/gradio_api/upload", files={"files": (name, data, kind)}, timeout=60)
    answer.raise_for_status()
    return str(answer.json()[0])


def edit(studio: Running, path: str, name: str = "me.png", *given: Any) -> tuple[str, Any]:
    """How a call of the function ended, and with what."""
    data = [{"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}, *given]
    data += [{}, "", "", "largest"][len(given) :]
    answer = httpx.post(f"{studio.address}/gradio_api/call/edit", json={"data": data}, timeout=60)
    if answer.status_code != 200:
        return str(answer.status_code), answer.json()
    events = httpx.get(f"{studio.address}/gradio_api/call/edit/{answer.json()['event_id']}", timeout=60).text
    found = re.findall(r"event: (\w+)\ndata: (.*)", events)
    return found[-1][0], json.loads(found[-1][1])
