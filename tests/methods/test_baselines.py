"""What costs nothing: pasted where it was, or carried along. What all methods owe stands in test_contract.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gradstyle.edits import Edit
from gradstyle.encoder.e4e import fit
from gradstyle.methods import BASELINES, Method
from gradstyle.methods.baselines import Paste, between
from gradstyle.motion import motion_along
from gradstyle.stylegan2 import Codes
from tests.support import tiny


@pytest.fixture(params=BASELINES)
def method(request: pytest.FixtureRequest) -> Method[Any]:
    return tiny.method(request.param)


@torch.inference_mode()
def test_no_edit_is_the_photo_itself(method: Method[Any]) -> None:
    photo = tiny.photos(side=64)
    assert torch.equal(method.render(method.invert(photo)), fit(photo, 32))


@torch.inference_mode()
def test_what_the_codes_lack_is_pasted() -> None:
    method, photo, edit = tiny.method("paste"), tiny.photos(side=32), tiny.an_edit()
    codes = method.encoder(photo)[0]
    before, after = (method.generator(each).clamp(-1, 1) for each in (codes, edit.apply(codes)))
    wanted = after + photo - before
    torch.testing.assert_close(method.render(method.invert(photo), edit), wanted, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_what_the_codes_hold_is_edited_as_the_generator_does(method: Method[Any]) -> None:
    """Of a picture whose codes are known there is nothing to carry."""
    codes, edit = Codes(torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(1))), tiny.an_edit()
    drawn = method.render(method.invert(method.generator(codes).clamp(-1, 1), codes), edit)
    torch.testing.assert_close(drawn, method.generator(edit.apply(codes)).clamp(-1, 1), rtol=0, atol=1e-5)


class Shifting(torch.nn.Module):
    """Stands for a generator: a soft picture, that the first number of a code moves to the right by so many pixels."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.config, self.fingerprint, self.style_widths = like.config, "", like.style_widths
        self.scene = F.interpolate(tiny.photos(1, 8), (96, 96), mode="bicubic")

    def forward(self, codes: Codes) -> Tensor:
        return torch.cat([moved(self.scene, float(w[0, 0])) for w in codes.w])


def moved(scene: Tensor, pixels: float) -> Tensor:
    """The middle third of a picture that is moved to the right."""
    at = (torch.arange(32) + 32.5 - pixels) / 48 - 1
    down = (torch.arange(32) + 32.5) / 48 - 1
    grid = torch.stack([at.expand(32, -1), down[:, None].expand(-1, 32)], dim=-1)[None]
    return F.grid_sample(scene, grid, mode="bicubic", align_corners=False)


@torch.inference_mode()
def test_what_the_codes_lack_goes_with_the_motion() -> None:
    """Of a picture that moves as a whole, a mark that the codes lack moves with it, where `paste` leaves it."""
    mark = torch.zeros(1, 3, 96, 96)
    mark[..., 44:52, 44:52] = 0.5
    methods = {name: tiny.method(name) for name in BASELINES}
    scene = Shifting(methods["paste"].generator)
    codes, edit = Codes(torch.zeros(1, 8, 32)), Edit("right", F.one_hot(torch.zeros(8).long(), 32).float())
    photo, truth = moved(scene.scene + mark, 0), moved(scene.scene + mark, 4)
    far = {}
    for name, made in methods.items():
        made.generator = scene
        inversion = made.invert(photo, codes)
        far[name] = float((made.render(inversion, 4 * edit) - truth).square().mean())
    assert far["carried"] < 0.2 * far["paste"]


@torch.inference_mode()
def test_carried_is_as_its_equation_says() -> None:
    method, photo, edit = tiny.method("carried"), tiny.photos(side=32), tiny.an_edit()
    codes = method.encoder(photo)[0]
    path = torch.stack([method.generator((step / 6 * edit).apply(codes)).clamp(-1, 1) for step in range(7)])
    motion = motion_along(path)
    wanted = path[-1] + motion.carry(photo - path[0]) * motion.visible
    drawn = method.render(method.invert(photo), edit)
    assert (
        tiny.far(drawn, wanted) < 1e-3
        and tiny.far(Paste.render_codes(method, method.invert(photo), edit.apply(codes)), wanted) > 0.01
    )


def test_the_way_between_codes_reaches_both_ends() -> None:
    random = torch.Generator().manual_seed(0)
    plain = Codes(torch.randn(2, 8, 32, generator=random))
    styled = Codes(torch.randn(2, 8, 32, generator=random), torch.randn(2, 5, generator=random))
    for start, end in ((plain, styled), (styled, plain), (plain, plain)):
        assert torch.equal(between(start, end, 0.0).w, start.w) and torch.equal(between(start, end, 1.0).w, end.w)
        middle = between(start, end, 0.25)
        torch.testing.assert_close(middle.w, 0.75 * start.w + 0.25 * end.w)
        zero = torch.zeros(2, 5)
        s, to = (zero if each.s is None else each.s for each in (start, end))
        assert (middle.s is None) == (start.s is None and end.s is None)
        torch.testing.assert_close(zero if middle.s is None else middle.s, 0.75 * s + 0.25 * to)


def test_there_is_nothing_to_learn(method: Method[Any]) -> None:
    assert not method.own_state()
    with pytest.raises(ValueError, match=f"{method.name} is a baseline, which has nothing to learn"):
        method.training_loss(tiny.photos(), tiny.context())
