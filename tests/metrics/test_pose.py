"""Head pose from 68 points, on a head of points that is turned by known angles."""

from __future__ import annotations

import numpy as np
import pytest

from gradstyle.metrics.pose import MODEL, USED, head_pose, rotation

ANGLES = [(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, -20, 0), (25, 15, 10), (-40, -10, -20), (10, -18, 30)]


def seen(yaw: float, pitch: float, roll: float, head: np.ndarray = MODEL, distance: float | None = None) -> np.ndarray:
    """Landmarks of a turned head; from near by with perspective."""
    points = head @ rotation(yaw, pitch, roll).T
    flat = points[:, :2] if distance is None else points[:, :2] * distance / (distance - points[:, 2:])
    landmarks = np.full((68, 2), np.nan)  # those that are not used may be anywhere
    landmarks[USED] = flat
    return landmarks


@pytest.mark.parametrize("angles", ANGLES)
def test_known_angles_are_found(angles: tuple[float, float, float]) -> None:
    assert head_pose(seen(*angles)) == pytest.approx(angles, abs=1e-3)
    assert head_pose(0.7 * seen(*angles) + [200.0, -40.0]) == pytest.approx(angles, abs=1e-3)  # place and scale


def test_other_heads_and_perspective_cost_a_few_degrees() -> None:
    draw = np.random.default_rng(0)
    wrong = []
    for _ in range(60):
        angles = draw.uniform([-40, -25, -15], [40, 25, 15])
        head = MODEL + draw.normal(0, 2, MODEL.shape)  # millimetres
        wrong.append(np.abs(np.array(head_pose(seen(*angles, head=head, distance=700.0))) - angles))
    mean = np.mean(wrong, axis=0)
    assert mean[0] < 4 and mean[1] < 4 and mean[2] < 2


def test_signs_are_those_of_the_picture() -> None:
    tip, under = list(USED).index(30), list(USED).index(8)
    right, up = seen(30, 0, 0)[USED], seen(0, 20, 0)[USED]
    assert right[tip, 0] > right[under, 0]  # the nose points to the picture's right
    assert up[tip, 1] < seen(0, 0, 0)[USED][tip, 1]  # and up
    mirrored = seen(25, 10, 5) * [-1, 1]
    swapped = mirrored.copy()
    for a, b in ((31, 35), (36, 45), (39, 42), (48, 54)):
        swapped[[a, b]] = mirrored[[b, a]]
    yaw, pitch, roll = head_pose(swapped)
    assert (
        yaw == pytest.approx(-25, abs=0.5)
        and pitch == pytest.approx(10, abs=0.5)
        and roll == pytest.approx(-5, abs=0.5)
    )


def test_what_is_no_face_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[68, 2\], got \[5, 2\]"):
        head_pose(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="on one point"):
        head_pose(np.ones((68, 2)))
