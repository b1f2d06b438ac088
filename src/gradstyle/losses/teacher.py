"""A judge that teaches, made ready to be asked at every step of a training."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.weak import WeakTensorKeyDictionary

from .frozen import Frozen
from .judge import Judge, Level


class FoldedLevel(nn.Module):
    """A level whose BatchNorms, which never learn again, are part of its convolutions."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        self.conv0 = fuse_conv_bn_eval(level.conv0, level.norm0)
        self.conv1 = fuse_conv_bn_eval(level.conv1, level.norm1)
        self.skip = level.skip

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.conv1(F.relu_(self.conv0(x))) + self.skip(x))


def folded(judge: Judge) -> Judge:
    """The same figures from less work: nothing that is left to learn, kernels with their channels last."""
    quick = Judge(judge.config, judge.report)
    quick.load_state_dict(judge.state_dict())
    quick.eval()
    quick.levels = nn.ModuleList(FoldedLevel(level) for level in quick.levels)  # type: ignore[arg-type]
    return quick.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Teacher(Frozen):
    """The features and the embedding of a judge. What several losses ask of the same pictures is computed once:
    features are kept as long as the pictures are, and no longer.
    """

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = folded(judge)
        self.kept: Any = WeakTensorKeyDictionary()
        self.freeze()

    def features(self, images: Tensor) -> list[Tensor]:
        if torch.compiler.is_compiling():
            return self.judge.features(images)
        autocast = torch.is_autocast_enabled(images.device.type)
        how = (images._version, images.requires_grad and torch.is_grad_enabled(), autocast)
        before, maps = self.kept.get(images, (None, []))
        if before != how:
            maps = self.judge.features(images)
            self.kept[images] = (how, maps)
        return list(maps)

    def embed(self, images: Tensor) -> Tensor:
        embedded: Tensor = self.judge.embedding(self.features(images)[-1].mean(dim=(2, 3)))
        return embedded  # [N, embedding]
