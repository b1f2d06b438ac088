"""Batches of pictures in an order that can be entered anywhere, so that a resumed run draws the very same ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..images import to_float
from ..rng import stream
from .images import Images

Picked = tuple[Tensor, Tensor]  # indices of pictures [N], and whether each is mirrored


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, count: int) -> Picked:
    random = stream(f"order {epoch}", seed)
    order = torch.randperm(count, generator=random)
    return order, torch.rand(count, generator=random) < 0.5


class Order(Sampler[Picked]):
    """Endless batches of `count` shuffled pictures, each once an epoch, as a process of several takes its share.

    `batch` is that of all processes together: joined in the order of their ranks, theirs are the batches of a single
    process. The position, a count of pictures, and the seed are the whole state.
    """

    def __init__(
        self, count: int, seed: int = 0, batch: int = 1, rank: int = 0, world: int = 1, position: int = 0
    ) -> None:
        if batch < 1 or batch % world:
            raise ValueError(f"a batch of {batch} cannot be dealt out to {world} processes evenly")
        if not 0 <= rank < world:
            raise ValueError(f"rank must be in 0 … {world - 1}, got {rank!r}")
        if count == 0:
            raise ValueError("there are no pictures to take batches from")
        self.count, self.seed, self.batch, self.position = count, seed, batch, position
        self.share, self.offset = batch // world, rank * (batch // world)

    def __iter__(self) -> Iterator[Picked]:
        while True:
            yield self.at(self.position + self.offset, self.share)
            self.position += self.batch

    def at(self, position: int, length: int) -> Picked:
        """The pictures of the places from `position` on."""
        parts, end = list[Picked](), position + length
        while position < end:
            epoch, start = divmod(position, self.count)
            stop = min(self.count, start + end - position)
            order, flips = _epoch(self.seed, epoch, self.count)
            parts.append((order[start:stop], flips[start:stop]))
            position += stop - start
        indices, mirrored = zip(*parts)
        return torch.cat(indices), torch.cat(mirrored)


class MirroredImages(Dataset[Picked]):
    """Pictures by many indices at a time, some of them mirrored, with their indices."""

    def __init__(self, images: Images, mirror: bool) -> None:
        self.images, self.mirror = images, mirror

    def __getitem__(self, picked: Picked) -> tuple[Tensor, Tensor]:
        indices, flips = picked
        pixels = self.images.gather(indices)
        if self.mirror:
            pixels = torch.where(flips[:, None, None, None], pixels.flip(3), pixels)
        return pixels, indices


class Batches(Iterator[Tensor]):
    """Endless batches, float [batch / world, 3, R, R] in −1 … 1, loaded ahead by one thread.

    The state is the seed and the count of pictures given so far, whatever was loaded ahead. `indices` are those of
    the batch given last, for its labels. Worker processes of the loader would not do: a signal to stop that reaches
    all processes of a run would end them before its last snapshot.
    """

    def __init__(
        self,
        images: Images,
        batch: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        mirror: bool = False,
        device: torch.device | str = "cpu",
        ahead: int = 2,
    ) -> None:
        self.images, self.device, self.ahead = MirroredImages(images, mirror), torch.device(device), ahead
        self.place = (batch, rank, world)
        self.seed, self.position = seed, 0
        self.indices = torch.empty(0, dtype=torch.int64)
        self.order()  # refuses what cannot be dealt out
        self.waiting: deque[Future[Picked]] = deque()
        self.thread: ThreadPoolExecutor | None = None

    def order(self) -> Order:
        return Order(len(self.images.images), self.seed, *self.place, self.position)

    def __next__(self) -> Tensor:
        if self.thread is None:
            loader = DataLoader(
                self.images,
                batch_size=None,  # the sampler gives whole batches
                sampler=self.order(),
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # the global one is not touched
            )
            self.thread, self.loaded = ThreadPoolExecutor(1, "batches"), iter(loader)
        while len(self.waiting) <= self.ahead:
            self.waiting.append(self.thread.submit(next, self.loaded))
        try:
            pixels, self.indices = self.waiting.popleft().result()
        except BaseException:
            self.close()
            raise
        self.position += self.place[0]
        return to_float(pixels.to(self.device, non_blocking=True))

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.close()
        seed, position = state["seed"], state["position"]
        if type(seed) is not int or type(position) is not int or position < 0:
            raise ValueError(f"batches go on from a seed and a count of pictures, got {seed!r} and {position!r}")
        self.seed, self.position = seed, position

    def close(self) -> None:
        """Stop loading ahead; the next batch starts it again."""
        if self.thread is not None:
            self.thread.shutdown(cancel_futures=True)
            self.waiting.clear()
            self.thread = None
