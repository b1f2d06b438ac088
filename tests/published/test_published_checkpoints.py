"""Published checkpoints, written as their authors write them, read from the file, run as a bundle."""

from __future__ import annotations

import argparse
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradstyle.bundles import Bundle, BundleError
from gradstyle.bundles.build import build
from gradstyle.published import PublishedFileError, open_published
from gradstyle.stylegan2 import Codes
from tests.support.interop import (
    DATA,
    expected,
    filled,
    input_face,
    input_mean_w,
    input_photo,
    input_w_plus,
    input_z,
    latent_avg,
)
from tests.support.tiny import far

FILE = "checkpoint.bin"  # the name tells nothing: content does


def imported(tmp_path: Path, content: Any) -> Bundle:
    """Write a checkpoint, import it, save the bundle, and open it again."""
    torch.save(content, tmp_path / FILE)
    del content
    bundle, _ = build("test", [tmp_path / FILE])
    bundle.save(tmp_path / "bundle")
    (tmp_path / FILE).unlink()
    return Bundle.load(tmp_path / "bundle")


@torch.inference_mode()
def test_rosinality(tmp_path: Path) -> None:
    content = {
        "g_ema": filled("rosinality_64", "g_ema"),
        "d": filled("rosinality_64", "d"),
        "latent_avg": input_mean_w()[0],
        "args": argparse.Namespace(size=64),
    }
    bundle, wanted = imported(tmp_path, content), expected("rosinality_64")
    generator = bundle.generator()
    image = generator(Codes(input_w_plus(10)))
    w = generator.map(input_z())
    assert far(w, wanted["w_of_z"]) <= 1e-4
    assert far(generator(generator.codes(w)), wanted["image_of_z"]) <= 1e-4
    assert far(generator(generator.codes(generator.map(input_z(), 0.7))), wanted["image_truncated_0_7"]) <= 1e-4
    assert far(image, wanted["image_of_w_plus"]) <= 1e-4
    assert float((image - torch.as_tensor(wanted["image_of_w_plus"])).abs().max()) <= 1e-3
    assert far(bundle.discriminator()(image)[:, None], wanted["score"]) <= 1e-4


class Persistent:
    """Pickles as StyleGAN2-ADA's networks do: a call of torch_utils.persistence with the class's source."""

    def __init__(self, class_name: str, state: dict[str, Any], **init: Any) -> None:
        self.class_name = class_name
        self.state = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_init_kwargs": init, **state}

    def __reduce__(self) -> tuple[Any, ...]:
        source = "raise SystemExit('the source in the file was run')"
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": self.class_name}
        reconstruct = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj  # type: ignore[attr-defined]
        return reconstruct, ({**meta, "state": self.state},)


def persistent(state: dict[str, Tensor], name: str, **init: Any) -> Persistent:
    """A state dict as the tree of modules that it came from."""
    tree = Persistent(name, {}, **init)
    for key, value in state.items():
        *path, leaf = key.split(".")
        node = tree
        for part in path:
            node = node.state["_modules"].setdefault(part, Persistent("Module", {}))
        kind = "_buffers" if leaf in ("noise_const", "resample_filter", "w_avg") else "_parameters"
        node.state[kind][leaf] = torch.nn.Parameter(value) if kind == "_parameters" else value
    return tree


@torch.inference_mode()
def test_nvidia_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
    content = {
        "G_ema": persistent(filled("nvidia_64", "G_ema"), "Generator", synthesis_kwargs={}, conv_clamp=256),
        "D": persistent(filled("nvidia_64", "D"), "Discriminator", conv_clamp=256),
        "augment_pipe": None,
    }
    content["D"].state["_modules"]["b4"].state["_modules"]["mbstd"] = Persistent("Mbstd", {"group_size": 2})
    (tmp_path / FILE).write_bytes(pickle.dumps(content))
    monkeypatch.undo()
    bundle, _ = build("test", [tmp_path / FILE])
    assert bundle.config("generator").activation_clamp == 256
    assert bundle.config("discriminator").group == 2
    generator, wanted = bundle.generator(), expected("nvidia_64")
    image = generator(Codes(input_w_plus(10)))
    truncated = generator.map(input_z(), 0.7)
    assert far(generator.map(input_z()), wanted["w_of_z"]) <= 1e-4
    assert far(truncated, wanted["w_truncated_0_7"]) <= 1e-4
    assert far(generator(generator.codes(truncated)), wanted["image_truncated_0_7"]) <= 1e-4
    assert far(image, wanted["image_of_w_plus"]) <= 1e-4
    assert far(bundle.discriminator()(image)[:, None], wanted["score"]) <= 1e-4


@torch.inference_mode()
def test_nvidia_tiny_as_published() -> None:
    bundle, _ = build("tiny", [DATA / "nvidia_tiny.pkl"])
    generator, wanted = bundle.generator(), expected("nvidia_tiny")
    assert bundle.config("generator").activation_clamp == 256
    w = generator.map(input_z(32))
    image = generator(generator.codes(w))
    assert far(w, wanted["w_of_z"]) <= 1e-4
    assert far(image, wanted["image_of_z"]) <= 1e-4
    assert far(bundle.discriminator()(image)[:, None], wanted["score"]) <= 1e-4


@torch.inference_mode()
def test_e4e(tmp_path: Path) -> None:
    state = {f"decoder.{key}": value for key, value in filled("rosinality_64", "g_ema").items()}
    state |= {f"encoder.{key}": value for key, value in filled("e4e_64", "encoder").items()}
    content = {
        "state_dict": state,
        "latent_avg": latent_avg(10),
        "opts": argparse.Namespace(device="cuda:0", stylegan_size=64),
    }
    del state
    bundle, wanted = imported(tmp_path, content), expected("e4e_64")
    assert bundle.methods == ["e4e"]
    encoder = bundle.encoder()
    codes, taps = encoder(input_photo())
    assert far(codes.w, wanted["codes"]) <= 1e-4
    assert far(bundle.generator()(codes), wanted["image"]) <= 1e-4
    for tap in ("c1", "c2", "c3"):
        assert far(taps[tap].mean(dim=(2, 3)), wanted[f"feature_{tap}_mean"]) <= 1e-4
        assert list(taps[tap].shape[1:]) == [
            encoder.config.width(tap),
            encoder.config.side(tap),
            encoder.config.side(tap),
        ]


@pytest.mark.parametrize("name", ["arcface", "curricularface"])
@torch.inference_mode()
def test_face_networks(name: str, tmp_path: Path) -> None:
    torch.save(filled(name, "state_dict"), tmp_path / FILE)
    network = open_published(tmp_path / FILE).network
    assert network is not None
    assert far(network(input_face()), expected(name)["embedding"]) <= 1e-4
    with pytest.raises(BundleError, match="no part of a bundle"):
        build("test", [tmp_path / FILE])


def test_directions(tmp_path: Path) -> None:
    network = DATA / "nvidia_tiny.pkl"
    boundary = np.random.default_rng(0).normal(size=(1, 32)).astype(np.float32)
    np.save(tmp_path / "smile.npy", boundary)
    torch.save(torch.from_numpy(boundary), tmp_path / "age.pt")
    torch.save({"comp": torch.randn(3, 1, 32), "mean": torch.zeros(1, 32), "std": torch.ones(3)}, tmp_path / "pca.pt")
    files = [network, tmp_path / "smile.npy", tmp_path / "age.pt", tmp_path / "pca.pt"]
    bundle, _ = build("test", files)
    bundle.save(tmp_path / "bundle")
    edits = Bundle.load(tmp_path / "bundle").edits
    assert set(edits) == {"smile", "age", "pca-0", "pca-1", "pca-2"}
    assert edits["smile"].generator == bundle.fingerprint
    torch.testing.assert_close(edits["smile"].w, torch.from_numpy(boundary))
    codes = bundle.generator().sample(2)
    moved = (2 * edits["age"]).apply(codes)
    torch.testing.assert_close(moved.w - codes.w, 2 * torch.from_numpy(boundary).expand(2, 8, 32))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = filled("nvidia_64", "G_ema")
    state.pop("synthesis.b8.conv1.weight")
    state["synthesis.b16.conv0.bias"] = torch.zeros(7)
    state["synthesis.b64.conv9.weight"] = torch.zeros(7)
    for i in range(20):
        state.pop(f"mapping.fc{i % 8}.{'weight' if i < 8 else 'bias'}", None)
    torch.save(state, tmp_path / FILE)
    with pytest.raises(PublishedFileError) as error:
        open_published(tmp_path / FILE)
    assert FILE in str(error.value)
    # The widths are told by the weights, so a missing one is found first.
    assert "synthesis.b8.conv1.weight" in str(error.value)


def test_at_most_ten_of_each_are_listed(tmp_path: Path) -> None:
    state = {k: v for k, v in filled("nvidia_64", "G_ema").items() if not k.endswith((".noise_const", ".affine.bias"))}
    torch.save(state, tmp_path / FILE)
    with pytest.raises(PublishedFileError, match=r"23 missing: .* and 13 more$") as error:
        open_published(tmp_path / FILE)
    assert str(error.value).count(",") < 20


def test_not_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"hello": torch.zeros(3), "world": 1}, tmp_path / FILE)
    with pytest.raises(PublishedFileError, match=r"not a checkpoint that is known here; it holds 2 entries \('hello'"):
        open_published(tmp_path / FILE)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = filled("nvidia_64", "G_ema")
    state["synthesis.b8.conv1.bias"][3] = float("nan")
    torch.save(state, tmp_path / FILE)
    with pytest.raises(PublishedFileError, match=r"synthesis\.b8\.conv1\.bias holds values that are not finite"):
        open_published(tmp_path / FILE)


def test_another_filter_is_refused(tmp_path: Path) -> None:
    state = filled("nvidia_64", "G_ema")
    state["synthesis.b8.resample_filter"] = torch.ones(4, 4) / 16
    torch.save(state, tmp_path / FILE)
    with pytest.raises(PublishedFileError, match=r"other than \[1, 3, 3, 1\]"):
        open_published(tmp_path / FILE)
