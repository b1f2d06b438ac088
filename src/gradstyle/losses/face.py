"""Face recognition networks: ArcFace's IR-SE-50 for the identity loss, CurricularFace's IR-101 for the metric."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder.backbone import Backbone

UNITS = {24: (3, 4, 14, 3), 49: (3, 13, 30, 3)}  # units in all: IR-50, IR-101


class FaceNetwork(nn.Module):
    """A 112 px face, RGB in [−1, 1], to an embedding of unit length."""

    def __init__(
        self, units: tuple[int, ...] = UNITS[24], squeeze: bool = True, affine: bool = True, side: int = 112
    ) -> None:
        super().__init__()
        self.side = side
        self.backbone = Backbone(units, (64, 128, 256, 512), squeeze)
        self.norm = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512 * (side // 16) ** 2, 512)
        self.norm_out = nn.BatchNorm1d(512, affine=affine)

    def forward(self, face: Tensor) -> Tensor:
        if list(face.shape[1:]) != [3, self.side, self.side]:
            raise ValueError(f"the face network takes [N, 3, {self.side}, {self.side}], got {list(face.shape)}")
        x = self.norm(self.backbone(face)[-1])
        return F.normalize(self.norm_out(self.linear(x.flatten(1))))  # [N, 512]
