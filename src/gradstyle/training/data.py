"""Pictures for training: opened once, kept as one memory-mapped array, dealt out in a reproducible order."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

import numpy as np
import torch
from PIL import UnidentifiedImageError
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from ..files import cache_folder
from ..images import to_float
from ..photos.framing import Crop, Framing, Pixels
from ..rng import stream
from .sources import SUFFIXES, Source

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

BROKEN_LIMIT = 0.01  # above this share of broken files the data is not what its owner thinks it is
FORMAT = 1  # of the cache; goes into its key


# ---- which pictures


@dataclass(frozen=True)
class Split:
    """The pictures that a file lists: one name a line, or the rows of a CSV where `column` is `value`."""

    file: str
    column: str | None = None
    value: str | None = None

    def __post_init__(self) -> None:
        if (self.column is None) != (self.value is None):
            raise ValueError(f"a split by column needs both, got column {self.column!r} and value {self.value!r}")

    @classmethod
    def parse(cls, text: str) -> Split:
        """From FILE or FILE:COLUMN=VALUE."""
        file, colon, rule = text.rpartition(":")
        column, equals, value = rule.partition("=")
        return cls(file, column, value) if colon and equals else cls(text)

    def choose(self, source: Source) -> list[int]:
        table = Table.read(self.file, source)
        rows = table.match(source.names)
        if self.column is None:
            chosen = [i for i, row in enumerate(rows) if row is not None]
            wanted = "no picture"
        else:
            table.check_column(self.column)
            chosen = [i for i, row in enumerate(rows) if row is not None and row[self.column] == self.value]
            values = sorted({row[self.column] for row in table.rows.values()})
            wanted = f"no picture with {self.column} = {self.value!r} (it has {', '.join(values[:10])})"
        if not chosen:
            raise ValueError(f"{self.file} names {wanted} in {source.path}")
        return chosen


@dataclass(frozen=True)
class Labels:
    names: tuple[str, ...]
    values: Tensor  # [pictures, labels], 0 or 1


class Table:
    """A CSV whose first column names pictures: by path, or by file name, with or without its extension."""

    def __init__(self, file: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, str]]) -> None:
        self.file, self.columns, self.rows = file, tuple(columns), rows
        self.loose: dict[str, Mapping[str, str] | None] = {}
        for key, row in rows.items():
            stem = _stem(key)
            self.loose[stem] = None if stem in self.loose else row  # None: two rows would fit

    @classmethod
    def read(cls, file: str, source: Source) -> Table:
        """A file on disk, among the pictures, or beside the archive."""
        try:
            return cls.parse(file, cls.text(file, source))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{file} cannot be read as a text in UTF-8, a list of names or a CSV ({error})") from error

    @staticmethod
    def text(file: str, source: Source) -> str:
        if Path(file).is_file():
            return Path(file).read_text("utf-8-sig")
        text, beside = source.text(file), source.path.parent / file
        if text is not None:
            return text
        if not beside.is_file():
            raise FileNotFoundError(f"no {file}, neither as a path, nor inside or beside {source.path}")
        return beside.read_text("utf-8-sig")

    @classmethod
    def parse(cls, file: str, text: str) -> Table:
        if not file.lower().endswith(".csv"):
            return cls(file, (), {line.strip(): {} for line in text.splitlines() if line.strip()})
        reader = csv.reader(text.splitlines(), skipinitialspace=True)
        columns = next(reader, [])
        if not columns:
            raise ValueError(f"{file} is empty")
        rows: dict[str, Mapping[str, str]] = {}
        for row in filter(None, reader):
            if len(row) != len(columns):
                raise ValueError(f"{file}, line {reader.line_num}: it has {len(row)} columns, not {len(columns)}")
            rows[row[0]] = dict(zip(columns, row))
        return cls(file, columns[1:], rows)

    def check_column(self, column: str) -> None:
        if column not in self.columns:
            near = get_close_matches(column, self.columns, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{self.file} has no column {column!r}{hint or '; it has ' + ', '.join(self.columns)}")

    def match(self, names: Iterable[str]) -> list[Mapping[str, str] | None]:
        """The row of each picture, None for a picture without one."""
        found: list[Mapping[str, str] | None] = []
        taken: dict[int, str] = {}
        for name in names:
            row = self.rows.get(name)
            row = self.loose.get(_stem(name)) if row is None else row
            if row is not None:
                other = taken.setdefault(id(row), name)
                if other != name:
                    raise ValueError(f"one line of {self.file} fits both {other} and {name}: write the paths")
            found.append(row)
        return found


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


# ---- the pictures


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
        kept = [index for index in chosen if source.names[index] not in lost]
        return cls(source, framing, kept, fingerprint, pixels, broken, workers)

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
        """Binary labels of every picture from a CSV (0 or −1 against 1); by default all such columns."""
        if not file.lower().endswith(".csv"):
            raise ValueError(f"labels are a .csv whose first column names pictures, got {file}")
        table = Table.read(file, self.source)
        rows = table.match(self.names)
        missing = [name for name, row in zip(self.names, rows) if row is None]
        if missing:
            raise ValueError(
                f"{file} has no line for {len(missing)} of {len(rows)} pictures, such as {missing[0]}: "
                f"label them, or take only those that it lists by --split {file}"
            )
        for column in columns or ():
            table.check_column(column)
        labelled = list(zip(self.names, (row for row in rows if row is not None)))
        chosen = tuple(columns or (c for c in table.columns if all(_binary(row[c]) is not None for _, row in labelled)))
        if not chosen:
            raise ValueError(f"{file} has no column of zeros and ones")
        values = [[_binary(row[column]) for column in chosen] for _, row in labelled]
        for (name, row), found in zip(labelled, values):
            if None in found:
                column = chosen[found.index(None)]
                raise ValueError(f"{file}: {column} of {name} must be 0 or -1, or 1, got {row[column]!r}")
        return Labels(chosen, torch.tensor(values))


@lru_cache(maxsize=1000)
def _binary(text: str) -> float | None:
    """0 and −1 are no, 1 is yes, with or without decimals."""
    try:
        return {0.0: 0.0, -1.0: 0.0, 1.0: 1.0}.get(float(text))
    except ValueError:
        return None


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


# ---- the cache


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
            "broken": [{"name": each.name, "reason": each.reason} for each in broken],
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
    told = "; ".join(map(str, broken[:10])) + more
    if len(broken) > BROKEN_LIMIT * total:
        raise ValueError(
            f"{len(broken)} of {total} pictures of {path} cannot be read, more than {BROKEN_LIMIT:.0%}: {told}. "
            "Repair or remove them, or list the good ones in a split file"
        )
    log.warning("%d of %d pictures of %s cannot be read and are left out: %s", len(broken), total, path, told)


# ---- the order


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, count: int) -> tuple[Tensor, Tensor]:
    random = stream(f"order {epoch}", seed)
    order = torch.randperm(count, generator=random)
    return order, torch.rand(count, generator=random) < 0.5


@dataclass(frozen=True)
class Order:
    """An endless shuffled sequence of `count` pictures, each once an epoch, that can be entered anywhere."""

    count: int
    seed: int = 0

    def at(self, position: int, length: int) -> tuple[Tensor, Tensor]:
        """Indices, and whether each is mirrored, of the places from `position` on."""
        indices: list[Tensor] = []
        mirrored: list[Tensor] = []
        end = position + length
        while position < end:
            epoch, start = divmod(position, self.count)
            stop = min(self.count, start + end - position)
            order, flips = _epoch(self.seed, epoch, self.count)
            indices.append(order[start:stop])
            mirrored.append(flips[start:stop])
            position += stop - start
        return torch.cat(indices), torch.cat(mirrored)


class Batches(Iterator[Tensor]):
    """Endless batches, float [batch / world, 3, R, R] in −1 … 1, loaded ahead by one thread.

    `batch` is that of all processes together: joined in the order of their ranks, theirs are the batches of
    a single process. The state is the seed and the count of pictures given so far, whatever was loaded
    ahead. `indices` are those of the batch given last, for its labels.
    """

    def __init__(
        self,
        images: Images,
        batch: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        mirror: bool = False,
        device: torch.device | str = "cpu",
        ahead: int = 2,
    ) -> None:
        if batch < 1 or batch % world:
            raise ValueError(f"a batch of {batch} cannot be dealt out to {world} processes evenly")
        if not 0 <= rank < world:
            raise ValueError(f"rank must be in 0 … {world - 1}, got {rank!r}")
        if len(images) == 0:
            raise ValueError("there are no pictures to take batches from")
        self.images, self.batch, self.rank, self.world = images, batch, rank, world
        self.mirror, self.device, self.ahead = mirror, torch.device(device), ahead
        self.seed, self.position = seed, 0
        self.indices = torch.empty(0, dtype=torch.int64)
        self._loader: _Loader | None = None

    def __next__(self) -> Tensor:
        if self._loader is None:
            self._loader = _Loader(self._load(), self.position, self.batch, self.ahead)
            weakref.finalize(self, self._loader.stop.set)
        try:
            pixels, self.indices = self._loader.next()
        except BaseException:
            self.close()
            raise
        self.position += self.batch
        return to_float(pixels.to(self.device, non_blocking=True))

    def _load(self) -> Callable[[int], tuple[Tensor, Tensor]]:
        """What the thread does; it must not hold `self`, else an unused loader would never be collected."""
        images, order, mirror = self.images, Order(len(self.images), self.seed), self.mirror
        mine = self.batch // self.world
        offset, pin = self.rank * mine, self.device.type == "cuda"

        def load(position: int) -> tuple[Tensor, Tensor]:
            indices, flips = order.at(position + offset, mine)
            pixels = images.gather(indices)
            if mirror:
                pixels = torch.where(flips[:, None, None, None], pixels.flip(3), pixels)
            return (pixels.pin_memory() if pin else pixels), indices

        return load

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.close()
        seed, position = state["seed"], state["position"]
        if type(seed) is not int or type(position) is not int or position < 0:
            raise ValueError(f"batches go on from a seed and a count of pictures, got {seed!r} and {position!r}")
        self.seed, self.position = seed, position

    def close(self) -> None:
        """Stop loading ahead; the next batch starts it again."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None


class _Loader:
    """A thread that loads from `position` on, `step` by `step`, a few batches ahead."""

    def __init__(self, load: Callable[[int], tuple[Tensor, Tensor]], position: int, step: int, ahead: int) -> None:
        self.queue: Queue[tuple[Tensor, Tensor] | Exception] = Queue(maxsize=ahead)
        self.stop = Event()
        self.thread = Thread(
            target=_fill, args=(self.queue, self.stop, load, position, step), daemon=True, name="batches"
        )
        self.thread.start()

    def next(self) -> tuple[Tensor, Tensor]:
        item = self.queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.stop.set()
        self.thread.join()


def _fill(
    queue: Queue[tuple[Tensor, Tensor] | Exception],
    stop: Event,
    load: Callable[[int], tuple[Tensor, Tensor]],
    position: int,
    step: int,
) -> None:
    failed = False
    while not (failed or stop.is_set()):
        item: tuple[Tensor, Tensor] | Exception
        try:
            item = load(position)
        except Exception as error:
            item, failed = error, True
        while not stop.is_set():
            try:
                queue.put(item, timeout=0.1)
                break
            except Full:
                continue
        position += step
