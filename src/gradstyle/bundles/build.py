"""A bundle from published files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..edits import Edit
from .bundle import Bundle
from .manifest import BundleError, Domain
from .published import open_published


def build(
    name: str, files: Sequence[Path], domain: Domain | None = None, licence: str = "", origin: str = ""
) -> tuple[Bundle, list[str]]:
    """Join what some files hold; later files replace parts of earlier ones. Also gives notes for the reader."""
    bundle = Bundle(name, domain, origin or ", ".join(file.name for file in files), licence)
    notes: list[str] = []
    edits: dict[str, Edit] = {}
    for file in files:
        published = open_published(file)
        notes.append(f"{file.name}: {published.what}")
        notes += published.notes
        if published.network is not None:
            raise BundleError(f"{file} is {published.what}: no part of a bundle, losses and metrics read it themselves")
        for part, (config, state) in published.parts.items():
            bundle.put_state(part, config, state)
        edits |= published.edits
    if "generator" not in bundle:
        raise BundleError(f"no generator in {', '.join(map(str, files))}: a bundle stands on one")
    if edits:
        bundle.put_edits({key: replace(edit, generator=bundle.fingerprint) for key, edit in edits.items()})
    return bundle, notes
