"""Tables that name pictures: which of them are taken, and their labels."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from .sources import SUFFIXES, Source


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

    @property
    def named(self) -> tuple[str, str, str]:
        """File, column and value, as a recipe has them."""
        return self.file, self.column or "", self.value or ""

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
        rows: list[Mapping[str, str] | None] = []
        taken: dict[int, str] = {}
        for name in names:
            row = self.rows.get(name)
            row = self.loose.get(_stem(name)) if row is None else row
            if row is not None:
                other = taken.setdefault(id(row), name)
                if other != name:
                    raise ValueError(f"one line of {self.file} fits both {other} and {name}: write the paths")
            rows.append(row)
        return rows


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


@lru_cache(maxsize=1000)
def _binary(text: str) -> float | None:
    """0 and −1 are no, 1 is yes, with or without decimals."""
    try:
        return {0.0: 0.0, -1.0: 0.0, 1.0: 1.0}.get(float(text))
    except ValueError:
        return None


@dataclass(frozen=True)
class Labels:
    names: tuple[str, ...]
    values: Tensor  # [pictures, labels], 0 or 1

    @classmethod
    def read(cls, file: str, source: Source, names: Sequence[str], columns: Sequence[str] | None = None) -> Labels:
        """Binary labels of the named pictures from a CSV (0 or −1 against 1); by default all such columns."""
        if not file.lower().endswith(".csv"):
            raise ValueError(f"labels are a .csv whose first column names pictures, got {file}")
        table = Table.read(file, source)
        rows = {name: row for name, row in zip(names, table.match(names)) if row is not None}
        missing = [name for name in names if name not in rows]
        if missing:
            raise ValueError(
                f"{file} has no line for {len(missing)} of {len(names)} pictures, such as {missing[0]}: "
                f"label them, or take only those that it lists by --split {file}"
            )
        for column in columns or ():
            table.check_column(column)
        chosen = tuple(
            columns or (c for c in table.columns if all(_binary(row[c]) is not None for row in rows.values()))
        )
        if not chosen:
            raise ValueError(f"{file} has no column of zeros and ones")
        for name, row in rows.items():
            for column in chosen:
                if _binary(row[column]) is None:
                    raise ValueError(f"{file}: {column} of {name} must be 0 or -1, or 1, got {row[column]!r}")
        return cls(chosen, torch.tensor([[_binary(row[column]) for column in chosen] for row in rows.values()]))
