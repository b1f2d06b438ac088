"""e4e (Tov et al. 2021) as a method, which is its codes alone, and how its encoder learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import Encoder
from ..stylegan2 import Codes, Generator
from .method import Inversion, Losses, Method, TrainingContext, fit


@dataclass(frozen=True)
class E4EConfig:
    """Has no values."""


@dataclass(frozen=True)
class E4EInversion(Inversion):
    """Holds the codes alone."""


class E4E(Method[E4EInversion]):
    """Renders the codes alone; details are lost. It is the baseline of every other method."""

    name = "e4e"
    Config = E4EConfig
    Keeps = E4EInversion
    learning = None

    def invert(self, photo: Tensor, codes: Codes | None = None) -> E4EInversion:
        return E4EInversion(self.codes_of(photo, codes), generator=self.generator.fingerprint)

    def reconstruct(self, inversion: E4EInversion) -> Tensor:
        return self.generator(inversion.codes)  # type: ignore[no-any-return]

    def render_codes(self, inversion: E4EInversion, codes: Codes) -> Tensor:
        return self.generator(codes)  # type: ignore[no-any-return]

    def training_loss(self, photo: Tensor, context: TrainingContext) -> Losses:
        raise ValueError(
            "e4e has nothing to learn beside its encoder, which a method keeps frozen: "
            "train the encoder with `gradstyle train encoder`"
        )


# ---- how the encoder learns


@dataclass(frozen=True)
class EncoderLossConfig:
    """The published values for faces. Other domains have no face to compare: a weight of 0.5 there, on MoCo."""

    pixel: float = 1.0
    perceptual: float = 0.8
    identity: float = 0.1
    delta: float = 2e-4
    adversarial: float = 0.1
    first_delta: int = 20_000  # the step at which codes begin to differ from each other
    delta_every: int = 2_000  # steps from one delta to the next
    pool: int = 50  # codes of either kind that the discriminator may meet again
    r1: float = 10.0
    r1_every: int = 16

    def __post_init__(self) -> None:
        for name in ("delta_every", "r1_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 step, got {getattr(self, name)!r}")
        if self.pool < 0:
            raise ValueError(f"pool must be 0 (none) or a number of codes, got {self.pool!r}")


def deltas_at(step: int, deltas: int, first: int = 20_000, every: int = 2_000) -> int:
    """How many of an encoder's deltas are on: one at step `first`, one more every `every` steps."""
    return min(max((step - first) // every + 1, 0), deltas)


def delta_norm(deltas: Tensor) -> Tensor:
    """How far the codes stray from the first: the lengths of the deltas [N, deltas, w_dim], summed for each photo."""
    mean: Tensor = torch.linalg.vector_norm(deltas, dim=2).sum(dim=1).mean()
    return mean


class EncoderLoss:
    """Compares the picture of the codes with the photo; the codes must also pass for codes of the mapping network.

    `fakes` are one code a photo, drawn from those that differ; `context.discriminator` is a LatentDiscriminator.
    """

    def __init__(self, generator: Generator, encoder: Encoder, config: EncoderLossConfig | None = None) -> None:
        self.generator = generator.requires_grad_(False).eval()
        self.encoder = encoder
        self.config = config or EncoderLossConfig()

    def __call__(self, photo: Tensor, context: TrainingContext) -> Losses:
        config, encoder = self.config, self.encoder
        on = deltas_at(context.step, encoder.config.codes - 1, config.first_delta, config.delta_every)
        codes = encoder.codes(encoder.features(photo), deltas=on)
        photo = fit(photo, encoder.config.input_size)
        drawn = fit(self.generator(codes), encoder.config.input_size)
        different = codes.w[:, : on + 1]  # the others equal the first
        learned = different - encoder.mean_codes[: on + 1]
        scores = _judge(context)(different.flatten(0, 1))
        chosen = (context.draws.uniform(len(photo)) * (on + 1)).long()
        return Losses(
            terms={
                "pixel": F.mse_loss(drawn, photo),
                "perceptual": context.perceptual(drawn, photo),
                "identity": context.identity(drawn, photo),
                "delta": delta_norm(learned[:, 1:] - learned[:, :1]),
                "adversarial": F.softplus(-scores).mean(),
            },
            weights={
                "pixel": config.pixel,
                "perceptual": config.perceptual,
                "identity": config.identity,
                "delta": config.delta,
                "adversarial": config.adversarial,
            },
            fakes=different[torch.arange(len(photo)), chosen],  # [N, w_dim]
        )


class LatentDiscriminator(nn.Module):
    """Tells a code of the mapping network, above zero, from one of the encoder."""

    def __init__(self, w_dim: int = 512, layers: int = 4) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(w_dim, w_dim) for _ in range(layers - 1))
        self.score = nn.Linear(w_dim, 1)

    def forward(self, codes: Tensor) -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            for layer in self.hidden:
                codes = F.leaky_relu(layer(codes), 0.2)
            score: Tensor = self.score(codes)
        return score[:, 0]  # [N]


class LatentDiscriminatorLoss:
    """Non-saturating, on pools of older codes, with R1 on the mapping network's every few steps.

    `gather` joins the rows of all processes, in their order: then each keeps the pools that one process with the
    joined batch would keep. Pools are part of a run's state, as the discriminator's weights are.
    """

    def __init__(
        self,
        generator: Generator,
        config: EncoderLossConfig | None = None,
        gather: Callable[[Tensor], Tensor] = lambda rows: rows,
    ) -> None:
        self.generator = generator
        self.config = config = config or EncoderLossConfig()
        self.gather = gather
        self.reals, self.fakes = CodePool(config.pool), CodePool(config.pool)

    def __call__(self, fakes: Tensor, context: TrainingContext) -> Losses:
        count, config = len(fakes), self.config
        z = context.draws.normal(count, self.generator.config.z_dim)
        with torch.no_grad():
            reals = self._exchange(self.reals, self.generator.map(z), context)
            fakes = self._exchange(self.fakes, fakes, context)
        penalised = context.step % config.r1_every == 0
        reals.requires_grad_(penalised)
        scores = _judge(context)(torch.cat([reals, fakes]))
        terms = {"real": F.softplus(-scores[:count]).mean(), "fake": F.softplus(scores[count:]).mean()}
        if penalised:
            (slope,) = torch.autograd.grad(scores[:count].sum(), reals, create_graph=True)
            terms["r1"] = slope.square().sum(dim=1).mean()
        return Losses(terms, {"real": 1.0, "fake": 1.0, "r1": config.r1 / 2 * config.r1_every})

    def _exchange(self, pool: CodePool, codes: Tensor, context: TrainingContext) -> Tensor:
        draws, count = context.draws, len(codes)
        given = pool.exchange(self.gather(codes), draws.uniform_for_all(count, 2))
        return given[draws.rank * count :][:count].clone()

    def state_dict(self) -> dict[str, Tensor]:
        return {"reals": self.reals.codes, "fakes": self.fakes.codes}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, codes in state.items():
            if codes.numel() and list(codes.shape[1:]) != [self.generator.config.w_dim]:
                raise ValueError(f"{name} must be codes [held, {self.generator.config.w_dim}], got {list(codes.shape)}")
        self.reals.codes, self.fakes.codes = state["reals"], state["fakes"]


class CodePool:
    """Codes of earlier steps, so that the discriminator does not chase the newest alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.codes = torch.empty(0)  # [held, w_dim]

    def exchange(self, codes: Tensor, chances: Tensor) -> Tensor:
        """Until the pool is full, keep each code and give it back; from then on half of them are swapped for one
        that it holds. `chances` [N, 2] in [0, 1): of a swap, and of the place."""
        held = list(self.codes.to(codes))
        given = []
        for code, (swap, place) in zip(codes.detach(), chances.tolist()):
            old = code
            if len(held) < self.size:
                held.append(code)
            elif held and swap < 0.5:
                at = int(place * self.size)
                old, held[at] = held[at], code
            given.append(old)
        self.codes = torch.stack(held) if held else self.codes
        return torch.stack(given)


def _judge(context: TrainingContext) -> nn.Module:
    if context.discriminator is None:
        raise ValueError("the encoder learns against a LatentDiscriminator: put one into the training context")
    return context.discriminator
