"""Snapshots of a run: everything it needs to go on, as safetensors and JSON under one checksum, written whole or
not at all. None that is whole is ever dropped for one that is not."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from ..files import file_sha256
from ..tensors import read_tensors, write_tensors

log = logging.getLogger(__name__)

STATE, TENSORS = "state.json", "tensors.safetensors"
PARTIAL = ".partial-"  # what a snapshot is called until it is complete
ASIDE = "damaged-"  # what a damaged one is called once the run has gone on without it
KEPT = 2  # the last one, and one more in case the disk loses what it said it had


class SnapshotError(OSError):
    """A snapshot that could not be written, or none that can be read."""


class Damaged(ValueError):
    """A snapshot that is not what was written."""


# ---- out


def save(folder: Path, number: int, state: Mapping[str, Any]) -> Path:
    """Write `folder/number`, then drop all but the last two. A kill at any moment leaves the earlier ones whole."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    for path in listed(folder):  # a run goes on from its newest whole one: what is beyond that is damaged
        if int(path.name) > number:
            _set_aside(path)
    try:
        return _write(folder, number, state)
    except (OSError, SafetensorError) as error:
        first = error
    good = newest(folder)
    for path in listed(folder):  # make room by all but the last good one, and try once more
        if good is not None and path != good:
            shutil.rmtree(path, ignore_errors=True)
    try:
        return _write(folder, number, state)
    except (OSError, SafetensorError):
        _sweep(folder)
        last = f"the last good snapshot is {good}" if good else "there is no earlier one"
        raise SnapshotError(
            f"snapshot {number} could not be written ({first}); {last}. Make room and --resume"
        ) from first


def _write(folder: Path, number: int, state: Mapping[str, Any]) -> Path:
    target, partial = folder / f"{number:09d}", folder / f"{PARTIAL}{number:09d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors: dict[str, Tensor] = {}
    tree = pack(state, tensors)
    content = {"tensors": write_tensors(partial / TENSORS, tensors), "state": tree}
    (partial / STATE).write_text(json.dumps({"sha256": _digest(content), "snapshot": content}))
    for path in (partial / TENSORS, partial / STATE, partial):
        _sync(path)
    if target.exists():  # of this very step, from before a resume
        shutil.rmtree(target)
    partial.rename(target)
    _sync(folder)
    _drop_old(folder)
    return target


def _digest(content: Any) -> str:
    """Of the state and, by their own digest, the tensors."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _drop_old(folder: Path) -> None:
    """Keep the new one and the last whole one before it. What is damaged does not count, and is set aside."""
    *before, new = listed(folder)
    whole = [new]
    for path in reversed(before):
        if len(whole) == KEPT:
            shutil.rmtree(path, ignore_errors=True)
        elif is_whole(path):
            whole.append(path)
        else:
            _set_aside(path)


def _set_aside(path: Path) -> None:
    aside = path.with_name(f"{ASIDE}{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    log.warning("%s is damaged: it is %s from now on, and nothing reads it", path, aside.name)


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


# ---- in


def listed(folder: Path) -> list[Path]:
    """The snapshots of a run, oldest first."""
    numbered = (path for path in folder.glob("[0-9]*") if path.name.isdecimal() and path.is_dir())
    return sorted(numbered, key=lambda path: int(path.name))


def load_last(folder: Path, tell: Callable[[str], None] = log.warning) -> tuple[Path, dict[str, Any]] | None:
    """Gives the newest whole snapshot and where it is, or None if none was taken; `tell` gets the damaged ones.

    If all are damaged, that is an error.
    """
    passed: list[str] = []
    for path in reversed(listed(folder)):
        try:
            state = load(path)
        except Damaged as error:
            passed.append(f"{path} is damaged ({error})")
            continue
        for each in passed:
            tell(f"{each}: it is passed over")
        return path, state
    if passed:
        raise SnapshotError(
            f"no snapshot of this run is whole: {'; '.join(passed)}. Nothing was changed. Put back a copy of one, "
            "or begin a new run with another --out"
        )
    return None


def newest(folder: Path) -> Path | None:
    """Where the newest whole snapshot is."""
    return next(filter(is_whole, reversed(listed(folder))), None)


def is_whole(path: Path) -> bool:
    """Whether it is as it was written, by its checksums; nothing of it stays in memory."""
    try:
        return bool(file_sha256(path / TENSORS) == _content(path)["tensors"])
    except (OSError, Damaged):
        return False


def load(path: Path) -> dict[str, Any]:
    tree, tensors = read(path)
    try:
        state = unpack(tree, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged(f"{STATE}: {_reason(error)}") from error
    if not isinstance(state, dict):
        raise Damaged(f"{STATE}: it holds no state")
    return state


def read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """The state as it is packed, and its tensors, both as they were written."""
    content = _content(path)
    try:
        tensors, _ = read_tensors(path / TENSORS, sha256=content["tensors"])
    except (OSError, ValueError) as error:
        raise Damaged(str(error)) from error
    return content["state"], tensors


def _content(path: Path) -> dict[str, Any]:
    """The packed state and the tensors' digest, checked by their own."""
    try:
        written = json.loads((path / STATE).read_bytes())
        content = written.get("snapshot")
        if content is None:  # of a version that gave the tensors' digest alone
            content = {"tensors": written["sha256"], "state": written["state"]}
        elif _digest(content) != written["sha256"]:
            raise Damaged(f"{STATE}: its SHA-256 is not the one that it was written with")
        return {"tensors": str(content["tensors"]), "state": content["state"]}
    except Damaged:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{STATE}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


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
