"""Networks that judge and never learn."""

from __future__ import annotations

from torch import nn
from typing_extensions import Self


class Frozen(nn.Module):
    """Stays in evaluation mode; call `freeze` when all its parts are in place."""

    def freeze(self) -> Self:
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)
