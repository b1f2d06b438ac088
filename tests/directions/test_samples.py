"""Scoring many pictures: kept, stopped, gone on with, and always the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gradstyle.directions import FunctionScorer, Labels, score_samples
from gradstyle.directions.samples import BATCH
from gradstyle.stylegan2 import Generator
from tests.support import measured, tiny


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny.generator().eval()


def counting(seen: list[int], stop: int | None = None, identity: str = "counted") -> FunctionScorer:
    def score(images: Tensor) -> Tensor:
        if stop is not None and len(seen) >= stop:
            raise KeyboardInterrupt
        seen.append(len(images))
        return measured.shown(images)

    return FunctionScorer(score, measured.NAMES, identity)


def test_scores_are_those_of_the_seeds_pictures(generator: Generator, tmp_path: Path) -> None:
    samples = score_samples(generator, counting([]), 40, 5, 0.8, tmp_path)
    codes = generator.sample(40, 0.8, 5)
    assert torch.equal(samples.w, codes.w[:, 0])
    with torch.no_grad():
        torch.testing.assert_close(samples.scores, measured.shown(generator(codes)), rtol=1e-4, atol=1e-5)
    assert samples.of("Left").equal(samples.scores[:, 1]) and len(samples) == 40
    with pytest.raises(ValueError, match="no scorer knows 'Beard'; known are Bright, Left, Red"):
        samples.of("Beard")


def test_stopped_and_gone_on_with_gives_the_same_bits(generator: Generator, tmp_path: Path) -> None:
    whole = score_samples(generator, counting([]), 100, 1, cache=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match=r"stopped after 64 of 100 samples; the first 64 samples are kept"):
        score_samples(generator, counting([], stop=2), 100, 1, cache=tmp_path / "parts")
    seen: list[int] = []
    again = score_samples(generator, counting(seen), 100, 1, cache=tmp_path / "parts")
    assert seen == [BATCH, 4] and torch.equal(again.scores, whole.scores)


def test_what_was_scored_is_not_scored_again(generator: Generator, tmp_path: Path) -> None:
    score_samples(generator, counting([]), 96, 0, cache=tmp_path)

    def work(**change: int | float) -> int:
        seen: list[int] = []
        how = {"count": 96, "seed": 0, "truncation": 1.0} | change
        score_samples(generator, counting(seen), cache=tmp_path, **how)  # type: ignore[arg-type]
        return sum(seen)

    assert work() == 0 and work(count=50) == 0
    assert work(count=128) == 32  # more of the same
    assert work(seed=1) == 96 and work(truncation=0.5) == 96
    other: list[int] = []
    score_samples(tiny.generator(7).eval(), counting(other), 96, 0, cache=tmp_path)
    assert sum(other) == 96
    other.clear()
    score_samples(generator, counting(other, identity="another"), 96, 0, cache=tmp_path)
    assert sum(other) == 96
    unnamed: list[int] = []
    for _ in range(2):
        score_samples(generator, counting(unnamed, identity=""), 32, 0, cache=tmp_path)
    assert sum(unnamed) == 64  # nobody knows whether it is the same function


def test_a_damaged_file_is_as_good_as_none(generator: Generator, tmp_path: Path) -> None:
    first = score_samples(generator, counting([]), 64, 0, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert torch.equal(score_samples(generator, counting([]), 64, 0, cache=tmp_path).scores, first.scores)


def test_what_is_not_known_stays_unknown(generator: Generator, tmp_path: Path) -> None:
    some = FunctionScorer(lambda x: torch.where(torch.arange(len(x)) % 2 == 0, 1.0, float("nan")), ("Odd",), "odd")
    for _ in range(2):  # as scored, as kept
        scores = score_samples(generator, some, 32, cache=tmp_path).of("Odd")
        assert scores.isnan().sum() == 16 and scores[0] == 1
    bad: Callable[[Tensor], Tensor] = lambda x: torch.full((len(x),), float("inf"))  # noqa: E731
    with pytest.raises(ValueError, match="not finite, at sample 0"):
        score_samples(generator, FunctionScorer(bad, ("Bad",)), 32)
    with pytest.raises(ValueError, match=r"gives \[32, 3\], got \[32, 2\]"):
        score_samples(generator, FunctionScorer(lambda x: torch.zeros(len(x), 2), measured.NAMES), 32)


def test_labels_are_of_the_samples_that_gradstyle_sample_draws(generator: Generator, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("picture,Hat,Beard\n0-0002.png,1,\n5,0,0.5\n")
    labels = Labels.open(table)
    samples = score_samples(generator, labels, 8, seed=0)
    assert torch.equal(samples.w, generator.sample(8, 1.0, 0).w[:, 0])
    assert samples.of("Hat").nan_to_num(-1).tolist() == [-1, -1, 1, -1, -1, 0, -1, -1]
    assert samples.of("Beard").nan_to_num(-1).tolist() == [-1, -1, -1, -1, -1, 0.5, -1, -1]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "its first line names the picture"),
        ("picture,Hat,Hat\n1,0,0\n", "each once"),
        ("picture,Hat\n", "no line but the first"),
        ("picture,Hat\n1,0,0\n", "line 2 has 3 cells"),
        ("picture,Hat\nme.png,0\n", "line 2: 'me.png' is no sample's number"),
        ("picture,Hat\n1,0\n0-0001.png,1\n", "line 3: sample 1 is there twice"),
        ("picture,Hat\n1,nan\n", "line 2: 'nan' is no number"),
        ("picture,Hat\n1,1e999\n", "line 2: '1e999' is no number"),
        ("picture,Hat\n-1,x\n", "is no number"),
    ],
)
def test_a_table_that_is_none_is_refused(text: str, cause: str, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=cause):
        Labels.open(table)
