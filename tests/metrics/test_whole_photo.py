"""What a judge of whole photos says of pictures whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gradstyle.metrics.mesh import CORNERS
from gradstyle.metrics.whole_photo import PhotoJudge, changed_wall, detail, mesh_motion, own_detail, registered, wall_of
from gradstyle.motion import blurred, sampled
from gradstyle.photos import Face, Photo
from gradstyle.photos.mediapipe.mesh import EYES
from gradstyle.photos.portraits import astronaut

SIDE = 160


def textured(seed: int = 0) -> Tensor:
    """Levels with structure of all sizes, [1, 1, SIDE, SIDE]."""
    random = torch.Generator().manual_seed(seed)
    total = torch.full((1, 1, SIDE, SIDE), 128.0)
    for side, strength in ((5, 40), (20, 25), (80, 12), (160, 4)):
        coarse = torch.randn(1, 1, side, side, generator=random) * strength
        total = total + F.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    return blurred(total, 0.6)


def disc(x: float = 0.5, radius: float = 0.3) -> Tensor:
    place = (torch.arange(SIDE) + 0.5) / SIDE
    return ((place[None] - x).square() + (place[:, None] - 0.5).square() < radius**2)[None, None]


def test_the_wall_counts_what_lies_beyond_the_dilated_person_and_is_seen_to_change() -> None:
    person = torch.zeros(1, 1, 100, 200, dtype=torch.bool)
    person[..., :50] = True  # 2% of 200 is 4 pixels more
    wall = wall_of(person)
    assert wall.sum() == 100 * (200 - 54)
    old = np.full((100, 200, 3), 90, np.uint8)
    new = old.copy()
    new[:, :54] = 200  # the person, and beside it
    new[:, 54:127, 1] = 94  # as much as is not counted
    assert changed_wall(old, new, wall) == 0
    new[:, 54:127, 1] = 85
    assert changed_wall(old, new, wall) == pytest.approx(0.5)
    assert changed_wall(old, new, torch.zeros_like(wall)) is None


def test_detail_is_one_for_a_face_that_moves_and_half_for_one_of_half_its_contrast() -> None:
    old = textured()
    assert detail(old, disc(), old, disc()) == pytest.approx(1)
    assert detail(old, disc(), 128 + (old - 128) / 2, disc()) == pytest.approx(0.5)
    moved = old.roll(16, dims=3)
    assert detail(old, disc(), moved, disc(0.6)) == pytest.approx(1)
    assert detail(old, disc(), blurred(old, 2.0), disc()) < 0.3


def test_own_detail_follows_a_face_that_moves_and_is_not_taken_in_by_grain() -> None:
    old, place = textured(), (torch.arange(SIDE) + 0.5) / SIDE
    bend = 0.03 * torch.sin(5 * place)
    offset = torch.stack([bend[:, None].expand(SIDE, SIDE) + 0.02, bend[None].expand(SIDE, SIDE)])[None]
    new, still = sampled(old, offset, "bicubic"), torch.zeros(1, 2, SIDE, SIDE)
    found = registered(new, old, still)
    apart = (found - offset).norm(dim=1, keepdim=True)[disc()] * SIDE
    assert apart.median() < 0.25  # pixels; the face moved by up to nine
    assert own_detail(old, new, disc(), found) > 0.93
    assert own_detail(old, new, disc(), still) < 0.3  # left where it was
    soft = blurred(new, 3.0)
    random = torch.Generator().manual_seed(1)
    grain = soft + 6 * torch.randn(soft.shape, generator=random)
    assert detail(old, disc(), grain, disc()) > 0.8  # energy alone takes grain for detail
    assert abs(own_detail(old, grain, disc(), registered(grain, old, still))) < 0.3


def test_a_mesh_moves_what_lies_beside_its_points() -> None:
    random = np.random.default_rng(0)
    new = random.random((468, 2)) * 0.6 + 0.2
    old = new + np.where(new[:, :1] < 0.5, [[0.1, 0.0]], [[0.0, -0.05]])
    offset = mesh_motion(new, old)
    assert torch.allclose(offset[0, :, 32, 16], torch.tensor([0.1, 0.0]), atol=1e-3)
    assert torch.allclose(offset[0, :, 32, 48], torch.tensor([0.0, -0.05]), atol=1e-3)
    assert torch.allclose(offset[0, :, 0, 0], torch.tensor([0.1, 0.0]), atol=1e-3)  # and beyond them


class Mean:
    """People are told apart by how bright they are."""

    metrics, provenance = (), "brightness"

    def embed(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None]

    def compare(self, vectors: Tensor, others: Tensor) -> dict[str, Tensor]:
        return {"identity_distance": (vectors - others).norm(dim=1)}


def judge_of(photo: Photo, face: Face) -> PhotoJudge:
    return PhotoJudge(photo, face, "celeba", Mean(), lambda pixels, face: float(pixels.mean()))


@pytest.fixture(scope="module")
def photo() -> Photo:
    return Photo(np.ascontiguousarray(astronaut().pixels[:240, 95:355]))


def test_a_photo_is_judged_beside_itself_darker_and_without_its_face(photo: Photo) -> None:
    judge = judge_of(photo, photo.faces[0])
    same = judge.look(photo.pixels)
    assert same["own"] > 0.999
    unchanged = {"identity": 0, "wall": 0, "years": 0, "yaw": 0, "mouth": 0, "detail": 1, "lost": 0}
    assert {name: same[name] for name in unchanged} == pytest.approx(unchanged, abs=1e-5)

    darker = judge.look(photo.pixels // 2)
    assert darker["wall"] > 0.5 and darker["identity"] > 0.1 and darker["years"] < -10
    assert darker["detail"] == pytest.approx(0.5, abs=0.05) and darker["own"] > 0.9
    assert darker["yaw"] == pytest.approx(0, abs=2)

    hidden = photo.pixels.copy()
    left, top, right, bottom = (round(edge) for edge in judge.face.box)
    hidden[max(0, top - 40) : bottom + 20, left - 20 : right + 20] = 128
    gone = judge.look(hidden)
    assert gone["lost"] == 1 and "yaw" not in gone and "detail" not in gone and "identity" in gone


def test_changes_are_edited_less_unedited_in_degrees_and_in_deviations(photo: Photo) -> None:
    face = photo.faces[0]
    assert face.mesh is not None
    turn = np.radians(12)  # the nose to the picture's right
    x, y, z = (face.mesh - face.mesh.mean(axis=0)).T
    turned = np.stack([x * np.cos(turn) - z * np.sin(turn), y, x * np.sin(turn) + z * np.cos(turn)], axis=1)
    found = judge_of(photo, replace(face, mesh=turned + face.mesh.mean(axis=0))).look(photo.pixels)
    assert found["yaw"] == pytest.approx(-12, abs=0.5)

    lowered = face.mesh.copy()
    lowered[CORNERS, 1] += 3  # pixels
    eyes = np.linalg.norm(np.subtract(*face.mesh[EYES, :2]))
    found = judge_of(photo, replace(face, mesh=lowered)).look(photo.pixels)
    assert found["mouth"] == pytest.approx(2 * 3 / eyes / 0.144, rel=0.05)
