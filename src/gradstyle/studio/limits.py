"""What a studio gives to its visitors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes, counts and times that one studio allows."""

    max_upload: int = 40 << 20  # bytes of a file
    queue: int = 100  # calls that may wait
    keep: float = 3600.0  # seconds for which files stay, and what an idle visitor did
    sessions: int = 200
    memory: int = 512 << 20  # bytes of photos, inversions and pictures that are kept to be quick
    disk: int = 4 << 30  # bytes of uploads, opened photos and results
    pixels: int = 60_000_000  # of photos that are worked on at once; for more, people wait in line

    def __post_init__(self) -> None:
        for name in ("max_upload", "queue", "sessions", "memory", "disk", "pixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.keep <= 0:
            raise ValueError(f"keep must be above 0 seconds, got {self.keep!r}")
