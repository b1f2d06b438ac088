"""Scores many pictures of the generator, for finding directions; scores are stored, so that this can resume."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..bundles.checks import fingerprint
from ..files import cache_folder
from ..progress import Progress
from ..stylegan2 import Generator
from ..tensors import BadTensors, read_tensors, write_tensors
from .scorers import Labels, Scorer

SAMPLES = 10_000
BATCH = 32  # always the same, so that a run that was stopped gives the bits of one that was not
SAVE_EVERY = 256  # samples
DRAWN = 2  # how samples are drawn; another number forgets the scores of those drawn before


@dataclass(frozen=True, eq=False)
class Samples:
    """Holds codes of the mapping network and the scores of their pictures."""

    w: Tensor  # [N, w_dim]
    scores: Tensor  # [N, attributes]; NaN: not known
    attributes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.w)

    def of(self, attribute: str) -> Tensor:
        if attribute not in self.attributes:
            raise ValueError(f"no scorer knows {attribute!r}; known are {', '.join(self.attributes)}")
        return self.scores[:, self.attributes.index(attribute)]

    @property
    def spread(self) -> dict[str, float]:
        """Gives one standard deviation of each attribute."""
        return {name: float(known(column).std()) for name, column in zip(self.attributes, self.scores.T)}


def known(column: Tensor) -> Tensor:
    return column[~column.isnan()]


def score_samples(
    generator: Generator,
    scorer: Scorer | Labels,
    count: int = SAMPLES,
    seed: int = 0,
    truncation: float = 1.0,
    cache: Path | None = None,
    meter: Progress | None = None,
) -> Samples:
    """Draws codes, renders their pictures and scores them; scores are stored under `cache`, from which it resumes."""
    if count < 1:
        raise ValueError(f"at least one sample is needed, got {count}")
    codes = generator.sample(count, truncation, seed)
    if isinstance(scorer, Labels):
        return Samples(codes.w[:, 0].cpu(), scorer.scores(count), scorer.attributes)
    name = fingerprint(generator.state_dict())
    kept = None if not scorer.identity else cache_file(cache, name, scorer.identity, seed, truncation)
    scores = torch.empty(count, len(scorer.attributes))
    start = saved = _read(kept, scores)
    try:
        with torch.inference_mode():
            for done in range(start, count, BATCH):
                if meter is not None:
                    meter("scoring", done, count)
                part = scorer(generator(codes[done : done + BATCH]))
                if bool(part.isinf().any()):
                    raise ValueError(f"the scorer gives values that are not finite, at sample {done}")
                scores[done : done + BATCH] = part
                start = min(done + BATCH, count)
                if start - saved >= SAVE_EVERY:
                    _write(kept, scores[:start])
                    saved = start
    except KeyboardInterrupt:
        where = f"; the first {start:,} samples are kept, the same command goes on from there" if kept else ""
        raise KeyboardInterrupt(f"stopped after {start:,} of {count:,} samples{where}") from None
    finally:
        if start > saved:
            _write(kept, scores[:start])
    if meter is not None:
        meter("scoring", count, count)
    return Samples(codes.w[:, 0].cpu(), scores, scorer.attributes)


# ---- what is kept


def cache_file(cache: Path | None, generator: str, scorer: str, seed: int, truncation: float) -> Path:
    """Gives the file for one combination of generator, scorer, seed and truncation."""
    told = f"{DRAWN}/{generator}/{scorer}/{seed}/{truncation!r}/{BATCH}"
    folder = cache or cache_folder() / "scores"
    return folder / f"{generator}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"


def _read(path: Path | None, into: Tensor) -> int:
    """Reads the whole batches that are stored. A damaged file counts as empty."""
    if path is None or not path.is_file():
        return 0
    try:
        tensors, _ = read_tensors(path, torch.float32)
        values, missing = tensors["scores"], tensors["missing"].bool()
    except (BadTensors, KeyError):
        return 0
    if values.ndim != 2 or values.shape[1] != into.shape[1] or missing.shape != values.shape:
        return 0
    found = min(len(values), len(into))
    found = found if found == len(into) else found - found % BATCH
    into[:found] = values[:found].masked_fill(missing[:found], float("nan"))
    return found


def _write(path: Path | None, scores: Tensor) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        missing = scores.isnan()
        write_tensors(path, {"scores": scores.masked_fill(missing, 0.0), "missing": missing.to(torch.uint8)})
