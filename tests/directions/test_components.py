"""GANSpace and SeFa: against linear algebra done by hand."""

from __future__ import annotations

import pytest
import torch

from gradstyle.directions import ganspace, sefa
from gradstyle.directions.components import AMOUNTS, sheet, within
from gradstyle.edits import Edit
from gradstyle.stylegan2 import Generator
from tests.support import tiny


@pytest.fixture(scope="module")
def generator() -> Generator:
    made = tiny.generator().eval()
    made.fingerprint = "here"
    return made


def test_components_are_those_of_the_codes(generator: Generator) -> None:
    with torch.no_grad():
        edits = ganspace(generator, 5, samples=400, seed=2)
    w = generator.sample(400, 1.0, 2).w[:, 0].detach().double()
    _, spread, ways = torch.linalg.svd(w - w.mean(dim=0), full_matrices=False)
    for i, edit in enumerate(edits):
        assert edit.name == f"pca-{i}" and edit.generator == "here" and edit.w.shape == (1, 32)
        assert abs(float(torch.cosine_similarity(edit.w[0].double(), ways[i], dim=0))) > 1 - 1e-5
        assert float(edit.w.norm()) == pytest.approx(float(spread[i]) / 399**0.5, rel=1e-4)  # one standard deviation
        assert edit.w[0, edit.w[0].abs().argmax()] > 0
    again = ganspace(generator, 2, samples=400, seed=2, layers=(2, 4))
    assert torch.equal(again[1].w[2], edits[1].w[0]) and not again[1].w[[0, 1, 5, 6, 7]].any()


def test_sefa_finds_what_the_chosen_layers_listen_to(generator: Generator) -> None:
    edits = sefa(generator, 3, samples=200, layers=(2, 3))
    affines = [generator.layers[2].affine, generator.layers[3].affine, generator.to_rgb[1].affine]  # ToRGB reads code 3
    rows = torch.cat([affine.weight.detach() * affine.weight_gain for affine in affines])
    rows = rows / rows.norm(dim=1, keepdim=True)
    _, _, ways = torch.linalg.svd(rows, full_matrices=False)
    for i, edit in enumerate(edits):
        assert edit.name == f"sefa-{i}" and not edit.w[[0, 1, 4, 5, 6, 7]].any()
        assert abs(float(torch.cosine_similarity(edit.w[2], ways[i], dim=0))) > 1 - 1e-4
    assert sefa(generator, 1, samples=200)[0].w.abs().sum(dim=1).min() > 0  # all codes, if none are chosen


def test_there_are_only_so_many(generator: Generator) -> None:
    for make in (ganspace, sefa):
        with pytest.raises(ValueError, match="1 to 32 components, got 33"):
            make(generator, 33, samples=50)
        with pytest.raises(ValueError, match="codes go from 0 to 7, got 5-9"):
            make(generator, 1, samples=50, layers=(5, 9))


def test_a_sheet_shows_each_on_the_same_people(generator: Generator) -> None:
    edits = ganspace(generator, 2, samples=50)
    rows, captions = sheet(generator, edits, people=2)
    assert [len(row) for row in rows] == [10, 10] and captions == ["-2", "-1", "+0", "+1", "+2"] * 2
    zero = AMOUNTS.index(0)
    for place in (zero, 5 + zero):
        assert torch.equal(rows[0][place], rows[1][place])
    assert not torch.equal(rows[0][0], rows[1][0]) and not torch.equal(rows[0][zero], rows[0][5 + zero])


def test_an_edit_can_be_kept_to_some_codes() -> None:
    part = within(Edit("pca-0", torch.ones(1, 4)), (1, 2), 5)
    assert part.w.sum(dim=1).tolist() == [0, 4, 4, 0, 0]
    with pytest.raises(ValueError, match="moves styles"):
        within(Edit("red", None, torch.ones(6)), (1, 2), 5)
    with pytest.raises(ValueError, match="codes go from 0 to 4"):
        within(Edit("pca-0", torch.ones(1, 4)), (1, 5), 5)
