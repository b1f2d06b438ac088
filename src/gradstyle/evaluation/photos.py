"""The photos of a run: the same for every method, read once, what cannot be read named and left out for all."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..images import to_float
from ..photos.framing import Crop, Framing, Pixels
from ..training.sources import Source
from ..training.table import Split, Table
from .store import Failure

IN_MEMORY = 1 << 30  # bytes of decoded photos; of more, each is read again when its turn comes
READERS = 4  # threads


@dataclass(frozen=True)
class Selection:
    """Which photos of a folder, a zip or a tar, and how they fill the square."""

    data: str
    split: Split | None = None
    first: int | None = None  # that many, in the order of their names and numbers
    crop: Crop = "center"
    aspect: float = 1.0


class Pictures(ABC):
    """What a run measures methods on, batch by batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.broken: list[Failure] = []

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def about(self) -> dict[str, str]:
        """Their name, fingerprint and split."""

    @abstractmethod
    def __getitem__(self, batch: int) -> Tensor:
        """One batch, [N, 3, side, side] in [−1, 1]."""

    def labels(self, table: str) -> dict[str, list[bool | None]]:
        """What a table says of each picture."""
        raise ValueError(f"{table} says nothing of pictures that have no files")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def batches(self) -> int:
        return -(-len(self) // self.batch)

    def names_of(self, batch: int) -> tuple[str, ...]:
        return self.names[batch * self.batch : (batch + 1) * self.batch]


class Photos(Pictures):
    """Photos in the order of their names and numbers, [3, side, side] each."""

    def __init__(
        self, selection: Selection, side: int, batch: int, progress: Callable[[int, int], None] | None = None
    ) -> None:
        super().__init__(batch)
        self.selection = selection
        self.source = Source.open(selection.data)
        if not self.source.names:
            raise ValueError(f"no pictures in {selection.data}")
        self.framing = Framing(side, selection.crop, selection.aspect)
        chosen = selection.split.choose(self.source) if selection.split else range(len(self.source.names))
        wanted = sorted(chosen, key=lambda index: counted(self.source.names[index]))[: selection.first]
        self.fingerprint = self.source.fingerprint(wanted, self.framing.rule)
        self.chosen: list[int] = []
        self.decoded: list[Pixels] | None = [] if len(wanted) * 3 * side**2 <= IN_MEMORY else None
        for index, read in zip(wanted, self._read(wanted, progress)):
            if isinstance(read, Failure):
                self.broken.append(read)
            else:
                self.chosen.append(index)
                if self.decoded is not None:
                    self.decoded.append(read)
        if not self.chosen:
            raise ValueError(f"none of the {len(wanted)} photos can be read, such as {self.broken[0]}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.source.names[index] for index in self.chosen)

    @property
    def about(self) -> dict[str, str]:
        split = self.selection.split
        rule = f"{split.column}={split.value}" if split and split.column else ""
        return {
            "name": Path(self.selection.data).name,
            "fingerprint": self.fingerprint,
            "split": ":".join(filter(None, (split.file, rule))) if split else "",
        }

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, batch: int) -> Tensor:
        places = range(batch * self.batch, min((batch + 1) * self.batch, len(self)))
        if self.decoded is not None:
            squares = [self.decoded[place] for place in places]
        else:
            squares = []
            for read in self._read([self.chosen[place] for place in places]):
                if isinstance(read, Failure):
                    raise ValueError(f"{read.photo} could be read at first and now cannot: {read.reason}")
                squares.append(read)
        return to_float(torch.from_numpy(np.stack(squares)))

    def labels(self, table: str) -> dict[str, list[bool | None]]:
        """Columns of zeros and ones (or −1 and 1) of a table, for each photo; none where it has no line."""
        read = Table.read(table, self.source)
        rows = read.match(self.names)
        columns: dict[str, list[bool | None]] = {}
        for column in read.columns:
            cells = [None if row is None else row[column] for row in rows]
            if all(cell in ("0", "1", "-1", None) for cell in cells):
                columns[column] = [None if cell is None else cell == "1" for cell in cells]
        if not columns:
            raise ValueError(f"{table} has no column of zeros and ones")
        return columns

    def _read(
        self, indices: Sequence[int], progress: Callable[[int, int], None] | None = None
    ) -> list[Pixels | Failure]:
        done: list[Pixels | Failure] = []
        with ThreadPoolExecutor(READERS) as pool:
            for read in pool.map(self._decode, indices):
                done.append(read)
                if progress is not None:
                    progress(len(done), len(indices))
        return done

    def _decode(self, index: int) -> Pixels | Failure:
        name = self.source.names[index]
        try:
            return self.framing(self.source.read(index))
        except Exception as error:  # Pillow raises nearly anything on a broken file
            return Failure(name, "", reason(error))


def counted(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts 2.jpg before 10.jpg."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", name)]


def reason(error: Exception) -> str:
    """What an error says, the same in every run."""
    text = re.sub(r"(<[\w.]+ object) at 0x[0-9a-f]+>", r"\1>", str(error)) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def default_table(data: str) -> str | None:
    """The table that lies among the photos or beside them, if it is called as CelebA's here."""
    name = "attributes.csv"
    beside = Source.open(data).text(name) is not None or (Path(data).parent / name).is_file()
    return name if beside else None


def default_split(data: str, value: str = "test") -> Split | None:
    """The test part, where a table says which it is."""
    table = default_table(data)
    columns = Table.read(table, Source.open(data)).columns if table else ()
    column = next((name for name in ("official_split", "split") if name in columns), None)
    return Split(table, column, value) if table and column else None
