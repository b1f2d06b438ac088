"""Finds bundles, by path, among the user's and with the package; and replaces one by another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..files import cache_folder
from .manifest import MANIFEST, BundleError

BUNDLED = Path(__file__).parent / "bundled"  # what comes with the package


def find_bundle(path_or_name: str | os.PathLike[str]) -> Path:
    """A bundle's folder by path, or by name: under `cache_folder()/bundles`, or one that comes with the package."""
    given = Path(path_or_name)
    for folder in (
        (given, cache_folder() / "bundles" / given, BUNDLED / given) if given.name == str(given) else (given,)
    ):
        if (folder / MANIFEST).is_file():
            return folder
    if given.exists():
        raise BundleError(f"{given} is not a bundle: it has no {MANIFEST}. `gradstyle bundle import` reads checkpoints")
    known = ", ".join(installed()) or "none yet"
    raise BundleError(
        f"there is no bundle {str(given)!r}, neither a folder nor in {cache_folder() / 'bundles'} (installed: {known})"
    )


def installed() -> list[str]:
    """Names of the bundles in the user's folder, and of those that come with the package."""
    found = (path for place in (cache_folder() / "bundles", BUNDLED) for path in place.glob(f"[!.]*/{MANIFEST}"))
    return sorted({path.parent.name for path in found})  # a dot: one that is being written


def check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise BundleError(f"{target} exists: choose another name or overwrite it")
    held = [path.name for path in target.iterdir()] if target.is_dir() else [target.name]
    foreign = [name for name in held if name != MANIFEST and not name.endswith(".safetensors")]
    if foreign or (held and MANIFEST not in held):
        named = ", ".join(sorted(foreign or held)[:5])
        raise BundleError(f"{target} is no bundle, or not only one, and is not replaced: it holds {named}")


def swap(new: Path, target: Path) -> None:
    """Put the new folder in the target's place; the old one goes only after the new one is there."""
    if not target.exists():
        new.rename(target)
        return
    old = new.with_name(new.name + ".old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
