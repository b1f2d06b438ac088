"""A network of one's own that tells attributes apart, for domains and sizes without a published one.

Two are trained, which share neither seed nor widths: a *teacher* whose features stand in losses, and a *judge*
that never sees a loss and evaluates what the teacher has taught.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..tensors import read_tensors, write_tensors

Role = Literal["judge", "teacher", ""]  # what a network is for; files of before this was written do not say


@dataclass(frozen=True)
class JudgeConfig:
    attributes: tuple[str, ...]
    resolution: int = 64  # pictures of other sizes are brought to it
    widths: tuple[int, ...] = (24, 48, 96, 160)  # each level at half the size of the one before
    embedding: int = 128

    def __post_init__(self) -> None:
        if not self.attributes or not self.widths or min(self.widths) < 1 or self.embedding < 1:
            raise ValueError(
                "a judge has attributes, a width a level and an embedding, "
                f"got {self.attributes!r}, {self.widths!r} and {self.embedding!r}"
            )
        if self.resolution < 2 ** len(self.widths):
            raise ValueError(f"{len(self.widths)} levels need at least {2 ** len(self.widths)} px: {self.resolution!r}")


@dataclass(frozen=True)
class JudgeRecord:
    """A judge as a bundle keeps it: its shapes, and how well it does."""

    network: JudgeConfig
    report: dict[str, Any] = field(default_factory=dict)


class Level(nn.Module):
    """Two convolutions beside a 1×1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm0(self.conv0(x)))
        return F.relu(self.norm1(self.conv1(inner)) + self.skip(x))


class Judge(nn.Module):
    """Pictures in [−1, 1] to one logit an attribute. Zero is as likely with the attribute as without it: the
    share of either in the training data is no part of the logit."""

    def __init__(self, config: JudgeConfig, report: Mapping[str, Any] | None = None, role: Role = "") -> None:
        super().__init__()
        self.config, self.role = config, role
        self.report = dict(report or {})  # how well it does on pictures it has not learned from
        self.levels = nn.ModuleList(Level(i, o) for i, o in pairwise((3, *config.widths)))
        self.embedding = nn.Linear(config.widths[-1], config.embedding)
        self.out = nn.Linear(config.embedding, len(config.attributes))

    def features(self, images: Tensor) -> list[Tensor]:
        """The map of each level, for a distance of pictures."""
        side = self.config.resolution
        if images.shape[-1] > side:
            images = F.interpolate(images, size=(side, side), mode="area")
        elif images.shape[-1] < side:
            images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
        x, maps = images.to(self.out.weight.dtype), []
        for index, level in enumerate(self.levels):
            x = level(F.avg_pool2d(x, 2) if index else x)
            maps.append(x)
        return maps

    def embed(self, images: Tensor) -> Tensor:
        """What a picture shows, as one vector, for a distance of identities."""
        embedded: Tensor = self.embedding(self.features(images)[-1].mean(dim=(2, 3)))
        return embedded  # [N, embedding]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.out(F.relu(self.embed(images)))
        return logits.float()  # [N, attributes]

    def check_no_teacher(self, name: str) -> None:
        """Refuse one whose features stand in losses: what has learned to please it would be judged by it."""
        if self.role == "teacher":
            raise ValueError(
                f"{name} is a teacher: methods have learned from it, so it is no judge of them. "
                "Give a network of `gradstyle train judge`"
            )

    # ---- on disk

    def __iter__(self) -> Iterator[str]:
        return iter(self.config.attributes)

    def save(self, path: Path, dtype: torch.dtype | None = None, overwrite: bool = False) -> Path:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists: choose another name or overwrite it")
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"judge": json.dumps(asdict(self.config)), "report": json.dumps(self.report), "role": self.role}
        write_tensors(path, self.state_dict(), metadata, dtype)
        return path

    @classmethod
    def open(cls, path: str | Path) -> Judge:
        """A judge from its file, in evaluation mode, in float32."""
        from ..config import from_json

        path = Path(path)
        state, metadata = read_tensors(path, torch.float32)
        if "judge" not in metadata:
            raise ValueError(f"{path} is no judge: `gradstyle train judge` and `gradstyle train teacher` make them")
        config = from_json(JudgeConfig, json.loads(metadata["judge"]), str(path))
        role = next((known for known in get_args(Role) if known == metadata.get("role", "")), None)
        if role is None:
            raise ValueError(f"{path}: a network of this kind is a judge or a teacher, not {metadata['role']!r}")
        judge = cls(config, json.loads(metadata.get("report", "{}")), role)
        try:
            judge.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{path}: its weights are not those of the network it describes ({error})") from error
        return judge.eval()


# ---- how well it does


@dataclass(frozen=True)
class AttributeReport:
    share: float  # of pictures with the attribute; the average precision of a blind guess
    balanced_accuracy: float  # the mean of the shares of right answers with and without it
    average_precision: float


@dataclass(frozen=True)
class JudgeReport:
    pictures: int
    attributes: dict[str, AttributeReport] = field(default_factory=dict)

    @property
    def balanced_accuracy(self) -> float:
        return sum(each.balanced_accuracy for each in self.attributes.values()) / max(len(self.attributes), 1)

    @property
    def average_precision(self) -> float:
        return sum(each.average_precision for each in self.attributes.values()) / max(len(self.attributes), 1)


def judge_report(names: tuple[str, ...], logits: Tensor, labels: Tensor) -> JudgeReport:
    """On logits and labels [N, attributes]; attributes that all pictures have, or none, are left out."""
    report = JudgeReport(len(labels))
    for name, scores, truth in zip(names, logits.T, labels.T > 0.5):
        if bool(truth.any()) and not bool(truth.all()):
            right = (scores > 0) == truth
            balanced = (right[truth].float().mean() + right[~truth].float().mean()) / 2
            precision = average_precision(scores, truth)
            report.attributes[name] = AttributeReport(float(truth.float().mean()), float(balanced), precision)
    return report


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """The mean, over the pictures with the attribute, of the precision among all that score at least as high."""
    distinct, place = torch.unique(scores, return_inverse=True)  # rising
    of_each = torch.zeros(2, len(distinct), dtype=torch.float64)
    of_each[0].index_add_(0, place, torch.ones(len(scores), dtype=torch.float64))
    of_each[1].index_add_(0, place, truth.double())
    seen, found = of_each.flip(1).cumsum(1)  # from the highest score down
    hits = of_each[1].flip(0)
    return float((found / seen * hits).sum() / hits.sum())


def with_report(judge: Judge, report: JudgeReport) -> Judge:
    """Keep a report with the judge, rounded, as its file will hold it."""
    rounded = {
        name: replace(each, **{key: round(value, 4) for key, value in asdict(each).items()})
        for name, each in report.attributes.items()
    }
    judge.report = {
        "pictures": report.pictures,
        "balanced_accuracy": round(report.balanced_accuracy, 4),
        "average_precision": round(report.average_precision, 4),
        "attributes": {name: asdict(each) for name, each in rounded.items()},
    }
    return judge
