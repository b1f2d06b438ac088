"""Whether the aligner learns what it is for: to undo warps that it has never seen, on pictures it has never seen.

    python -m benchmarks.aligner BUNDLE --stages 2 4 6 --steps 600

The residual of a picture is what its generator's feature has over that of a coarser code (its own, pulled towards
the mean code). Each aligner sees the residual warped by a random perspective and the coarse feature as it is, and
learns by eq. 10. What is printed is the loss on unseen pictures and warps over that of leaving the residual as it
lies, per stage and in sum: with Selective Attention, with dense attention, and with a convolutional network of the
same size; and that of undoing the warp with the true homography, which a resampled map does not survive whole.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from gradstyle.bundles import Bundle
from gradstyle.draws import Draws
from gradstyle.methods.gradstyle import Aligner, GradStyleConfig, ResidualUnit
from gradstyle.methods.warp import random_perspectives, warp
from gradstyle.stylegan2 import Codes, Generator


class ConvolutionalAligner(nn.Module):
    """Convolutions over both maps, as many as give about the parameters asked for."""

    def __init__(self, width: int, parameters: int) -> None:
        super().__init__()
        unit = 18 * width * width
        units = max(round((parameters - 27 * width * width) / unit), 1)
        self.layers = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            *(ResidualUnit(width, width) for _ in range(units)),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, residual: Tensor, feature: Tensor) -> Tensor:
        scale = residual.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        unit = feature / feature.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        out: Tensor = self.layers(torch.cat([residual / scale, unit], dim=1)) * scale
        return out


@torch.no_grad()
def residuals(generator: Generator, layer: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of coarse codes, and what the full codes' features have over them."""
    full = generator.sample(count, seed=seed)
    coarse = Codes(torch.lerp(generator.mean_w.expand_as(full.w), full.w, 0.6))
    feature = generator.run(generator.start(coarse), coarse, to=layer).feature
    return feature, generator.run(generator.start(full), full, to=layer).feature - feature


def far(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().mean())


def train(aligner: nn.Module, pool: list[tuple[Tensor, Tensor]], steps: int, rate: float, batch: int = 8) -> nn.Module:
    draws, choose = Draws(1), torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(aligner.parameters(), rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1, (i + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * i / steps))
    )
    for _ in range(steps):
        features, truths = pool[int(torch.randint(len(pool), (1,), generator=choose))]
        rows = torch.randperm(len(features), generator=choose)[:batch]
        truth = truths[rows]
        warped = warp(truth, random_perspectives(batch, draws))
        loss = (aligner(warped, features[rows]) - truth).abs().mean()  # eq. 10
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return aligner.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--only", nargs="+", default=["selective", "dense", "convolutional"])
    args = parser.parse_args()
    generator = Bundle.load(args.bundle).generator()
    config = GradStyleConfig()
    console = Console()
    table = Table("stage", "map", "leave", *args.only, "true warp undone")
    sums: dict[str, float] = {}
    for layer in args.stages:
        width, side = generator.config.width(layer), generator.config.side(layer)
        pool = [residuals(generator, layer, 64, seed) for seed in range(24)]
        feature, truth = residuals(generator, layer, 64, 99_999)
        warps = random_perspectives(64, Draws(77))
        warped = warp(truth, warps)
        found = {"leave": far(warped, truth)}
        for name in args.only:
            torch.manual_seed(0)
            aligner: nn.Module = Aligner(width, replace(config, keep=100.0) if name == "dense" else config)
            if name == "convolutional":
                aligner = ConvolutionalAligner(width, sum(p.numel() for p in aligner.parameters()))
            start = time.perf_counter()
            train(aligner, pool, args.steps, args.rate)
            with torch.no_grad():
                found[name] = far(aligner(warped, feature), truth)
            count = sum(p.numel() for p in aligner.parameters())
            seconds = time.perf_counter() - start
            console.print(
                f"layer {layer}: {name}, {count:,} parameters, {found[name] / found['leave']:.3f}, {seconds:.0f} s"
            )
        found["true warp undone"] = far(warp(warped, torch.linalg.inv(warps)), truth)
        sums = {name: sums.get(name, 0.0) + value for name, value in found.items()}
        row = [f"{value / found['leave']:.3f}" for value in found.values()]
        table.add_row(str(layer), f"{side} px × {width}", *row)
    table.add_row("sum", "", *(f"{value / sums['leave']:.3f}" for value in sums.values()))
    console.print(table)


if __name__ == "__main__":
    main()
