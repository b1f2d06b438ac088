"""What the generator and the encoder reach of what this machine can do.

    python -m benchmarks.speed
    python -m benchmarks.speed --sizes 64 --threads 1 --device cuda

Every network's time and achieved GFLOP/s stand beside those of a bare convolution and a bare matrix product of the
same precision, in the same run: all cases take turns, and each figure is a median. FLOP are counted by torch: two
for a multiplication with its addition, in convolutions and matrix products.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gradstyle.encoder import Encoder, EncoderConfig
from gradstyle.stylegan2 import Codes, Generator, GeneratorConfig

GENERATORS = {  # a small bundle's, and the published widths
    64: GeneratorConfig(64, 256, 256, mapping_layers=4, channel_base=2048, channel_max=256),
    256: GeneratorConfig(256),
}
ENCODERS = {
    64: EncoderConfig(10, 256, 64, (2, 2, 4, 2), (32, 64, 128, 256), feature_width=256, head_width=64),
    256: EncoderConfig(14),
}
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Case:
    name: str
    batch: int
    run: Callable[[], object]
    precision: str = ""
    layout: str = ""
    flop: int = 0
    taken: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(self.taken)

    @property
    def rate(self) -> float:
        """GFLOP/s."""
        return self.flop / self.seconds / 1e9

    def measure(self, device: torch.device, now: Callable[[], float]) -> float:
        start = now()
        self.run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return now() - start


def placed(module: nn.Module, device: torch.device, dtype: torch.dtype, layout: torch.memory_format) -> nn.Module:
    return module.eval().requires_grad_(False).to(device, dtype).to(memory_format=layout)


def convolution(
    batch: int, width: int, side: int, device: torch.device, dtype: torch.dtype, form: torch.memory_format
) -> Case:
    """3×3, of a shape that the networks of that size spend much of their time in."""
    x = torch.randn(batch, width, side, side, device=device).to(dtype).contiguous(memory_format=form)
    weight = torch.randn(width, width, 3, 3, device=device).to(dtype).contiguous(memory_format=form)
    return Case(f"conv {width}@{side}²", batch, lambda: F.conv2d(x, weight, padding=1))


def product(device: torch.device, dtype: torch.dtype) -> Case:
    a, b = (torch.randn(1024, 1024, device=device).to(dtype) for _ in range(2))
    return Case("matmul 1024³", 1, lambda: a @ b)


def cases(size: int, batch: int, device: torch.device) -> list[Case]:
    width, side = (128, 16) if size == 64 else (512, 32)
    found: list[Case] = []
    for precision, dtype in PRECISIONS.items():
        found.append(replace(product(device, dtype), precision=precision))
        for layout, form in LAYOUTS.items():
            generator = placed(Generator(GENERATORS[size]), device, dtype, form)
            encoder = placed(Encoder(ENCODERS[size]), device, dtype, form)
            codes = Codes(torch.randn(batch, GENERATORS[size].codes, GENERATORS[size].w_dim, device=device))
            photos = torch.rand(batch, 3, ENCODERS[size].input_size, ENCODERS[size].input_size, device=device)
            here = [
                convolution(batch, width, side, device, dtype, form),
                Case("generator", batch, partial(generator, codes)),
                Case("encoder", batch, partial(encoder, photos)),
            ]
            found += [replace(case, precision=precision, layout=layout) for case in here]
    return found


@torch.inference_mode()
def measure(found: list[Case], rounds: int, device: torch.device, now: Callable[[], float]) -> None:
    for case in found:
        with FlopCounterMode(display=False) as counter:
            case.run()
        case.flop = counter.get_total_flops()
    for _ in track(range(rounds), "measuring", transient=True):
        for case in found:
            case.taken.append(case.measure(device, now))


def show(found: list[Case], size: int, console: Console) -> None:
    table = Table("", "precision", "layout", title=f"\n{size} px, batch {found[1].batch}", title_justify="left")
    for column in ("ms", "GFLOP", "GFLOP/s", "of conv"):
        table.add_column(column, justify="right")
    bare = {(case.precision, case.layout): case for case in found if case.name.startswith("conv")}
    for case in sorted(found, key=lambda case: (case.name, case.precision, case.layout)):
        beside = bare.get((case.precision, case.layout))
        share = f"{case.rate / beside.rate:.0%}" if beside else ""
        shown = (f"{case.seconds * 1e3:.1f}", f"{case.flop / 1e9:.2f}", f"{case.rate:.0f}", share)
        table.add_row(case.name, case.precision, case.layout, *shown)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], choices=sorted(GENERATORS))
    parser.add_argument("--batch", type=int, help="8 small pictures, or 1 large one, if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--busy", action="store_true", help="count processor time, if other programs run beside this")
    args = parser.parse_args()
    device, console = torch.device(args.device), Console()
    now = time.process_time if args.busy and device.type == "cpu" else time.perf_counter
    if args.threads:
        torch.set_num_threads(args.threads)
    if device.type == "cuda":  # as in training: float32 by tensor cores would not be float32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    clock = "processor time" if now is time.process_time else "time"
    threads = torch.get_num_threads()
    console.print(f"torch {torch.__version__}, {device}, {threads} threads, {clock}, medians of {args.rounds}")
    for size in args.sizes:
        found = cases(size, args.batch or (8 if size == 64 else 1), device)
        measure(found, args.rounds, device, now)
        show(found, size, console)


if __name__ == "__main__":
    main()
