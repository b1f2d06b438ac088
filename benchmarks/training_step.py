"""A training step of the generator beside the same step with one kernel for each sample.

python -m benchmarks.training_step
python -m benchmarks.training_step --recipe faces-128 --threads 1 --precision fp32

The other way is how StyleGAN2 is usually written in plain PyTorch: each sample's modulated kernel is built, a grouped
convolution takes all of them, upsampling puts zeros between pixels, filters, and convolves at the full size. Both ways
compute the same pictures, which is checked first. Steps take turns, so that other work on the machine meets both
alike; a ratio is the median of the ratios within one turn.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.rng import Draws
from gradstyle.stylegan2.generator import Generator, StyledLayer
from gradstyle.stylegan2.layers import SQRT2, activate, fir_kernel
from gradstyle.training import recipe as recipes
from gradstyle.training.engine import engine_for
from gradstyle.training.generator import GeneratorTraining
from gradstyle.training.generator_recipe import GeneratorRecipe
from gradstyle.training.trainable import Batch, Setup


class GroupedLayer(StyledLayer):
    """`StyledLayer` with one kernel for each sample."""

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        count, inputs = x.shape[:2]
        kernels = self.weight[None] * (style * self.weight_gain)[:, None, :, None, None]  # [N, O, I, 3, 3]
        norm = torch.rsqrt(kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        kernels = (kernels * norm).to(x.dtype)
        if self.up:
            x, kernels = zero_insertion(x), kernels.flip(3, 4)
        x = x.reshape(1, count * inputs, *x.shape[2:])
        x = F.conv2d(x, kernels.flatten(0, 1), padding=0 if self.up else 1, groups=count)
        x = x.reshape(count, -1, *x.shape[2:])
        if noise is not None:
            x = x + (noise * self.noise_strength).to(x.dtype)
        return activate((x + self.bias.to(x.dtype)[:, None, None]) * SQRT2, self.clamp)


def zero_insertion(x: Tensor) -> Tensor:
    """Twice the size and what the convolution wants around it: zeros between the pixels, then the filter."""
    count, channels, height, width = x.shape
    spread = x.new_zeros(count, channels, height, 2, width, 2)
    spread[:, :, :, 0, :, 0] = x
    spread = F.pad(spread.reshape(count, channels, 2 * height, 2 * width), (3, 2, 3, 2))
    kernel = fir_kernel(x.device, x.dtype) * 4
    return F.conv2d(spread, kernel.expand(channels, -1, -1, -1), groups=channels)


def make(args: argparse.Namespace, grouped: bool) -> GeneratorTraining:
    recipe = recipes.load(GeneratorRecipe, "generator", args.recipe, [f"loop.precision={args.precision}", *args.set])
    training = GeneratorTraining(Setup(recipe, engine_for(recipe.loop, args.device), Draws()))
    if grouped:
        for layer in training.generator.layers:
            layer.__class__ = GroupedLayer
        training.generator.to(memory_format=torch.contiguous_format)  # which suits that way better
    return training


@torch.no_grad()
def difference(ours: Generator, other: Generator) -> float:
    """The largest, in float32."""
    codes = ours.sample(4)
    return (ours(codes) - other(codes)).abs().max().item()


def seconds(training: GeneratorTraining, batch: Batch) -> float:
    start = time.perf_counter()
    training.step(batch)
    if training.engine.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="faces-64")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device")
    parser.add_argument("--turns", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    trainings = {"ours": make(args, grouped=False), "one kernel a sample": make(args, grouped=True)}
    ours, other = trainings.values()
    size, side = ours.recipe.loop.batch, ours.recipe.data.resolution
    precision = "bfloat16" if ours.engine.mixed_precision == "bf16" else "float32"
    print(f"{args.recipe}: {side} pixels, batch {size}, {precision}, {args.threads} threads, {ours.engine.device}")
    print(f"the two ways' pictures differ by {difference(ours.generator, other.generator):.1e} in float32")

    photos = torch.rand(size, 3, side, side, device=ours.engine.device) * 2 - 1
    batches = [Batch(photos, torch.arange(size), step, 0) for step in range(args.turns + 1)]
    taken: dict[str, list[float]] = {name: [] for name in trainings}
    for batch in batches:
        for name, training in trainings.items():
            taken[name].append(seconds(training, batch))
    taken = {name: each[1:] for name, each in taken.items()}  # the first step also warms up
    for name, each in taken.items():
        middle = statistics.median(each)
        print(f"{name:>20}: {middle * 1000:7.0f} ms a step, {size / middle:6.1f} images/s")
    ratios = sorted(b / a for a, b in zip(*taken.values()))
    print(f"{'ratio':>20}: {statistics.median(ratios):7.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
