"""The loop, on a trainable small enough to be checked by hand."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradstyle.rng import Draws
from gradstyle.training import recipe as recipes
from gradstyle.training import snapshot
from gradstyle.training.engine import computes_in_bf16, engine_for
from gradstyle.training.images import Images
from gradstyle.training.loop import train as run_loop
from gradstyle.training.run import Run, RunInfo, read_log
from gradstyle.training.trainable import Batch, Budget, Progress, Setup, Trainable
from gradstyle.training.watch import Diverged
from tests.support.pictures import Silent, draw_pictures


@dataclass(frozen=True)
class ShadeRecipe(recipes.Recipe):
    rate: float = 0.1


class Shade(Trainable[ShadeRecipe]):
    """Learns the mean colour of the pictures, from noisy looks at them."""

    kind = "shade"
    Recipe = ShadeRecipe
    before_step: Callable[[Batch], None] = staticmethod(lambda batch: None)
    terms: Mapping[int, float] = {}  # what the loss is said to be at a step

    def __init__(self, setup: Setup[ShadeRecipe]) -> None:
        super().__init__(setup)
        self.colour = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(self.colour.weight)
        self.modules = {"colour": self.colour}
        self.optimisers = {"colour": torch.optim.Adam(self.colour.parameters(), lr=self.recipe.rate)}
        self.synced = self.engine.prepare(self.colour)
        self.begun, self.rates, self.seen = 0, [], []

    def begin(self) -> None:
        self.begun += 1

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.before_step(batch)
        self.rates.append(self.optimisers["colour"].param_groups[0]["lr"])
        self.seen.append(batch)
        target = 1 + batch.photos.mean(dim=(0, 2, 3)) + 0.1 * self.draws.normal(1, 3)[0]
        loss = (self.synced(torch.eye(3))[:, 0] - target).square().sum()
        self.engine.backward(loss)
        self.optimisers["colour"].step()
        self.optimisers["colour"].zero_grad()
        return {"loss": torch.tensor(self.terms.get(batch.step + 1, loss.item())), "steps": torch.tensor(batch.step)}

    def preview(self, photos: Tensor) -> tuple[Sequence[Sequence[Tensor]], Sequence[str]]:
        return [list(photos[:2])], ("a", "b")

    def export(self, name: str) -> Any:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {"begun": self.begun}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.begun = state["begun"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("data")
    return Images.open(draw_pictures(folder / "pictures", 20), 16, cache=folder / "cache", progress=False)


def recipe(**loop: object) -> ShadeRecipe:
    given = {"batch": 4, "images": 80, "look_every": 1, "warmup_images": 0, **loop}
    return recipes.build(ShadeRecipe, {"data": {"resolution": 16}, "loop": given})


def make(**loop: object) -> Shade:
    chosen = recipe(**loop)
    return Shade(Setup(chosen, engine_for(chosen.loop, "cpu"), Draws(chosen.loop.seed)))


def run_in(folder: Path) -> Run:
    return Run.create(folder, RunInfo.now("shade", "none", "pictures", "", 20, {}), recipe())


def train(shade: Shade, data: Images, run: Run | None = None, resume: bool = False, **budget: float) -> Progress:
    last = snapshot.load_last(run.snapshots) if run and resume else None
    progress, _ = run_loop(shade, data, run, Budget(**budget), Silent(), last and last[1])  # type: ignore[arg-type]
    return progress


def weight(shade: Shade) -> Tensor:
    return shade.colour.weight.detach().clone()


# ---- how far it goes


def test_a_run_sees_what_the_recipe_says_and_learns(images: Images, tmp_path: Path):
    shade, run = make(images=800), run_in(tmp_path)
    assert train(shade, images, run).images == 800
    mean = (images.gather(range(20)).float() / 127.5).mean(dim=(0, 2, 3))
    assert (weight(shade)[0] - mean).norm() < 0.3 * mean.norm()  # it began at nothing
    lines = list(read_log(tmp_path))
    assert [line["images"] for line in lines] == list(range(4, 801, 4))
    assert sum(line["loss"] for line in lines[-50:]) / 50 < 0.2 * lines[0]["loss"]
    assert lines[-1]["images_per_second"] > 0
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == ["000200.png"]
    each = torch.cat([batch.indices for batch in shade.seen[:5]])
    assert sorted(each.tolist()) == list(range(20))  # an epoch


def test_budgets(images: Images):
    assert train(make(), images, images=18).images == 20  # whole batches
    assert train(make(), images, images=4000).images == 80  # the recipe's end comes first
    assert train(make(), images, minutes=0).step == 1
    slow = make(images=100_000)
    slow.before_step = lambda batch: time.sleep(0.02)  # type: ignore[method-assign]
    assert train(slow, images, minutes=0.3 / 60).step < 100  # of 25,000


def test_looks_are_rare_where_they_cost(images: Images, tmp_path: Path):
    shade, run = make(look_every=8), run_in(tmp_path)
    train(shade, images, run)
    lines = list(read_log(tmp_path))
    assert [line["step"] for line in lines] == [8, 16, 20]
    assert [line["steps"] for line in lines] == [3.5, 11.5, 17.5]  # means of what lies between


@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_the_rate_rises_at_the_start(images: Images, factor: float):
    shade = make(warmup_images=40, rate_factor=factor)
    shade.rate = lambda batch: 0.5 if batch.step >= 15 else 1.0  # type: ignore[method-assign]
    train(shade, images)
    rates = [rate / factor for rate in shade.rates]
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.03])
    assert rates[9:15] == pytest.approx([0.1] * 6) and rates[15:] == pytest.approx([0.05] * 5)


# ---- going on


@pytest.mark.parametrize("stops", [(5,), (1, 2, 19), (7, 7)])
def test_a_resumed_run_computes_the_same_bits(images: Images, tmp_path: Path, stops: tuple[int, ...]):
    whole = make()
    train(whole, images)
    run = run_in(tmp_path)
    for number, stop in enumerate((*stops, 20)):
        part = make()
        train(part, images, run, resume=number > 0, images=stop * 4)
        assert part.begun == 1  # at the very start, not when it goes on
    assert torch.equal(weight(part), weight(whole))
    assert torch.equal(part.draws.generator.get_state(), whole.draws.generator.get_state())
    moments = part.optimisers["colour"].state[part.colour.weight]
    assert torch.equal(moments["exp_avg_sq"], whole.optimisers["colour"].state[whole.colour.weight]["exp_avg_sq"])
    assert [line["step"] for line in read_log(tmp_path)] == list(range(1, 21))


def test_a_changed_rate_holds_after_a_resume(images: Images, tmp_path: Path):
    run = run_in(tmp_path)
    train(make(), images, run, images=8)
    chosen = recipes.build(ShadeRecipe, {"data": {"resolution": 16}, "loop": vars(recipe().loop), "rate": 0.001})
    changed = Shade(Setup(chosen, engine_for(chosen.loop, "cpu"), Draws()))
    train(changed, images, run, resume=True)
    assert set(changed.rates) == {0.001}


def test_other_shapes_cannot_go_on(images: Images, tmp_path: Path):
    run = run_in(tmp_path)
    train(make(), images, run, images=8)
    other = make()
    other.modules["colour"] = nn.Linear(4, 1, bias=False)
    with pytest.raises(ValueError, match=r"the snapshot's colour has other weights than the recipe's: weight"):
        train(other, images, run, resume=True)


def test_snapshots_come_by_time(images: Images, tmp_path: Path):
    run = run_in(tmp_path)
    train(make(snapshot_minutes=1e-9), images, run)
    assert len(list((tmp_path / "previews").iterdir())) == 20
    assert [path.name for path in snapshot.listed(run.snapshots)] == ["000000019", "000000020"]


# ---- going wrong


@pytest.mark.parametrize("value", [math.nan, math.inf, -2e6])
@pytest.mark.parametrize("look_every", [1, 4])
def test_a_loss_that_diverges_stops_the_run(images: Images, tmp_path: Path, value: float, look_every: int):
    run = run_in(tmp_path)
    shade = make(snapshot_minutes=1e-9, look_every=look_every)
    shade.terms = {10: value}
    last = "000000009" if look_every == 1 else "000000008"
    with pytest.raises(Diverged, match=rf"diverged at step 10: loss is .*; the last good snapshot is .*{last}\. "):
        train(shade, images, run)
    assert snapshot.listed(run.snapshots)[-1].name == last


def test_weights_that_are_not_finite_are_never_kept(images: Images, tmp_path: Path):
    run, shade = run_in(tmp_path), make(snapshot_minutes=1e-9)
    poison = threading.Event()

    def step(batch: Batch) -> None:
        if batch.step == 4:
            shade.colour.weight.register_hook(lambda gradient: gradient * math.nan)
            poison.set()

    shade.before_step = step  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=r"diverged by step 5: weight of colour is not finite; .*000000004"):
        train(shade, images, run)
    assert poison.is_set() and snapshot.listed(run.snapshots)[-1].name == "000000004"


def test_a_full_disk_ends_the_run_with_the_last_good_snapshot(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, shade = run_in(tmp_path), make(snapshot_minutes=1e-9)
    write = snapshot.write_tensors

    def full(path: Path, *rest: Any) -> str:
        if "000000006" in str(path):
            raise OSError(28, "No space left on device")
        return write(path, *rest)

    monkeypatch.setattr(snapshot, "write_tensors", full)
    with pytest.raises(OSError, match=r"snapshot 6 .*No space left.*last good snapshot is .*000000005\. Make room"):
        train(shade, images, run)
    monkeypatch.undo()
    again, whole = make(), make()
    train(again, images, run, resume=True)
    train(whole, images)
    assert torch.equal(weight(again), weight(whole))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_after_a_snapshot(images: Images, tmp_path: Path, number: signal.Signals):
    run, shade = run_in(tmp_path), make()
    shade.before_step = lambda batch: os.kill(os.getpid(), number) if batch.step == 6 else None  # type: ignore[method-assign]
    before = signal.getsignal(number)
    progress, caught = run_loop(shade, images, run, Budget(), Silent())
    assert (progress.step, caught) == (7, number) and signal.getsignal(number) is before
    assert [path.name for path in snapshot.listed(run.snapshots)] == ["000000007"]


def test_a_hangup_that_is_not_to_count_does_not(images: Images):
    """As `nohup` starts a command."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        shade = make()
        shade.before_step = lambda batch: os.kill(os.getpid(), signal.SIGHUP)  # type: ignore[method-assign]
        progress, caught = run_loop(shade, images, None, Budget(), Silent())
        assert (progress.images, caught) == (80, None)
    finally:
        signal.signal(signal.SIGHUP, before)


# ---- the engine


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    with pytest.raises(ValueError, match="batch of 4 cannot be dealt out to 1 processes with 3 parts"):
        engine_for(recipe(parts=3).loop, "cpu")


def test_precision():
    assert computes_in_bf16("bf16", on_cpu=True) and not computes_in_bf16("fp32", on_cpu=True)
    assert engine_for(recipe(precision="bf16").loop, "cpu").mixed_precision == "bf16"
    assert engine_for(recipe(precision="fp32").loop, "cpu").mixed_precision == "no"  # one process, one after the other
    x = torch.ones(2, 2)
    with engine_for(recipe(precision="bf16").loop, "cpu").autocast():
        assert (x @ x).dtype == torch.bfloat16
