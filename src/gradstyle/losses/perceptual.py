"""Distances between pictures in the features of a network: LPIPS, StyleRes's VGG loss, and others' networks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from ..tensors import finite
from .frozen import Frozen

Backbone = Literal["alex", "vgg"]
State = Mapping[str, Any]  # names of weights to tensors or arrays

VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: pool to a half
VGG16_TAPS = (3, 8, 15, 22, 29)  # the last ReLU of each of the five blocks, in torchvision's numbering
ALEXNET_TAPS = (1, 4, 7, 9, 11)  # each of the five ReLUs


def vgg16(convolutions: int = 13) -> nn.Sequential:
    """torchvision's VGG16 `features`, up to the ReLU after that many convolutions."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in VGG16:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
        elif convolutions:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs, convolutions = width, convolutions - 1
    while isinstance(layers[-1], nn.MaxPool2d):
        del layers[-1]
    return nn.Sequential(*layers)


def alexnet() -> nn.Sequential:
    """torchvision's AlexNet `features`, up to the last ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def unit(feature: Tensor) -> Tensor:
    """Each place's channels as a unit vector."""
    feature = feature.float()
    length: Tensor = torch.linalg.vector_norm(feature, dim=1, keepdim=True)
    return feature / (length + 1e-10)  # [N, C, H, W]


def unit_distance(a: Tensor, b: Tensor) -> Tensor:
    """|a / |a| − b / |b||² of each place's channels, and the mean over places, without making the unit vectors:
    on maps of many places the products of each pair take half the time.
    """
    a, b = a.float(), b.float()
    aa, bb, ab = ((x * y).sum(dim=1) for x, y in ((a, a), (b, b), (a, b)))  # [N, H, W]
    by_a, by_b = (aa + 1e-10).rsqrt(), (bb + 1e-10).rsqrt()
    each = aa * by_a.square() + bb * by_b.square() - 2 * ab * by_a * by_b
    return each.mean(dim=(1, 2))  # [N]


class LPIPS(Frozen):
    """Learned perceptual image patch similarity (Zhang et al. 2018), version 0.1: eq. 1 with linear heads.

    `distance` gives one figure a pair, a call their mean. Pictures are float RGB in −1 … 1 of any size; the
    size is part of the figure.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone = "alex") -> None:
        super().__init__()
        if backbone not in ("alex", "vgg"):
            raise ValueError(f"LPIPS is defined here on 'alex' and 'vgg', got {backbone!r}")
        self.features = alexnet() if backbone == "alex" else vgg16()
        self.taps = ALEXNET_TAPS if backbone == "alex" else VGG16_TAPS
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        widths = [_width(self.features, tap) for tap in self.taps]
        self.heads = nn.ParameterList(nn.Parameter(torch.ones(width)) for width in widths)
        self.freeze()

    @classmethod
    def open(cls, backbone: Backbone, weights: str | Path, heads: str | Path) -> Self:
        """From torchvision's file (`alexnet-owt-7be5be79.pth`, `vgg16-397923af.pth`) and LPIPS's own heads."""
        return cls(backbone).load(read_state(weights), read_state(heads))

    def load(self, weights: State, heads: State) -> Self:
        _load_features(self.features, weights)
        for index, head in enumerate(self.heads):
            name = f"lin{index}.model.1.weight"
            if name not in heads:
                raise ValueError(f"these are not LPIPS's heads: no {name} among {_some(heads)}")
            given = torch.as_tensor(heads[name])
            if list(given.shape) != [1, len(head), 1, 1]:
                raise ValueError(f"{name} must be [1, {len(head)}, 1, 1], got {list(given.shape)}")
            head.data.copy_(given.flatten())
        return self

    def maps(self, images: Tensor) -> list[Tensor]:
        x, maps = (images - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps.append(unit(x))
        return maps

    def distance(self, images: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros(len(images), device=images.device)
        for head, a, b in zip(self.heads, self.maps(images), self.maps(targets)):
            total = total + (a - b).square().mean(dim=(2, 3)) @ head.float()
        return total  # [N]

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.distance(images, targets).mean()


class KerasVGGLoss(Frozen):
    """StyleRes's perceptual term: the mean squared difference of VGG16's conv4_3, after its ReLU.

    The published weight of 1e-3 belongs to Keras' weights (the Caffe network's, on BGR in 0 … 255 minus the
    mean), whose features are in the hundreds; torchvision's are another network's.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16(convolutions=10)
        self.register_buffer("mean", torch.tensor([103.939, 116.779, 123.68])[:, None, None])
        self.freeze()

    @classmethod
    def open(cls, weights: str | Path) -> Self:
        """From an `.npz` of Keras' arrays, or a state dict of the Caffe network in torchvision's naming."""
        return cls().load(read_state(weights))

    def load(self, weights: State) -> Self:
        _load_features(self.features, from_keras(weights))
        return self

    def conv4_3(self, images: Tensor) -> Tensor:
        bgr = (images.flip(1) + 1) * 127.5 - self.mean
        features: Tensor = self.features(bgr)
        return features.float()

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(self.conv4_3(images), self.conv4_3(targets))


class HasFeatures(Protocol):
    def features(self, images: Tensor) -> Sequence[Tensor]: ...


class FeatureDistance(Frozen):
    """The distance of unit features in a network of one's own, with no learned heads: not LPIPS.

    Squared over channels, the mean over places and then over layers; from 0 to 4.
    """

    def __init__(self, network: HasFeatures) -> None:
        super().__init__()
        self.network = network
        self.freeze()

    def distance(self, images: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(self.network.features(images), self.network.features(targets))
        return torch.stack([unit_distance(a, b) for a, b in pairs]).mean(dim=0)  # [N]

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.distance(images, targets).mean()


# ---- weights


def read_state(path: str | Path) -> State:
    """The weights in a published file; nothing in it is run."""
    from ..pickles.files import read_file

    tree = read_file(Path(path))
    tree = tree.get("state_dict", tree) if isinstance(tree, Mapping) else tree
    if not isinstance(tree, Mapping) or not all(isinstance(name, str) for name in tree):
        raise ValueError(f"{path} holds no named weights, but a {type(tree).__name__}")
    for name, value in tree.items():
        if isinstance(value, Tensor | np.ndarray) and not finite(torch.as_tensor(value)):
            raise ValueError(f"{path}: {name} holds values that are not finite, so that no distance would be either")
    return tree


def from_keras(weights: State) -> State:
    """Keras' `block1_conv1` … and kernels [H, W, I, O] in torchvision's naming; other names stay."""
    indices = [index for index, layer in enumerate(vgg16()) if isinstance(layer, nn.Conv2d)]
    first = {1: 0, 2: 2, 3: 4, 4: 7, 5: 10}  # convolutions before each block
    renamed: dict[str, Any] = {}
    for name, value in weights.items():
        place = re.search(r"block([1-5])_conv([1-3])", name)
        if place is None:
            renamed[name] = value
            continue
        index = indices[first[int(place[1])] + int(place[2]) - 1]
        array = np.asarray(value)
        if array.ndim == 4:
            renamed[f"features.{index}.weight"] = torch.from_numpy(array.transpose(3, 2, 0, 1).copy())
        else:
            renamed[f"features.{index}.bias"] = torch.from_numpy(array.copy())
    return renamed


def _load_features(features: nn.Sequential, weights: State) -> None:
    state: dict[str, Tensor] = {}
    for name, own in features.state_dict().items():
        published = f"features.{name}"
        if published not in weights:
            raise ValueError(f"these are not the network's weights: no {published} among {_some(weights)}")
        state[name] = torch.as_tensor(weights[published])
        if state[name].shape != own.shape:
            raise ValueError(f"{published} must be {list(own.shape)}, got {list(state[name].shape)}")
    features.load_state_dict(state)


def _width(features: nn.Sequential, tap: int) -> int:
    convolution = features[tap - 1]
    if not isinstance(convolution, nn.Conv2d):
        raise TypeError(f"layer {tap} does not follow a convolution")
    return convolution.out_channels


def _some(names: State) -> str:
    shown = list(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
