"""The loop that trains everything; losses and optimisers are the trainable's, processes and precision the engine's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from typing import Any

from ..images import to_float
from . import state
from .batches import Batches
from .images import Images
from .run import Run
from .trainable import Batch, Budget, Meter, Progress, Trainable
from .watch import Watch, any_process, stop_signals


def train(
    trainable: Trainable[Any],
    images: Images,
    run: Run | None,
    budget: Budget,
    meter: Meter,
    last: Mapping[str, Any] | None = None,
) -> tuple[Progress, int | None]:
    """Train to the end of the recipe or the budget; `last` is the snapshot to go on from, `run` the one writer's.

    Gives how far it came, and the signal that stopped it, if one did.
    """
    engine, recipe = trainable.engine, trainable.recipe.loop
    rank, world, mirror = engine.process_index, engine.num_processes, trainable.recipe.data.mirror
    batches = Batches(images, recipe.batch, recipe.seed, rank, world, mirror, engine.device)
    progress = Progress()
    if last is None:
        trainable.begin()
    else:
        progress = state.restore(last, trainable, batches)
    groups = [group for optimiser in trainable.optimisers.values() for group in optimiser.param_groups]
    rates = [group["lr"] for group in groups]
    goal = min(recipe.images, budget.images or recipe.images)
    shown = to_float(images.gather(range(min(8, len(images)))).to(engine.device))

    def save() -> None:
        """A snapshot, and the pictures that go with it."""
        if run is not None:
            progress.lines = run.lines
            path = run.save(progress.step, state.collect(progress, trainable, batches, run))
            run.preview(progress.step, *trainable.preview(shown))
            meter.say(f"snapshot {path} after {progress.images} images")
        engine.wait_for_everyone()

    watch = Watch(engine, recipe.largest_loss, run)
    saved_at, saved_step, before = time.monotonic(), progress.step, time.monotonic()
    log = run.logging(progress.step, progress.lines) if run else nullcontext()
    with closing(batches), stop_signals() as caught, log:
        while progress.images < goal:
            photos = next(batches)
            batch = Batch(photos, batches.indices, progress.step, progress.images)
            factor = min(1.0, (batch.images + recipe.batch) / max(recipe.warmup_images, 1))
            factor *= recipe.rate_factor * trainable.rate(batch)
            for group, rate in zip(groups, rates):
                group["lr"] = rate * factor

            terms = trainable.step(batch)

            progress.step += 1
            progress.images += recipe.batch
            watch.add(progress.step, terms)
            if progress.step % recipe.look_every and progress.images < goal:
                continue
            means = watch.look()
            now = time.monotonic()
            seconds, before = now - before, now
            progress.seconds += seconds
            means["images_per_second"] = watch.looked * recipe.batch / seconds
            left = budget.left()
            if run is not None:
                run.log({"step": progress.step, "images": progress.images, "seconds": progress.seconds, **means})
                meter.show(progress, goal, means, left)
            if any_process(engine, bool(caught) or (left is not None and left <= 0)):
                break
            if any_process(engine, now - saved_at >= recipe.snapshot_minutes * 60):
                save()
                saved_at, saved_step, before = time.monotonic(), progress.step, time.monotonic()
        if saved_step != progress.step:
            save()
    return progress, caught[0] if caught else None
