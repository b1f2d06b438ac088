"""Published names of weights, one to one with ours.

Every function here takes a name of ours and gives the published one, so that a checkpoint is read by asking it
for what our module needs: what is missing or of another shape is known by name, and so is what is left over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ..blueprint import listed
from ..stylegan2 import DiscriminatorConfig, GeneratorConfig


class Mismatch(ValueError):
    """The weights in a file are not those that the module needs."""


def take(
    module: nn.Module | Mapping[str, Tensor],
    published: Mapping[str, Tensor],
    rename: Callable[[str], str],
    unused: Iterable[str] = (),
) -> dict[str, Tensor]:
    """The published weights under our names. `unused` are patterns of published names that no pass needs.

    Axes of size 1 may differ: a bias may be [1, 3, 1, 1] there and [3] here.
    """
    ours = module.state_dict() if isinstance(module, nn.Module) else module
    state: dict[str, Tensor] = {}
    missing, differing, used = [], [], set()
    for name, like in ours.items():
        theirs = rename(name)
        used.add(theirs)
        if theirs not in published:
            missing.append(theirs)
            continue
        tensor = published[theirs]
        if [n for n in tensor.shape if n != 1] != [n for n in like.shape if n != 1]:
            differing.append(f"{theirs} is {list(tensor.shape)}, needed {list(like.shape)}")
            continue
        if like.is_floating_point() and not tensor.is_floating_point():
            differing.append(f"{theirs} is of {tensor.dtype}, needed floating-point values")
            continue
        state[name] = tensor.reshape(like.shape)
    pattern = re.compile("|".join(f"(?:{p})" for p in unused) or r"(?!)")
    extra = [key for key in published if key not in used and not pattern.search(key)]
    kinds = {"missing": missing, "of another shape": differing, "unknown": extra}
    if any(kinds.values()):
        raise Mismatch("; ".join(listed(what, names) for what, names in kinds.items() if names))
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Mismatch(f"{rename(name)} holds values that are not finite")
    return state


# ---- StyleGAN2 as rosinality names it: e4e, HFGI and SDIC checkpoints


def rosinality_generator(name: str) -> str:
    if match := re.fullmatch(r"mapping\.layers\.(\d+)\.(\w+)", name):
        return f"style.{int(match[1]) + 1}.{match[2]}"
    if match := re.fullmatch(r"layers\.(\d+)\.noise", name):
        return f"noises.noise_{match[1]}"
    if match := re.fullmatch(r"layers\.(\d+)\.(.+)", name):
        layer = "conv1" if match[1] == "0" else f"convs.{int(match[1]) - 1}"
        theirs = {"bias": "activate.bias", "noise_strength": "noise.weight"}
        return f"{layer}.{theirs.get(match[2]) or 'conv.' + match[2].replace('affine', 'modulation')}"
    if match := re.fullmatch(r"to_rgb\.(\d+)\.(.+)", name):
        layer = "to_rgb1" if match[1] == "0" else f"to_rgbs.{int(match[1]) - 1}"
        return f"{layer}.{'bias' if match[2] == 'bias' else 'conv.' + match[2].replace('affine', 'modulation')}"
    return {"const": "input.input", "mean_w": "latent_avg"}[name]


def rosinality_discriminator(name: str) -> str:
    if match := re.fullmatch(r"blocks\.(\d+)\.(\w+)\.(\w+)", name):
        kind, which = match[2], match[3]
        index = {"conv0": {"weight": 0, "bias": 1}, "conv1": {"weight": 1, "bias": 2}, "skip": {"weight": 1}}
        theirs = {"conv0": "conv1", "conv1": "conv2", "skip": "skip"}[kind]
        return f"convs.{int(match[1]) + 1}.{theirs}.{index[kind][which]}.{which}"
    module, which = name.split(".")
    convs = {"from_rgb": "convs.0", "conv": "final_conv"}
    if module in convs:
        return f"{convs[module]}.{0 if which == 'weight' else 1}.{which}"
    return f"final_linear.{0 if module == 'linear' else 1}.{which}"


# ---- StyleGAN2 as StyleGAN2-ADA names it: NVIDIA's networks, StyleRes


def nvidia_generator(name: str) -> str:
    if match := re.fullmatch(r"mapping\.layers\.(\d+)\.(\w+)", name):
        return f"mapping.fc{match[1]}.{match[2]}"
    if match := re.fullmatch(r"layers\.(\d+)\.(.+)", name):
        layer = int(match[1])
        conv = f"synthesis.b{4 << (layer + 1) // 2}.conv{1 - layer % 2}"
        return f"{conv}.{'noise_const' if match[2] == 'noise' else match[2]}"
    if match := re.fullmatch(r"to_rgb\.(\d+)\.(.+)", name):
        return f"synthesis.b{4 << int(match[1])}.torgb.{match[2]}"
    return {"const": "synthesis.b4.const", "mean_w": "mapping.w_avg"}[name]


def nvidia_discriminator(config: DiscriminatorConfig) -> Callable[[str], str]:
    def rename(name: str) -> str:
        if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
            return f"b{config.resolution >> int(match[1])}.{match[2]}"
        module, which = name.split(".")
        theirs = {"from_rgb": f"b{config.resolution}.fromrgb", "conv": "b4.conv", "linear": "b4.fc", "score": "b4.out"}
        return f"{theirs[module]}.{which}"

    return rename


# ---- IR-SE networks


def ir_unit(name: str) -> str:
    """A name inside an IR unit."""
    module, _, rest = name.partition(".")
    index = {"norm0": 0, "conv0": 1, "act": 2, "conv1": 3, "norm1": 4, "squeeze": 5}
    return f"shortcut_layer.{rest}" if module == "shortcut" else f"res_layer.{index[module]}.{rest}"


def ir_backbone(units: Iterable[int]) -> Callable[[str], str]:
    """The stem, and units counted through all bodies."""
    firsts = [0]
    for count in units:
        firsts.append(firsts[-1] + count)

    def rename(name: str) -> str:
        if match := re.fullmatch(r"bodies\.(\d+)\.(\d+)\.(.+)", name):
            return f"body.{firsts[int(match[1])] + int(match[2])}.{ir_unit(match[3])}"
        return name.replace("stem.", "input_layer.")

    return rename


def e4e(units: Iterable[int]) -> Callable[[str], str]:
    backbone = ir_backbone(units)

    def rename(name: str) -> str:
        if name.startswith("backbone."):
            return backbone(name.removeprefix("backbone."))
        if match := re.fullmatch(r"heads\.(\d+)\.convs\.(\d+)\.(\w+)", name):
            return f"styles.{match[1]}.convs.{2 * int(match[2])}.{match[3]}"
        if match := re.fullmatch(r"heads\.(\d+)\.linear\.(\w+)", name):
            return f"styles.{match[1]}.linear.{match[2]}"
        name = name.replace("lateral2.", "latlayer1.").replace("lateral1.", "latlayer2.")
        return {"mean_codes": "latent_avg"}.get(name, name)

    return rename


# ---- shapes told by the weights themselves


def channel_rule(widths: Mapping[int, int]) -> tuple[int, int]:
    """channel_base and channel_max that give these widths: side → channels."""
    maximum = max(widths.values())
    narrower = [side * width for side, width in widths.items() if width < maximum]
    base = max(narrower) if narrower else maximum * max(widths)
    wrong = {side: width for side, width in widths.items() if min(base // side, maximum) != width}
    if wrong:
        raise Mismatch(f"widths {dict(widths)} follow no rule min(base / side, max)")
    return base, maximum


def rosinality_generator_config(state: Mapping[str, Tensor]) -> GeneratorConfig:
    convs = sum(bool(re.fullmatch(r"convs\.\d+\.conv\.weight", key)) for key in state)
    mapping = sum(bool(re.fullmatch(r"style\.\d+\.weight", key)) for key in state)
    widths = {4: state["input.input"].shape[1]}
    for layer in range(1, convs, 2):
        widths[8 << layer // 2] = state[f"convs.{layer}.conv.weight"].shape[1]
    base, maximum = channel_rule(widths)
    first = state.get("style.1.weight")
    w_dim = state["conv1.conv.modulation.weight"].shape[1]
    return GeneratorConfig(
        resolution=max(widths),
        z_dim=w_dim if first is None else first.shape[1],
        w_dim=w_dim,
        mapping_layers=mapping,
        channel_base=base,
        channel_max=maximum,
    )


def nvidia_generator_config(state: Mapping[str, Tensor], clamp: float | None) -> GeneratorConfig:
    sides = sorted(int(match[1]) for key in state if (match := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", key)))
    widths = {side: state[f"synthesis.b{side}.conv1.weight"].shape[0] for side in sides}
    base, maximum = channel_rule(widths)
    mapping = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", key)) for key in state)
    w_dim = state["synthesis.b4.conv1.affine.weight"].shape[1]
    first = state.get("mapping.fc0.weight")
    return GeneratorConfig(
        resolution=max(sides),
        z_dim=w_dim if first is None else first.shape[1],
        w_dim=w_dim,
        mapping_layers=mapping,
        channel_base=base,
        channel_max=maximum,
        activation_clamp=clamp,
    )
