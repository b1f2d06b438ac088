"""Snapshots of a run: everything it needs to go on, as safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from ..tensors import read_tensors, write_tensors

log = logging.getLogger(__name__)

STATE, TENSORS = "state.json", "tensors.safetensors"
PARTIAL = ".partial-"  # what a snapshot is called until it is complete
KEPT = 2  # the last one, and one more in case the disk loses what it said it had


class SnapshotError(OSError):
    """A snapshot that could not be written."""


def save(folder: Path, number: int, state: Mapping[str, Any]) -> Path:
    """Write `folder/number`, then drop all but the last two. A kill at any moment leaves the earlier ones whole."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    try:
        return _write(folder, number, state)
    except (OSError, SafetensorError) as error:
        first = error
    there = listed(folder)
    for path in there[:-1]:  # make room by all but the last good one, and try once more
        shutil.rmtree(path, ignore_errors=True)
    try:
        return _write(folder, number, state)
    except (OSError, SafetensorError):
        _sweep(folder)
        kept = f"the last good snapshot is {there[-1]}" if there else "there is no earlier one"
        raise SnapshotError(
            f"snapshot {number} could not be written ({first}); {kept}. Make room and --resume"
        ) from first


def _write(folder: Path, number: int, state: Mapping[str, Any]) -> Path:
    target, partial = folder / f"{number:09d}", folder / f"{PARTIAL}{number:09d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors: dict[str, Tensor] = {}
    tree = pack(state, tensors)
    sha256 = write_tensors(partial / TENSORS, tensors)
    (partial / STATE).write_text(json.dumps({"sha256": sha256, "state": tree}))
    for path in (partial / TENSORS, partial / STATE, partial):
        _sync(path)
    if target.exists():  # of this very step, from before a resume
        shutil.rmtree(target)
    partial.rename(target)
    _sync(folder)
    for old in listed(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _sync(path: Path) -> None:
    """Wait until the disk has it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


def listed(folder: Path) -> list[Path]:
    """The snapshots of a run, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def load_last(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest snapshot that is whole, and where it is; None if there is none."""
    for path in reversed(listed(folder)):
        try:
            return path, load(path)
        except (OSError, ValueError, KeyError) as error:
            log.warning("%s is damaged and passed over: %s", path, error)
    return None


def load(path: Path) -> dict[str, Any]:
    written = json.loads((path / STATE).read_text())
    tensors, _ = read_tensors(path / TENSORS, sha256=written["sha256"])
    state: dict[str, Any] = unpack(written["state"], tensors)
    return state


# ---- nested values as JSON, and the tensors beside it


def pack(value: Any, tensors: dict[str, Tensor], where: str = "") -> Any:
    """Dicts, lists, numbers and strings as JSON; a tensor becomes its name. Keys that are integers stay so."""
    if isinstance(value, Tensor):
        tensors[where] = value
        return {"tensor": where}
    if isinstance(value, Mapping):
        return {"map": [[key, pack(item, tensors, f"{where}/{key}".strip("/"))] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [pack(item, tensors, f"{where}/{i}".strip("/")) for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{where}: a snapshot holds numbers, strings, lists, maps and tensors, got {type(value).__name__}")


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: unpack(item, tensors) for key, item in value["map"]}
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    return value


# ---- modules and optimisers


def restore_module(name: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    wrong = sorted(
        key for key in {*own, *state} if key not in own or key not in state or own[key].shape != state[key].shape
    )
    if wrong:
        raise ValueError(
            f"the snapshot's {name} has other weights than the recipe's: {', '.join(wrong[:5])}"
            f"{' …' if len(wrong) > 5 else ''}. Shapes cannot change within a run"
        )
    module.load_state_dict(dict(state))


def restore_optimiser(optimiser: Optimizer, state: Mapping[str, Any]) -> None:
    """As `load_state_dict`, and in the parameters' memory format, so that a resumed run computes the same bits."""
    rates = [group["lr"] for group in optimiser.param_groups]
    optimiser.load_state_dict(dict(state))
    for group, rate in zip(optimiser.param_groups, rates):
        group["lr"] = rate  # the recipe's, which may have been changed
        for parameter in group["params"]:
            for key, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    optimiser.state[parameter][key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
