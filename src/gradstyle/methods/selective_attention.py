"""Selective Attention (eq. 8-9): every query attends to the few keys that match it best and to no other.

Longer than 300 lines: the reference beside the fast kernels that are tested against it.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Bytes of scores held at a time: per thread on a CPU, what stays in its cache; else what fills the device.
CPU_CHUNK = 1 << 20
DEVICE_CHUNK = 64 << 20
MAX_THREADS = 16  # each holds two chunks

Piece = TypeVar("Piece")


def keys_kept(keep: float, keys: int) -> int:
    """ceil(keep % of keys); 1.1 % of 1000 is 11, though in floats it comes out a hair above."""
    if not 0 < keep <= 100:
        raise ValueError(f"keep is the per cent of keys that each query attends to, in (0, 100], got {keep}")
    return max(1, math.ceil(keep * keys / 100 - 1e-9)) if keys else 0


def selective_attention_reference(q: Tensor, k: Tensor, v: Tensor, keep: float) -> Tensor:
    """Eq. 9 as written, with all scores in memory: the definition of `selective_attention`.

    Exactly `keys_kept` keys of each row have a weight: where scores at the edge are equal, the first keys stay.
    """
    scores = q @ k.mT  # [N, heads, L_q, L_k]
    best = scores.sort(dim=-1, descending=True, stable=True).indices[..., : keys_kept(keep, k.shape[-2])]
    mask = torch.full_like(scores, -math.inf).scatter(-1, best, 0.0)
    weights = (scores / math.sqrt(q.shape[-1]) + mask).softmax(dim=-1)
    return weights @ v  # [N, heads, L_q, d_v]


def selective_attention(q: Tensor, k: Tensor, v: Tensor, keep: float) -> Tensor:
    """Attention over the best `keep` per cent of the keys of each query; q, k and v are [N, heads, L, d].

    Equal to `selective_attention_reference`, but holds a few rows of scores at a time, forward and backward.
    Scores are taken in float32 or better whatever the inputs and autocast say; the output has v's type.
    keep = 100 is torch's own dense attention. It can be differentiated once.
    """
    if q.shape[:-2] != k.shape[:-2] or k.shape[:-1] != v.shape[:-1] or q.shape[-1] != k.shape[-1]:
        raise ValueError(
            "q, k and v must be [N, heads, L, d] with N and heads in common, q and k as wide, k and v as long; "
            f"got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    kept = keys_kept(keep, k.shape[-2])
    if kept == k.shape[-2]:
        with torch.autocast(q.device.type, enabled=False):
            return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
    out: Tensor = _SelectiveAttention.apply(q, k, v, kept)  # type: ignore[no-untyped-call]
    return out


class _SelectiveAttention(torch.autograd.Function):
    """Saves q, k and v, and of each row the best score that is not kept; with it the backward pass has the same
    weights again, so nothing of size L_q x L_k survives."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, kept: int) -> Tensor:
        saved, shape, dtype = (q, k, v), (*q.shape[:-1], v.shape[-1]), v.dtype
        ctx.rounds = all(x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in saved)
        q, k, v = _flat(q, k, v)
        ties: dict[tuple[int, int], bool] = {}  # by the chunk's first head and row
        out, edges = q.new_empty(*q.shape[:-1], v.shape[-1]), q.new_empty(*q.shape[:-1], 1)
        heads, rows = _chunks(q, k)

        def work(chunks: Iterator[tuple[slice, slice]]) -> None:
            room = _room(q[heads[0], rows[-1]], k)
            for h, r in chunks:
                weights, _, tied = _weights(q[h, r], k[h], kept, room, edges[h, r])
                ties[h.start, r.start] = tied
                torch.bmm(weights, v[h], out=out[h, r])

        with _rounding(ctx.rounds):
            _share(work, list(product(heads, rows)), q.device)
        ctx.save_for_backward(*saved, edges)
        ctx.kept, ctx.ties = kept, ties
        return out.view(shape).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "selective_attention can be differentiated once, but create_graph=True asks for more; "
                "use selective_attention_reference"
            )
        *saved, edges = ctx.saved_tensors
        q, k, v, grad = _flat(*saved, *grads)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        scale = 1 / math.sqrt(q.shape[-1])
        heads, rows = _chunks(q, k)

        def work(groups: Iterator[slice]) -> None:  # a head's rows add up in order, so the sums are repeatable
            room = _room(q[heads[0], rows[-1]], k)
            for h in groups:
                for r in rows:
                    tied = ctx.ties[h.start, r.start]
                    weights, spare, _ = _weights(q[h, r], k[h], ctx.kept, room, edges[h, r], tied)
                    dv[h].baddbmm_(weights.mT, grad[h, r])
                    dscores = torch.bmm(grad[h, r], v[h].mT, out=spare).mul_(weights)
                    dscores.sub_(weights.mul_(dscores.sum(dim=-1, keepdim=True))).mul_(scale)
                    torch.bmm(dscores, k[h], out=dq[h, r])
                    dk[h].baddbmm_(dscores.mT, q[h, r])

        with _rounding(ctx.rounds):
            _share(work, heads, q.device)
        dq, dk, dv = (d.view(x.shape).to(x.dtype) for d, x in zip((dq, dk, dv), saved))
        return dq, dk, dv, None


def _room(q: Tensor, k: Tensor) -> Tensor:
    """Two chunks of scores, used again for every chunk; fresh memory each time took half as long again."""
    return q.new_empty(2, *q.shape[:2], k.shape[1])


def _weights(
    q: Tensor, k: Tensor, kept: int, room: Tensor, edge: Tensor, tied: bool | None = None
) -> tuple[Tensor, Tensor, bool]:
    """The weights of eq. 9, [B, rows, L_k], a tensor of their shape that is free to use, and `tied`.

    `edge` [B, rows, 1] is the best score of each row that is not kept, and `tied` whether a score that is kept
    equals it somewhere; both are found here unless `tied` is given.
    """
    weights, scores = room[:, : q.shape[0], : q.shape[1]]
    torch.bmm(q, k.mT, out=scores)
    if tied is None:
        tied = _find_edge(scores, kept, edge, spare=weights)
    scores.sub_(edge)  # kept ones are now above 0; softmax sees no shift
    if tied:  # the first keys stay
        open_places = kept - (scores > 0).sum(dim=-1, keepdim=True, dtype=torch.int32)
        equal = scores == 0
        surplus = equal & (equal.cumsum(dim=-1, dtype=torch.int32) > open_places)
        scores.masked_fill_(surplus.logical_or_(scores < 0), -math.inf)
    else:
        F.threshold(scores, 0.0, -math.inf, inplace=True)
    torch.softmax(scores.mul_(1 / math.sqrt(q.shape[-1])), dim=-1, out=weights)
    return weights, scores, tied


def _find_edge(scores: Tensor, kept: int, edge: Tensor, spare: Tensor) -> bool:
    """Write the largest score of each row that is not kept; true if a score that is kept equals it."""
    if scores.device.type == "cpu" and not torch.compiler.is_compiling():
        worst = _by_partition(scores, kept, edge, spare)
    else:
        worst = _by_topk(scores, kept, edge)
    return bool((worst == edge).any())


def _by_partition(scores: Tensor, kept: int, edge: Tensor, spare: Tensor) -> Tensor:
    """numpy's partition: on a CPU six times faster than torch's topk. Gives the worst score that is kept."""
    place = scores.shape[-1] - kept - 1
    spare.copy_(scores).numpy().partition(place, axis=-1)
    edge.copy_(spare[..., place : place + 1])
    return spare[..., place + 1 :].amin(dim=-1, keepdim=True)


def _by_topk(scores: Tensor, kept: int, edge: Tensor) -> Tensor:
    best = scores.topk(kept + 1, dim=-1).values
    edge.copy_(best[..., kept:])
    return best[..., kept - 1 : kept]


def _flat(*tensors: Tensor) -> Iterator[Tensor]:
    """[N, heads, L, d] -> [N * heads, L, d], in the type that holds them all and float32."""
    dtype = functools.reduce(torch.promote_types, (t.dtype for t in tensors), torch.float32)
    return (t.to(dtype).flatten(0, -3).contiguous() for t in tensors)


def _chunks(q: Tensor, k: Tensor) -> tuple[list[slice], list[slice]]:
    """Which heads, and which rows of each, to do together; the last piece of the rows is the largest."""
    size = CPU_CHUNK if q.device.type == "cpu" else DEVICE_CHUNK
    heads, queries = q.shape[:2]
    fit = max(1, size // (k.shape[1] * k.element_size()))
    together, parts = max(1, fit // max(1, queries)), max(1, math.ceil(queries / fit))
    edges = [part * queries // parts for part in range(parts + 1)]
    return [slice(h, h + together) for h in range(0, max(1, heads), together)], list(map(slice, edges, edges[1:]))


def _share(work: Callable[[Iterator[Piece]], None], pieces: Sequence[Piece], device: torch.device) -> None:
    """Have all threads take pieces from one queue until none is left."""

    def run(queue: Iterator[Piece]) -> None:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):  # both are per thread
            work(queue)

    threads = min(torch.get_num_threads(), len(pieces), MAX_THREADS) if device.type == "cpu" else 1
    queue = iter(pieces)
    if threads < 2 or torch.compiler.is_compiling():
        return run(queue)
    pool = _threads(torch.get_num_threads(), os.getpid())
    for done in [pool.submit(run, queue) for _ in range(threads)]:
        done.result()
    return None


@functools.cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Threads that compute on one core each.

    Left to itself torch splits every small step over all cores and waits for the slowest, a dozen times a
    chunk; on a machine that does other work too, that waiting was measured at twenty times the arithmetic.
    """
    ready = threading.Barrier(min(count, MAX_THREADS) + 1)

    def use_one_core() -> None:
        torch.get_num_threads()  # a thread's first call takes over the process's number; then set its own
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(min(count, MAX_THREADS), "selective-attention", use_one_core)
    for _ in range(min(count, MAX_THREADS)):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(count)  # what threads started later will find
    return pool


_lock = threading.Lock()
_before: list[str] = []  # what each that is in found the setting to be


@contextmanager
def _rounding(rounds: bool) -> Iterator[None]:
    """Matrix products of float32 round their inputs to bfloat16 and nothing else, three times as fast on a CPU that
    computes in it. For queries and keys that were bfloat16 already it changes no score."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    if not rounds or matmul is None or torch.compiler.is_compiling():
        yield
        return
    with _lock:  # the setting is the process's
        _before.append(matmul.fp32_precision)
        matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        with _lock:
            matmul.fp32_precision = _before.pop()


class SelectiveAttention(nn.Module):
    """Eq. 8-9 on tokens: queries from the edited feature, keys and values from the residual.

    Choices: as in Vaswani et al. a linear layer mixes the heads at the end; like eq. 8, none has a bias, so
    what comes out is made of the residual alone.
    """

    def __init__(self, width: int, heads: int, keep: float) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width must divide evenly among the heads, got width {width} and {heads} heads")
        keys_kept(keep, 1)  # refuses a wrong percentage now, not at the first photo
        self.heads, self.keep = heads, keep
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    # [N, L_q, C], [N, L_k, C], [N, L_k, C] → [N, L_q, C]; eq. 8 draws keys and values from the same tokens
    def forward(self, query_tokens: Tensor, key_tokens: Tensor, value_tokens: Tensor) -> Tensor:
        q = self._split(self.query(query_tokens))  # [N, heads, L_q, C / heads]
        k = self._split(self.key(key_tokens))
        v = self._split(self.value(value_tokens))
        mixed: Tensor = self.out(selective_attention(q, k, v, self.keep).transpose(1, 2).flatten(2))
        return mixed  # [N, L_q, C]

    def _split(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        return tokens.view(n, length, self.heads, width // self.heads).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, keep={self.keep}"


def sinusoidal_positions(
    height: int, width: int, channels: int, device: torch.device | str = "cpu"
) -> Tensor:  # [height * width, channels]
    """Vaswani's sinusoids for a map, row by row. Choices: the first half of the channels tells y, the second x, and
    the wavelengths span the map, from about three pixels to twice its side; their 10,000 is made for long texts and
    leaves most channels of a map constant.

    Made once for each size and device and shared by all who ask: add it to tokens, do not write into it.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, a sine and a cosine for y and for x, got {channels}")
    return _positions(height, width, channels, torch.device(device))


@functools.lru_cache(maxsize=16)
def _positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # made while editing, it must still serve training
        half = channels // 2

        def encode(length: int) -> Tensor:  # [length, half], sine and cosine in turn
            slowest, fastest = math.log10(math.pi / length), math.log10(0.6 * math.pi)
            rate = torch.logspace(slowest, fastest, half // 2, dtype=torch.float64)
            angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
            return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

        y = encode(height)[:, None].expand(height, width, half)
        x = encode(width)[None].expand(height, width, half)
        return torch.cat([y, x], dim=-1).flatten(0, 1).to(device, torch.float32)
