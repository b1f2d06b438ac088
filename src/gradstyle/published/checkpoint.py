"""The result of reading a published file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..edits import Edit

Parts = dict[str, tuple[Any, dict[str, Tensor]]]


@dataclass
class Checkpoint:
    """What a file gave: parts of a bundle, directions, or a network for losses and metrics."""

    what: str
    parts: Parts = field(default_factory=dict)
    edits: dict[str, Edit] = field(default_factory=dict)
    network: nn.Module | None = None
    notes: list[str] = field(default_factory=list)
