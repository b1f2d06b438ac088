"""A tiny bundle with a judge and edits, and a folder of photos with a table: what runs are tested on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gradstyle.bundles import Bundle, Domain
from gradstyle.bundles.sliders import Slider
from gradstyle.evaluation.protocol import Protocol
from gradstyle.losses import Judge, JudgeConfig
from gradstyle.progress import Progress
from tests.support import tiny

METHODS = ("gradmove", "gradstyle", "styleres", "sdic", "hfgi", "e4e")
MEASURED = (*METHODS, "paste", "carried")
ATTRIBUTES = ("Smiling", "Young", "Eyeglasses")
SIDE, COUNT, BROKEN = 32, 6, "3-broken.png"


def a_judge(seed: int = 1) -> Judge:
    torch.manual_seed(seed)
    judge = Judge(JudgeConfig(ATTRIBUTES, SIDE, (4, 6), 8), {"pictures": 10, "balanced_accuracy": 0.5})
    tiny.shake(judge, seed)
    return judge.eval()


def a_bundle(folder: Path, crop: Any = "celeba", judged: bool = True) -> Path:
    bundle = Bundle("tiny", Domain("faces", (1, 1), crop))
    bundle.put("generator", tiny.generator())
    bundle.put("encoder", tiny.encoder())
    for name in METHODS[:-1]:
        bundle.put(name, tiny.method(name))
    if judged:
        bundle.put("judge", a_judge())
    smile, age = tiny.an_edit(0.5), tiny.an_edit(0.5, seed=9)
    bundle.put_edits({"smile": smile, "age": age}, {"smile": Slider(-3, 3), "age": Slider(-2, 1)})
    return bundle.save(folder)


def some_photos(folder: Path, count: int = COUNT) -> Path:
    """Photos of a test part, one of them broken, and one of another part."""
    folder.mkdir(parents=True)
    pixels = ((tiny.photos(count + 1, SIDE) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows = []
    for place in range(count + 1):
        name = f"{2 * place}.png"  # 10 after 8: numbers count
        Image.fromarray(pixels[place]).save(folder / name)
        rows.append([name, "test" if place < count else "train", place % 2, int(place > 2), -1])
    (folder / BROKEN).write_bytes(b"no picture")
    rows.append([BROKEN, "test", 0, 0, 1])
    with (folder / "attributes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image_id", "official_split", "Smiling", "Young", "Eyeglasses"], *rows])
    return folder


def request(bundle: Path, folder: Path, out: Path, **changes: Any) -> Protocol:
    return Protocol(
        **{"bundle": str(bundle), "data": str(folder), "out": out, "batch": 4, "shown": 2, "device": "cpu"} | changes
    )


def files(folder: Path) -> dict[str, bytes]:
    """All that two runs of one command must share: times and memory are not."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and "parts" not in p.parts and p.name != "costs.json"
    }


Ask = Callable[..., Protocol]


def stop_at(step: int) -> Progress:
    """Interrupts a run after so many parts."""

    def progress(what: str, done: int, total: int) -> None:
        if what == "measuring" and done == step:
            raise KeyboardInterrupt

    return progress
