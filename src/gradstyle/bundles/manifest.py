"""Reads and writes `bundle.json`, as data that anyone may have written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..config import from_json, to_json
from ..files import check_name

FORMAT = 1
MANIFEST = "bundle.json"
LARGEST = 16 << 20  # bytes of a manifest
LONGEST = 4000  # characters of a text in it
LARGEST_NUMBER, MOST_VALUES = 1 << 20, 1000  # in a part's config


class BundleError(ValueError):
    """A bundle that cannot be used, with the reason and what to do."""


@dataclass(frozen=True)
class Domain:
    """What the photos of a bundle show and how they are brought to a square."""

    name: str = "unknown"
    aspect: tuple[int, int] = (1, 1)  # width : height; photos that are not square are padded and cropped back
    crop: Literal["ffhq", "celeba", "none"] = "none"  # how faces are cut out before they are edited

    def __post_init__(self) -> None:
        if not 1 <= min(self.aspect) <= max(self.aspect) <= 1000:
            raise ValueError(f"aspect is two numbers from 1 to 1000, got {self.aspect!r}")


@dataclass(frozen=True)
class PartInfo:
    """One file of the bundle: what its weights are of, and the digest that they must have."""

    file: str
    sha256: str
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w-]*\.safetensors", self.file, re.ASCII):
            raise ValueError(f"file is the name of a .safetensors file beside {MANIFEST}, got {self.file[:200]!r}")
        check_name(self.file, "file")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 is 64 hexadecimal digits, got {self.sha256[:80]!r}")
        _check_sizes(self.config, "config")


@dataclass(frozen=True)
class Manifest:
    """All of `bundle.json`."""

    format: int
    name: str
    resolution: int
    domain: Domain = Domain()
    fingerprint: str = ""  # of the generator's weights: edits name it
    origin: str = ""
    licence: str = ""
    parts: dict[str, PartInfo] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shown = {"name": self.name, "fingerprint": self.fingerprint, "origin": self.origin, "licence": self.licence}
        for key, text in {**shown, "domain.name": self.domain.name}.items():
            if len(text) > LONGEST or not text.isprintable():
                raise ValueError(f"{key} is a line of text, got {text[:80]!r}")
        if "generator" not in self.parts:
            raise ValueError("it has no part 'generator', on which all others stand")

    def write(self, folder: Path) -> None:
        text = json.dumps(to_json(self), indent=2, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read `bundle.json` and see that its files are there; none of them is opened."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > LARGEST:
            raise BundleError(f"larger than {LARGEST >> 20} MB, which no manifest is")
        text = path.read_text(encoding="utf-8")
        values = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        version = values.get("format") if isinstance(values, dict) else None
        if version != FORMAT:
            newer = ": a newer GradStyle wrote it" if type(version) is int and version > FORMAT else ""
            raise BundleError(f"format {str(version)[:40]}, this GradStyle reads format {FORMAT}{newer}")
        manifest = from_json(Manifest, values, "bundle")
    except RecursionError:
        raise BundleError(f"{path}: its values are nested too deep") from None
    except (OSError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors too
        raise BundleError(f"{path}: {error}") from error
    for name, info in manifest.parts.items():
        file = folder / info.file
        if file.is_symlink() or not file.is_file():
            raise BundleError(f"{path}: part {name!r} is missing its file {info.file}")
    return manifest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"{twice[:80]!r} is there twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that any value may have")


def _check_sizes(values: Any, where: str) -> None:
    """Every number that shapes are computed from is small enough to compute with."""
    if isinstance(values, int | float) and abs(values) > LARGEST_NUMBER:
        raise ValueError(f"{where} is {str(values)[:40]}, more than any network's {LARGEST_NUMBER:,}")
    if isinstance(values, Mapping | list | tuple):
        if len(values) > MOST_VALUES:
            raise ValueError(f"{where} holds {len(values):,} values, more than any network's {MOST_VALUES:,}")
        for name, value in values.items() if isinstance(values, Mapping) else enumerate(values):
            _check_sizes(value, f"{where}.{name}"[:200])
