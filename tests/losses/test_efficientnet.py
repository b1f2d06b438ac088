from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.losses.efficientnet import BLOCKS, EPSILON, STAGES, LiteFeatures, SecondPlaces


def published(blocks: tuple[int, ...]) -> dict[str, Tensor]:
    """Random weights under the published names."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, *shape: int) -> None:
        state[f"{convolution}.weight"] = torch.randn(shape) * (shape[1] * shape[2] * shape[3]) ** -0.5
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.rand(shape[0]) + 0.5, torch.randn(shape[0]) * 0.1
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = (
            torch.randn(shape[0]) * 0.1,
            torch.rand(shape[0]) + 0.5,
        )

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    inputs, number = 32, 0
    for count, (width, side, _, wider) in zip(blocks, STAGES):
        for _ in range(count):
            name, inside = f"_blocks.{number}.", inputs * wider
            if wider > 1:
                add(f"{name}_expand_conv", f"{name}_bn0", inside, inputs, 1, 1)
            add(f"{name}_depthwise_conv", f"{name}_bn1", inside, 1, side, side)
            add(f"{name}_project_conv", f"{name}_bn2", width, inside, 1, 1)
            inputs, number = width, number + 1
    return state


def reference(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The network as its paper writes it: padding to the size that a halving rounds up to, more of it at the end."""

    def layer(x: Tensor, convolution: str, norm: str, stride: int, groups: int = 1) -> Tensor:
        weight = state[f"{convolution}.weight"]
        missing = max((-(-x.shape[3] // stride) - 1) * stride + weight.shape[3] - x.shape[3], 0)
        x = F.pad(x, [missing // 2, missing - missing // 2] * 2)
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        mean, var = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=EPSILON)

    x, maps, number = F.relu6(layer(x, "_conv_stem", "_bn0", 2)), [], 0
    for count, (_, _, first, wider) in zip(BLOCKS[16], STAGES):
        for index in range(count):
            name, before, stride = f"_blocks.{number}.", x, first if index == 0 else 1
            if wider > 1:
                x = F.relu6(layer(x, f"{name}_expand_conv", f"{name}_bn0", 1))
            x = F.relu6(layer(x, f"{name}_depthwise_conv", f"{name}_bn1", stride, x.shape[1]))
            x = layer(x, f"{name}_project_conv", f"{name}_bn2", 1)
            x, number = x + before if index else x, number + 1
        maps.append(x)
    return [maps[stage] / spread for stage, spread in ((1, 10), (2, 7), (4, 4), (6, 1.5))]


@torch.no_grad()
def test_its_maps_are_the_published_networks(tmp_path: Path):
    state = published(BLOCKS[16])
    torch.save(state, tmp_path / "lite0.pth")
    network, x = LiteFeatures.open(tmp_path / "lite0.pth"), torch.rand(2, 3, 64, 64) * 2 - 1
    wanted = reference(state, x)
    assert [list(each.shape[1:]) for each in wanted] == [[24, 16, 16], [40, 8, 8], [112, 4, 4], [320, 2, 2]]
    for maps in (network.features(x), network.folded().features(x)):
        for got, want in zip(maps, wanted, strict=True):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)


def test_other_files_are_refused(tmp_path: Path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not hold the weights of EfficientNet-Lite 0 or 1"):
        LiteFeatures.open(tmp_path / "other.pth")
    state = published(BLOCKS[21])
    del state["_blocks.3._bn1.bias"]
    with pytest.raises(ValueError, match=r"no _blocks\.3\._bn1\.bias"):
        LiteFeatures(BLOCKS[21]).load(state)


def test_each_second_place_gives_its_gradient_back():
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.equal(SecondPlaces.apply(x), x[:, :, 1::2, 1::2])
    assert torch.autograd.gradcheck(SecondPlaces.apply, x)
