"""Turns what a file holds into plain values."""

from __future__ import annotations

from typing import Any, TypeAlias

from .errors import Refused
from .mapped_bytes import Span
from .pickle_types import Global, NumpyArray, NumpyType, Record, Storage, StoredTensor
from .unpickle import ReadLimit

MAX_DEPTH = 64
MAX_VALUES = 2_000_000  # counted as often as they are referred to
MAX_BYTES = 1 << 20

# dict, list, tuple, set, str, bytes, int, float, bool, None, torch.Tensor, numpy.ndarray, or a Record of these
Tree: TypeAlias = Any


def plain(tree: object, budget: ReadLimit) -> Tree:
    """Builds the tensors and arrays. What is shared stays shared; what holds itself, or would be endless to walk
    because it refers to the same part over and over, is refused."""
    return _Plain(budget).value(tree, 0)[0]


class _Plain:
    def __init__(self, budget: ReadLimit) -> None:
        self.budget = budget
        self.done: dict[int, tuple[Tree, int]] = {}
        self.within: set[int] = set()

    def value(self, node: Any, depth: int) -> tuple[Tree, int]:
        """The plain value, and how many values it takes to walk it."""
        if node is None or isinstance(node, str | bytes | int | float):
            return node, 1
        if id(node) in self.done:
            return self.done[id(node)]
        if id(node) in self.within:
            raise Refused(f"a {type(node).__name__} in it holds itself")
        if depth > MAX_DEPTH:
            raise Refused(f"its values are nested more than {MAX_DEPTH} deep")
        self.within.add(id(node))
        self.done[id(node)] = made = self.container(node, depth + 1)
        self.within.remove(id(node))
        if made[1] > MAX_VALUES:
            raise Refused(f"it refers to the same parts over and over, {made[1]:,} values in all")
        return made

    def container(self, node: Any, depth: int) -> tuple[Tree, int]:
        spend = self.budget.spend
        match node:
            case dict():
                parts = [self.value(value, depth) for value in node.values()]
                return {key: part for key, (part, _) in zip(node, parts)}, _count(parts)
            case list() | tuple():
                parts = [self.value(value, depth) for value in node]
                return type(node)(part for part, _ in parts), _count(parts)
            case set():
                return node, 1 + len(node)
            case Record(name, state):
                inner, count = self.value(state, depth)
                return inner if name == "argparse.Namespace" else Record(name, inner), count
            case StoredTensor() | NumpyArray():
                return node.build(spend), 1
            case Storage():
                return StoredTensor(node, 0, (node.numel,), (1,), node.dtype).build(spend), 1
            case NumpyType():
                return node.order + node.code, 1
            case Global():
                return node.name, 1
            case Span() if len(node) <= MAX_BYTES:
                spend(len(node))
                return node.read(0, len(node)), 1
        raise Refused(f"it holds a {type(node).__name__} where no checkpoint has one")


def _count(parts: list[tuple[Tree, int]]) -> int:
    return 1 + sum(count for _, count in parts)
