"""StyleRes's released checkpoint: E1 and E2 lie inside the generator's block that they read and write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn

from ..blueprint import blueprint
from ..methods.styleres import ResidualEncoder, ResidualTransform, StyleResConfig
from .names import Mismatch, take

PLACES = {
    "e1.first": "alignment.first_layer",
    "e1.unit": "alignment.conv1.0",
    "e1.out": "alignment.out_layer",
    "e1.extract": "extraction.first_layer",
    "e1.extraction": "extraction.convs",
    "e2.reduce_feature": "gates.down1",
    "e2.reduce_residual": "gates.down2",
    "e2.delta": "gates.convs",
    "e2.gate": "gates.convs2",
}
INSIDE = {"conv0": "res_layer.0", "conv1": "res_layer.2", "shortcut": "shortcut_layer.0"}


def convert(sections: Mapping[str, Mapping[str, Tensor]]) -> tuple[StyleResConfig, dict[str, Tensor], list[str]]:
    """Config, the method's own weights under our names, and notes on what was left out."""
    published = sections.get("generator_smooth")
    if not published:
        raise Mismatch(f"a StyleRes checkpoint has the section generator_smooth, this one has {sorted(sections)}")
    parts = {key: tensor for key, tensor in published.items() if ".modify_feature_" in key}
    sides = {int(match[1]) for key in parts if (match := re.match(r"synthesis\.b(\d+)\.modify_feature_", key))}
    if len(sides) != 1:
        raise Mismatch(f"StyleRes embeds features in one block of its generator_smooth, found {sorted(sides)}")
    prefix = f"synthesis.b{sides.pop()}.modify_feature_"
    try:
        config, tap_width, feature_width = _shapes(parts, prefix)
        with blueprint():
            e1 = ResidualEncoder(config, tap_width, feature_width)
            own = nn.ModuleDict({"e1": e1, "e2": ResidualTransform(config, feature_width)})
    except KeyError as error:
        raise Mismatch(f"1 missing: {error.args[0]}") from None
    except (ValueError, RuntimeError) as error:
        raise Mismatch(f"no StyleRes has these shapes: {error}") from None
    unused = rf"^{re.escape(prefix)}alignment\.dconv{config.halvings + 1}\."
    state = take(own, parts, lambda name: prefix + _name(name), [unused])
    left = len(parts) - len(state)
    return config, state, [f"{left} weights that no pass uses were left out"] if left else []


def _shapes(parts: Mapping[str, Tensor], prefix: str) -> tuple[StyleResConfig, int, int]:
    """The config and the widths of the encoder's and the generator's feature."""

    def count(pattern: str) -> int:
        return sum(bool(re.fullmatch(re.escape(prefix) + pattern, key)) for key in parts)

    first = parts[f"{prefix}alignment.first_layer.weight"]
    reduce = parts[f"{prefix}gates.down1.weight"]
    side = int(prefix.split(".")[1][1:])
    config = StyleResConfig(
        layer=2 * int(math.log2(side)) - 5,  # the upsampling convolution into that many pixels
        width=first.shape[0],
        halvings=count(r"alignment\.conv\d+\.0\.res_layer\.0\.weight") - 1,
        extraction_units=count(r"extraction\.convs\.\d+\.res_layer\.0\.weight"),
        reduced=reduce.shape[0],
        branch_units=count(r"gates\.convs\.\d+\.res_layer\.0\.weight"),
    )
    return config, first.shape[1] - reduce.shape[1], reduce.shape[1]


def _name(name: str) -> str:
    name = re.sub(r"\.(conv0|conv1|shortcut)\.", lambda match: f".{INSIDE[match[1]]}.", name)
    if match := re.fullmatch(r"e1\.(down|up)\.(\d+)\.(.+)", name):
        step = int(match[2])
        place = f"alignment.conv{step + 2}" if match[1] == "down" else f"alignment.dconv{step + 1}"
        return f"{place}.{match[3]}"
    encoder, module, rest = name.split(".", 2)
    return f"{PLACES[f'{encoder}.{module}']}.{rest}"
