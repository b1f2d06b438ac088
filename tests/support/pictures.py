"""Pictures that a test draws itself, with labels that can be seen in them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from gradstyle.bundles import Bundle
from gradstyle.encoder import Encoder, EncoderConfig
from gradstyle.losses import Judge, JudgeConfig
from gradstyle.stylegan2 import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from gradstyle.training.trainable import Progress


class Silent:
    """A meter that remembers what was said and how each term went."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.terms: list[Mapping[str, float]] = []

    def show(self, progress: Progress, goal: int, terms: Mapping[str, float], left: float | None) -> None:
        self.terms.append(dict(terms))

    def say(self, text: str) -> None:
        self.said.append(text)


def draw_pictures(folder: Path, count: int = 64, side: int = 16, seed: int = 0) -> Path:
    """Smooth blobs, half of them bright and half with a bar on the left; `labels.csv` says which, and a split."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        bright, barred = bool(random.integers(2)), bool(random.integers(2))
        small = random.integers(0, 120, (4, 4, 3), dtype=np.uint8) + np.uint8(90 if bright else 0)
        picture = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)).copy()
        if barred:
            picture[:, side // 4 : side // 2] = 255 - picture[:, side // 4 : side // 2]
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
        rows.append([f"{number:03d}.png", "val" if number % 4 == 0 else "train", int(bright), int(barred)])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "part", "bright", "barred"], *rows])
    return folder


def make_bundle(folder: Path, with_encoder: bool = True, mapping_layers: int = 2) -> Path:
    """Networks for pictures of 16 px, as the recipe `tiny` has them, with random weights."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(16, 16, 16, mapping_layers, channel_base=128, channel_max=16))
    bundle = Bundle("tiny")
    bundle.put("generator", generator)
    bundle.put("discriminator", Discriminator(DiscriminatorConfig(16, 128, 16)))
    if with_encoder:
        encoder = Encoder(EncoderConfig(6, 16, 16, (1, 1, 1, 1), (8, 12, 16, 24), 24, 16, coarse=2, middle=4))
        for norm in encoder.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.uniform_(-0.1, 0.1)
                norm.running_var.uniform_(0.5, 1.5)
        bundle.put("encoder", encoder)
    return bundle.save(folder)


def make_teacher(path: Path, seed: int = 1) -> Path:
    torch.manual_seed(seed)
    return Judge(JudgeConfig(("a", "b"), 16, (6, 8), 8)).save(path)
