"""Trainings that are killed, hung up on and damaged, and what is left of them."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from gradstyle.training import snapshot
from gradstyle.training.launch import Request, start
from gradstyle.training.run import read_log
from gradstyle.training.trainable import Budget
from tests.support.pictures import Silent, draw_pictures
from tests.support.same import assert_same

BATCH = 8
FOREVER = 1_000_000


class Spoken(Silent):
    """A meter that writes what it says into a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def say(self, text: str) -> None:
        with self.file.open("a") as file:
            file.write(text + "\n")


def request(place: Path, out: Path, minutes: float) -> Request:
    changes = (f"loop.snapshot_minutes={minutes}", f"loop.batch={BATCH}", "loop.look_every=1")
    return Request(
        "generator", place / "data", out, "tiny", changes, {}, resume=True, cache=place / "cache", device="cpu"
    )


def _train(place: Path, out: Path, images: int, said: Path, minutes: float = 1e-9) -> None:
    """With a snapshot after each step, or every so many minutes."""
    torch.set_num_threads(1)
    meter = Spoken(said)
    try:
        outcome = start(request(place, out, minutes), Budget(images=images), meter)
    except (ValueError, OSError) as error:
        meter.say(f"error: {error}")
        sys.exit(1)
    meter.say(f"{outcome.progress.step} steps")
    sys.exit(0 if outcome.signal is None else 128 + outcome.signal)


class Victim:
    """One run, begun over and over in new processes."""

    def __init__(self, place: Path, work: Path, seed: int = 0) -> None:
        self.place, self.out, self.said = place, work / "run", work / "said"
        self.draw = random.Random(seed)
        self.context = multiprocessing.get_context("forkserver")
        used = ["gradstyle.training.generator", "gradstyle.training.launch", "torch.utils.tensorboard"]
        self.context.set_forkserver_preload(used)

    @property
    def snapshots(self) -> list[Path]:
        return snapshot.listed(self.out / "snapshots")

    def last(self) -> int:
        """The step of the newest whole snapshot."""
        path = snapshot.newest(self.out / "snapshots")
        return int(path.name) if path else 0

    def begin(self, images: int = FOREVER) -> multiprocessing.process.BaseProcess:
        self.said.write_text("")
        process = self.context.Process(target=_train, args=(self.place, self.out, images, self.said))
        process.start()
        return process

    def stop(self, number: signal.Signals) -> None:
        """With the signal, at any moment after some further snapshots; nothing that was finished is lost."""
        before, process = self.last(), self.begin()
        deadline = time.monotonic() + 120
        while (not self.snapshots or int(self.snapshots[-1].name) < before + 2) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self.draw.random() * 0.2)
        done = max(int(path.name) for path in self.snapshots)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(120)
        assert done >= before + 2 and self.last() >= done
        said = self.said.read_text()
        assert "starting again" not in said and (f"going on from {self.out}" in said) == (before > 0)
        if number == signal.SIGKILL:
            assert process.exitcode == -number
        else:
            assert process.exitcode == 128 + number and said.endswith(f"{self.last()} steps\n")

    def damage(self, path: Path) -> None:
        file = path / self.draw.choice((snapshot.STATE, snapshot.TENSORS))
        data, at = bytearray(file.read_bytes()), self.draw.randrange(file.stat().st_size)
        match self.draw.randrange(3):
            case 0:
                data[at] ^= 1
            case 1:
                del data[at:]
            case 2:
                data.clear()
        file.write_bytes(data)

    def damage_newest(self) -> None:
        """The older one is gone on from, and the damaged one named."""
        *_, older, newest = self.snapshots
        self.damage(newest)
        process = self.begin(images=(int(older.name) + 1) * BATCH)
        process.join(120)
        said = self.said.read_text()
        assert process.exitcode == 0 and f"going on from {older}\n" in said
        assert f"{newest} is damaged (" in said and "it is passed over" in said
        assert older.is_dir() and self.last() == int(older.name) + 1

    def damage_both(self) -> None:
        """Nothing begins again and nothing is changed; with a copy of one it goes on."""
        shutil.copytree(self.out, self.out.with_name("copy"))
        for path in self.snapshots:
            self.damage(path)
        before = {file: file.read_bytes() for file in self.out.rglob("*") if file.is_file()}
        process = self.begin()
        process.join(120)
        said = self.said.read_text()
        assert process.exitcode == 1 and said.startswith("error: no snapshot of this run is whole: ")
        assert all(str(path) in said for path in self.snapshots)
        assert before == {file: file.read_bytes() for file in self.out.rglob("*") if file.is_file()}
        shutil.rmtree(self.out)
        self.out.with_name("copy").rename(self.out)

    def end(self) -> None:
        """A few steps on it has the weights of a run that nothing ever happened to, and each line of the log once."""
        images = (self.last() + 3) * BATCH
        process = self.begin(images)
        process.join(300)
        assert process.exitcode == 0, self.said.read_text()
        arguments = (self.place, self.out.with_name("whole"), images, self.said, 60.0)
        whole = self.context.Process(target=_train, args=arguments)
        whole.start()
        whole.join(600)
        states = [snapshot.load_last(folder / "snapshots") for folder in (self.out, self.out.with_name("whole"))]
        assert_same(*(each[1] | {"progress": None} for each in states if each))
        assert [line["step"] for line in read_log(self.out)] == list(range(1, images // BATCH + 1))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    draw_pictures(folder / "data", 16)
    return folder


def test_nothing_finished_is_lost_and_nothing_false_is_said(place: Path, tmp_path: Path):
    campaign(Victim(place, tmp_path), kills=2, hangups=1, newest=1, both=1)


def campaign(victim: Victim, kills: int, hangups: int, newest: int, both: int) -> list[str]:
    does = {
        "kill": lambda: victim.stop(signal.SIGKILL),
        "hangup": lambda: victim.stop(signal.SIGHUP),
        "newest": victim.damage_newest,
        "both": victim.damage_both,
    }
    order = ["kill"] * (kills - 1) + ["hangup"] * hangups + ["newest"] * newest + ["both"] * both
    victim.draw.shuffle(order)
    for each in ["kill", *order]:
        if each in ("newest", "both") and len(victim.snapshots) < 2:
            victim.stop(signal.SIGTERM)
        does[each]()
    victim.end()
    return order
