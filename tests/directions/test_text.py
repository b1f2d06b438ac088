"""Edits from words, with something that stands for CLIP: it sees how bright and how red a picture is, and reads so."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gradstyle.directions.text import OpenClip, channel_effects, from_words
from gradstyle.stylegan2 import Generator, GeneratorConfig
from tests.support import tiny

SMALL = GeneratorConfig(16, 16, 16, mapping_layers=1, channel_base=128, channel_max=8)
RGB = (1, 4, 7)  # style vectors: layer 0, its ToRGB, 1, 2, its ToRGB, 3, 4, its ToRGB


class Eyes:
    """Vectors [bright, red, 1]; texts that say so lie there too."""

    identity = "stand-in"

    def __init__(self, stop: int | None = None) -> None:
        self.calls, self.stop = 0, stop

    def embed_images(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.stop is not None and self.calls > self.stop:
            raise KeyboardInterrupt
        bright = images.mean(dim=(1, 2, 3))
        red = images[:, 0].mean(dim=(1, 2)) - images[:, 2].mean(dim=(1, 2))
        return torch.stack([bright, red, torch.ones(len(images))], dim=1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float("bright" in text), float("red" in text), 1.0] for text in texts])


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(SMALL).eval()


@pytest.fixture(scope="module")
def effects(generator: Generator) -> tuple[Tensor, Tensor]:
    return channel_effects(generator, Eyes(), people=3)


def test_words_move_pictures_as_they_say(generator: Generator, effects: tuple[Tensor, Tensor]) -> None:
    codes = generator.sample(8, 0.7, 5)
    for words, column in (("a bright face", 0), ("a red face", 1)):
        edit = from_words("x", words, "a face", *effects, Eyes(), generator, threshold=0.2)
        assert edit.w is None and edit.s.shape == (sum(generator.style_widths),)
        with torch.no_grad():
            low, none, high = (Eyes().embed_images(generator((a * edit).apply(codes)))[:, column] for a in (-1, 0, 1))
        assert high.mean() > none.mean() > low.mean()
    back = from_words("x", "a face", "a red face", *effects, Eyes(), generator, threshold=0.2)
    torch.testing.assert_close(back.s, -edit.s)


def test_only_relevant_channels_move_and_no_torgb(generator: Generator, effects: tuple[Tensor, Tensor]) -> None:
    wide, narrow = (from_words("x", "a red face", "a face", *effects, Eyes(), generator, t) for t in (0.05, 0.6))
    assert 0 < int((narrow.s != 0).sum()) < int((wide.s != 0).sum())
    starts = torch.tensor([0, *generator.style_widths]).cumsum(0)
    for index in RGB:
        assert not wide.s[starts[index] : starts[index + 1]].any()
    relevance = (narrow.s / effects[1]).abs()
    assert float(relevance.max()) == pytest.approx(1, abs=1e-4)  # the most relevant moves by one of its deviations
    with pytest.raises(ValueError, match="no style channel changes pictures from 'a face' to 'a red face'"):
        from_words("x", "a red face", "a face", *effects, Eyes(), generator, threshold=2.0)
    with pytest.raises(ValueError, match="CLIP sees no difference between 'a nose' and 'a face'"):
        from_words("x", "a nose", "a face", *effects, Eyes(), generator)


def test_it_is_stopped_and_goes_on(generator: Generator, effects: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    kept = tmp_path / "effects.safetensors"
    with pytest.raises(KeyboardInterrupt):
        channel_effects(generator, Eyes(stop=31), kept, people=3)
    rest = Eyes()
    again, spread = channel_effects(generator, rest, kept, people=3)
    assert torch.equal(again, effects[0]) and torch.equal(spread, effects[1])
    whole = 2 * sum(w for i, w in enumerate(generator.style_widths) if i not in RGB)
    assert rest.calls == whole - 30  # 15 channels were done, there and back
    done = Eyes()
    channel_effects(generator, done, kept, people=3)
    assert done.calls == 0
    with pytest.raises(ValueError, match="holds effects of"):
        channel_effects(tiny.generator(3), Eyes(), kept, people=3)


def test_without_clip_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ValueError, match=r'pip install "gradstyle\[words\]"'):
        OpenClip()
