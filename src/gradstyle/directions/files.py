"""Edits as files: each names its generator, and is refused on another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..bundles import Bundle, BundleError, Slider
from ..config import from_json, to_json
from ..edits import Edit
from ..published import open_published
from ..tensors import read_tensors, write_tensors

KIND, LONGEST = "gradstyle edit 1", 200  # characters of a name
PUBLISHED = (".npy", ".npz", ".pt", ".pth", ".pkl")


def save_edit(
    path: str | Path, edit: Edit, bundle: Bundle | None = None, slider: Slider | None = None, overwrite: bool = False
) -> Path:
    """Write an edit of a bundle, or any edit that names its generator."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"an edit is a .safetensors file, got {path.name!r}")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists: choose another name or overwrite it")
    generator = edit.generator or (bundle.fingerprint if bundle else "")
    if not generator:
        raise ValueError(f"edit {edit.name!r} names no generator: give the bundle that it is for")
    if bundle is not None and generator != bundle.fingerprint:
        raise BundleError(_foreign(edit.name, generator, "", bundle))
    tensors = {axis: v for axis, v in (("w", edit.w), ("s", edit.s)) if v is not None}
    told = {"kind": KIND, "name": edit.name, "generator": generator, "bundle": bundle.name if bundle else ""}
    if slider is not None:
        told["slider"] = json.dumps(to_json(slider))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, told, torch.float32)
    return path


def load_edit(path: str | Path, bundle: Bundle | None = None) -> tuple[Edit, Slider | None]:
    """Reads an edit from its file; with a bundle, only if it is for that bundle's generator."""
    path = Path(path)
    tensors, told = read_tensors(path, torch.float32)
    if told.get("kind") != KIND:
        raise ValueError(f"{path} is no edit's file: `gradstyle directions save` writes them")
    name, generator, made_in = (told.get(key, "") for key in ("name", "generator", "bundle"))
    for text in (name, generator, made_in):
        if len(text) > LONGEST or not text.isprintable():
            raise ValueError(f"{path}: an edit, its generator and its bundle have short names, got {text[:80]!r}")
    if not name or not generator or set(tensors) - {"w", "s"}:
        raise ValueError(f"{path}: an edit has a name, a generator and offsets w or s; it holds {sorted(tensors)[:5]}")
    try:
        edit = Edit(name, tensors.get("w"), tensors.get("s"), generator)
        slider = _slider(told["slider"]) if "slider" in told else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if bundle is not None and generator != bundle.fingerprint:
        raise BundleError(f"{path}: {_foreign(name, generator, made_in, bundle)}")
    return edit, slider


def _foreign(name: str, generator: str, made_in: str, bundle: Bundle) -> str:
    theirs = f"generator {generator}" + (f" (of bundle {made_in!r})" if made_in else "")
    return f"edit {name!r} is for {theirs}; bundle {bundle.name!r} has generator {bundle.fingerprint}"


def _slider(text: str) -> Slider:
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its slider cannot be read") from None
    return from_json(Slider, values, "slider")


def open_edits(path: str | Path, bundle: Bundle) -> dict[str, tuple[Edit, Slider | None]]:
    """Reads the edits of a file: one of ours, or published directions, which do not name their generator."""
    if Path(path).suffix in PUBLISHED:
        found = open_published(Path(path))
        if not found.edits:
            raise ValueError(f"{path} is {found.what}: no directions")
        return {name: (replace(edit, generator=bundle.fingerprint), None) for name, edit in found.edits.items()}
    edit, slider = load_edit(path, bundle)
    return {edit.name: (edit, slider)}


def add(bundle: Bundle, more: Mapping[str, tuple[Edit, Slider | None]], overwrite: bool = False) -> None:
    """Puts edits into a bundle, beside those that it has."""
    if (taken := sorted(set(more) & set(bundle.edits))) and not overwrite:
        raise BundleError(f"bundle {bundle.name!r} has an edit {taken[0]!r} already: name it otherwise, or replace it")
    sliders = {name: s for name, s in bundle.sliders.items() if name not in more}
    failed = {name: r for name, r in bundle.failed_edits.items() if name not in more}
    new = {name: slider for name, (_, slider) in more.items() if slider is not None}
    edits = {name: replace(edit, name=name) for name, (edit, _) in more.items()}
    bundle.put_edits({**bundle.edits, **edits}, {**sliders, **new}, failed)
