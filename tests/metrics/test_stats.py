"""Means over common photos, intervals that cover, tests that find what is there and nothing else."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from scipy import stats as scipy_stats

from gradstyle.metrics.stats import FLIPS, Resampling, agreement, common, holm, summarise
from gradstyle.metrics.values import Metric, Row, Values

PHOTOS = [f"{i}.png" for i in range(60)]
UP, DOWN, NEITHER = Metric("up", "Up", "higher"), Metric("down", "Down", "lower"), Metric("change", "Change")


def values(**means: float) -> Values:
    """Photos differ much, methods on the same photo little: only a paired test sees it."""
    random = np.random.default_rng(0)
    photo = random.normal(0, 1, len(PHOTOS))
    return {
        (method, "", metric): dict(zip(PHOTOS, photo + mean + random.normal(0, 0.1, len(PHOTOS))))
        for metric in ("up", "down", "change")
        for method, mean in means.items()
    }


def rows(given: Values, methods: list[str] | None = None) -> dict[tuple[str, str], Row]:
    names = methods or list(dict.fromkeys(m for m, _, _ in given))
    made = summarise(given, PHOTOS, names, (UP, DOWN, NEITHER), seed=1)
    return {(row.method, row.metric): row for row in made}


def test_a_mean_of_equal_values_is_sure() -> None:
    for value in (1.0, 0.1, -1 / 3):
        assert Resampling(57, 0).interval(np.full(57, value)) == (value, value)


def test_the_best_is_told_from_what_is_worse_and_not_from_its_equal() -> None:
    found = rows(values(a=0.0, b=0.3, c=0.302))
    assert [m for m in "abc" if found[m, "down"].best] == ["a"]
    assert sum(found[m, "up"].best for m in "bc") == 1 and not found["a", "up"].best
    assert not any(found[m, "change"].best or found[m, "change"].p for m in "abc")
    assert found["a", "up"].p < 0.001 and found["b", "down"].p < 0.001
    (equal,) = (found[m, "up"] for m in "bc" if not found[m, "up"].best)
    assert equal.p > 0.05
    assert found["a", "down"].p is None  # the best is not tested against itself


def test_a_photo_that_one_method_lacks_counts_for_none() -> None:
    given = values(a=0.0, b=1.0)
    del given["a", "", "up"][PHOTOS[7]]
    given["b", "", "up"][PHOTOS[7]] = 1e9  # would show
    found = rows(given)
    assert found["b", "up"].mean < 5 and found["b", "up"].n == found["a", "up"].n == len(PHOTOS) - 1
    assert (found["a", "up"].missing, found["b", "up"].missing) == (1, 0)
    assert found["b", "down"].n == len(PHOTOS)


def test_without_a_common_photo_there_is_no_mean() -> None:
    given: Values = {("a", "", "up"): {PHOTOS[0]: 1.0}, ("b", "", "up"): {PHOTOS[1]: 1.0}}
    found = rows(given)
    assert found["a", "up"].mean is None and found["a", "up"].n == 0 and found["a", "up"].missing == 59


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    random = np.random.default_rng(3)
    resampling = Resampling(40, seed=2)
    covered = 0
    for _ in range(400):
        low, high = resampling.interval(random.normal(0.5, 1, 40))
        covered += low <= 0.5 <= high
    assert 0.90 < covered / 400 < 0.98


def test_the_permutation_test_agrees_with_students_on_normal_values() -> None:
    random = np.random.default_rng(4)
    resampling = Resampling(80, seed=2)
    for shift in (0.0, 0.1, 0.2, 0.3):
        differences = random.normal(shift, 1, 80)
        wanted = scipy_stats.ttest_1samp(differences, 0).pvalue
        assert resampling.p(differences) == pytest.approx(wanted, abs=0.02)
    assert resampling.p(np.zeros(80)) == 1
    assert resampling.p(np.ones(80)) == 1 / (1 + FLIPS)


def test_differences_by_chance_are_found_as_rarely_as_they_should_be() -> None:
    random = np.random.default_rng(5)
    resampling = Resampling(50, seed=2)
    found = [resampling.p(random.normal(0, 1, 50)) < 0.05 for _ in range(300)]
    assert 0.01 < np.mean(found) < 0.1


def test_holms_correction() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_the_same_seed_gives_the_same_digits_and_another_gives_others() -> None:
    given = values(a=0.0, b=0.02)
    first, again = (summarise(given, PHOTOS, "ab", (UP, DOWN, NEITHER), seed=1) for _ in range(2))
    assert first == again
    assert summarise(given, PHOTOS, "ab", (UP, DOWN, NEITHER), seed=2) != first


def test_an_exact_copy_has_an_infinite_mean_and_no_interval() -> None:
    given: Values = {("a", "", "up"): dict.fromkeys(PHOTOS, inf), ("b", "", "up"): dict.fromkeys(PHOTOS, 20.0)}
    found = rows(given)
    assert found["a", "up"].mean == inf and found["a", "up"].best and found["a", "up"].low is None
    assert found["b", "up"].p is None and found["b", "up"].low == pytest.approx(20)


def test_judges_that_order_methods_alike_agree() -> None:
    made = [
        Row(m, "", metric, mean, None, None, 5)
        for metric, means in {"one": (1.0, 2.0, 3.0), "two": (0.1, 0.2, 0.3), "three": (3.0, 2.0, 1.0)}.items()
        for m, mean in zip("abc", means)
    ]
    (same,), (other,) = agreement(made, {"one": "two"}), agreement(made, {"one": "three"})
    assert same["spearman"] == 1 and same["judge"] == same["second"] == ["a", "b", "c"]
    assert other["spearman"] == -1 and other["second"] == ["c", "b", "a"]
    assert agreement(made, {"one": "none"}) == []


def test_common_photos_keep_their_order() -> None:
    assert common([{"b": 1, "a": 1, "c": 1}, {"a": 1, "b": 1}], ["a", "b", "c"]) == ["a", "b"]
