"""What changes in a crop arrives in the photo where it belongs, and nothing else does."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gradstyle.photos import Aligned, Face, Paste, Photo, align, aligned_by, find_faces, frame_of, paste
from gradstyle.photos.align import CELEBA
from gradstyle.photos.paste import change_of, moved_of
from tests.support.odd_files import portrait

CELEB = SimpleNamespace(crop="celeba", aspect=(1, 1))
WHOLE = SimpleNamespace(crop="none", aspect=(1, 1))
SIDE = 64


@pytest.fixture(scope="module")
def photo() -> Photo:
    return Photo(np.asarray(portrait().resize((900, 900), Image.Resampling.LANCZOS)))


@pytest.fixture(scope="module")
def crop(photo: Photo) -> Aligned:
    return align(photo, find_faces(photo.pixels)[0], CELEB, 256)


def drawn(crop: Aligned, side: int = SIDE) -> Tensor:
    """Stands for the rendering without edits: the crop as a generator of `side` pixels would have it."""
    return F.interpolate(crop.image, size=(side, side), mode="area")[0]


def disc(x: float, y: float, radius: float, side: int = SIDE) -> Tensor:
    """How much of each pixel a disc covers, [side, side]."""
    finer = (torch.arange(side * 8) + 0.5) / 8 - 0.5
    inside = ((finer[None, :] - x) ** 2 + (finer[:, None] - y) ** 2 < radius**2).float()
    return F.avg_pool2d(inside[None, None], 8)[0, 0]


def painted(image: Tensor, colour: Any, cover: Tensor) -> Tensor:
    return image * (1 - cover) + torch.tensor(colour, dtype=torch.float32)[:, None, None] * cover


def somewhere(seed: int) -> tuple[Photo, Aligned]:
    """A soft scene, a face's landmarks in it at any turn, size and place, and its crop."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(180, 420, 2).tolist()
    coarse = Image.fromarray(rng.integers(60, 190, (9, 11, 3)).astype(np.uint8))
    photo = Photo(np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)))
    size, angle = float(rng.uniform(50, 0.9 * min(width, height))), float(rng.uniform(-np.pi, np.pi))
    points = np.full((68, 2), 0.5) + rng.normal(0, 0.05, (68, 2))
    points[36:42], points[42:48], points[48], points[54] = CELEBA
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * size
    reach = 0.25 * size  # of what is painted, and the crop may hang over the edge beyond it
    centre = rng.uniform([reach, reach], [width - reach, height - reach])
    points = (points - 0.5) @ turn + centre
    face = Face((*(points.min(axis=0)), *(points.max(axis=0))), points, 1.0)
    return photo, align(photo, face, CELEB, 256)


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_a_painted_change_arrives_where_it_belongs(first: int) -> None:
    for seed in range(first, first + 50):
        photo, crop = somewhere(seed)
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(0.37, 0.63, 2) * SIDE - 0.5
        radius, colour = rng.uniform(4, 8), rng.choice([-0.95, 0.9, 0.1], 3)
        before = drawn(crop)
        out = paste(photo, crop, before, painted(before, colour, disc(x, y, radius)))
        change = out.pixels.astype(float) - photo.pixels
        rows, columns = np.mgrid[0 : photo.size[1], 0 : photo.size[0]]
        points = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(float)
        away = np.hypot(*(crop.frame.to_crop(points, SIDE) - (x, y)).T).reshape(rows.shape)  # in the crop's pixels

        goal = np.asarray((np.array(colour) + 1) * 127.5)
        well_inside = away < radius - 2.5
        assert np.abs(out.pixels[well_inside].mean(axis=0) - goal).max() < 2, seed
        # The centre of how far each pixel went towards the colour: where the photo was near it, that says little.
        ways = ((change * (goal - photo.pixels)).sum(-1) / np.square(goal - photo.pixels).sum(-1)).clip(0, 1)
        ways = np.where(away < radius + 4, ways, 0)
        centre = np.array([(ways * columns).sum(), (ways * rows).sum()]) / ways.sum()
        assert np.hypot(*(crop.frame.to_crop(centre[None], SIDE)[0] - (x, y))) < 0.5, seed
        assert (change[away > radius + 5] == 0).all(), seed
        assert (change[away < radius + 5] != 0).any()


def test_where_the_mask_is_zero_each_bit_stays(photo: Photo, crop: Aligned) -> None:
    """Any change at all, even noise: the photo outside the mask is the photo, and the crop's edges are in no mask."""
    noise = np.random.default_rng(0).integers(0, 256, photo.pixels.shape).astype(np.uint8)
    noisy = replace(photo, pixels=noise)  # where the slightest change would show
    before = drawn(crop)
    after = torch.rand(before.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for detail in ("auto", "keep", "crop"):
        how = Paste(detail=detail)
        change = change_of(noisy, crop, before, after, how)
        assert change is not None
        out = paste(noisy, crop, before, after, how).pixels
        rows, columns = np.mgrid[0:900, 0:900]
        where = crop.frame.to_crop(np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(float), 256).round()
        inside = ((where >= 0) & (where < 256)).all(axis=1)
        x, y = where.clip(0, 255).astype(int).T
        near = F.max_pool2d(change.mask[None], 5, 1, 2)[0, 0].numpy() > 0
        free = ~(inside & near[y, x]).reshape(rows.shape)
        assert 0.3 < free.mean() < 0.9 and np.array_equal(out[free], noise[free])
        assert (out != noise)[~free].mean() > 0.8
        assert not change.mask[0, [0, -1]].any() and not change.mask[0, :, [0, -1]].any()


def test_no_change_is_the_photo_itself(photo: Photo, crop: Aligned) -> None:
    before = drawn(crop)
    for detail in ("auto", "keep", "crop"):
        assert paste(photo, crop, before, before.clone(), Paste(detail=detail)) is photo
    assert np.array_equal(paste(photo, crop, before, before + 1e-6).pixels, photo.pixels)  # nor is a vanishing one seen


def test_detail_stays_where_structure_stayed(photo: Photo, crop: Aligned) -> None:
    """A cheek is tinted: what is finer than the rendering's pixels is the photo's, and the colour is the change's."""
    before = drawn(crop)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    bump = torch.from_numpy(np.exp(-((x - 22) ** 2 + (y - 40) ** 2) / 2 / 7**2)).float()
    out = paste(photo, crop, before, before + torch.tensor([-0.2, -0.1, 0.0])[:, None, None] * bump)
    centre = crop.frame.to_photo(np.array([[22.0, 40.0]]), SIDE)[0].round().astype(int)
    part = np.s_[centre[1] - 25 : centre[1] + 25, centre[0] - 25 : centre[0] + 25]
    new, old = out.pixels[part].astype(float), photo.pixels[part].astype(float)
    unclipped = (new > 0) & (new < 255)
    assert np.abs((new - old - np.array([-25.5, -12.75, 0])) * unclipped).max() < 4


def test_the_crop_itself_is_put_where_structure_moved(photo: Photo, crop: Aligned) -> None:
    """The mouth sinks: its old lines go with it, unless all of the photo's detail is to be kept."""
    before = drawn(crop)
    after = before.clone()
    after[:, 50:60, 18:46] = before[:, 43:53, 18:46]  # the mouth, seven pixels lower
    after[:, 43:50, 18:46] = before[:, 40:43, 18:46].mean(dim=(1, 2), keepdim=True)  # a cheek's skin
    ghosts = {}
    for detail in ("auto", "keep"):
        out = paste(photo, crop, before, after, Paste(detail=detail))
        seen = align(out, crop.face, CELEB, 256).pixels[178:196, 100:156].astype(float)  # where lips were
        ghosts[detail] = np.abs(np.diff(seen, axis=0)).mean()
    assert ghosts["auto"] < 0.7 * ghosts["keep"]


def test_moved_is_what_went_not_what_became_lighter_or_came() -> None:
    x = np.mgrid[0:SIDE, 0:SIDE][1]
    stripes = torch.from_numpy(np.where(x % 16 < 8, 100.0, 150.0)).float().expand(1, 3, -1, -1)
    flat = torch.full_like(stripes, 125)

    def moved(before: Tensor, after: Tensor) -> float:
        return float(moved_of(before, after, Paste())[..., 8:-8, 8:-8].mean())

    assert moved(stripes, stripes) == 0
    assert moved(stripes, stripes + 40) < 0.01  # lighter
    assert moved(stripes, (stripes - 125) * 1.8 + 125) < 0.01  # stronger
    assert moved(flat, stripes) < 0.01  # it came: nothing stale is there
    assert moved(stripes, stripes.roll(4, dims=-1)) > 0.4 and moved(stripes, flat) > 0.4  # at their edges
    assert moved(stripes, 250 - stripes) > 0.4


def test_the_crop_takes_the_photos_colours(photo: Photo, crop: Aligned) -> None:
    """With a rendering that is darker all over, the crop put in its place has no seam."""
    before = drawn(crop) - 0.15
    after = painted(before, (0.0, 0.0, 0.0), disc(31.5, 30, 3))
    out = paste(photo, crop, before, after, Paste(detail="crop"))
    here = align(out, crop.face, CELEB, SIDE).pixels.astype(float) - align(photo, crop.face, CELEB, SIDE).pixels
    far = (disc(31.5, 30, 14) == 0).numpy()
    blocks = F.avg_pool2d(torch.from_numpy(here * far[..., None]).permute(2, 0, 1)[None], 8)
    assert blocks.abs().max() < 6 and np.abs(np.diff(blocks.numpy(), axis=-1)).max() < 8  # 19 without


def test_beyond_the_face_a_change_must_be_of_what_the_photo_shows(photo: Photo, crop: Aligned) -> None:
    before = drawn(crop)
    hair = disc(8, 12, 4)
    after = painted(before, (-0.9, 0.9, -0.9), hair)

    def greens(before: Tensor, after: Tensor) -> float:
        out = align(paste(photo, crop, before, after), crop.face, CELEB, SIDE).pixels.astype(int)
        return float((out[..., 1] - out[..., 0] > 60)[hair.numpy() > 0.99].mean())

    assert greens(before, after) == 1
    elsewhere = torch.where(disc(8, 12, 9) > 0, before.flip(1) * 0.3 + 0.6, before)  # what is drawn there is not there
    assert greens(elsewhere, painted(elsewhere, (-0.9, 0.9, -0.9), hair)) == 0


def test_a_whole_photo_is_pasted_up_to_its_edges() -> None:
    """There is no seam at a photo's own edge; in an aspect that cuts, there is one at the cut."""
    pixels = np.asarray(portrait().resize((120, 80)))
    for domain, fades in ((SimpleNamespace(crop="none", aspect=(3, 2)), False), (WHOLE, True)):
        crop = align(Photo(pixels), None, domain, 64)
        before = drawn(crop, 64)
        out = paste(Photo(pixels), crop, before, before + 0.3).pixels.astype(int) - pixels
        free = pixels.max(axis=-1) < 200
        changed = np.where(free, out.mean(axis=-1), np.nan)
        assert np.nanmin(changed[:2, 40:80]) > 28 and np.nanmin(changed[-2:, 40:80]) > 28
        if fades:
            assert not out[:, :20].any() and not out[:, 100:].any()
        else:
            assert np.nanmin(changed[:, :2]) > 28 and np.nanmin(changed[:, -2:]) > 28


@pytest.mark.parametrize("side", [32, 64, 512])
def test_large_and_small_faces(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces smaller than the rendering, and bands of a larger photo, show what one band shows."""
    photo = Photo(np.asarray(portrait()))
    face = find_faces(photo.pixels)[0]
    crop = align(photo, face, CELEB, 64)
    before = drawn(crop, side)
    after = painted(before, (0.9, -0.9, 0.0), disc(0.5 * side - 0.5, 0.6 * side, 0.1 * side, side))
    out = paste(photo, crop, before, after)
    monkeypatch.setattr(sys.modules["gradstyle.photos.paste"], "BAND", 5000)
    banded = paste(photo, crop, before, after).pixels
    assert np.abs(banded.astype(int) - out.pixels).max() <= 1  # where a sum in another order is rounded otherwise
    where = crop.frame.to_photo(np.array([[0.5 * side - 0.5, 0.6 * side]]), side)[0].round().astype(int)
    assert np.abs(out.pixels[where[1], where[0]].astype(float) - (242, 13, 127.5)).max() < 6


def test_a_face_is_outlined_once_for_all_edits_of_its_crop(
    photo: Photo, crop: Aligned, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, found = sys.modules[change_of.__module__], list[int]()
    hull = module.hull
    monkeypatch.setattr(module, "hull", lambda points, side: (found.append(side), hull(points, side))[1])
    own, before = replace(crop), drawn(crop)
    pasted = [paste(photo, own, before, before + change) for change in (0.2, -0.1)]
    assert found == [256, 256]  # the face, and with the forehead
    paste(photo, own, before, before + 0.2, Paste(feather=0.05))
    assert len(found) == 4
    for change, whole in zip((0.2, -0.1), pasted):
        assert np.array_equal(paste(photo, replace(crop), before, before + change).pixels, whole.pixels)
    held = len(module._OUTLINES)
    del own
    assert len(module._OUTLINES) == held - 1  # it goes with the crop


def test_frames_of_ones_own(photo: Photo, crop: Aligned) -> None:
    assert crop.face is not None
    again = aligned_by(photo, frame_of(crop.face.landmarks, "celeba"), 256, crop.face)
    assert np.array_equal(again.pixels, crop.pixels)


def test_wrong_renderings_are_named(photo: Photo, crop: Aligned) -> None:
    image = drawn(crop)
    with pytest.raises(ValueError, match=r"a rendering is \[3, side, side\], got \[1, 1, 64, 64\]"):
        paste(photo, crop, image[:1], image)
    with pytest.raises(ValueError, match="two renderings of one crop are of one size"):
        paste(photo, crop, image, drawn(crop, 32))
    with pytest.raises(ValueError, match="detail is one of auto, keep, crop, got 'none'"):
        Paste(detail="none")  # type: ignore[arg-type]
