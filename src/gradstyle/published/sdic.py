"""SDIC's released checkpoints: DIPN is their section `DIP`, DICN their section `SAF`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from ..blueprint import blueprint
from ..methods.sdic import CodeCompensation, DiscrepancyPrediction, FeatureCompensation, SDICConfig
from .names import Mismatch, ir_unit, take

# Modules that the checkpoints hold and no pass uses.
UNUSED_DIP = (r"stem_[24]\.", r"spx(_[24])?\.", r"semantic\.", r"agg\.", r"hourglass_fusion\.conv1_up\.bn\.")
UNUSED_SAF = (r"aff1\.", r"aff2\.", r"conv1\.", r"aff1d\.agg\.")

PICTURE = {"0.0": "fe1", "1.0": "fe2", "1.1": "fe3", "2.0": "fe4", "3.0": "fe5"}


def convert(sections: Mapping[str, Mapping[str, Tensor]]) -> tuple[SDICConfig, dict[str, Tensor], list[str]]:
    """Config, own weights under our names, and notes on what was left out."""
    missing = [name for name in ("decoder", "DIP", "SAF") if name not in sections]
    if missing:
        raise Mismatch(f"an SDIC checkpoint holds the sections decoder, DIP and SAF; missing: {', '.join(missing)}")
    dip, saf = sections["DIP"], sections["SAF"]
    try:
        codes, w_dim = saf["aff1d.sen.3.weight"].shape[0], sections["decoder"]["conv1.conv.modulation.weight"].shape[1]
        width = saf["semantic.3.weight"].shape[0]
        config = config_of(dip, saf, w_dim)
    except KeyError as error:
        raise Mismatch(f"1 missing: {error.args[0]}") from None
    except ValueError as error:
        raise Mismatch(f"no SDIC has these shapes: {error}") from None
    with blueprint():
        prediction = DiscrepancyPrediction(config)
        feature, code = FeatureCompensation(config, width), CodeCompensation(config, codes, w_dim)
    compensation = {f"feature.{key}": value for key, value in feature.state_dict().items()}
    compensation |= {f"code.{key}": value for key, value in code.state_dict().items()}
    own = {
        f"discrepancy.{key}": value for key, value in take(prediction, dip, prediction_name, _at(UNUSED_DIP)).items()
    }
    own |= take(compensation, saf, compensation_name, _at(UNUSED_SAF))
    unused = len(dip) + len(saf) - len(own)
    return config, own, [f"{unused} weights that no pass uses were left out"] if unused else []


def config_of(dip: Mapping[str, Tensor], saf: Mapping[str, Tensor], w_dim: int) -> SDICConfig:
    """The config as the weights' shapes tell it."""

    def width(section: Mapping[str, Tensor], name: str) -> int:
        return section[f"{name}.weight"].shape[0]

    channels, rows = width(saf, "condition_shift3.0"), saf["aff1d.sen.0.weight"].shape[1]
    return SDICConfig(
        photo_widths=tuple(width(dip, f"feature1.fe{i}.conv") for i in (1, 3, 4, 5)),
        half_width=width(dip, "feature1.fe2.conv"),
        match_width=width(dip, "conv.conv"),
        planes=2 * width(dip, "desc"),
        volume_widths=(
            width(dip, "corr_stem.conv"),
            *(width(dip, f"hourglass_fusion.conv{i}.0.conv") for i in (1, 2, 3)),
        ),
        head_width=width(dip, "rgb1.0.conv"),
        head_units=sum(bool(re.fullmatch(r"rgb\.\d+\.res_layer\.1\.weight", key)) for key in dip),
        map_widths=(width(saf, "conv_layer1.0"), width(saf, "semantic.0.conv")),
        shift_width=channels,
        shift_side=math.isqrt(rows * w_dim // channels),
    )


def prediction_name(name: str) -> str:
    if match := re.fullmatch(r"(photo|reconstruction)\.levels\.(\d\.\d)\.(.+)", name):
        return f"feature{1 if match[1] == 'photo' else 2}.{PICTURE[match[2]]}.{_unit(match[3])}"
    if match := re.fullmatch(r"up\.steps\.(\d)\.(up|mix)\.(.+)", name):
        step = ("deconv2_1", "deconv4_2", "deconv8_4")[int(match[1])]
        return f"feature_up.{step}.{'conv1' if match[2] == 'up' else 'conv2'}.{_unit(match[3])}"
    if match := re.fullmatch(r"hourglass\.(\w+)\.(.+)", name):
        return f"hourglass_fusion.{_hourglass(match[1], match[2])}"
    if match := re.fullmatch(r"head\.(\d+)\.(.+)", name):
        index = int(match[1])
        return f"rgb1.{index}.{_unit(match[2])}" if index < 4 else f"rgb.{index - 4}.{ir_unit(match[2])}"
    if match := re.fullmatch(r"match\.1\.(\w+)", name):
        return f"desc.{match[1]}"
    module, _, rest = name.rpartition(".conv." if ".conv." in name else ".norm.")
    theirs = {"up.last": "feature_up.conv4", "match.0": "conv", "enter": "corr_stem"}
    return f"{theirs[module]}.{'conv' if '.conv.' in name else 'bn'}.{rest}"


def _hourglass(part: str, rest: str) -> str:
    if part == "last":
        return f"conv1_up.conv.{rest}"
    index, rest = int(rest[0]), _unit(rest[2:])
    if part == "down":
        return f"conv{index + 1}.{rest}"
    if part == "up":
        return f"conv{index + 2}_up.{rest}"
    if part == "mix":
        return f"agg_{1 - index}.{rest}"
    inner, _, rest = rest.partition(".")
    return f"CGF_{8 << index}.{ {'context': 'semantic', 'attention': 'att', 'mix': 'agg'}[inner] }.{rest}"


def compensation_name(name: str) -> str:
    if match := re.fullmatch(r"feature\.down\.(\d)\.(\d)\.(.+)", name):
        return f"semantic.{2 * int(match[1]) + int(match[2])}.{_unit(match[3])}"
    if match := re.fullmatch(r"code\.shift\.(\d)\.(\w+)", name):
        return f"condition_shift3.{2 * int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"(feature|code)\.(\w+)\.(.+)", name):
        theirs = {"enter": "conv_layer1", "attention": "att", "rows": "sen", "gamma": "att", "beta": "att2"}
        return f"{'aff1d.' if match[1] == 'code' else ''}{theirs[match[2]]}.{_unit(match[3])}"
    return {"code.shift_bias": "condition_shift3.2.bias"}[name]


def _unit(name: str) -> str:
    return name.replace("norm.", "bn.")


def _at(starts: tuple[str, ...]) -> list[str]:
    return [f"^(?:{start})" for start in starts]
