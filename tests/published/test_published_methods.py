"""StyleRes, SDIC and HFGI: whole checkpoints as published, written to a file, imported, saved as a bundle, run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gradstyle.bundles import Bundle
from gradstyle.bundles.build import build
from gradstyle.edits import Edit
from gradstyle.methods.hfgi import HFGI
from gradstyle.methods.sdic import SDIC
from gradstyle.published import names
from gradstyle.stylegan2 import Codes
from tests.support.interop import expected, filled, input_edit, input_photo, input_w_plus, latent_avg, load_manifest
from tests.support.tiny import far


@pytest.fixture(scope="module")
def e4e() -> dict[str, Tensor]:
    """An encoder of full width for 12 codes, StyleRes's. SDIC's and HFGI's vectors start from codes and hold none."""
    return filled("styleres_128", "e4e")


def imported(folder: Path, content: Any) -> tuple[Bundle, list[str]]:
    """Write a checkpoint, import it by its content alone, save the bundle, open it again."""
    file = folder / "checkpoint.bin"
    torch.save(content, file)
    bundle, notes = build("published", [file])
    bundle.save(folder / "bundle")
    file.unlink()
    return Bundle.load(folder / "bundle"), notes


def checkpoint(vector: str, e4e: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the whole model: the vector's sections, an encoder, and the loss networks of the training."""
    state = {f"{s}.{key}": value for s in load_manifest(vector) for key, value in filled(vector, s).items()}
    state |= {f"encoder.{key}": value for key, value in e4e.items()}
    return state | {"lpips_loss.net.layers.0.weight": torch.ones(4), "id_loss.facenet.bias": torch.ones(4)}


def check_encoder(bundle: Bundle, e4e: dict[str, Tensor]) -> None:
    """It is the encoder that the file held, whose numbers are checked in StyleRes's test."""
    encoder = bundle.encoder()
    theirs, given = names.e4e(encoder.config.units), {**e4e, "latent_avg": latent_avg(12)}
    assert all(
        torch.equal(value.flatten(), given[theirs(key)].flatten()) for key, value in encoder.state_dict().items()
    )


VECTOR_EDIT = Edit("vector", input_edit(12)[0])


@torch.inference_mode()
def test_styleres(tmp_path: Path, e4e: dict[str, Tensor]) -> None:
    smooth = filled("styleres_128", "generator_smooth")
    content = {"e4e": e4e, "generator_smooth": smooth, "latent_avg": latent_avg(12), "iteration": 1000}
    bundle, notes = imported(tmp_path, content)
    del content, smooth
    assert bundle.methods == ["styleres", "e4e"]
    assert notes == ["checkpoint.bin: a StyleRes checkpoint", "8 weights that no pass uses were left out"]
    method, wanted = bundle.method("styleres"), expected("styleres_128")
    inversion = method.invert(input_photo())
    assert far(inversion.codes.w, wanted["codes"]) < 1e-4
    assert far(method.generator(inversion.codes), wanted["without_residuals"]) < 1e-4
    assert far(method.render(inversion), wanted["reconstruction"]) < 1e-4
    assert far(method.render(inversion, VECTOR_EDIT), wanted["edited"]) < 1e-4


@torch.inference_mode()
def test_sdic(tmp_path: Path, e4e: dict[str, Tensor]) -> None:
    state = checkpoint("sdic_128", e4e)
    opts = argparse.Namespace(device="cuda:0", dataset_type="ffhq_encode", is_train=True)
    bundle, notes = imported(tmp_path, {"state_dict": state, "latent_avg": latent_avg(12), "opts": opts})
    del state
    assert bundle.methods == ["sdic", "e4e"]
    assert notes[:2] == ["checkpoint.bin: an SDIC checkpoint", "90 weights that no pass uses were left out"]
    assert "id_loss, lpips_loss" in notes[2]
    assert bundle.config("sdic").shift_width == 12

    method, wanted = bundle.method("sdic"), expected("sdic_128")
    assert isinstance(method, SDIC)
    seen: list[Tensor] = []
    method.discrepancy.register_forward_hook(lambda _, given, made: seen.extend([given[1], made]))
    inversion = method.invert(input_photo(), Codes(input_w_plus(12)))
    first = torch.nn.functional.interpolate(
        torch.as_tensor(wanted["initial"]).clamp(-1, 1), size=(256, 256), mode="bilinear"
    )
    assert far(seen[0], first) < 1e-4
    assert far(seen[1][:, :, ::4, ::4], wanted["discrepancy"]) < 1e-4
    assert far(inversion.codes.w, wanted["w_compensated"]) < 1e-4
    assert far(method.render(inversion), wanted["reconstruction"]) < 1e-4
    assert far(method.render(inversion, VECTOR_EDIT), wanted["edited"]) < 1e-4
    check_encoder(bundle, e4e)


@torch.inference_mode()
def test_hfgi(tmp_path: Path, e4e: dict[str, Tensor]) -> None:
    state = checkpoint("hfgi_128", e4e)
    opts = {"device": "cuda:0", "dataset_type": "ffhq_encode", "distortion_scale": 0.15}
    bundle, notes = imported(tmp_path, {"state_dict": state, "latent_avg": latent_avg(12), "opts": opts})
    del state
    assert bundle.methods == ["hfgi", "e4e"]
    assert notes[0] == "checkpoint.bin: an HFGI checkpoint"

    method, wanted = bundle.method("hfgi"), expected("hfgi_128")
    assert isinstance(method, HFGI)
    aligned: list[Tensor] = []
    method.aligner.register_forward_hook(lambda _module, _inputs, made: aligned.append(made))
    inversion = method.invert(input_photo(), Codes(input_w_plus(12)))
    assert far(aligned[0][:, :, ::4, ::4], wanted["aligned"]) < 1e-4
    assert far(method.render(inversion), wanted["reconstruction"]) < 1e-4
    assert far(method.render(inversion, VECTOR_EDIT), wanted["edited"]) < 1e-4
    check_encoder(bundle, e4e)
