"""HFGI's released modules: `grid_align` is our aligner, `residue` our consultation."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..blueprint import blueprint
from ..methods.hfgi import Aligner, Consultation, HFGIConfig
from .names import Mismatch, ir_unit, take


def convert(sections: Mapping[str, Mapping[str, Tensor]]) -> tuple[HFGIConfig, dict[str, Tensor], list[str]]:
    """Config, the method's own weights under our names, and notes for the reader."""
    absent = [name for name in ("grid_align", "residue") if not sections.get(name)]
    if absent:
        raise Mismatch(f"an HFGI checkpoint has the sections grid_align and residue, this one lacks {absent}")
    theirs = {"aligner": sections["grid_align"], "consultation": sections["residue"]}
    config = HFGIConfig(
        aligner_widths=_widths(theirs["aligner"]),
        consultation_widths=_widths(theirs["consultation"]),
        units=_count(theirs["aligner"], r"conv_layer2\.(\d+)\.res_layer\.1\.weight"),
    )
    scale = theirs["consultation"].get("condition_scale3.2.weight")
    if scale is None:
        raise Mismatch("1 missing: residue's condition_scale3.2.weight")
    with blueprint():
        ours = {
            "aligner": Aligner(config.aligner_widths, config.units),
            "consultation": Consultation(config.consultation_widths, config.units, scale.shape[0]),
        }
    state: dict[str, Tensor] = {}
    for name, module in ours.items():
        taken = take(module, theirs[name], _rename)
        state |= {f"{name}.{key}": tensor for key, tensor in taken.items()}
    return config, state, []


def _rename(name: str) -> str:
    if match := re.fullmatch(r"stem\.(conv|norm|act)\.(.+)", name):
        return f"conv_layer1.{('conv', 'norm', 'act').index(match[1])}.{match[2]}"
    if match := re.fullmatch(r"downs\.(\d+)\.(\d+)\.(.+)", name):
        return f"conv_layer{int(match[1]) + 2}.{match[2]}.{ir_unit(match[3])}"
    if match := re.fullmatch(r"ups\.(\d+)\.units\.(\d+)\.(.+)", name):
        return f"dconv_layer{int(match[1]) + 1}.{match[2]}.{ir_unit(match[3])}"
    branch, _, rest = name.partition(".")
    theirs = {"hidden.weight": "0.weight", "hidden.bias": "0.bias", "out.weight": "2.weight", "bias": "2.bias"}
    return f"condition_{branch}3.{theirs[rest]}"


def _widths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """What the stem and then each level on the way down give."""
    levels = _count(state, r"conv_layer(\d+)\.0\.res_layer\.1\.weight", first=2)
    names = ["conv_layer1.0.weight", *[f"conv_layer{i + 2}.0.res_layer.1.weight" for i in range(levels)]]
    missing = [name for name in names if name not in state]
    if missing or not levels:
        raise Mismatch(f"missing: {', '.join(missing) or 'conv_layer2'}")
    return tuple(state[name].shape[0] for name in names)


def _count(state: Mapping[str, Tensor], pattern: str, first: int = 0) -> int:
    numbers = [int(match[1]) for key in state if (match := re.fullmatch(pattern, key))]
    return max(numbers, default=first - 1) - first + 1
