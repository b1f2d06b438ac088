"""Random numbers: one stream for each purpose and seed, and the rows that a run draws.

Two things seeded alike must not draw the same numbers: a mapping network whose first weights are the latents that
it is sampled with answers those latents as it answers no others.
"""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def seed_of(purpose: str, seed: int) -> int:
    """The seed of a stream that no other purpose draws from."""
    return int.from_bytes(sha256(f"{purpose} {seed}".encode()).digest()[:7], "big")


def stream(purpose: str, seed: int = 0) -> torch.Generator:
    """The random numbers of one purpose and seed."""
    return torch.Generator().manual_seed(seed_of(purpose, seed))


class Draws:
    """Rows of random numbers for this process's part of the batch.

    Every process draws for the whole batch and keeps its own rows: a batch split over processes sees the numbers
    that one process with the joined batch would see, and a run that resumes from the generator's state goes on
    with the same ones.
    """

    def __init__(self, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank must be in 0 … {world - 1}, got {rank}")
        self.generator = stream("training", seed)
        self.rank, self.world = rank, world

    def normal(self, rows: int, *shape: int) -> Tensor:
        return self._mine(torch.randn(rows * self.world, *shape, generator=self.generator), rows)

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """In [0, 1)."""
        return self._mine(self.uniform_for_all(rows, *shape), rows)

    def uniform_for_all(self, rows: int, *shape: int) -> Tensor:
        """The rows of all processes, which each of them knows."""
        return torch.rand(rows * self.world, *shape, generator=self.generator)

    def uniform_once(self, *shape: int) -> Tensor:
        """For the whole batch at once, however many processes share it."""
        return torch.rand(*shape, generator=self.generator)

    def seeds(self, rows: int) -> list[int]:
        """One seed a row, for numbers too many to be drawn by every process for all."""
        drawn = torch.randint(2**62, (rows * self.world,), generator=self.generator)
        return [int(seed) for seed in self._mine(drawn, rows)]

    def _mine(self, every: Tensor, rows: int) -> Tensor:
        return every[self.rank * rows : (self.rank + 1) * rows]
