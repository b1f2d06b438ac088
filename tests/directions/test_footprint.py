"""A footprint is where an edit changes pictures, and not where it only moves them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from gradstyle.bundles import Bundle, Slider
from gradstyle.directions.footprint import footprint_of, put_footprints
from gradstyle.edits import Edit
from gradstyle.motion import sampled
from gradstyle.stylegan2 import Codes
from tests.support import tiny


class Painter:
    """Stands for a generator: its first code lights a spot on the left, its second moves all of the picture."""

    def sample(self, count: int, truncation: float, seed: int) -> Codes:
        return Codes(torch.zeros(count, 1, 2))

    def __call__(self, codes: Codes) -> Tensor:
        random = torch.Generator().manual_seed(0)
        scene = F.interpolate(torch.rand(1, 3, 8, 8, generator=random) - 0.5, (64, 64), mode="bicubic")
        spot = torch.zeros(1, 1, 64, 64)
        spot[..., 24:40, 18:30] = 1
        light, shift = codes.w[:, 0, 0], codes.w[:, 0, 1]
        offset = torch.stack([0.03 * shift, 0 * shift], dim=1)[:, :, None, None].expand(-1, -1, 64, 64)
        return sampled(scene.expand(len(codes), -1, -1, -1), offset) + 0.4 * light[:, None, None, None] * spot


def test_it_lies_where_the_edit_acts() -> None:
    found = footprint_of(Painter(), Edit("light", torch.tensor([[1.0, 0.0]])))  # type: ignore[arg-type]
    assert found.shape == (32, 32) and found.max() == 1 and found.min() >= 0
    assert found[13:19, 10:14].min() > 0.4 > 4 * found[:, 20:].max()


def test_motion_alone_leaves_none() -> None:
    both = footprint_of(Painter(), Edit("both", torch.tensor([[1.0, 0.6]])))  # type: ignore[arg-type]
    assert both[13:19, 10:14].mean() > 3 * both[6:26, 20:28].mean()


def test_a_bundles_footprints_are_kept_and_poses_have_none() -> None:
    bundle = Bundle("tiny")
    bundle.put("generator", tiny.generator())
    width = bundle.config("generator").w_dim
    smile, yaw = (Edit(name, torch.randn(1, width), generator=bundle.fingerprint) for name in ("smile", "yaw"))
    bundle.put_edits({"smile": smile, "yaw": yaw}, {"smile": Slider(-1, 1), "yaw": Slider(-1, 1, "pose")})
    put_footprints(bundle)
    edits = bundle.edits
    assert edits["smile"].footprint is not None and edits["yaw"].footprint is None
    assert edits["yaw"].turns and not edits["smile"].turns
    assert torch.equal(replace(smile).w, edits["smile"].w)  # type: ignore[arg-type]
