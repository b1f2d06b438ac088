"""Faces are found and cut as the training photos were, and every point finds its way back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradstyle.photos import Face, Frame, Photo, align, face_at, find_faces, frame_of
from gradstyle.photos.align import CELEBA, cut, inside
from gradstyle.photos.portraits import astronaut
from tests.support.odd_files import portrait

FFHQ = SimpleNamespace(crop="ffhq", aspect=(1, 1))
CELEB = SimpleNamespace(crop="celeba", aspect=(1, 1))
DATA = Path(__file__).parents[1] / "data"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def face() -> Face:
    (found,) = find_faces(np.asarray(portrait()))
    return found


def published_ffhq(points: Any) -> Any:
    """The quad of FFHQ's authors, step by step, from the landmarks that they name."""
    eye_left, eye_right = np.mean(points[36:42], axis=0), np.mean(points[42:48], axis=0)
    eye_avg, eye_to_eye = (eye_left + eye_right) * 0.5, eye_right - eye_left
    mouth = points[48:60]
    eye_to_mouth = (mouth[0] + mouth[6]) * 0.5 - eye_avg
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = eye_avg + eye_to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


def turned(points: Any, angle: float, scale: float, shift: Any) -> Any:
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    return points @ np.array([[c, s], [-s, c]]) + shift


def test_ffhq_is_cut_by_the_published_formula(face: Face) -> None:
    for _ in range(200):
        points = turned(face.landmarks, RNG.uniform(-np.pi, np.pi), RNG.uniform(0.2, 20), RNG.uniform(-500, 4000, 2))
        points = points + RNG.normal(0, 2, points.shape)  # faces differ: either line may say the larger square
        assert np.abs(frame_of(points, "ffhq").quad - published_ffhq(points)).max() < 0.1


def test_celeba_puts_eyes_and_mouth_where_its_photos_have_them(face: Face) -> None:
    exact = np.zeros((68, 2))
    exact[36:42], exact[42:48], exact[48], exact[54] = CELEBA * 128 - 0.5
    for _ in range(50):
        angle, scale, shift = RNG.uniform(-np.pi, np.pi), RNG.uniform(0.2, 20), RNG.uniform(-500, 4000, 2)
        frame = frame_of(turned(exact, angle, scale, shift), "celeba")
        corners = turned(np.array([[-0.5, -0.5], [-0.5, 127.5], [127.5, 127.5], [127.5, -0.5]]), angle, scale, shift)
        np.testing.assert_allclose(frame.quad, corners, atol=1e-6 * scale * 128)
    seen = frame_of(face.landmarks, "celeba").to_crop(face.landmarks, 128)
    points = np.stack([seen[36:42].mean(axis=0), seen[42:48].mean(axis=0), seen[48], seen[54]])
    assert np.abs((points + 0.5) / 128 - CELEBA).max() < 0.05  # a face that is no mean face


def test_celebas_crop_lies_in_ffhqs_where_the_rules_say() -> None:
    """Eyes and mouth where CelebA's crop has them, seen in the wider one, ask by FFHQ's rule for that one's square."""
    left, top, right, bottom = inside("celeba", "ffhq")
    points = np.array([left, top]) + CELEBA * np.array([right - left, bottom - top])
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48], landmarks[48], landmarks[54] = points
    frame = frame_of(landmarks, "ffhq")
    assert frame.side == pytest.approx(1, abs=0.05)  # of mean landmarks: the mean of all faces' squares is larger
    assert frame.corner == pytest.approx([0, 0], abs=0.05)
    assert inside("ffhq", "ffhq") == (0, 0, 1, 1)
    with pytest.raises(ValueError, match="where a ffhq crop lies in a celeba one, only celeba in ffhq"):
        inside("ffhq", "celeba")


@pytest.mark.parametrize("crop", ["ffhq", "celeba"])
def test_landmarks_come_back(face: Face, crop: Any) -> None:
    for side in (64, 256, 1024):
        frame = frame_of(turned(face.landmarks, 0.7, 11.3, (512, 99)), crop)
        points = RNG.uniform(-50, side + 50, (68, 2))
        assert np.abs(frame.to_crop(frame.to_photo(points, side), side) - points).max() < 1e-6


@pytest.mark.parametrize("domain", [FFHQ, CELEB], ids=["ffhq", "celeba"])
def test_landmarks_are_found_again_in_the_crop(face: Face, domain: Any) -> None:
    """What is found in the crop lies where the frame says that it lies."""
    photo = Photo(np.asarray(portrait().resize((1000, 1000), Image.Resampling.LANCZOS)))
    found = photo.faces[0]
    crop = align(photo, found, domain, 512)
    there = crop.frame.to_crop(found.landmarks, 512)
    again = face_at(crop.pixels, there).landmarks
    assert np.abs(again - there).mean() < 512 * 0.006
    assert np.abs(np.mean(again - there, axis=0)).max() < 512 * 0.003  # and not shifted as a whole


def test_a_crop_shows_what_lies_under_its_frame() -> None:
    """A photo whose colours are its coordinates, so that each pixel of a crop tells where it is from."""
    y, x = np.mgrid[0:900, 0:1200]
    pixels = np.stack([x * 0.2, y * 0.25, (x + y) * 0.1], axis=-1).round().astype(np.uint8)
    for angle, side, size in ((0.3, 100, 300.0), (-2.0, 64, 500.0), (1.2, 256, 200.0), (0.0, 50, 640.0)):
        across = np.array([np.cos(angle), np.sin(angle)]) * size
        down = np.array([-across[1], across[0]])
        frame = Frame(np.array([600.0, 450.0]) - (across + down) / 2, across, down)
        points = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float)
        where = frame.to_photo(points, side)
        assert (where > 3).all() and (where < (1196, 896)).all()
        expected = np.stack([where[:, 0] * 0.2, where[:, 1] * 0.25, where.sum(axis=1) * 0.1], axis=-1)
        rising, falling = (cut(each, frame, side).reshape(-1, 3).astype(float) for each in (pixels, 255 - pixels))
        assert np.abs(rising - expected).max() < 1.6
        shift = (rising + 255 - falling) / 2 - expected  # rounding, which has the same sign in both, cancels
        assert np.abs(shift.mean(axis=0)).max() < 0.02  # a tenth of a pixel


def test_a_crop_has_no_aliases() -> None:
    """A fine checkerboard, a sixteenth as large, is grey."""
    y, x = np.mgrid[0:1024, 0:1024]
    board = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)
    frame = Frame(np.array([100.0, 90.0]), np.array([800.0, 60.0]), np.array([-60.0, 800.0]))
    assert np.ptp(cut(board, frame, 50)) < 8


def test_a_whole_photo_is_its_own_crop() -> None:
    pixels = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    crop = align(Photo(pixels), None, FFHQ, 64)
    assert np.array_equal(crop.pixels, pixels) and np.array_equal(cut(pixels, crop.frame, 64), pixels)
    cars = align(
        Photo(RNG.integers(1, 256, (60, 80, 3)).astype(np.uint8)), None, SimpleNamespace(crop="none", aspect=(4, 3)), 64
    )
    assert (cars.pixels[:8] == 0).all() and (cars.pixels[-8:] == 0).all() and (cars.pixels[8:-8] > 0).any()
    np.testing.assert_allclose(
        cars.frame.to_photo(np.array([[-0.5, 7.5], [63.5, 55.5]]), 64), [[-0.5, -0.5], [79.5, 59.5]]
    )


def test_beyond_the_photo_it_is_mirrored_and_fades(face: Face) -> None:
    whole, frame = np.asarray(portrait()), frame_of(face.landmarks, "ffhq")
    left = int(face.box[0]) - 5
    part = cut(whole[:, left:], Frame(frame.corner - (left, 0), frame.across, frame.down), 256).astype(int)
    full = cut(whole, frame, 256).astype(int)
    edge = round(float(frame.to_crop(np.array([[left, 100.0]]), 256)[0, 0]))
    assert np.abs(part[60:200, edge + 40 :] - full[60:200, edge + 40 :]).mean() < 2  # in the photo nothing changed
    rough = [np.abs(np.diff(part[:, x], axis=0)).mean() for x in (edge + 30, 3)]
    assert edge > 20 and rough[1] < 0.5 * rough[0]  # a blur at the crop's far side


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_face_is_found_whichever_side_is_up(face: Face, quarters: int) -> None:
    pixels = np.ascontiguousarray(np.rot90(np.asarray(portrait()), quarters))
    (found,) = find_faces(pixels)
    points = face.landmarks
    for _ in range(quarters):
        points = np.stack([points[:, 1], 199 - points[:, 0]], axis=1)
    assert np.abs(found.landmarks - points).mean() < 0.02 * face.size
    crop = align(Photo(pixels), found, CELEB, 64).pixels.astype(int)
    assert (
        np.abs(crop - align(Photo(np.asarray(portrait())), face, CELEB, 64).pixels).mean() < 10
    )  # upright in the crop


def test_a_small_face_is_found_on_its_side_when_the_search_is_thorough(face: Face) -> None:
    sheet = Image.new("RGB", (1200, 900), "gray")
    sheet.paste(portrait().resize((110, 110), Image.Resampling.LANCZOS), (700, 300))
    pixels = np.ascontiguousarray(np.rot90(np.asarray(sheet)))
    (found,) = find_faces(pixels, thorough=True)
    there = (face.landmarks.mean(axis=0) + 0.5) * 0.55 - 0.5 + (700, 300)
    assert np.abs(found.landmarks.mean(axis=0) - (there[1], 1199 - there[0])).max() < 3


@pytest.mark.parametrize("crop", ["ffhq", "celeba"])
def test_crops_agree_with_those_by_dlib(crop: Any) -> None:
    """dlib's landmarks of the portrait lie with the tests. Each corner lies within a fortieth of the side."""
    theirs = np.array(json.loads((DATA / "eileen-collins-by-dlib.json").read_text("utf-8"))["landmarks"])
    frame, wanted = frame_of(astronaut().faces[0].landmarks, crop), frame_of(theirs, crop)
    assert np.linalg.norm(frame.quad - wanted.quad, axis=1).max() < 0.025 * wanted.side


def test_what_lies_in_a_surer_face_is_none(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """An eye alone looks like a small face; a face beside another is one, even if they touch."""
    mesh = face.mesh
    assert mesh is not None
    eye = (mesh - mesh[133]) * 0.3 + mesh[133]
    beside = mesh + np.array([0.8 * np.ptp(mesh[:, 0]), 0, 0])
    monkeypatch.setattr(
        "gradstyle.photos.faces.meshes", lambda *_, **__: [(eye, 0.98), (beside, 0.95), (mesh, 1.0), (mesh + 900, 0.8)]
    )
    found = find_faces(np.asarray(portrait()))
    assert [each.score for each in sorted(found, key=lambda each: -each.score)] == [1.0, 0.95]


def test_faces_need_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setitem(sys.modules, "face_recognition_models", None)
    assert len(find_faces(np.asarray(portrait()))) == 1


def test_a_face_in_a_larger_copy_of_its_photo(face: Face) -> None:
    large = face.scaled(3.0)
    np.testing.assert_allclose(large.landmarks, (face.landmarks + 0.5) * 3 - 0.5)
    assert large.mesh is not None and face.mesh is not None and large.size == pytest.approx(3 * face.size)
    np.testing.assert_allclose(large.mesh, (face.mesh + np.array([0.5, 0.5, 0])) * 3 - (0.5, 0.5, 0))
    assert large.box[2] == pytest.approx((face.box[2] + 0.5) * 3 - 0.5)
    assert Face(face.box, face.landmarks, 1.0).scaled(2).mesh is None


def test_faces_are_found_largest_first_and_whatever_the_size(face: Face) -> None:
    sheet = Image.new("RGB", (900, 500), "gray")
    for size, at in ((120, (0, 300)), (400, (450, 50)), (200, (100, 0))):
        sheet.paste(portrait().resize((size, size), Image.Resampling.LANCZOS), at)
    found = find_faces(np.asarray(sheet))
    assert [round(f.size / face.size, 1) for f in found] == [2.0, 1.0, 0.6]
    for f, size, at in zip(found, (400, 200, 120), ((450, 50), (100, 0), (0, 300))):
        there = (face.landmarks + 0.5) * size / 200 - 0.5 + at
        assert np.abs(f.landmarks - there).mean() < 0.02 * size
    large = np.asarray(portrait().resize((3000, 3000), Image.Resampling.BICUBIC))
    (one,) = find_faces(large)
    assert np.abs((one.landmarks + 0.5) / 15 - 0.5 - face.landmarks).mean() < 1


@pytest.mark.parametrize("shape", [(1, 1), (10, 3000), (3000, 10), (39, 39)])
def test_photos_too_small_for_a_face_have_none(shape: tuple[int, int]) -> None:
    assert find_faces(np.zeros((*shape, 3), np.uint8), thorough=True) == []


def test_frames_that_are_none_are_named(face: Face) -> None:
    photo = Photo(np.asarray(portrait()))
    with pytest.raises(ValueError, match="its landmarks lie in one place"):
        align(photo, Face(face.box, np.full((68, 2), 50.0), 1.0), CELEB, 64)
    with pytest.raises(ValueError, match="lies beside its photo of 200×200"):
        align(photo, Face(face.box, face.landmarks + 5000, 1.0), FFHQ, 64)
    with pytest.raises(ValueError, match=r"landmarks \[68, 2\], got \[5, 2\]"):
        frame_of(np.zeros((5, 2)), "ffhq")
    with pytest.raises(ValueError, match="cut as ffhq or celeba says, not as 'none'"):
        frame_of(face.landmarks, "none")
    with pytest.raises(ValueError, match="a pixel wide at least, got 0"):
        align(photo, face, FFHQ, 0)
