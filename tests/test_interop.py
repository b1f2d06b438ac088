"""The reference vectors' own arithmetic: a slip here would make every parity test compare the wrong thing."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from tests.support.interop import DATA, expected, fill, filled, input_photo, load_manifest, noise


def hash_by_hand(x: int) -> float:
    x &= 0xFFFFFFFF
    x = (x ^ (x >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
    x ^= x >> 16
    return ((x + 0.5) / 2**32 - 0.5) * 12**0.5


def test_noise_is_the_hash_also_past_a_piece_and_past_32_bits() -> None:
    values = noise("input.z", (3, 100_000)).flatten()
    seed = zlib.crc32(b"input.z")
    for i in (0, 1, (1 << 18) - 1, 1 << 18, 299_999):
        assert values[i].item() == np.float32(hash_by_hand(seed + i))
    late = next(n for n in map(str, range(100_000)) if zlib.crc32(n.encode()) > 2**32 - 1_000_000)
    assert noise(late, (1_000_001,))[-1].item() == np.float32(hash_by_hand(zlib.crc32(late.encode()) + 1_000_000))


def test_a_fill_has_the_manifests_scale_offset_and_dtype() -> None:
    weight = fill("weight", {"shape": [50, 100], "scale": 0.1, "offset": 1.0})
    assert abs(weight.mean() - 1.0) < 0.01
    assert abs(weight.std() - 0.1) < 0.01
    counter = fill("counter", {"shape": [], "values": [0], "dtype": "int64"})
    assert counter.dtype == torch.int64
    assert counter.shape == ()


def test_every_manifest_has_outputs_and_fills() -> None:
    for path in DATA.glob("*.json"):
        assert expected(path.stem)
        for section, entries in load_manifest(path.stem).items():
            assert entries, section
    state = filled("rosinality_64", "g_ema")
    assert {k: list(v.shape) for k, v in state.items()} == {
        k: e["shape"] for k, e in load_manifest("rosinality_64")["g_ema"].items()
    }
    assert input_photo().abs().max() < 3
