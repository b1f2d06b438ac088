"""Gradients of one training step, computed by one process or by two that share its batch."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from gradstyle.images import to_float
from gradstyle.rng import Draws
from gradstyle.training import recipe as recipes
from gradstyle.training.engine import engine_for
from gradstyle.training.launch import Request, open_images, trainable
from gradstyle.training.trainable import Batch, Setup

STEPS = 2  # the second one starts from weights that already depend on the first one's gradients


def gradients(request: Request) -> dict[str, Tensor]:
    """What each optimiser was given, at each step, by parameter."""
    kind = trainable(request.kind)
    recipe = recipes.load(kind.Recipe, request.kind, request.recipe, request.overrides)
    engine = engine_for(recipe.loop, "cpu")
    rank, world = engine.process_index, engine.num_processes
    images = open_images(request.data, recipe.data, request.cache)
    training = kind(Setup(recipe, engine, Draws(recipe.loop.seed, rank, world), images, request.inputs))
    found: dict[str, Tensor] = {}
    step = 0

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(optimiser, args, kwargs) -> None:  # type: ignore[no-untyped-def]
            for group in optimiser.param_groups:
                for index, parameter in enumerate(group["params"]):
                    if parameter.grad is not None:
                        key = f"{step}.{name}.{index}"
                        while key in found:  # R1 is a step of its own
                            key += "+"
                        found[key] = parameter.grad.clone()

        return hook

    for name, optimiser in training.optimisers.items():
        optimiser.register_step_pre_hook(keep(name))
    each = recipe.loop.batch // world
    for step in range(STEPS):
        rows = torch.arange(each) + step * recipe.loop.batch + rank * each
        photos = to_float(images.gather(rows))
        training.step(Batch(photos, rows, step, step * recipe.loop.batch))
    return found


def _child(rank: int, port: int, requests: list[Request], out: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    every = [gradients(request) for request in requests]
    if rank == 0:
        torch.save(every, out)
    torch.distributed.destroy_process_group()


def of_two_processes(requests: list[Request]) -> list[dict[str, Tensor]]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the children
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "gradients.pt"
        torch.multiprocessing.spawn(_child, (port, requests, str(out)), nprocs=2)  # type: ignore[attr-defined]
        return torch.load(out, weights_only=True)  # type: ignore[no-any-return]
