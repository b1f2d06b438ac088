"""Edits from photos: on codes whose difference is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradstyle.directions import from_examples
from gradstyle.directions.examples import codes_of
from tests.support import tiny

WAY = torch.randn(8, 32, generator=torch.Generator().manual_seed(9))
WAY = WAY / WAY.norm()


def people(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 8, 32, generator=torch.Generator().manual_seed(seed)) + shift * WAY


def test_a_planted_difference_is_found_in_its_unit() -> None:
    edit, told = from_examples("freckles", people(40, 0, 12.0), people(60, 1))
    assert float(torch.cosine_similarity(edit.w.flatten(), WAY.flatten(), dim=0)) > 0.9
    assert float(edit.w.norm()) == pytest.approx(1, abs=0.25)  # the codes' own deviation along any way
    assert told.halves > 0.5 and told.told_apart > 0.95 and told.distance > 5 and told.reasons == []
    assert (told.with_it, told.without, edit.name) == (40, 60, "freckles")


def test_what_is_not_there_is_said_not_to_be() -> None:
    _, told = from_examples("nothing", people(30, 0), people(30, 1))
    assert abs(told.halves) < 0.2 and told.told_apart < 0.7
    assert "half of the photos give another direction" in told.reasons[0] and "tells" in told.reasons[1]
    assert told.to_json()["reasons"] == told.reasons


def test_more_photos_are_more_reliable() -> None:
    few, many = (from_examples("x", people(n, 0, 5.0), people(n, 1))[1] for n in (6, 200))
    assert many.halves > few.halves + 0.2


def test_the_same_photos_give_the_same() -> None:
    a, b = (from_examples("x", people(5, 0, 3.0), people(7, 1), seed=4) for _ in range(2))
    assert torch.equal(a[0].w, b[0].w) and a[1] == b[1]
    with pytest.raises(ValueError, match="at least 3 photos with it and 3 without are needed, got 2 and 7"):
        from_examples("x", people(2, 0), people(7, 1))
    with pytest.raises(ValueError, match="the same mean code"):
        from_examples("x", people(5, 0), people(5, 0))


def test_codes_are_the_encoders() -> None:
    encoder, photos, seen = tiny.encoder().eval(), tiny.photos(3), []
    codes = codes_of(encoder, photos.split(1), seen.append)
    with torch.no_grad():
        torch.testing.assert_close(codes, encoder(photos)[0].w, rtol=1e-4, atol=1e-4)
    assert seen == [1, 2, 3] and codes_of(encoder, []).numel() == 0
