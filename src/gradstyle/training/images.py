"""Pictures for training: opened once and kept as one memory-mapped array."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import UnidentifiedImageError
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from ..files import cache_folder
from ..photos.framing import Crop, Framing, Pixels
from .sources import SUFFIXES, Source
from .table import Labels, Split

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

BROKEN_LIMIT = 0.01  # above this share of broken files the data is not what its owner thinks it is
FORMAT = 1  # of the cache; goes into its key


@dataclass(frozen=True)
class Broken:
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Images(Dataset[Tensor]):
    """Squares of one size: `images[i]` is uint8 [3, R, R], `gather` takes many.

    Opened through `Images.open`, which decodes everything once into a cache; without a cache each access
    decodes anew.
    """

    def __init__(
        self,
        source: Source,
        framing: Framing,
        chosen: Sequence[int],
        fingerprint: str,
        pixels: Pixels | None = None,
        broken: Sequence[Broken] = (),
        workers: int = 1,
    ) -> None:
        self.source, self.framing, self.fingerprint = source, framing, fingerprint
        self.chosen, self.pixels, self.broken, self.workers = list(chosen), pixels, tuple(broken), workers

    @classmethod
    def open(
        cls,
        path: str | Path,
        resolution: int,
        *,
        crop: Crop = "center",
        aspect: float = 1.0,
        split: Split | None = None,
        cache: str | Path | None = "default",
        workers: int | None = None,
        progress: bool = True,
    ) -> Images:
        """Open a folder (nested), a zip, a tar or a folder of tars.

        The cache is a folder `cache/KEY`, its key made of the data and of how they are framed. It is built
        under another name and renamed, so that processes may build it at the same time; the first to finish
        wins.
        """
        source, framing = Source.open(path), Framing(resolution, crop, aspect)
        if not source.names:
            raise ValueError(f"no pictures in {path}: looked for {', '.join(sorted(SUFFIXES))}")
        chosen = split.choose(source) if split else range(len(source.names))
        fingerprint = source.fingerprint(chosen, framing.rule)
        workers = workers or min(os.cpu_count() or 1, 32)
        if cache is None:
            return cls(source, framing, chosen, fingerprint, workers=workers)
        key = sha256(f"{FORMAT} {fingerprint}".encode()).hexdigest()[:32]
        folder = (cache_folder() / "data" if cache == "default" else Path(cache)) / key
        stored = _open_cache(folder, resolution)
        if stored is None:
            _build_cache(folder, source, framing, chosen, workers, progress)
            stored = _open_cache(folder, resolution)
            if stored is None:
                raise OSError(f"the cache at {folder} cannot be read back")
        pixels, broken = stored
        lost = {each.name for each in broken}
        readable = [index for index in chosen if source.names[index] not in lost]
        return cls(source, framing, readable, fingerprint, pixels, broken, workers)

    @property
    def resolution(self) -> int:
        return self.framing.resolution

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.source.names[index] for index in self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        return self.gather([index])[0]

    def gather(self, indices: Sequence[int] | Tensor) -> Tensor:
        """uint8 [N, 3, R, R]."""
        rows = [int(index) for index in indices]
        if self.pixels is not None:
            return torch.from_numpy(np.ascontiguousarray(self.pixels[rows]))
        squares = list(_in_order(self._decode, rows, self.workers))
        return torch.from_numpy(np.stack(squares))

    def _decode(self, index: int) -> Pixels:
        square = _decode(self.source, self.framing, self.chosen[index])
        if isinstance(square, Broken):
            raise ValueError(f"cannot read {square}")
        return square

    def labels(self, file: str, columns: Sequence[str] | None = None) -> Labels:
        """Binary labels of every picture; by default all columns of zeros and ones."""
        return Labels.read(file, self.source, self.names, columns)


def _decode(source: Source, framing: Framing, index: int) -> Pixels | Broken:
    name = source.names[index]
    try:
        return framing(source.read(index))
    except UnidentifiedImageError:  # its own words name an object in memory
        return Broken(name, "not a picture that can be read")
    except Exception as error:  # Pillow raises nearly anything on a broken file, a decompression bomb too
        return Broken(name, " ".join(str(error).split()) or type(error).__name__)


def _in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Like map, by threads, with few results waiting."""
    todo = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(work, item) for item in islice(todo, 8 * workers))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(todo, 1))


def _open_cache(folder: Path, resolution: int) -> tuple[Pixels, list[Broken]] | None:
    """What a cache holds; None if there is none, or it was cut short."""
    try:
        index = json.loads((folder / "index.json").read_text())
        shape = (index["count"], 3, resolution, resolution)
        pixels = np.memmap(folder / "pixels.u8", np.uint8, mode="r", shape=shape)
        return pixels, [Broken(**each) for each in index["broken"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build_cache(
    folder: Path, source: Source, framing: Framing, chosen: Sequence[int], workers: int, progress: bool
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = len(chosen) * 3 * framing.resolution**2, shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(
            f"the cache needs {needed / 1e9:.1f} GB, {folder.parent} has {free / 1e9:.1f} GB free: "
            "name another folder for it"
        )
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        squares: Iterable[Pixels | Broken]
        squares = _in_order(partial(_decode, source, framing), chosen, workers)
        shown = progress and Console().is_terminal
        squares = track(squares, f"Reading {source.path.name}", total=len(chosen), transient=True, disable=not shown)
        broken: list[Broken] = []
        with (building / "pixels.u8").open("wb") as file:
            for square in squares:
                if isinstance(square, Broken):
                    broken.append(square)
                else:
                    file.write(square.tobytes())
        _report(broken, len(chosen), source.path)
        index = {
            "source": str(source.path),
            "rule": framing.rule,
            "count": len(chosen) - len(broken),
            "broken": [asdict(each) for each in broken],
        }
        (building / "index.json").write_text(json.dumps(index, indent=1))
        if folder.exists() and _open_cache(folder, framing.resolution) is None:
            shutil.rmtree(folder)  # what is there was cut short
        try:
            building.rename(folder)
        except OSError:  # another process was first
            if _open_cache(folder, framing.resolution) is None:
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _report(broken: Sequence[Broken], total: int, path: Path) -> None:
    if not broken:
        return
    more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
    named = "; ".join(map(str, broken[:10])) + more
    if len(broken) > BROKEN_LIMIT * total:
        raise ValueError(
            f"{len(broken)} of {total} pictures of {path} cannot be read, more than {BROKEN_LIMIT:.0%}: {named}. "
            "Repair or remove them, or list the good ones in a split file"
        )
    log.warning("%d of %d pictures of %s cannot be read and are left out: %s", len(broken), total, path, named)
