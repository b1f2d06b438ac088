"""Finds published checkpoints by name, in `catalog.toml`, and downloads them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias

from ..files import cache_folder, file_sha256, write_text
from .download import OtherFile, Progress, fetch, unpack
from .http import DownloadError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind: TypeAlias = Literal["generator", "encoder and generator", "method", "loss network", "directions"]


@dataclass(frozen=True)
class CatalogEntry:
    """Describes a published file. What it becomes is read from its content; `kind` only informs a person."""

    name: str
    title: str
    kind: Kind  # a method's file holds its encoder and generator too
    domain: str
    url: str  # https, or gdrive:ID
    file: str  # its name on the disk
    licence: str
    source: str  # the page that gives the address
    resolution: int | None = None
    size: int | None = None
    sha256: str | None = None  # or its first digits, where a file name holds no more
    member: str | None = None  # the file within, where a zip was published
    needs: tuple[str, ...] = ()
    notes: str = ""

    @property
    def aspect(self) -> tuple[int, int]:
        """Width and height of its photos, which are padded to the square."""
        return (4, 3) if self.domain == "cars" else (1, 1)


def _read() -> tuple[CatalogEntry, ...]:
    values = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["file"]
    return tuple(CatalogEntry(**{**value, "needs": tuple(value.get("needs", ()))}) for value in values)


CATALOG = _read()


def names() -> list[str]:
    return [each.name for each in CATALOG]


def find(name: str) -> CatalogEntry:
    by_name = {each.name: each for each in CATALOG}
    if entry := by_name.get(name.strip().lower()):
        return entry
    near = get_close_matches(name.strip().lower(), by_name, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(by_name)}"
    raise ValueError(f"no published checkpoint is called {name!r}; {hint}")


def pull(
    name_or_entry: str | CatalogEntry,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    sha256: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """Download a published file into `folder` (unless given, `downloads` in `cache_folder()`); return where it is.

    `sha256` is the caller's own pin: it stands in for whatever the catalogue says of size and digest. Where nobody
    gives a digest, that of the first whole download is kept in `FILE.sha256`, and every later one must have it.
    `tell` is called with what a person should know of that.
    """
    entry = find(name_or_entry) if isinstance(name_or_entry, str) else name_or_entry
    target = (folder or cache_folder() / "downloads") / entry.file
    pin = target.with_name(target.name + ".sha256")
    pinned = None if sha256 or entry.sha256 else _pinned(pin)
    try:
        path = fetch(
            entry.url,
            target,
            sha256=sha256 or entry.sha256 or pinned,
            size=None if sha256 else entry.size,
            progress=progress,
        )
    except DownloadError as error:
        other = pinned and isinstance(error, OtherFile)
        kept = f"; that SHA-256 is the first download's, kept in {pin}: delete it to take another file" if other else ""
        raise DownloadError(f"{error} ({entry.name} is from {entry.source}{kept})") from error
    if pinned:
        tell(f"the publisher gives no checksum; it is the file of the first download, as {pin} says")
    elif not entry.sha256:
        found = file_sha256(path)
        write_text(pin, f"{found}  {target.name}\n")
        whose = "yours" if sha256 else f"this file's SHA-256 is {found}"
        tell(f"the publisher gives no checksum; {whose}: kept in {pin}, later downloads must have it")
    return unpack(path, entry.member) if entry.member else path


def _pinned(pin: Path) -> str | None:
    """The digest of the first whole download; None before there was one."""
    if not pin.exists():
        return None
    text = pin.read_text("utf-8", errors="replace")[:200]
    if not re.fullmatch(r"[0-9a-f]{64} [ *].+\s*", text):
        raise DownloadError(f"{pin} holds no SHA-256: delete it, and the next download's is kept")
    return text[:64]


def table() -> str:
    """The catalogue in Markdown, as docs/published-weights.md holds it."""
    rows = [["name", "what it is", "domain", "pixels", "comes out", "needs", "licence", "checked by"], ["---"] * 8]
    for each in CATALOG:
        what = f"[{each.title}]({each.source})" + (f"; {each.notes}" if each.notes else "")
        check = "SHA-256" if each.sha256 else "size, first download" if each.size else "first download"
        pixels = "" if each.resolution is None else str(each.resolution)
        needs = ", ".join(f"`{other}`" for other in each.needs)
        rows.append([f"`{each.name}`", what, each.domain, pixels, each.kind, needs, each.licence, check])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
