"""Time and memory of Selective Attention beside dense fused attention and beside its textbook form.

python -m benchmarks.selective_attention

Times are medians of runs that take turns, so that other work on the machine meets all of them alike; a ratio is
the median of the ratios within one turn. Memory is the peak over what the inputs take, outputs included.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.methods.selective_attention import selective_attention, selective_attention_reference

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def seconds(run: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_megabytes(run: Callable[[], object], device: str) -> float | None:
    """What `run` takes at its peak beyond what is in use before it; None where it cannot be read."""
    run()  # libraries and threads are up
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - start) / 2**20
    if sys.platform != "linux":
        return None
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # else memory freed before, but not given back, would hide the peak
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(length: int, args: argparse.Namespace) -> None:
    q, k, v, grad = (torch.randn(args.batch, args.heads, length, args.head_width, device=args.device) for _ in range(4))

    def forward(attention: Attention) -> Callable[[], object]:
        return lambda: attention(q, k, v)

    def both(attention: Attention) -> Callable[[], object]:
        def run() -> object:
            leaves = [x.detach().requires_grad_() for x in (q, k, v)]
            return torch.autograd.grad(attention(*leaves), leaves, grad)

        return run

    ways: dict[str, Attention] = {
        "dense fused": F.scaled_dot_product_attention,
        "ours": partial(selective_attention, keep=args.keep),
    }
    if length <= args.textbook_up_to:
        ways["textbook"] = partial(selective_attention_reference, keep=args.keep)
    for what, of in (("forward", forward), ("forward and backward", both)):
        runs = {name: of(way) for name, way in ways.items()}
        peaks = {name: peak_megabytes(run, args.device) for name, run in runs.items()}
        turns = args.turns if length >= 4096 else 3 * args.turns
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(turns):
            for name, run in runs.items():
                times[name].append(seconds(run, args.device))
        for name, spent in times.items():
            ratio = statistics.median(a / b for a, b in zip(spent, times["dense fused"]))
            peak = "n/a" if peaks[name] is None else f"{peaks[name]:.0f}"
            print(
                f"{length:6}  {what:20}  {name:11}  {1000 * statistics.median(spent):9.1f}  {ratio:8.2f}  {peak:>7}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024, 4096], help="tokens")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--head-width", type=int, default=64)
    parser.add_argument("--keep", type=float, default=30.0, help="per cent of the keys")
    parser.add_argument("--turns", type=int, default=7, help="at 4096 tokens and more; three times that below")
    parser.add_argument("--textbook-up-to", type=int, default=1024, help="tokens; 4096 take 3 GB")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(
        f"torch {torch.__version__}, {args.device}, {args.threads} threads; batch {args.batch}, {args.heads} heads "
        f"of {args.head_width}, float32, keep {args.keep:g} %"
    )
    print("tokens  what                  attention           ms  x dense  peak MB")
    for length in args.lengths:
        measure(length, args)


if __name__ == "__main__":
    main()
