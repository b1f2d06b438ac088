"""A whole set of edits, on a generator whose pictures can be measured without a network."""

from __future__ import annotations

import measured
import pytest

from gradstyle.bundles import Bundle
from gradstyle.directions import Found, find


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return measured.bundle()


@pytest.fixture(scope="module")
def found(bundle: Bundle) -> Found:
    return find(bundle, {"light": "Bright", "blue": "-Red"}, measured.TEACHER, measured.JUDGE, 600, 3, codes=16)


def test_edits_do_what_they_say_by_one_standard_deviation(bundle: Bundle, found: Found) -> None:
    assert list(found.edits) == list(found.sliders) == list(found.reports) == ["light", "blue"]
    for name, edit in found.edits.items():
        report = found.reports[name]
        assert edit.generator == bundle.fingerprint and edit.name == name
        assert report["independent"] and report["judge"] == "judge" and report["reasons"] == []
        assert report["taught"] == pytest.approx(1, abs=0.1) and report["moved"] == pytest.approx(1, abs=0.2)
        assert report["monotonic"] >= 0.9 and found.sliders[name].low <= -1 and found.sliders[name].high >= 1
