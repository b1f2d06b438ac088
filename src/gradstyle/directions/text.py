"""Edits from words: StyleCLIP's global directions (Patashnik et al. 2021), in the generator's style space S.

Once for a generator: how CLIP sees the picture change when each style channel is moved (`channel_effects`; it takes
long, is kept, and can be stopped). Then for any words in no time: the channels that change pictures as the words do.
CLIP itself is needed for both: pip install "gradstyle[words]".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bundles.checks import fingerprint
from ..edits import Edit
from ..progress import Progress
from ..stylegan2 import Codes, Generator
from ..tensors import read_tensors, write_tensors
from .samples import BATCH

PEOPLE, MOVED = 32, 5.0  # codes on which each channel is moved, by how many of its standard deviations
THRESHOLD = 0.1  # of the relevance; below, a channel stays (β)
TEMPLATES = ("a photo of {}", "a picture of {}", "a portrait of {}", "a close-up photo of {}", "a cropped photo of {}")


class Clip(Protocol):
    """Pictures in [−1, 1] and texts to vectors of one space, [N, width] each."""

    @property
    def identity(self) -> str: ...

    def embed_images(self, images: Tensor) -> Tensor: ...

    def embed_texts(self, texts: Sequence[str]) -> Tensor: ...


class OpenClip:
    """CLIP as the package open_clip has it."""

    MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, model: str = "ViT-B-32", weights: str = "openai", device: torch.device | str = "cpu") -> None:
        try:
            import open_clip
        except ImportError as error:
            raise ValueError(f'edits from words need CLIP: pip install "gradstyle[words]" ({error})') from error
        self.identity, self.device = f"clip {model} {weights}", device
        self.model, _, _ = open_clip.create_model_and_transforms(model, pretrained=weights, device=device)
        self.model.eval()
        self.tokens = open_clip.get_tokenizer(model)
        size = self.model.visual.image_size
        self.side = size[0] if isinstance(size, tuple | list) else size

    def embed_images(self, images: Tensor) -> Tensor:
        images = F.interpolate(images, (self.side, self.side), mode="bicubic", align_corners=False, antialias=True)
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (self.MEAN, self.STD))
        found: Tensor = self.model.encode_image(((images.clamp(-1, 1) + 1) / 2 - mean) / std)
        return found.float()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        found: Tensor = self.model.encode_text(self.tokens(list(texts)).to(self.device))
        return found.float()


@torch.inference_mode()
def channel_effects(
    generator: Generator,
    clip: Clip,
    cache: Path | None = None,
    meter: Progress | None = None,
    seed: int = 0,
    people: int = PEOPLE,
) -> tuple[Tensor, Tensor]:
    """How CLIP sees each style channel [channels, width], as directions of length 1; and the channels' deviations.

    Channels of ToRGBs change colours alone, and stay zero. What is done is kept in `cache`, channel by channel.
    """
    codes = generator.sample(people, 1.0, seed)
    spread = torch.cat([style.std(dim=0) for style in generator.styles(generator.sample(1000, 1.0, seed))]).cpu()
    channels = [c for start, width, rgb in _style_ranges(generator) if not rgb for c in range(start, start + width)]
    told = {"generator": fingerprint(generator.state_dict()), "clip": clip.identity, "of": f"{seed} {people} {MOVED}"}
    effects, done = _kept(cache, told)
    if effects is None:
        effects = torch.zeros(len(spread), clip.embed_images(generator(codes[0])).shape[1])
    try:
        while done < len(channels):
            if meter is not None:
                meter("moving styles", done, len(channels))
            effects[channels[done]] = _effect(generator, clip, codes, channels[done], float(spread[channels[done]]))
            done += 1
            if done % 64 == 0:
                _keep(cache, effects, done, told)
    finally:
        _keep(cache, effects, done, told)
    return effects, spread


def _effect(generator: Generator, clip: Clip, codes: Codes, channel: int, spread: float) -> Tensor:
    """Gives the mean difference from the pictures with less of a channel to those with more."""
    move = torch.zeros(sum(generator.style_widths))
    move[channel] = MOVED * spread
    step, ways = Edit("channel", None, move), []
    for i in range(0, len(codes), BATCH):
        there, back = (
            F.normalize(clip.embed_images(generator(edit.apply(codes[i : i + BATCH]))), dim=1) for edit in (step, -step)
        )
        ways.append(there - back)
    return F.normalize(torch.cat(ways).mean(dim=0), dim=0).cpu()


@torch.inference_mode()
def from_words(
    name: str,
    target: str,
    neutral: str,
    effects: Tensor,
    spread: Tensor,
    clip: Clip,
    generator: Generator,
    threshold: float = THRESHOLD,
) -> Edit:
    """An edit of S from one text to another: "a smiling face", "a face".

    Amount 1 moves the most relevant channel by one of its standard deviations.
    """
    words = [
        F.normalize(F.normalize(clip.embed_texts([t.format(text) for t in TEMPLATES]), dim=1).mean(dim=0), dim=0)
        for text in (target, neutral)
    ]
    way = words[0] - words[1]
    if not way.norm() > 1e-6:
        raise ValueError(f"CLIP sees no difference between {target!r} and {neutral!r}")
    relevance = effects @ F.normalize(way, dim=0).cpu()  # [channels]
    moving = relevance.abs() >= threshold
    if not bool(moving.any()):
        raise ValueError(
            f"no style channel changes pictures from {neutral!r} to {target!r}: the largest relevance is "
            f"{float(relevance.abs().max()):.3f}, below the threshold of {threshold:g}"
        )
    relevance = torch.where(moving, relevance, 0.0)
    return Edit(name, None, relevance / relevance.abs().max() * spread, generator.fingerprint)


def _style_ranges(generator: Generator) -> list[tuple[int, int, bool]]:
    """First channel, width, and whether it is a ToRGB's, of every style vector in the order of `style_widths`."""
    ranges, start = [], 0
    rgb = [kind for layer in range(generator.config.layers) for kind in ([False, True] if layer % 2 == 0 else [False])]
    for width, of_rgb in zip(generator.style_widths, rgb):
        ranges.append((start, width, of_rgb))
        start += width
    return ranges


def _kept(cache: Path | None, told: dict[str, str]) -> tuple[Tensor | None, int]:
    if cache is None or not cache.is_file():
        return None, 0
    tensors, found = read_tensors(cache, torch.float32)
    if {key: found.get(key) for key in told} != told:
        raise ValueError(
            f"{cache} holds effects of {found.get('generator')} with {found.get('clip')}: give another file"
        )
    return tensors["effects"], int(found["done"])


def _keep(cache: Path | None, effects: Tensor, done: int, told: dict[str, str]) -> None:
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(cache, {"effects": effects}, {**told, "done": str(done)})
