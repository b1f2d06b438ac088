"""The mesh as a judge: what turns, widens, lifts and opens in a made-up head is what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradstyle.metrics.mesh import CHIN, FOREHEAD, head_turn, mouth_curve, mouth_opening
from gradstyle.metrics.pose import rotation
from gradstyle.photos.mediapipe.symmetry import MIRRORED

TOWARDS = np.array([1.0, 1.0, -1.0])  # `rotation` counts depth towards the camera


@pytest.fixture
def head() -> Any:
    """Random points whose halves mirror each other, with eyes, mouth, forehead and chin where a face has them."""
    points = np.random.default_rng(0).uniform(-1, 1, (468, 3))
    middle = np.arange(468) == MIRRORED
    points[middle, 0] = 0
    points[33], points[61], points[0], points[17] = (-1, -0.5, 0), (-0.5, 0.6, 0.2), (0, 0.55, 0), (0, 0.65, 0)
    points[FOREHEAD], points[CHIN], points[13], points[14] = (0, -1, 0), (0, 1, 0), (0, 0.6, 0), (0, 0.6, 0)
    for left in (33, 61, *np.flatnonzero(~middle & (np.arange(468) < MIRRORED))):
        points[MIRRORED[left]] = points[left] * (-1, 1, 1)
    return points


def turned(points: Any, yaw: float, pitch: float, roll: float = 0.0) -> Any:
    return (points * TOWARDS) @ rotation(yaw, pitch, roll).T * TOWARDS * 80 + (300, 200, 7)


def test_mirror_images_are_each_others() -> None:
    assert (MIRRORED[MIRRORED] == np.arange(468)).all() and (MIRRORED[[33, 61, 10]] == [263, 291, 10]).all()


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (25, 0, 0), (-40, 0, 30), (0, 15, -20), (0, -30, 0)])
def test_a_head_is_turned_by_what_it_was_turned_by(head: Any, yaw: float, pitch: float, roll: float) -> None:
    assert head_turn(turned(head, yaw, pitch, roll)) == pytest.approx((yaw, pitch), abs=1e-6)


def test_a_head_that_is_turned_and_lifted(head: Any) -> None:
    yaw, pitch = head_turn(turned(head, 30, 20))
    assert yaw > 25 and 15 < pitch < 25


def test_the_mouth_is_measured_in_the_faces_own_frame(head: Any) -> None:
    rest = mouth_curve(head)
    assert rest == pytest.approx(1.0 / 2.0)  # no lift: corners and lips' middle at one height
    assert mouth_curve(turned(head, 0, 0, 40)) == pytest.approx(rest)
    wide, lifted, frown = head.copy(), head.copy(), head.copy()
    wide[[61, 291], 0] *= 1.2
    lifted[[61, 291], 1] -= 0.1
    frown[[61, 291], 1] += 0.1
    assert mouth_curve(wide) - rest == pytest.approx(0.2 / 2.0)
    assert mouth_curve(turned(lifted, 0, 0, -25)) - rest == pytest.approx(2 * 0.1 / 2.0)
    assert mouth_curve(frown) - rest == pytest.approx(-2 * 0.1 / 2.0)


def test_a_mouth_opens(head: Any) -> None:
    assert mouth_opening(head) == 0
    head[14, 1] += 0.3
    assert mouth_opening(turned(head, 0, 0, 10)) == pytest.approx(0.3 / 2.0)


def test_what_is_no_mesh_is_named() -> None:
    with pytest.raises(ValueError, match=r"mesh is \[468, 3\], got \[68, 2\]"):
        mouth_curve(np.zeros((68, 2)))
    with pytest.raises(ValueError, match=r"mesh is \[468, 3\], got \[468, 2\]"):
        head_turn(np.zeros((468, 2)))
    with pytest.raises(ValueError, match="eyes of this mesh lie on one point"):
        mouth_opening(np.zeros((468, 3)))
