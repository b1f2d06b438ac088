"""What is kept is bounded by bytes; whose it is decides who may lose it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from gradstyle.studio.cache import Shelf, weigh


def block(size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros(size, np.uint8)


def test_the_longest_unused_goes_first() -> None:
    shelf, made = Shelf(100), list[str]()

    def make(name: str, size: int = 40) -> object:
        def now() -> object:
            made.append(name)
            return block(size)

        return shelf.get(("me", name), now)

    make("a")
    make("b")
    make("a")  # used again
    make("c")  # no room for three: b goes
    assert made == ["a", "b", "c"] and shelf.bytes == 80
    make("a")
    assert made == ["a", "b", "c"]
    make("b")
    assert made == ["a", "b", "c", "b"]
    make("huge", 101)  # never kept, and drives nothing else out
    assert len(shelf) == 2 and shelf.bytes == 80
    make("huge", 101)
    assert made.count("huge") == 2


def test_what_belongs_to_one_is_forgotten_alone() -> None:
    shelf = Shelf(1000)
    shelf.get(("me", "x"), lambda: block(10))
    shelf.get(("you", "x"), lambda: block(20))
    shelf.drop("me")
    assert len(shelf) == 1 and shelf.bytes == 20
    assert len(shelf.get(("you", "x"), lambda: block(1))) == 20


def test_everything_with_a_size_is_weighed() -> None:
    @dataclass
    class Holds:
        tensor: torch.Tensor
        others: tuple[object, ...]

    picture = Image.new("RGBA", (5, 4))
    assert weigh(Holds(torch.zeros(3, 2), (block(7), "four", {"a": b"xy"}, [picture], None, 3))) == 24 + 7 + 4 + 2 + 80


def test_a_shelf_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="a byte at least, got 0"):
        Shelf(0)
