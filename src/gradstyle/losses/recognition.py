"""dlib's face recognition network in PyTorch, with the weights of dlib's own file: the same vectors, many times faster.

The published network is a ResNet of 29 convolutions on faces of 150 pixels, whose BatchNorm is fixed to a scale and a
shift. Its file is a list of layers in the order in which data meets them.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..images import to_levels

SIDE = 150
LARGEST = 1 << 27  # bytes of a file that may be dlib's network
MEAN = (122.782, 117.001, 104.298)  # of red, green and blue; the whole is divided by 256
BLOCKS = (  # inputs, outputs, whether the side is halved
    *[(32, 32, False)] * 3,
    (32, 64, True),
    *[(64, 64, False)] * 3,
    (64, 128, True),
    *[(128, 128, False)] * 2,
    (128, 256, True),
    *[(256, 256, False)] * 2,
    (256, 256, True),
)


class Block(nn.Module):
    """Two convolutions beside the identity, or beside an average pooling where the side is halved."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        # dlib pads nothing where it strides
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.conv1(F.relu(self.conv0(x)))
        if self.halve:
            x = F.avg_pool2d(x, 2)
            # what is smaller, in places or in channels, counts as zero beyond its end
            x = F.pad(x, (0, 0, 0, 0, 0, inner.shape[1] - x.shape[1]))
            inner = F.pad(inner, (0, x.shape[3] - inner.shape[3], 0, x.shape[2] - inner.shape[2]))
        return F.relu(inner + x)


class Recognition(nn.Module):
    """Faces [N, 3, 150, 150] in [−1, 1], cut out as dlib cuts them, to vectors [N, 128].

    Two vectors less than 0.6 apart are the same person's, says dlib.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.blocks = nn.Sequential(*(Block(*shapes) for shapes in BLOCKS))
        self.out = nn.Linear(256, 128, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])

    def forward(self, faces: Tensor) -> Tensor:
        if list(faces.shape[1:]) != [3, SIDE, SIDE]:
            raise ValueError(f"faces are [N, 3, {SIDE}, {SIDE}], got {list(faces.shape)}")
        pixels = to_levels(faces).round()  # dlib sees 8 bits
        x = F.relu(self.stem((pixels - self.mean) / 256))
        x = self.blocks(F.max_pool2d(x, 3, stride=2))
        vectors: Tensor = self.out(x.mean(dim=(2, 3)))
        return vectors

    @classmethod
    def open(cls, path: str | Path) -> Recognition:
        """Read `dlib_face_recognition_resnet_model_v1.dat`. It holds numbers alone, nothing that is run."""
        path = Path(path)
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} is larger than dlib's network")
        network, read = cls(), _Reader(path.read_bytes(), str(path))
        convolutions = [network.stem]
        for block in network.blocks:
            assert isinstance(block, Block)
            convolutions += [block.conv0, block.conv1]
        with torch.no_grad():
            for convolution in convolutions:
                weight, bias = convolution.weight, convolution.bias
                assert bias is not None
                given = read("con_4", weight.numel() + bias.numel())
                weight.copy_(given[: weight.numel()].view_as(weight))
                bias.copy_(given[weight.numel() :])
                scale, shift = read("affine_", 2 * len(bias)).chunk(2)
                weight.mul_(scale[:, None, None, None])
                bias.mul_(scale).add_(shift)
            network.out.weight.copy_(read("fc_2", network.out.weight.numel()).view(256, 128).t())
        return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@functools.cache
def recognition() -> Recognition:
    """dlib's network, from the package that holds its weights."""
    import importlib.util

    spec = importlib.util.find_spec("face_recognition_models")
    name = "dlib_face_recognition_resnet_model_v1.dat"
    path = Path(spec.origin).parent / "models" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ValueError('dlib\'s face recognition network is not there: pip install "gradstyle[identity]"')
    return Recognition.open(path)


# ---- dlib's file


class _Reader:
    """The next layer of a kind, and the one tensor that it holds."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.place = data, where, 0

    def __call__(self, kind: str, count: int) -> Tensor:
        found = self.data.find(kind.encode(), self.place)
        if found < 0:
            raise ValueError(f"{self.where} is not dlib's face recognition network: it has no further layer {kind}")
        self.place = found + len(kind)
        if kind == "fc_2":
            self._integer(), self._integer()  # outputs and inputs stand first
        version, *shape = (self._integer() for _ in range(5))
        size = int(np.prod(shape))
        if version != 2 or size != count or self.place + 4 * size > len(self.data):
            raise ValueError(
                f"{self.where} is not dlib's face recognition network: "
                f"a layer {kind} holds {shape}, needed {count} values"
            )
        values = np.frombuffer(self.data, "<f4", size, self.place)
        self.place += 4 * size
        return torch.from_numpy(values.astype(np.float32))

    def _integer(self) -> int:
        """A byte that says how many follow, the least first."""
        (length,) = struct.unpack_from("B", self.data, self.place) if self.place < len(self.data) else (0,)
        length &= 0x0F  # the highest bit is the sign, which no size has
        value = int.from_bytes(self.data[self.place + 1 : self.place + 1 + length], "little")
        self.place += 1 + length
        return value
