"""Recognises a published file by its content, whatever its name, and converts it to parts of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..blueprint import blueprint, listed
from ..encoder import Encoder, EncoderConfig
from ..losses.face import UNITS, FaceNetwork
from ..pickles.errors import PublishedFileError
from ..pickles.files import read_file
from ..pickles.pickle_types import Record
from ..stylegan2 import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from ..stylegan2.generator import MEAN_SAMPLES
from . import hfgi, names, sdic, styleres
from .checkpoint import Checkpoint
from .directions import directions
from .state import Section, check_filters, empty, mean_codes, sections_of, summary, tensors_in, weights_in

LONGEST = 3000  # characters of a reason


def open_published(path: Path) -> Checkpoint:
    """Read a checkpoint of StyleGAN2, e4e, HFGI, SDIC or StyleRes, a face network, or a file of directions."""
    tree = read_file(path)
    for recognise in (_nvidia_pickle, _styleres, _encoder_decoder, _rosinality, _flat, _face, directions):
        try:
            found = recognise(tree, path.stem)
        except Exception as error:  # whoever wrote the file chose what a converter meets
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            looks = _LOOKS[recognise.__name__]
            raise PublishedFileError(f"{path}: it looks like {looks}, but {reason[:LONGEST]}") from error
        if found is not None:
            return found
    raise PublishedFileError(f"{path}: not a checkpoint that is known here; it holds {summary(tree)}")


_LOOKS = {
    "_nvidia_pickle": "a StyleGAN2-ADA pickle",
    "_styleres": "a StyleRes checkpoint",
    "_encoder_decoder": "a pSp, e4e, HFGI or SDIC checkpoint",
    "_rosinality": "a StyleGAN2 checkpoint of the PyTorch naming",
    "_flat": "bare weights of a generator, discriminator or encoder",
    "_face": "a face recognition network",
    "directions": "a file of directions",
}


# ---- StyleGAN2-ADA


def _nvidia_pickle(tree: Any, stem: str) -> Checkpoint | None:
    if not isinstance(tree, dict) or not any(isinstance(tree.get(key), Record) for key in ("G_ema", "G", "D")):
        return None
    source = tree.get("G_ema") or tree.get("G")
    found = Checkpoint("a StyleGAN2-ADA network pickle")
    if isinstance(source, Record):
        for key, wanted in (("c_dim", 0), ("img_channels", 3)):
            if source.state.get(key, wanted) != wanted:
                raise ValueError(f"its {key} is {source.state[key]!r}; only unconditional RGB networks are supported")
        found.parts["generator"] = _nvidia_generator(weights_in(source.state_dict()), _clamp(source))
    if isinstance(tree.get("D"), Record):
        record = tree["D"]
        epilogue = record.state["_modules"]["b4"].state["_modules"].get("mbstd")
        group = epilogue.state.get("group_size") if isinstance(epilogue, Record) else None
        found.parts["discriminator"] = _nvidia_discriminator(
            weights_in(record.state_dict()), _clamp(record), group or 4
        )
    return found


def _clamp(record: Record) -> float | None:
    """The clamp that the network's layers were built with."""
    clamp = record.state.get("conv_clamp", (record.state.get("_init_kwargs") or {}).get("conv_clamp"))
    if clamp is None:
        modules = (record.state.get("_modules") or {}).values()
        inner = [_clamp(module) for module in modules if isinstance(module, Record)]
        return next((value for value in inner if value is not None), None)
    return float(clamp)


def _nvidia_generator(state: Section, clamp: float | None) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    check_filters(state, "resample_filter")
    if not any(key.startswith("mapping.") for key in state):
        w_dim = state["synthesis.b4.conv1.affine.weight"].shape[1]
        state = {**state, "mapping.w_avg": torch.zeros(w_dim)}
    config = names.nvidia_generator_config(state, clamp)
    return config, names.take(empty(Generator, config), state, names.nvidia_generator, [r"resample_filter$"])


def _nvidia_discriminator(
    state: Section, clamp: float | None, group: int
) -> tuple[DiscriminatorConfig, dict[str, Tensor]]:
    sides = [int(match[1]) for key in state if (match := re.fullmatch(r"b(\d+)\.conv0\.weight", key))]
    widths = {side: state[f"b{side}.conv0.weight"].shape[0] for side in sides}
    base, maximum = names.channel_rule({**widths, 4: state["b4.fc.weight"].shape[0]})
    config = DiscriminatorConfig(max(sides), base, maximum, clamp, group)
    rename = names.nvidia_discriminator(config)
    return config, names.take(empty(Discriminator, config), state, rename, [r"resample_filter$"])


# ---- the PyTorch naming


def _rosinality(tree: Any, stem: str) -> Checkpoint | None:
    if not isinstance(tree, dict) or not isinstance(tree.get("g_ema"), dict):
        return None
    found = Checkpoint("a StyleGAN2 checkpoint")
    found.parts["generator"] = _rosinality_generator(weights_in(tree["g_ema"]), tree.get("latent_avg"), found.notes)
    if isinstance(tree.get("d"), dict):
        found.parts["discriminator"] = _rosinality_discriminator(weights_in(tree["d"]))
    return found


def _rosinality_generator(
    state: Section, latent_avg: Any, notes: list[str]
) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    check_filters(state, "kernel")
    config = names.rosinality_generator_config(state)
    mean = mean_codes(latent_avg, config.codes, config.w_dim)
    given = {**state, "latent_avg": torch.zeros(config.w_dim) if mean is None else mean.mean(dim=0)}
    weights = names.take(empty(Generator, config), given, names.rosinality_generator, [r"kernel$"])
    if mean is None and config.mapping_layers:
        if config.z_dim > 4096:
            raise names.Mismatch(f"it has no mean code, and its z_dim {config.z_dim} is too large to estimate one")
        generator = empty(Generator, config)
        generator.load_state_dict(weights, assign=True)
        weights["mean_w"] = generator.estimated_mean()
        notes.append(f"the file has no mean code; it was estimated from {MEAN_SAMPLES:,} samples")
    return config, weights


def _rosinality_discriminator(state: Section) -> tuple[DiscriminatorConfig, dict[str, Tensor]]:
    blocks = sum(bool(re.fullmatch(r"convs\.\d+\.conv1\.0\.weight", key)) for key in state)
    widths = {4: state["final_linear.0.weight"].shape[0]}
    for block in range(1, blocks + 1):
        widths[4 << (blocks + 1 - block)] = state[f"convs.{block}.conv1.0.weight"].shape[0]
    base, maximum = names.channel_rule(widths)
    config = DiscriminatorConfig(max(widths), base, maximum)
    return config, names.take(empty(Discriminator, config), state, names.rosinality_discriminator, [r"kernel$"])


# ---- encoders and the methods on them


def _encoder(state: Section, latent_avg: Any, codes: int | None = None) -> tuple[EncoderConfig, dict[str, Tensor]]:
    heads = sum(bool(re.fullmatch(r"styles\.\d+\.linear\.weight", key)) for key in state)
    if codes is not None and heads != codes:
        raise names.Mismatch(f"the encoder gives {heads} codes, the generator takes {codes}")
    count = sum(bool(re.fullmatch(r"body\.\d+\.res_layer\.1\.weight", key)) for key in state)
    if count not in UNITS:
        raise names.Mismatch(f"an IR-SE backbone of {count} units is not known")
    depths = [sum(f"styles.{i}.convs.{2 * j}.weight" in state for j in range(16)) for i in range(heads)]
    coarse, middle = (sum(depth <= depths[0] + more for depth in depths) for more in (0, 1))
    w_dim, head_width = state["styles.0.linear.weight"].shape
    config = EncoderConfig(
        codes=heads,
        w_dim=w_dim,
        input_size=16 << depths[0],
        units=UNITS[count],
        widths=(
            state["input_layer.0.weight"].shape[0],
            state["latlayer2.weight"].shape[1],
            state["latlayer1.weight"].shape[1],
            state["latlayer1.weight"].shape[0],
        ),
        feature_width=state["latlayer1.weight"].shape[0],
        head_width=head_width,
        coarse=coarse,
        middle=middle,
    )
    mean = mean_codes(latent_avg, heads, w_dim)
    if mean is None:
        raise names.Mismatch("latent_avg, the mean code that the encoder's codes start from, is missing")
    given = {**state, "latent_avg": mean}
    return config, names.take(empty(Encoder, config), given, names.e4e(config.units))


def _encoder_decoder(tree: Any, stem: str) -> Checkpoint | None:
    state = tree.get("state_dict") if isinstance(tree, dict) else None
    if not isinstance(state, dict) or not any(str(key).startswith("decoder.") for key in state):
        return None
    sections = sections_of(weights_in(state))
    latent_avg = tree.get("latent_avg", state.get("latent_avg"))
    found = Checkpoint("an e4e checkpoint")
    found.parts["generator"] = _rosinality_generator(sections["decoder"], latent_avg, found.notes)
    if "encoder" in sections:
        codes = found.parts["generator"][0].codes
        found.parts["encoder"] = _encoder(sections["encoder"], latent_avg, codes)
    for name, convert, section in (("hfgi", hfgi.convert, "residue"), ("sdic", sdic.convert, "SAF")):
        if section in sections:
            _add(found, name, convert, sections)
    left = set(sections) - {"decoder", "encoder", "residue", "grid_align", "DIP", "SAF", "latent_avg"}
    if left:
        found.notes.append(f"read past what no pass uses: {listed('sections', sorted(left))}")
    return found


def _styleres(tree: Any, stem: str) -> Checkpoint | None:
    if not isinstance(tree, dict) or not isinstance(tree.get("generator_smooth"), dict):
        return None
    found = Checkpoint("a StyleRes checkpoint")
    state = weights_in(tree["generator_smooth"])
    plain = {key: value for key, value in state.items() if ".modify_feature_" not in key}
    found.parts["generator"] = _nvidia_generator(plain, 256.0)
    if found.parts["generator"][0].mapping_layers == 0:
        found.notes.append("the file has no mapping network: it edits photos, but cannot sample or train StyleRes")
    if isinstance(tree.get("e4e"), dict):
        found.parts["encoder"] = _encoder(
            weights_in(tree["e4e"]), tree.get("latent_avg"), found.parts["generator"][0].codes
        )
    _add(found, "styleres", styleres.convert, {"generator_smooth": state})
    return found


def _add(found: Checkpoint, name: str, convert: Callable[..., Any], sections: Mapping[str, Section]) -> None:
    config, state, notes = convert(sections)
    found.parts[name] = (config, state)
    found.notes += notes
    found.what = {"hfgi": "an HFGI checkpoint", "sdic": "an SDIC checkpoint"}.get(name, found.what)


# ---- bare weights


def _flat(tree: Any, stem: str) -> Checkpoint | None:
    state = tensors_in(tree)
    if state is None:
        return None
    sections = sections_of(state)
    found = Checkpoint("bare weights")
    if "G_ema" in sections or "synthesis.b4.const" in state:
        found.parts["generator"] = _nvidia_generator(sections.get("G_ema", state), 256.0)
        found.notes.append("the file does not say at what its activations are clamped; 256, the usual, is assumed")
        if "D" in sections:
            found.parts["discriminator"] = _nvidia_discriminator(sections["D"], 256.0, 4)
    elif "conv1.conv.modulation.weight" in state:
        found.parts["generator"] = _rosinality_generator(state, state.get("latent_avg"), found.notes)
    elif "input_layer.0.weight" in state and "styles.0.linear.weight" in state:
        found.parts["encoder"] = _encoder(
            {key: value for key, value in state.items() if key != "latent_avg"}, state.get("latent_avg")
        )
    return found if found.parts else None


def _face(tree: Any, stem: str) -> Checkpoint | None:
    state = tensors_in(tree)
    if state is None or "input_layer.0.weight" not in state or "output_layer.3.weight" not in state:
        return None
    count = sum(bool(re.fullmatch(r"body\.\d+\.res_layer\.1\.weight", key)) for key in state)
    if count not in UNITS:
        raise names.Mismatch(f"an IR backbone of {count} units is not known")
    squeeze, affine = "body.0.res_layer.5.fc1.weight" in state, "output_layer.4.weight" in state
    with blueprint():
        network = FaceNetwork(UNITS[count], squeeze, affine).eval()
    backbone = names.ir_backbone(UNITS[count])

    def rename(name: str) -> str:
        if name.startswith("backbone."):
            return backbone(name.removeprefix("backbone."))
        module, which = name.split(".")
        return f"output_layer.{ {'norm': 0, 'linear': 3, 'norm_out': 4}[module] }.{which}"

    network.load_state_dict(names.take(network, state, rename), assign=True)
    return Checkpoint(f"a face network, IR{'-SE' if squeeze else ''} of {count} units", network=network)
