"""Reference vectors: published networks filled by a hash, and what the published code computed with them.

`tests/data/interop/NAME.json` lists a checkpoint's parameter names and shapes, `NAME.npz` what came out.

    state = filled("e4e_64", "encoder")
    codes = expected("e4e_64")["codes"]
"""

from __future__ import annotations

import json
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

DATA = Path(__file__).parents[1] / "data" / "interop"


def noise(name: str, shape: tuple[int, ...] | list[int]) -> Tensor:
    """White noise of mean 0 and variance 1 that depends on `name` and `shape` alone.

    Element i is a 32-bit hash of i + crc32(name), read as a uniform number.
    """
    count, seed = prod(shape), zlib.crc32(name.encode())
    values = np.empty(count, dtype=np.float32)
    for start in range(0, count, 1 << 18):  # in pieces that stay in the cache
        stop = min(start + (1 << 18), count)
        x = (np.arange(start, stop, dtype=np.uint64) + np.uint64(seed)).astype(np.uint32)
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
        uniform = x.astype(np.float64)
        uniform += 0.5
        uniform /= 2.0**32
        uniform -= 0.5
        uniform *= np.sqrt(12.0)
        values[start:stop] = uniform
    return torch.from_numpy(values.reshape(shape))


def fill(name: str, entry: dict[str, Any]) -> Tensor:
    """One tensor of a manifest: literal values where it has them, else scaled noise."""
    if "values" in entry:
        dtype = getattr(torch, entry.get("dtype", "float32"))
        return torch.tensor(entry["values"], dtype=dtype).reshape(entry["shape"])
    return noise(name, entry["shape"]).mul_(entry["scale"]).add_(entry["offset"])


def load_manifest(name: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Section -> parameter name -> shape and fill."""
    manifest: dict[str, dict[str, dict[str, Any]]] = json.loads((DATA / f"{name}.json").read_text())
    return manifest


def filled(name: str, section: str) -> dict[str, Tensor]:
    """A state dict with exactly the names and shapes of the published checkpoint."""
    return {key: fill(key, entry) for key, entry in load_manifest(name)[section].items()}


def expected(name: str) -> dict[str, np.ndarray]:
    """What the published code gave, in float32 on a CPU."""
    with np.load(DATA / f"{name}.npz") as outputs:
        return dict(outputs)


def input_z(width: int = 512) -> Tensor:
    return noise("input.z", (2, width))  # [2, width]


def input_w_plus(codes: int) -> Tensor:
    return noise("input.w_plus", (2, codes, 512)) * 0.5  # [2, codes, 512]


def input_mean_w() -> Tensor:
    return noise("input.mean_w", (1, 512)) * 0.5  # [1, 512]


def latent_avg(codes: int) -> Tensor:
    return noise("latent_avg", (codes, 512)) * 0.5  # [codes, 512]


def input_edit(codes: int) -> Tensor:
    return noise("input.edit", (1, codes, 512)) * 0.3  # [1, codes, 512]


def input_photo() -> Tensor:
    photo = noise("input.photo", (2, 3, 256, 256)) * 0.5
    return avg_pool2d(photo, kernel_size=9, stride=1, padding=4) * 6  # [2, 3, 256, 256]


def input_face() -> Tensor:
    face = noise("input.face", (2, 3, 112, 112))
    return avg_pool2d(face, kernel_size=5, stride=1, padding=2) * 3  # [2, 3, 112, 112]
