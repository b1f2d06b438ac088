"""Scores how much of an attribute a picture shows: by a network, a function, a table of labels, a head's pose."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ..losses.judge import Judge
from ..metrics.face_frame import FaceFrame
from ..metrics.pose import POSE, head_pose
from ..stylegan2 import Generator

MOST_ROWS = 1_000_000  # of a table of labels


class Scorer(Protocol):
    """Pictures [N, 3, H, W] in [−1, 1] to scores [N, attributes]; NaN where nothing can be said."""

    @property
    def attributes(self) -> tuple[str, ...]: ...

    @property
    def identity(self) -> str:
        """Is the same for what gives the same scores; empty where that is unknown, and scores are not stored."""

    @property
    def title(self) -> str:
        """What a report calls it."""

    def __call__(self, images: Tensor) -> Tensor: ...


class JudgeScorer:
    """Scores by a network of `gradstyle train teacher` or `judge`; its logits are the scores."""

    def __init__(self, judge: Judge, title: str = "judge") -> None:
        self.judge, self.title, self.attributes = judge.eval(), title, judge.config.attributes
        digest = hashlib.sha256()
        for name, tensor in sorted(judge.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        self.identity = f"judge {digest.hexdigest()[:16]}"

    @classmethod
    def open(cls, path: str | Path, device: torch.device | str = "cpu") -> JudgeScorer:
        return cls(Judge.open(path).to(device), Path(path).name)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        scores: Tensor = self.judge(images)
        return scores.cpu()


@dataclass(frozen=True, eq=False)
class FunctionScorer:
    """Scores by a function of the user: pictures to one score each, or to one for each name."""

    function: Callable[[Tensor], Tensor | Sequence[float]]
    attributes: tuple[str, ...]
    identity: str = ""  # give one, and its scores are kept for later
    title: str = "function"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        scores = torch.as_tensor(self.function(images), dtype=torch.float32).cpu()
        wanted = (len(images), len(self.attributes))
        if scores.shape != wanted and (scores.shape != wanted[:1] or wanted[1] != 1):
            raise ValueError(f"a scorer of {', '.join(self.attributes)} gives {list(wanted)}, got {list(scores.shape)}")
        return scores.reshape(wanted)


class PoseScorer:
    """Yaw and pitch in degrees, from landmarks in the place where this generator's faces are."""

    attributes, title = POSE, "landmarks"

    def __init__(self, frame: FaceFrame) -> None:
        self.frame, self.identity = frame, f"pose {frame.identity}"

    def __call__(self, images: Tensor) -> Tensor:
        return torch.tensor([head_pose(points)[:2] for points in self.frame.landmarks(images)])


class Together:
    """Joins several scorers; a name that two of them know is the first one's."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self.parts: list[tuple[Scorer, list[int]]] = []
        known: list[str] = []
        for scorer in scorers:
            new = [i for i, name in enumerate(scorer.attributes) if name not in known]
            self.parts.append((scorer, new))
            known += [scorer.attributes[i] for i in new]
        self.attributes = tuple(known)
        each = [scorer.identity for scorer in scorers]
        self.identity = " + ".join(each) if all(each) else ""
        self.title = " and ".join(scorer.title for scorer in scorers)

    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([scorer(images)[:, columns] for scorer, columns in self.parts], dim=1)


def only_for(scorer: Scorer, attribute: str) -> Scorer:
    """Gives the one of several scorers that knows an attribute."""
    if isinstance(scorer, Together):
        return next(part for part, _ in scorer.parts if attribute in part.attributes)
    return scorer


@dataclass(frozen=True, eq=False)
class Labels:
    """Holds labels of codes: sample i of a seed has row i. They cannot score other pictures."""

    attributes: tuple[str, ...]
    rows: dict[int, list[float]]  # NaN: no label
    identity: str
    title: str

    def scores(self, count: int) -> Tensor:
        found = torch.full((count, len(self.attributes)), nan)
        for index, values in self.rows.items():
            if index < count:
                found[index] = torch.tensor(values)
        return found

    @classmethod
    def open(cls, path: str | Path) -> Labels:
        """A table with a line a picture: the sample's number, or the name that `gradstyle sample` gives its picture
        (SEED-NUMBER.png), then a number an attribute. Empty cells are not known."""
        path = Path(path)
        rows: dict[int, list[float]] = {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = csv.reader(file)
                head = [cell.strip() for cell in next(lines, [])]
                if len(head) < 2 or len(set(head)) < len(head) or not all(head[1:]):
                    raise ValueError("its first line names the picture and then each attribute, each once")
                for number, line in enumerate(lines, 2):
                    if not line:
                        continue
                    if len(line) != len(head):
                        raise ValueError(f"line {number} has {len(line)} cells, the first line {len(head)}")
                    index = _sample_number(line[0], number)
                    if index in rows or len(rows) >= MOST_ROWS:
                        raise ValueError(f"line {number}: sample {index} is there twice, or there are too many")
                    rows[index] = [_number(cell, number) for cell in line[1:]]
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            raise ValueError(f"{path}: no table of labels ({error})") from error
        if not rows:
            raise ValueError(f"{path}: no table of labels (it has no line but the first)")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return cls(tuple(head[1:]), rows, f"labels {digest}", path.name)


def _sample_number(text: str, line: int) -> int:
    """12, or 0-0012.png."""
    digits = Path(text.strip()).stem.rpartition("-")[2]
    if not digits.isdecimal() or len(digits) > 9:
        raise ValueError(f"line {line}: {text[:40]!r} is no sample's number, nor a picture's name such as 0-0012.png")
    return int(digits)


def _number(text: str, line: int) -> float:
    if not text.strip():
        return nan
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise ValueError(f"line {line}: {text[:40]!r} is no number")
    return value


Scoring: TypeAlias = Scorer | Labels | Judge | str | Path


def as_scorer(given: Scoring, device: torch.device | str = "cpu") -> Scorer | Labels:
    """Makes a scorer of a network's file, a table, or what is a scorer already."""
    if isinstance(given, Judge):
        return JudgeScorer(given.to(device))
    if isinstance(given, str | Path):
        return Labels.open(given) if str(given).lower().endswith(".csv") else JudgeScorer.open(given, device)
    if not callable(given) and not isinstance(given, Labels):
        raise ValueError(f"a scorer is a judge's file, a table (.csv), or a FunctionScorer, got {given!r}")
    return given


def with_pose(scorer: Scorer | None, generator: Generator) -> Scorer:
    """The scorer, and yaw and pitch beside what it knows."""
    if scorer is not None and set(POSE) <= set(scorer.attributes):
        return scorer
    pose = PoseScorer(FaceFrame.of(generator))
    return pose if scorer is None else Together([scorer, pose])
