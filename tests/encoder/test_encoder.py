"""e4e: which map gives which code, at any size, depth and width."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gradstyle.blueprint import blueprint
from gradstyle.encoder import Encoder, EncoderConfig, Taps
from gradstyle.encoder.e4e import fit
from gradstyle.published import names
from tests.support import tiny
from tests.support.interop import load_manifest

TINY = tiny.ENCODER  # 64 px, 8 codes: 0-2 from c3, 3-4 from p2, 5-7 from p1
MAPS = ("c0", "c1", "c2", "c3", "p1", "p2")


def made(config: EncoderConfig = TINY, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    encoder = Encoder(config)
    encoder.mean_codes.normal_()
    return tiny.shake(encoder).eval()


# ---- shapes


@pytest.mark.parametrize("size", [16, 40, 64, 100, 128])
@torch.inference_mode()
def test_maps_and_codes_of_any_input_size(size: int) -> None:
    config = replace(TINY, input_size=size)
    encoder = made(config)
    codes, taps = encoder(tiny.photos(2, size))
    assert list(codes.w.shape) == [2, 8, 32] and codes.s is None
    for name in MAPS:
        assert list(taps[name].shape) == [2, config.width(name), config.side(name), config.side(name)], name
    assert [config.width(name) for name in MAPS] == [8, 16, 32, 64, 64, 64]
    assert torch.isfinite(codes.w).all()


@pytest.mark.parametrize("codes", [6, 8, 10, 12, 14, 16, 18])
@torch.inference_mode()
def test_any_number_of_codes(codes: int) -> None:
    config = EncoderConfig(codes, 24, 32, (1, 1, 1, 1), (4, 8, 12, 16), 16, 8)
    encoder = made(config)
    assert list(encoder(tiny.photos(1, 32))[0].w.shape) == [1, codes, 24]
    assert [config.tap_of(i) for i in range(codes)] == (["c3"] * 3 + ["p2"] * 4 + ["p1"] * 11)[:codes]


@pytest.mark.parametrize(("units", "widths"), [((1, 1, 1, 1), (4, 4, 4, 8)), ((2, 1, 3, 2), (16, 8, 24, 12))])
@torch.inference_mode()
def test_other_depths_and_widths(units: tuple[int, ...], widths: tuple[int, ...]) -> None:
    config = replace(TINY, units=units, widths=widths, feature_width=widths[3])
    encoder = made(config)
    assert [len(body) for body in encoder.backbone.bodies] == list(units)
    taps = encoder.features(tiny.photos(1))
    assert [taps[name].shape[1] for name in MAPS] == [*widths, widths[3], widths[3]]


def test_the_defaults_are_the_published_encoder() -> None:
    config = EncoderConfig()
    with blueprint():
        ours = Encoder(config).state_dict()
    published = {key: entry["shape"] for key, entry in load_manifest("e4e_64")["encoder"].items()}
    rename = names.e4e(config.units)
    for key, value in ours.items():
        theirs = rename(key)
        if theirs in published and not key.startswith("heads."):
            assert list(value.shape) == published[theirs], key
    heads = {key for key in ours if key.startswith("heads.") and key.endswith("linear.weight")}
    assert len(heads) == config.codes == 18
    assert [config.side(name) for name in MAPS] == [128, 64, 32, 16, 64, 32]
    assert 260e6 < sum(value.numel() for value in ours.values()) < 275e6


# ---- codes


@torch.inference_mode()
def test_deltas_are_switched_on_one_at_a_time() -> None:
    encoder = made()
    taps = encoder.features(tiny.photos(2))
    learned = [encoder.codes(taps, deltas=k).w - encoder.mean_codes for k in range(8)]
    everything = encoder.codes(taps).w - encoder.mean_codes
    first = learned[0][:, :1]
    torch.testing.assert_close(learned[0], first.expand(-1, 8, -1))  # w_0 everywhere
    for k in range(8):
        torch.testing.assert_close(learned[k][:, : k + 1], everything[:, : k + 1])
        torch.testing.assert_close(learned[k][:, k + 1 :], first.expand(-1, 7 - k, -1))
    assert not torch.allclose(everything[:, 1:], first.expand(-1, 7, -1), atol=1e-3)


@pytest.mark.parametrize(
    ("tap", "moved"), [("c3", range(8)), ("p2", (3, 4)), ("p1", (5, 6, 7)), ("c0", ()), ("c1", ()), ("c2", ())]
)
@torch.inference_mode()
def test_each_code_is_read_from_its_own_map(tap: str, moved: range | tuple[int, ...]) -> None:
    """c3 gives w_0, on which every code stands; the maps that only the pyramid reads give none themselves."""
    encoder = made()
    taps = encoder.features(tiny.photos(2))
    before = encoder.codes(taps).w
    after = encoder.codes(replace(taps, **{tap: taps[tap] + torch.randn_like(taps[tap])})).w
    changed = [i for i in range(8) if not torch.equal(before[:, i], after[:, i])]
    assert changed == list(moved)
    assert all(torch.allclose(before[:, i], after[:, i], atol=1e-6) for i in range(8) if i not in moved)


@torch.inference_mode()
def test_codes_are_the_first_and_a_delta_and_the_mean() -> None:
    encoder = made()
    taps = encoder.features(tiny.photos(1))
    first = encoder.heads[0](taps.c3)
    codes = encoder.codes(taps).w
    torch.testing.assert_close(codes[:, 0], first + encoder.mean_codes[0])
    torch.testing.assert_close(codes[:, 2], first + encoder.heads[2](taps.c3) + encoder.mean_codes[2])
    torch.testing.assert_close(codes[:, 4], first + encoder.heads[4](taps.p2) + encoder.mean_codes[4])
    torch.testing.assert_close(codes[:, 7], first + encoder.heads[7](taps.p1) + encoder.mean_codes[7])
    encoder.mean_codes.add_(1)
    torch.testing.assert_close(encoder.codes(taps).w, codes + 1)


@torch.inference_mode()
def test_the_pyramid_goes_up_with_its_corners_aligned() -> None:
    encoder = made()
    taps = encoder.features(tiny.photos(1))

    def up(x: torch.Tensor, side: int) -> torch.Tensor:
        return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=True)

    torch.testing.assert_close(taps.p2, up(taps.c3, 8) + encoder.lateral2(taps.c2))
    torch.testing.assert_close(taps.p1, up(taps.p2, 16) + encoder.lateral1(taps.c1))


def test_other_splits_of_coarse_and_fine() -> None:
    config = replace(TINY, coarse=1, middle=1)
    assert [config.tap_of(i) for i in range(3)] == ["c3", "p1", "p1"]
    assert [len(head.convs) for head in Encoder(config).heads[:2]] == [2, 4]  # 4 px and 16 px, down to one


# ---- photos


@torch.inference_mode()
def test_photos_of_other_sizes_are_brought_to_the_input() -> None:
    encoder = made()
    small, large = tiny.photos(1, 32), tiny.photos(1, 192)
    exact = F.avg_pool2d(large, 3)  # the mean of the area that each pixel covers
    torch.testing.assert_close(encoder(large)[0].w, encoder(exact)[0].w, rtol=0, atol=1e-4)
    bilinear = F.interpolate(small, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(encoder(small)[0].w, encoder(bilinear)[0].w)
    assert fit(exact, 64) is exact
    uneven = fit(tiny.photos(1, 100), 64)
    assert list(uneven.shape) == [1, 3, 64, 64]
    torch.testing.assert_close(uneven.mean(), tiny.photos(1, 100).mean(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (1, 1, 64, 64), (1, 4, 64, 64), (3, 64, 64), (64, 64)])
def test_what_is_no_square_rgb_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"photos are square RGB, \[N, 3, side, side\] in \[-1, 1\], got \["):
        made()(torch.zeros(shape))


@torch.inference_mode()
def test_bfloat16_is_close() -> None:
    whole, half = made(), made().to(torch.bfloat16)
    photos = tiny.photos(4)
    codes, taps = half(photos)
    assert taps.p1.dtype == torch.bfloat16 and codes.w.dtype == torch.float32
    wanted = whole(photos)[0].w
    assert tiny.far(codes.w - half.mean_codes.float(), wanted - whole.mean_codes) < 0.05


@torch.inference_mode()
def test_a_photo_does_not_depend_on_its_neighbours() -> None:
    encoder, photos = made(), tiny.photos(4)
    together = encoder(photos)[0].w
    for i in range(4):
        torch.testing.assert_close(encoder(photos[i : i + 1])[0].w, together[i : i + 1], rtol=0, atol=1e-4)


# ---- learning


def test_every_parameter_learns() -> None:
    encoder = made().train()
    codes, _ = encoder(tiny.photos(3))
    (codes.w * torch.randn_like(codes.w)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_deltas_that_are_off_do_not_learn() -> None:
    encoder = made()
    encoder.codes(encoder.features(tiny.photos(1)), deltas=2).w.square().sum().backward()
    learning = [i for i, head in enumerate(encoder.heads) if head.linear.weight.grad is not None]
    assert learning == [0, 1, 2]


# ---- configs


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input_size": 8}, "input_size must be from 16 to 2048 pixels, got 8"),
        ({"codes": 0}, "codes must be from 1 to 18, got 0"),
        ({"codes": 19}, "got 19"),
        ({"units": (1, 1, 1)}, r"units and widths are four numbers each, got \(1, 1, 1\)"),
        ({"units": (1, 0, 1, 1)}, "four numbers each"),
        ({"feature_width": 32}, r"feature_width 32 must be the last of widths \(8, 16, 32, 64\)"),
        ({"coarse": 0}, "split at 1 <= coarse <= middle, got 0 and 5"),
        ({"coarse": 6}, "got 6 and 5"),
    ],
)
def test_wrong_configs_quote_the_value(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(TINY, **changes)


def test_a_tap_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="the encoder has the taps c0, c1, c2, c3, p2, p1, not 'c4'"):
        TINY.side("c4")
    with pytest.raises(ValueError, match="not 'c4'"):
        TINY.width("c4")
    assert Taps.__dataclass_fields__.keys() == set(MAPS)


NARROW = """
import torch
from gradstyle.encoder.backbone import IRUnit
torch.set_num_threads(1)
torch.manual_seed(0)
unit, photos = IRUnit(4, 6, stride=2), torch.randn(8, 4, 32, 32)
gradients = []
for form in (torch.contiguous_format, torch.channels_last):
    unit.to(memory_format=form)
    for _ in range(20):
        unit.zero_grad()
        unit(photos.contiguous(memory_format=form)).square().sum().backward()
    gradients.append(unit.shortcut[0].weight.grad.flatten())
assert torch.allclose(*gradients, rtol=1e-3, atol=1e-4), gradients
"""


def test_a_narrow_unit_learns_where_there_is_avx2_alone():
    """In a process of its own: what goes wrong there is the heap."""
    narrowed = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", NARROW], env=os.environ | narrowed, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
