"""A network that is kept as data: its steps in a safetensors file's metadata, and their weights beside them.

`tools/convert_mediapipe.py` writes such files from MediaPipe's `.tflite` models. Pictures go in as [N, 3, H, W].
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...tensors import read_tensors

Step = Mapping[str, Any]

HERE = Path(__file__).parent


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, groups: int = 1, pad: Sequence[int] = (0, 0, 0, 0)
) -> Tensor:
    """Convolution; `pad` is left, right, top and bottom, which TensorFlow makes unequal where it strides."""
    x = F.pad(x, list(pad)) if any(pad) else x
    return F.conv2d(x, weight, bias, stride, groups=groups)


def _deconv(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    return F.conv_transpose2d(x, weight, bias, stride)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return F.prelu(x, slope)


def _widen(x: Tensor, channels: int) -> Tensor:
    """Channels of zeros behind those there."""
    return F.pad(x, (0, 0, 0, 0, 0, channels))


def _max_pool(x: Tensor, size: int) -> Tensor:
    return F.max_pool2d(x, size)


def _average(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


def _enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, list(size), mode="bilinear", align_corners=False)


def _rows(x: Tensor, width: int) -> Tensor:
    """[N, C, H, W] as [N, rows, width], in TensorFlow's order: a pixel's channels follow one another."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, width)


def _concat(*parts: Tensor) -> Tensor:
    return torch.cat(parts, dim=1)


def _channels_last(x: Tensor) -> Tensor:
    """In the memory order in which the CPU convolves two to four times as fast."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "average": _average,
    "concat": _concat,
    "conv": _conv,
    "deconv": _deconv,
    "enlarge": _enlarge,
    "hard_swish": F.hardswish,
    "max_pool": _max_pool,
    "mul": torch.mul,
    "prelu": _prelu,
    "relu": F.relu,
    "rows": _rows,
    "sigmoid": torch.sigmoid,
    "widen": _widen,
}


class Graph:
    """Steps `{"op", "name", "of", …options}`: an operation, its result's name, what it is applied to."""

    def __init__(
        self, weights: Mapping[str, Tensor], steps: Sequence[Mapping[str, Any]], outputs: Sequence[str]
    ) -> None:
        self.weights, self.steps, self.outputs = weights, steps, outputs
        last = {name: index for index, step in enumerate(steps) for name in step["of"]}
        self._done = [[n for n, at in last.items() if at == i and n not in outputs] for i in range(len(steps))]

    @classmethod
    def read(cls, path: Path) -> Graph:
        weights, about = read_tensors(path, torch.float32)
        weights = {name: _channels_last(weight) for name, weight in weights.items()}
        return cls(weights, json.loads(about["steps"]), json.loads(about["outputs"]))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs for pictures [N, 3, H, W], in the file's order."""
        values = {**self.weights, "input": _channels_last(images)}
        for step, done in zip(self.steps, self._done):
            options = {key: value for key, value in step.items() if key not in ("op", "name", "of")}
            values[step["name"]] = OPERATIONS[step["op"]](*(values[name] for name in step["of"]), **options)
            for name in done:
                del values[name]
        return tuple(values[name] for name in self.outputs)


@functools.cache
def network(name: str) -> Graph:
    """One of the networks that lie beside this file: detector, mesh or person."""
    return Graph.read(HERE / f"{name}.safetensors")
