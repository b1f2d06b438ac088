"""Networks and methods of a few thousand weights, pictures made of noise, and distances: what most tests stand on."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log10
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradstyle.edits import Edit
from gradstyle.encoder import Encoder, EncoderConfig
from gradstyle.methods import BASELINES, METHODS, Method
from gradstyle.methods.baselines import CarriedConfig, PasteConfig
from gradstyle.methods.e4e import E4EConfig
from gradstyle.methods.gradmove import GradMoveConfig
from gradstyle.methods.gradstyle import GradStyleConfig, Stage
from gradstyle.methods.hfgi import HFGIConfig
from gradstyle.methods.method import Losses, TrainingContext
from gradstyle.methods.sdic import SDICConfig
from gradstyle.methods.styleres import StyleResConfig
from gradstyle.rng import Draws
from gradstyle.stylegan2 import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

Module = TypeVar("Module", bound=nn.Module)

GENERATOR = GeneratorConfig(32, 32, 32, mapping_layers=2, channel_base=1024, channel_max=32)
ENCODER = EncoderConfig(
    8, 32, 64, units=(1, 1, 1, 1), widths=(8, 16, 32, 64), feature_width=64, head_width=32, coarse=3, middle=5
)
CONFIGS: dict[str, Any] = {  # layers 3 and 4 are 16 px, half the image's side
    "gradmove": GradMoveConfig(
        (Stage(1, "c3"), Stage(3, "p2"), Stage(4, "p1")),
        residual_width=16,
        residual_units=2,
        match_width=16,
        refuse_width=8,
    ),
    "gradstyle": GradStyleConfig(
        (Stage(1, "c3"), Stage(3, "p2"), Stage(4, "p1")), residual_width=16, residual_units=2, blocks=2, head_width=16
    ),
    "styleres": StyleResConfig(layer=3, width=16, reduced=8, extraction_units=2, branch_units=2),
    "sdic": SDICConfig(
        layer=3,
        working_size=32,
        photo_widths=(6, 8, 10),
        half_width=6,
        match_width=8,
        planes=8,
        volume_widths=(4, 6, 8),
        head_width=6,
        head_units=2,
        map_widths=(8,),
        shift_side=16,
    ),
    "hfgi": HFGIConfig(layer=3, aligner_widths=(4, 6, 8, 8), consultation_widths=(4, 6, 8), units=2),
    "e4e": E4EConfig(),
    "paste": PasteConfig(),
    "carried": CarriedConfig(),
}


def method(name: str, config: Any = None, shaken: bool = True) -> Method[Any]:
    """A method as after some training, or with `shaken=False` as before it."""
    torch.manual_seed(0)
    made = (METHODS | BASELINES)[name](generator(), encoder(), config or CONFIGS[name])
    return (shake(made) if shaken else made).eval()


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
    _shake_statistics(made)
    return made


def discriminator(seed: int = 2) -> Discriminator:
    torch.manual_seed(seed)
    return Discriminator(DiscriminatorConfig(32, 256, 16))


def photos(count: int = 2, side: int = 64, seed: int = 3) -> Tensor:
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(noise, size=(side, side), mode="bilinear")


def an_edit(scale: float = 1.0, seed: int = 4) -> Edit:
    return Edit("test", torch.randn(8, 32, generator=torch.Generator().manual_seed(seed)) * scale)


def shake(module: Module, seed: int = 5) -> Module:
    """Move what learns, so that layers that start at zero count, and BatchNorm statistics, so that they do."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    _shake_statistics(module)
    return module


def _shake_statistics(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            norm.running_mean.uniform_(-0.1, 0.1)
            norm.running_var.uniform_(0.5, 1.5)


def coarse(a: Tensor, b: Tensor) -> Tensor:
    """Stands for a perceptual distance."""
    return (F.avg_pool2d(a, 4) - F.avg_pool2d(b, 4)).abs().mean()


def who(a: Tensor, b: Tensor) -> Tensor:
    """Stands for an identity distance: a cosine of fixed features."""
    return (1 - F.cosine_similarity(F.avg_pool2d(a, 8).flatten(1), F.avg_pool2d(b, 8).flatten(1))).mean()


def context(seed: int = 0, judge: nn.Module | None = None, rank: int = 0, world: int = 1) -> TrainingContext:
    return TrainingContext(coarse, who, judge, draws=Draws(seed, rank, world))


def training(learning: nn.Module, loss: Callable[[], Losses], term: str, rate: float, steps: int = 20) -> list[float]:
    """What a term was at each step of training on the whole loss."""
    optimizer = torch.optim.Adam([p for p in learning.parameters() if p.requires_grad], rate)
    values = []
    for _ in range(steps):
        losses = loss()
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        values.append(losses.terms[term].item())
    return values


def far(ours: Tensor, theirs: Any) -> float:
    """Relative L2 distance to a tensor or an array."""
    reference = torch.as_tensor(theirs).detach().double()
    return float((ours.detach().double() - reference).norm() / reference.norm())


def psnr(a: Tensor, b: Tensor) -> float:
    """Over the range of b."""
    error = float((a - b).square().mean())
    return 10 * log10(float(b.max() - b.min()) ** 2 / error) if error else inf
