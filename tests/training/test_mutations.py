"""Snapshots that something has changed: the package's own error, or a right result, never another exception."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gradstyle.rng import Draws
from gradstyle.tensors import read_tensors, write_tensors
from gradstyle.training import recipe as recipes
from gradstyle.training import snapshot
from gradstyle.training.engine import engine_for
from gradstyle.training.images import Images
from gradstyle.training.launch import Request, start, trainable
from gradstyle.training.loop import train
from gradstyle.training.trainable import Budget, Setup, Trainable
from gradstyle.training.watch import Diverged
from tests.support.pictures import Silent, draw_pictures, make_bundle

KINDS = ("generator", "encoder", "gradstyle")  # an adaptive augmentation, pools of codes, slow weights and R1
BATCH = 8
VALUES = (None, True, -1, 0, 7, 10**30, 0.5, -1e308, float("nan"), "", "x", [], [1], {}, {"map": []}, {"tensor": "x"})
EACH = 80  # mutations a kind


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("place"))


def prepared(folder: Path) -> Path:
    """A run of two steps of each kind."""
    draw_pictures(folder / "data", 16)
    make_bundle(folder / "bundle")
    for kind in KINDS:
        changes = ["augment.mode=auto"] if kind == "generator" else []
        inputs = {} if kind == "generator" else {"bundle": str(folder / "bundle")}
        loop = f"loop.batch={BATCH}"
        asked = Request(kind, folder / "data", folder / kind, "tiny", [loop, *changes], inputs, cache=folder / "cache")
        start(asked, Budget(images=2 * BATCH), Silent())
    return folder


class Machine:
    """A training that takes up whatever it is given, and learns one batch further."""

    def __init__(self, place: Path, kind: str) -> None:
        self.place, self.kind = place, kind
        self.images = Images.open(place / "data", 16, cache=place / "cache", progress=False)
        self.training = self.made()

    def made(self) -> Trainable[Any]:
        kind = trainable(self.kind)
        recipe = recipes.build(kind.Recipe, recipes.read_toml(self.place / self.kind / "recipe.toml"))
        inputs = {} if self.kind == "generator" else {"bundle": str(self.place / "bundle")}
        engine = engine_for(recipe.loop, "cpu")
        return kind(Setup(recipe, engine, Draws(recipe.loop.seed), self.images, inputs))

    def goes_on(self, folder: Path) -> str:
        """ "right", or the package's error."""
        try:
            found = snapshot.load_last(folder, tell=lambda text: None)
            assert found is not None
            train(self.training, self.images, None, Budget(images=3 * BATCH), Silent(), found[1])
        except Diverged as error:  # in the middle of a step
            self.training = self.made()
            return str(error)
        except (ValueError, snapshot.SnapshotError) as error:
            return str(error)
        return "right"


# ---- what happens to files


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and maps, as its container and its key."""
    for key in range(len(tree)) if isinstance(tree, list) else tree:
        yield tree, key
        if isinstance(tree[key], list | dict):
            yield from nodes(tree[key])


def changed_bytes(data: bytes, draw: random.Random) -> bytes:
    at, length = draw.randrange(len(data)), draw.choice((1, 1, 8, 200))
    noise = draw.randbytes(length)
    return draw.choice(
        (
            data[:at],
            data[:at] + noise + data[at + length :],
            data[:at] + noise + data[at:],
            data[:at] + data[at + length :],
            data[:at] + data[at : at + length] + data[at:],
        )
    )


def changed_tree(written: dict[str, Any], draw: random.Random) -> None:
    container, key = draw.choice(list(nodes(written)))
    if draw.random() < 0.3:
        del container[key]
    else:
        container[key] = copy.deepcopy(draw.choice(VALUES))


def changed_tensor(file: Path, draw: random.Random) -> str:
    tensors, _ = read_tensors(file)
    name = draw.choice(sorted(tensors))
    value = tensors[name]
    others = [value[None], value.flatten()[:-1].clone(), value.to(torch.float16), torch.zeros(0), value.double() * 1e30]
    tensors[name] = draw.choice(others)
    if draw.random() < 0.2:
        del tensors[name]
    return write_tensors(file, tensors)


def signed(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def mutate(path: Path, draw: random.Random) -> None:
    """One change to a snapshot; of what is inside, mostly with a checksum that fits it again."""
    state, tensors = path / snapshot.STATE, path / snapshot.TENSORS
    how = draw.choice(("bytes of the state", "bytes of the tensors", "tree", "tree", "tree", "tensor"))
    if how.startswith("bytes"):
        file = state if how.endswith("state") else tensors
        file.write_bytes(changed_bytes(file.read_bytes(), draw))
        return
    written = json.loads(state.read_text())
    if how == "tensor":
        written["snapshot"]["tensors"] = changed_tensor(tensors, draw)
    else:
        changed_tree(written, draw)
    if draw.random() < 0.9 and "snapshot" in written:
        written["sha256"] = signed(written["snapshot"])
    state.write_text(json.dumps(written))


def outcomes(place: Path, kind: str, work: Path, count: int, seed: int = 0) -> list[str]:
    machine, draw = Machine(place, kind), random.Random(f"{kind} {seed}")
    whole = snapshot.listed(place / kind / "snapshots")[-1]
    found = [machine.goes_on(whole.parent)]
    for number in range(count):
        folder = work / f"{kind}-{number}"
        shutil.copytree(whole, folder / whole.name)
        mutate(folder / whole.name, draw)
        found.append(machine.goes_on(folder))
        shutil.rmtree(folder)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_snapshot_is_refused_in_the_packages_own_words(kind: str, place: Path, tmp_path: Path):
    found = outcomes(place, kind, tmp_path, EACH)
    assert found[0] == "right"
    refused = [each for each in found if each != "right"]
    assert all(each and "Traceback" not in each for each in refused)
    assert len(refused) > EACH / 2 and sum("damaged" in each for each in refused) > EACH / 8  # the changes do harm
