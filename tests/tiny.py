"""Networks of a few thousand weights, pictures made of noise, and distances: what most tests stand on."""

from __future__ import annotations

from math import inf, log10

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradstyle.draws import Draws
from gradstyle.edits import Edit
from gradstyle.encoder import Encoder, EncoderConfig
from gradstyle.methods.method import TrainingContext
from gradstyle.stylegan2 import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

GENERATOR = GeneratorConfig(32, 32, 32, mapping_layers=2, channel_base=1024, channel_max=32)
ENCODER = EncoderConfig(
    8, 32, 64, units=(1, 1, 1, 1), widths=(8, 16, 32, 64), feature_width=64, head_width=32, coarse=3, middle=5
)


def generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    made = Generator(GENERATOR)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)  # as after training: noise that counts
    return made


def encoder(seed: int = 1) -> Encoder:
    torch.manual_seed(seed)
    made = Encoder(ENCODER)
    made.mean_codes.normal_()
    return made


def discriminator(seed: int = 2) -> Discriminator:
    torch.manual_seed(seed)
    return Discriminator(DiscriminatorConfig(32, 256, 16))


def photos(count: int = 2, side: int = 64, seed: int = 3) -> Tensor:
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(noise, size=(side, side), mode="bilinear")


def an_edit(scale: float = 1.0, seed: int = 4) -> Edit:
    return Edit("test", torch.randn(8, 32, generator=torch.Generator().manual_seed(seed)) * scale)


def shake(module: nn.Module, seed: int = 5) -> nn.Module:
    """Move every parameter, so that layers that start at zero count, and BatchNorm statistics, so that they do."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return module


def coarse(a: Tensor, b: Tensor) -> Tensor:
    """Stands for a perceptual distance."""
    return (F.avg_pool2d(a, 4) - F.avg_pool2d(b, 4)).abs().mean()


def who(a: Tensor, b: Tensor) -> Tensor:
    """Stands for an identity distance: a cosine of fixed features."""
    return (1 - F.cosine_similarity(F.avg_pool2d(a, 8).flatten(1), F.avg_pool2d(b, 8).flatten(1))).mean()


def context(seed: int = 0, judge: nn.Module | None = None, rank: int = 0, world: int = 1) -> TrainingContext:
    return TrainingContext(coarse, who, judge, draws=Draws(seed, rank, world))


def far(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2 distance."""
    return float((ours.detach().double() - theirs.double()).norm() / theirs.double().norm())


def psnr(a: Tensor, b: Tensor) -> float:
    """Over the range of b."""
    error = float((a - b).square().mean())
    return 10 * log10(float(b.max() - b.min()) ** 2 / error) if error else inf
