"""Recipes: what a run trains, on what and how, as TOML files that become frozen dataclasses.

A recipe file holds `[data]`, which all trainings of a domain share, and one table for each thing trained.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..bundles import Domain
from ..config import from_json, to_json
from ..photos.framing import Crop

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "recipes"
Auto = Literal["auto"]  # a value that follows from resolution and batch
R = TypeVar("R", bound="Recipe")


@dataclass(frozen=True)
class DataRecipe:
    """Which part of each picture is seen, at what size."""

    resolution: int
    domain: Domain = field(default_factory=Domain)  # cut to its aspect, the rest of the square is black bars
    crop: Crop = "center"  # center: cut to the aspect; none: all must have it; pad: keep everything
    mirror: bool = True  # every second picture, drawn anew each epoch
    split: tuple[str, str, str] | None = None  # file, column, value: the pictures to train on

    @property
    def aspect(self) -> tuple[int, int]:
        return self.domain.aspect


@dataclass(frozen=True)
class LoopRecipe:
    """What every training shares, whatever it trains."""

    batch: int = 32  # pictures a step, over all processes and parts
    parts: int = 1  # forward passes that a process makes of its share of the batch, to save memory
    images: int = 1_000_000  # pictures after which the run is done
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bf16 where the processor computes in it
    seed: int = 0
    warmup_images: int = 1000  # the learning rate rises from zero meanwhile: Adam's statistics are still empty
    rate_factor: float = 1.0  # of all rates: towards the end of a run a third brings out what full steps blur
    snapshot_minutes: float = 10.0
    look_every: int = 4  # steps between two looks at losses, clock and signals; each look waits for a GPU
    largest_loss: float = 1e6  # above this a run has diverged, even if it is still finite
    compile: bool = False  # torch.compile the passes that are differentiated once; slow to start

    def __post_init__(self) -> None:
        for name in ("batch", "parts", "images", "look_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.snapshot_minutes <= 0:
            raise ValueError(f"snapshot_minutes must be above 0, got {self.snapshot_minutes!r}")


@dataclass(frozen=True)
class Recipe:
    """What a training's own recipe adds its fields to."""

    optional = False  # a file without a table for it gives the defaults

    data: DataRecipe
    loop: LoopRecipe

    def resolved(self: R) -> R:
        """The same recipe with every "auto" replaced by its value."""
        return self


# ---- reading


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load(kind: type[R], table: str, name: str | Path, overrides: Sequence[str] = ()) -> R:
    """The recipe of one training: `[data]` and `[table]` of a file, or of a recipe by name, and `key=value`s."""
    file = Path(name) if Path(name).suffix == ".toml" else FOLDER / f"{name}.toml"
    if not file.is_file():
        raise ValueError(
            f"there is no recipe {str(name)!r}{nearest(str(name), names())}; known are {', '.join(names())}"
        )
    tables = read_toml(file)
    if table not in tables and not kind.optional:
        raise ValueError(f"{file.name} has no [{table}]; it has {', '.join(key for key in tables)}")
    values = {"data": tables.get("data", {}), **tables.get(table, {"loop": {}})}
    return build(kind, values, overrides, f"{file.name}: {table}")


def build(kind: type[R], values: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "recipe") -> R:
    """A recipe from nested values, with overrides such as "loop.batch=16" put on top."""
    merged = _copied(values)
    for override in overrides:
        _override(kind, merged, override)
    _refuse_unknown(kind, merged, where)
    return from_json(kind, merged, where).resolved()


def read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not TOML: {error}") from error


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _refuse_unknown(kind: Any, values: Mapping[str, Any], where: str) -> None:
    """Name the nearest known key of every unknown one."""
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(key, _paths(kind))}")
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            _refuse_unknown(hints[key], value, f"{where}.{key}")


def nearest(key: str, known: Sequence[str]) -> str:
    """A hint on a key that is not known."""
    by_leaf = {path.rpartition(".")[2]: path for path in reversed(known)} | {path: path for path in known}
    close = difflib.get_close_matches(key, by_leaf, n=1, cutoff=0.5)
    return f", did you mean {by_leaf[close[0]]!r}?" if close else f"; known are {', '.join(known)}" if known else ""


def _paths(kind: Any) -> list[str]:
    """Every key of a recipe, dotted."""
    return [path for path, _ in _leaves(kind)]


def _leaves(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from _leaves(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


def _override(kind: Any, values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    path = path.strip()
    leaves = dict(_leaves(kind))
    if not equals:
        raise ValueError(f"--set takes key=value, got {override!r}")
    if path not in leaves:
        raise ValueError(f"--set {override}: unknown key {path!r}{nearest(path, list(leaves))}")
    *tables, leaf = path.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    values[leaf] = _parse(leaves[path], text.strip())


def _parse(hint: Any, text: str) -> Any:
    """A value as TOML writes it; bare words are strings, and `none` is None where that may be."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if text.lower() == "none" and type(None) in options:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# ---- writing


def to_toml(recipe: Any) -> str:
    """A dataclass as TOML that `build` reads back to an equal one; what is None is left out."""
    return "\n".join(_lines(to_json(recipe), ""))


def _lines(values: Mapping[str, Any], table: str) -> Iterator[str]:
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping) and value is not None}
    if table and plain:
        yield f"[{table}]"
    for key, value in plain.items():
        yield f"{key} = {_toml_value(value)}"
    if plain:
        yield ""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{table}.{key}".strip("."))


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, Mapping):  # in a list
        return "{" + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        escaped = re.sub(r'[\x00-\x1f"\\\x7f]', lambda match: f"\\u{ord(match[0]):04x}", value)
        return f'"{escaped}"'
    return repr(value)
