"""dlib's network in PyTorch gives dlib's vectors, of the square of the crop that dlib would have cut."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradstyle.bundles import Domain
from gradstyle.losses.face import FaceNetwork
from gradstyle.losses.recognition import Recognition, recognition
from gradstyle.metrics.identity import CHIPS, DlibIdentity, FaceIdentity, cut
from gradstyle.photos import align
from gradstyle.photos.portraits import astronaut
from tests.support import tiny

SPEC = importlib.util.find_spec("face_recognition_models")
FILE = "dlib_face_recognition_resnet_model_v1.dat"


def faces(count: int = 3) -> torch.Tensor:
    return ((tiny.photos(count, 150) + 1) * 127.5).round() / 127.5 - 1


@torch.inference_mode()
def test_vectors_are_dlibs() -> None:
    images = faces()
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert SPEC is not None and SPEC.origin is not None
    network = pytest.importorskip("dlib").face_recognition_model_v1(str(Path(SPEC.origin).parent / "models" / FILE))
    theirs = np.array(network.compute_face_descriptor(list(np.ascontiguousarray(pixels))))
    ours = recognition()(images).numpy()
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.linalg.norm(theirs[0] - theirs[1]) > 0.01  # else agreement would say nothing


def test_vectors_tell_people_apart_from_light() -> None:
    photo = astronaut()
    image = align(photo, photo.faces[0], Domain("faces", crop="ffhq"), 150).image
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    person, darker, mirrored, other = recognition()(torch.cat([image, image / 2 - 0.5, image.flip(3), noise]))
    assert max((person - darker).norm(), (person - mirrored).norm()) < 0.5 < (person - other).norm()


def test_a_file_that_is_not_dlibs_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.dat"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="is not dlib's face recognition network: it has no further layer con_4"):
        Recognition.open(file)
    assert SPEC is not None and SPEC.origin is not None
    whole = (Path(SPEC.origin).parent / "models" / FILE).read_bytes()
    file.write_bytes(whole[:300_000])
    with pytest.raises(ValueError, match="is not dlib's face recognition network"):
        Recognition.open(file)
    file.write_bytes(b"con_4" + b"\x01\x02\x08" + b"\xff" * 8 + b"\x01\x01" * 3)
    with pytest.raises(ValueError, match=re.escape("a layer con_4 holds")):
        Recognition.open(file)
    with pytest.raises(ValueError, match=r"faces are \[N, 3, 150, 150\]"):
        recognition()(torch.zeros(1, 3, 64, 64))


def test_the_same_picture_is_the_same_person_and_noise_is_not() -> None:
    gauge, photos = DlibIdentity("celeba"), tiny.photos(2, 64)
    own = gauge.embed(photos)
    same = gauge.compare(own, gauge.embed(photos.clone()))
    assert torch.allclose(same["identity"], torch.ones(2, dtype=torch.float64))
    assert float(same["identity_distance"].max()) == 0
    noise = torch.rand(photos.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    other = gauge.compare(own, gauge.embed(noise))
    assert float(other["identity"].max()) < 0.99 and float(other["identity_distance"].min()) > 0.1


def test_vectors_do_not_depend_on_the_batch() -> None:
    gauge, photos = DlibIdentity("celeba"), tiny.photos(3, 64)
    together, alone = gauge.embed(photos), torch.cat([gauge.embed(photo[None]) for photo in photos])
    assert (together - alone).abs().max() < 1e-5


def test_the_square_is_cut_where_it_is() -> None:
    ramp = torch.linspace(-1, 1, 128)[None, None, None].expand(1, 3, 128, 128)
    piece = cut(ramp, (0.25, 0.25, 0.75, 0.75), 64)
    assert torch.allclose(piece, ramp[:, :, 32:96, 32:96], atol=1e-6)
    beyond = cut(ramp, (0.5, 0.5, 1.5, 1.5), 128)
    assert torch.allclose(beyond[..., -60:], torch.ones(()), atol=1e-6)  # the edge goes on
    assert torch.allclose(beyond[..., 0], ramp[..., 64], atol=1e-2)


def test_a_large_picture_is_reduced_without_aliasing() -> None:
    checkers = torch.ones(1, 3, 1024, 1024)
    checkers[..., ::2] = -1
    assert float(cut(checkers, (0.1, 0.1, 0.9, 0.9), 150).abs().max()) < 0.15


def test_chips_of_both_crops_are_of_one_face() -> None:
    """FFHQ's rule on CelebA's mean eyes and mouth: both squares must hold the same face."""
    eyes, mouth = np.array([[0.3508, 0.4372], [0.6492, 0.4372]]), np.array([0.5, 0.7511])
    between, drop = eyes[1, 0] - eyes[0, 0], mouth[1] - eyes[0, 1]
    half = max(2.0 * between, 1.8 * drop)
    corner = eyes.mean(axis=0) + np.array([0, 0.1 * drop]) - half
    celeba = np.array(CHIPS["celeba"]).reshape(2, 2)
    assert np.abs((celeba - corner) / (2 * half) - np.array(CHIPS["ffhq"]).reshape(2, 2)).max() < 0.005


def test_crops_without_a_known_place_of_the_face_are_refused() -> None:
    with pytest.raises(ValueError, match="known of crops celeba and ffhq, not of 'none'"):
        DlibIdentity("none")


def test_a_face_networks_cosine() -> None:
    torch.manual_seed(0)
    network = FaceNetwork((1, 1, 1, 1)).eval()
    gauge, photos = FaceIdentity(network, "ArcFace", "test"), tiny.photos(2, 256)
    vectors = gauge.embed(photos)
    assert torch.allclose(gauge.compare(vectors, vectors)["identity_network"], torch.ones(2, dtype=torch.float64))
    assert torch.allclose(vectors, network(F.adaptive_avg_pool2d(photos[:, :, 35:223, 32:220], 112)), atol=1e-6)
    assert [metric.title for metric in gauge.metrics] == ["ID (ArcFace)"]
