"""A run's folder: what was asked for, what came of it, and everything that is needed to go on.

recipe.toml   the whole recipe, no value left to a default
run.json      what is trained, on which data, with which versions
log.jsonl     one line a look
tensorboard/  the same, where TensorBoard is installed
previews/     a sheet of pictures at each snapshot, by step
snapshots/    the last two
bundle/       the result; judge.safetensors where it is a network alone
.lock         held by the process that writes here
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ..config import from_json
from ..files import replacing, write_text
from ..photos import contact_sheet
from . import snapshot
from .recipe import Recipe, to_toml

log = logging.getLogger(__name__)

INFO, RECIPE, LOG, LOCK = "run.json", "recipe.toml", "log.jsonl", ".lock"
SMALLEST_SHOWN = 96  # pixels of a picture in a preview
PACKAGES = ("gradstyle", "torch", "accelerate", "numpy", "safetensors")  # whose versions a run notes


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Only this process writes into the folder meanwhile. The system lets go of the lock of a process that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{folder} is in use by another process: wait until that one has ended, or give another --out"
        ) from None
    except NotImplementedError:  # a file system without locks, on some clusters
        log.warning("%s lies on a file system without locks: see to it that no other process writes there", folder)
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class RunInfo:
    """What `run.json` says."""

    kind: str
    recipe: str  # its name; what it says stands in recipe.toml
    data: str
    fingerprint: str  # of the data and their framing
    pictures: int
    inputs: dict[str, str] = field(default_factory=dict)  # files that the training stands on, beside the data
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def now(kind: str, recipe: str, data: str, fingerprint: str, pictures: int, inputs: Mapping[str, str]) -> RunInfo:
        versions = {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(name)}
        versions |= {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cuda": str(torch.version.cuda),
        }
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        return RunInfo(kind, recipe, data, fingerprint, pictures, dict(inputs), command, versions)


class Run:
    """The folder, as the process that writes it sees it."""

    def __init__(self, folder: Path, info: RunInfo) -> None:
        self.folder, self.info = folder, info
        self.lines = 0  # of the log
        self._log: Any = None
        self._board: Any = None

    # ---- making and finding

    @classmethod
    def create(cls, folder: Path, info: RunInfo, recipe: Recipe) -> Run:
        """A new run. A folder that holds anything else is not touched."""
        cls.check_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, info)
        run.describe(recipe)
        return run

    @staticmethod
    def check_free(folder: Path) -> None:
        if not folder.exists():
            return
        early = (RECIPE, INFO, LOCK)
        begun = folder.is_dir() and all(any(name in file.name for name in early) for file in folder.iterdir())
        if (folder / INFO).exists() or not begun:  # begun: killed before it was a run
            hint = "go on with it by --resume, or give" if (folder / INFO).exists() else "give"
            raise ValueError(f"{folder} exists and is not empty: {hint} another --out")

    @staticmethod
    def exists(folder: Path) -> bool:
        return (folder / INFO).is_file()

    @classmethod
    def find(cls, folder: Path) -> Run:
        try:
            return cls(folder, from_json(RunInfo, json.loads((folder / INFO).read_bytes()), "it"))
        except FileNotFoundError:
            raise ValueError(f"{folder} is not a run: it has no {INFO}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{folder / INFO} cannot be read ({error})") from error

    def describe(self, recipe: Recipe) -> None:
        """Write the recipe and what the run is, the one that makes it a run last."""
        with self._disk("the recipe"):
            write_text(self.folder / RECIPE, to_toml(recipe))
            write_text(self.folder / INFO, json.dumps(asdict(self.info), indent=2) + "\n")

    # ---- snapshots

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        return snapshot.save(self.snapshots, step, state)

    def last_good(self) -> str:
        last = snapshot.newest(self.snapshots)
        return f"the last good snapshot is {last}" if last else "there is no snapshot yet"

    # ---- what there is to see

    @contextmanager
    def logging(self, step: int, lines: int = 0) -> Iterator[None]:
        """Goes on with the log after `step`: later lines of a killed run are dropped, as they will be written again.
        Warns of missing lines, if the log has fewer up to there than the snapshot says."""
        earlier = [line for line in read_log(self.folder, tell=True) if line["step"] <= step]
        if len(earlier) < lines:
            log.warning(
                "%s has lost %d of %d lines up to step %d", self.folder / LOG, lines - len(earlier), lines, step
            )
        with self._disk("the log"):
            write_text(self.folder / LOG, "".join(json.dumps(line) + "\n" for line in earlier))
        self.lines = len(earlier)
        with ExitStack() as open_files:
            self._log = open_files.enter_context((self.folder / LOG).open("a"))
            if importlib.util.find_spec("tensorboard") is not None:
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)
                open_files.callback(self._board.close)
            try:
                yield
            finally:
                self._log = self._board = None

    def log(self, values: Mapping[str, float]) -> None:
        with self._disk("the log"):
            self._log.write(json.dumps({key: _short(value) for key, value in values.items()}) + "\n")
            self._log.flush()
        self.lines += 1
        if self._board is not None:
            for key, value in values.items():
                if key != "step":
                    self._board.add_scalar(key, value, int(values["step"]))

    def preview(self, step: int, rows: Sequence[Sequence[Tensor]], columns: Sequence[str] = ()) -> Path:
        path = self.folder / "previews" / f"{step:06d}.png"
        with self._disk("a preview"), replacing(path) as partial:
            contact_sheet([[_visible(picture) for picture in row] for row in rows], columns).save(partial, format="PNG")
        return path

    @contextmanager
    def _disk(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                f"{what} could not be written ({error}); {self.last_good()}. Make room and --resume"
            ) from error


def read_log(folder: Path, tell: bool = False) -> Iterator[dict[str, float]]:
    """Reads the lines of a log and leaves out those that are damaged; with `tell` it warns of them, but for a last
    line that a kill cut short."""
    try:
        text = (folder / LOG).read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(text.split(b"\n"), start=1):
        values = _figures(line)
        if values is not None:
            yield values
        elif tell and line and not text.endswith(line):
            log.warning("%s, line %d: it cannot be read and is left out", folder / LOG, number)


def _figures(line: bytes) -> dict[str, float] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, or no UTF-8
        return None
    whole = isinstance(values, dict) and "step" in values
    return values if whole and all(isinstance(value, int | float) for value in values.values()) else None


def _visible(picture: Tensor) -> Tensor:
    """Small pictures larger, so that they can be seen and their captions have room; pixels stay pixels."""
    times = -(-SMALLEST_SHOWN // picture.shape[-1])
    return picture.repeat_interleave(times, dim=-1).repeat_interleave(times, dim=-2)


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")
