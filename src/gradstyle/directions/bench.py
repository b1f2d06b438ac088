"""Tries edits on codes that no edit was learned from, and measures the edited pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..bundles import Bundle
from ..edits import Edit
from ..losses.recognition import recognition
from ..metrics.face_frame import FaceFrame
from ..stylegan2 import Codes, Generator
from .samples import BATCH, known
from .scorers import Scorer, only_for

CODES, TRUNCATION = 40, 0.7  # pictures on which an edit is tried: as usual as photos are
FACES = 16  # of them whose identity is compared: dlib takes longer than all others together
DATA = 768  # pictures that say what one standard deviation is, for what has not scored the samples


@dataclass(frozen=True, eq=False)
class Responses:
    """Holds how scores respond to an edit, in standard deviations of the data."""

    own: Tensor  # [amounts, codes]: the attribute itself, as the judge sees it
    taught: Tensor  # [2, codes]: the same as the scorer sees it, at amounts −1 and 1
    others: dict[str, Tensor]  # [2, codes]: every other attribute, at amounts −1 and 1
    real: Tensor | None  # [amounts, some of the codes], the discriminator's score


class EditBench:
    """Applies edits to codes, renders the pictures and has networks score them."""

    def __init__(
        self,
        generator: Generator,
        scorer: Scorer,
        spread: dict[str, float],
        judge: Scorer | None = None,
        frame: FaceFrame | None = None,
        discriminator: nn.Module | None = None,
        seed: int = 0,
        codes: int = CODES,
    ) -> None:
        self.generator, self.scorer, self.judge = generator, scorer, judge
        self.frame, self.discriminator = frame, discriminator
        self.codes = generator.sample(codes, TRUNCATION, seed + 1)
        self._unedited: Tensor | None = None  # dlib's vectors
        self.spread = spread  # of the scorer's attributes
        self.judge_spread, self.real_spread = self._data(seed + 2)

    @torch.inference_mode()
    def _data(self, seed: int) -> tuple[dict[str, float], float]:
        """Gives one standard deviation of the judge's and the discriminator's scores, over the generator's pictures."""
        if self.judge is None and self.discriminator is None:
            return {}, 1.0
        codes = self.generator.sample(DATA, 1.0, seed)
        judged, real = [], []
        for i in range(0, DATA, BATCH):
            images = self.generator(codes[i : i + BATCH])
            if self.judge is not None:
                judged.append(self.judge(images))
            if self.discriminator is not None:
                real.append(self.discriminator(images).flatten().float().cpu())
        columns = torch.cat(judged).T if self.judge is not None and judged else torch.empty(0)
        names = self.judge.attributes if self.judge is not None else ()
        spread = {name: float(known(column).std()) for name, column in zip(names, columns)}
        return spread, float(torch.cat(real).std()) if real else 1.0

    def pictures(self, codes: Codes) -> Tensor:
        return torch.cat([self.generator(codes[i : i + BATCH]) for i in range(0, len(codes), BATCH)])

    def sees(self, scorer: Scorer, images: Tensor) -> dict[str, Tensor]:
        """Gives every attribute of a scorer [N], in its standard deviations."""
        spread = self.judge_spread if scorer is self.judge else self.spread
        scores = torch.cat([scorer(part) for part in torch.split(images, BATCH)])
        return {name: column / spread[name] for name, column in zip(scorer.attributes, scores.T)}

    @torch.inference_mode()
    def taught(self, edits: Sequence[Edit], codes: Codes, attribute: str) -> dict[str, Tensor]:
        """Gives the scores of the scorer that knows an attribute, [edits, codes] for each attribute that it knows."""
        scorer = only_for(self.scorer, attribute)
        seen = [self.sees(scorer, self.pictures(edit.apply(codes))) for edit in edits]
        return {name: torch.stack([each[name] for each in seen]) for name in scorer.attributes}

    def moved(self, edit: Edit, attribute: str, codes: Codes) -> float:
        """Gives half of the difference between the edit and its reverse, in the scorer's deviations."""
        back, there = self.taught([-edit, edit], codes, attribute)[attribute]
        return float((there - back).nanmean()) / 2

    @torch.inference_mode()
    def look(self, edit: Edit, amounts: Sequence[float], attribute: str, independent: bool) -> Responses:
        """Scores amounts −1 and 1 by all networks, the other amounts only by the one that judges the attribute."""
        eye = self.judge if independent and self.judge is not None else only_for(self.scorer, attribute)
        own, real, near = [], [], []
        for amount in amounts:
            images = self.pictures((amount * edit).apply(self.codes))
            seen = self.sees(eye, images)
            own.append(seen[attribute])
            if abs(amount) == 1:
                taught = self.sees(self.scorer, images)
                judged = {} if self.judge is None else seen if eye is self.judge else self.sees(self.judge, images)
                near.append((taught, {**taught, **judged}))
            if self.discriminator is not None:
                real.append(self.discriminator(images[:FACES]).flatten().float().cpu() / self.real_spread)
        (taught_back, back), (taught_there, there) = near
        return Responses(
            torch.stack(own),
            torch.stack([taught_back[attribute], taught_there[attribute]]),
            {name: torch.stack([back[name], there[name]]) for name in back if name != attribute},
            torch.stack(real) if real else None,
        )

    @torch.inference_mode()
    def strangeness(self, edits: Sequence[Edit]) -> Tensor | None:
        """Gives dlib's distance between each picture and its edited self, [edits, codes]; None without faces."""
        if self.frame is None:
            return None
        few = self.codes[:FACES]
        if self._unedited is None:
            self._unedited = self.frame.embed(self.generator(few))
        after = [self.frame.embed(self.generator(edit.apply(few))) for edit in edits]
        return torch.stack([(vectors - self._unedited).norm(dim=1) for vectors in after])


def bench_of(
    bundle: Bundle, scorer: Scorer, spread: dict[str, float], judge: Scorer | None, seed: int, device: Any, codes: int
) -> EditBench:
    """Makes a bench with the bundle's discriminator and dlib's vectors, where these are there and faces are found."""
    generator = bundle.generator(device=device)
    discriminator = bundle.discriminator(device=device) if "discriminator" in bundle else None
    try:
        recognition()
        frame = FaceFrame.of(generator)
    except ValueError:
        frame = None
    return EditBench(generator, scorer, spread, judge, frame, discriminator, seed, codes)
