"""Where a generator's faces are, and what is seen there: on a portrait, shifted and mirrored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import gradstyle.photos
from gradstyle.directions import PoseScorer
from gradstyle.metrics.face_frame import SAME_PERSON, FaceFrame
from gradstyle.photos.faces import find_faces
from gradstyle.stylegan2 import Codes
from tests.support import tiny


class OnePerson:
    """A generator that shows one person, a little to the left or right."""

    def __init__(self) -> None:
        path = Path(gradstyle.photos.__file__).parent / "portraits" / "eileen-collins.jpg"
        whole = np.asarray(Image.open(path).convert("RGB"))
        left, top, right, bottom = find_faces(whole)[0].box
        side, x, y = 0.9 * (right - left), (left + right) / 2, (top + bottom) / 2 - 10
        cut = Image.fromarray(whole).crop(tuple(int(v) for v in (x - side, y - side, x + side, y + side)))  # type: ignore[arg-type]
        pixels = np.asarray(cut.resize((128, 128), Image.Resampling.LANCZOS))
        self.picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1

    def sample(self, count: int, truncation: float = 1.0, seed: int = 0) -> Codes:
        return Codes(torch.arange(count).float()[:, None, None])

    def __call__(self, codes: Codes) -> Tensor:
        return torch.stack([self.picture.roll(int(w) % 3 - 1, dims=2) for w in codes.w.flatten()])


@pytest.fixture(scope="module")
def person() -> OnePerson:
    return OnePerson()


@pytest.fixture(scope="module")
def frame(person: OnePerson) -> FaceFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradstyle.metrics.face_frame.SEEN", 6)
        return FaceFrame.of(person)  # type: ignore[arg-type]


def test_the_frame_is_where_the_face_is(frame: FaceFrame) -> None:
    for left, top, right, bottom in (frame.box, frame.chip):
        assert 0 <= left < 0.5 < right <= 1 and 0 <= top < 0.6 < bottom <= 1.05
        assert right - left == pytest.approx(bottom - top, abs=0.03)


def test_a_mirrored_head_looks_the_other_way(person: OnePerson, frame: FaceFrame) -> None:
    images = torch.stack([person.picture, person.picture.flip(2)])
    (yaw, pitch), (mirrored, same) = PoseScorer(frame)(images).tolist()
    assert abs(yaw) < 30 and abs(pitch) < 35
    assert mirrored == pytest.approx(-yaw, abs=7) and same == pytest.approx(pitch, abs=7)


def test_one_person_is_near_to_herself_and_far_from_noise(person: OnePerson, frame: FaceFrame) -> None:
    darker = 0.8 * person.picture - 0.1
    noise = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vectors = frame.embed(torch.stack([person.picture, darker, noise]))
    assert vectors.shape == (3, 128)
    assert float((vectors[1] - vectors[0]).norm()) < 0.4 < SAME_PERSON < float((vectors[2] - vectors[0]).norm())


def test_a_generator_of_something_else_is_none_of_faces() -> None:
    with pytest.raises(ValueError, match="faces were found in 0 of 32 pictures: this is no generator of faces"):
        FaceFrame.of(tiny.generator().eval())
