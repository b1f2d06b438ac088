"""InterfaceGAN's planes, on codes whose attributes are known to be linear."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradstyle.directions import Samples
from gradstyle.directions.boundary import Boundary, boundary, choose_given, conditioned, gains

WIDTH = 16


def way(*values: float) -> Tensor:
    vector = torch.zeros(WIDTH)
    vector[: len(values)] = torch.tensor(values)
    return vector / vector.norm()


WAYS = {"Smile": way(1, 1), "Age": way(1, 0, 1), "Hat": way(0, 0, 0, 1)}  # the first two have a cosine of a half


def drawn(count: int = 2000, noise: float = 0.1, seed: int = 0) -> Samples:
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(count, WIDTH, generator=draw)
    scores = w @ torch.stack(list(WAYS.values()), dim=1) + noise * torch.randn(count, 3, generator=draw)
    return Samples(w + 3.0, scores, tuple(WAYS))


def test_the_normal_is_the_way_of_the_attribute() -> None:
    samples = drawn()
    for name, wanted in WAYS.items():
        found = boundary(samples, name)
        assert float(found.normal @ wanted) > 0.97 and found.normal.norm() == pytest.approx(1, abs=1e-5)
        assert found.accuracy > 0.97 and found.extremes == 200


def test_accuracy_is_that_of_codes_not_learned_from() -> None:
    draw = torch.Generator().manual_seed(1)
    noise = Samples(torch.randn(2000, WIDTH, generator=draw), torch.randn(2000, 1, generator=draw), ("Noise",))
    assert 0.3 < boundary(noise, "Noise").accuracy < 0.7


def test_the_same_seed_gives_the_same_direction() -> None:
    a, b, other = (boundary(drawn(noise=1.0), "Smile", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a.normal, b.normal) and not torch.equal(a.normal, other.normal)


def test_labels_of_zeros_and_ones_have_extremes_too() -> None:
    samples = drawn()
    rare = (samples.of("Hat") > 1.6).float()  # about one in twenty
    found = boundary(Samples(samples.w, rare[:, None], ("Hat",)), "Hat", share=0.2)
    assert found.extremes == int(rare.sum()) < 200 and float(found.normal @ WAYS["Hat"]) > 0.8
    few = Samples(samples.w, (torch.arange(2000) < 3).float()[:, None], ("Hat",))
    with pytest.raises(ValueError, match="3 samples stand out at each end of 2,000, 10 are needed"):
        boundary(few, "Hat")
    some = rare.clone()
    some[1000:] = float("nan")
    assert boundary(Samples(samples.w, some[:, None], ("Hat",)), "Hat", share=0.2).extremes < found.extremes
    with pytest.raises(ValueError, match="share of extremes"):
        boundary(samples, "Hat", share=0.9)


def test_a_conditional_direction_changes_none_of_the_others() -> None:
    normal = WAYS["Smile"]
    freed = conditioned(normal, [WAYS["Age"]])
    byhand = normal - (normal @ WAYS["Age"]) * WAYS["Age"]
    torch.testing.assert_close(freed, byhand / byhand.norm())
    both = conditioned(normal, [WAYS["Age"], way(0, 1, 0, 1)])  # not orthogonal to each other
    assert abs(float(both @ WAYS["Age"])) < 1e-6 and abs(float(both @ way(0, 1, 0, 1))) < 1e-6
    assert torch.equal(conditioned(normal, []), normal)
    with pytest.raises(ValueError, match="nothing is left"):
        conditioned(normal, [way(1), way(0, 1)])


def test_gains_are_standard_deviations_a_step() -> None:
    slopes = gains(drawn(noise=0.0))
    for name, wanted in WAYS.items():
        torch.testing.assert_close(slopes[name], wanted, rtol=0.1, atol=0.05)
    constant = Samples(drawn().w, torch.ones(2000, 1), ("Same",))
    assert gains(constant) == {}


def test_what_goes_along_is_projected_out() -> None:
    samples = drawn()
    planes = {name: boundary(samples, name) for name in WAYS}
    others = {name: planes[name] for name in ("Age", "Hat")}
    slopes = gains(samples)
    assert choose_given(planes["Smile"], others, slopes, samples.w) == ["Age"]  # not the hat, which stays anyway
    assert choose_given(planes["Smile"], others, slopes, samples.w, tolerated=0.9) == []
    twin = {"Twin": Boundary("Twin", (planes["Smile"].normal + 0.1 * way(0, 0, 0, 0, 1)), 1.0, 200)}
    slopes["Twin"] = slopes["Smile"]
    assert choose_given(planes["Smile"], twin, slopes, samples.w) == []  # it would take the smile along
