"""A generator of 1024 pixels and a full e4e: built, saved, loaded and run, each in a process of its own.

    python -m benchmarks.loading

Loading may peak at 1.3 times the weights, all together at 12 GiB. Takes 1.2 GB of disk, and of memory what it prints.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

BARS = {"load": 1.3, "all": 12 << 30}
STEPS = ("build and save", "load in float32", "load in bfloat16", "load and run")


def memory(key: str) -> int:
    """Bytes, from Linux's account of this process: VmRSS now, VmHWM at its peak."""
    return int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0]) << 10


def step(name: str, folder: Path) -> dict[str, Any]:
    import torch

    from gradstyle.bundles import Bundle
    from gradstyle.encoder import Encoder
    from gradstyle.stylegan2 import Generator

    (torch.ones(8, 3, 8, 8) @ torch.ones(8)).sum()  # what torch keeps for itself
    before, start, times = memory("VmRSS"), time.perf_counter(), {}

    def lap(what: str) -> None:
        nonlocal start
        times[what] = time.perf_counter() - start
        start = time.perf_counter()

    if name == "build and save":
        bundle = Bundle("full")
        bundle.put("generator", Generator())
        bundle.put("encoder", Encoder())
        lap("build")
        bundle.save(folder)
        lap("save")
    else:
        dtype = torch.bfloat16 if "bfloat16" in name else torch.float32
        bundle = Bundle.load(folder)
        generator, encoder = bundle.generator(dtype), bundle.encoder(dtype)
        lap("load")
        if name == "load and run":
            with torch.inference_mode():
                codes, _ = encoder(torch.zeros(1, 3, 256, 256))
                lap("encode")
                image = generator(codes)
                lap("generate")
            assert list(image.shape) == [1, 3, 1024, 1024]
    return {"before": before, "peak": memory("VmHWM"), "times": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(step(args.step, args.folder)))
        return
    console = Console()
    if not Path("/proc/self/status").exists():
        console.print("memory is read from Linux's /proc, which is not here")
        return
    table = Table("", "seconds", "peak, GiB", "peak over the start, GiB", "of the weights")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "full"
        for name in STEPS:
            command = [sys.executable, "-m", "benchmarks.loading", "--step", name, "--folder", str(folder)]
            done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            weights = stored // 2 if "bfloat16" in name else stored
            more = done["peak"] - done["before"]
            times = ", ".join(f"{what} {seconds:.1f}" for what, seconds in done["times"].items())
            table.add_row(name, times, f"{done['peak'] / 2**30:.2f}", f"{more / 2**30:.2f}", f"{more / weights:.2f}×")
    console.print(f"weights: {stored / 2**30:.2f} GiB in float32")
    console.print(table)
    console.print(f"bars: {BARS['load']}× to load, {BARS['all'] >> 30} GiB for all")


if __name__ == "__main__":
    main()
