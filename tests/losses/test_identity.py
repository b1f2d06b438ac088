from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradstyle.losses import IdentityLoss, face_crop


def test_the_crop_is_rows_35_to_223_and_columns_32_to_220():
    image = torch.zeros(1, 1, 256, 256)
    image[:, :, 35:223, 32:220] = 1
    assert (face_crop(image) == 1).all()
    for edge in (image[:, :, 35], image[:, :, 222], image[:, :, :, 32], image[:, :, :, 219]):
        edge.zero_()
    crop = face_crop(image)[0, 0]
    assert crop.shape == (112, 112)
    for line in (crop[0], crop[-1], crop[:, 0], crop[:, -1]):
        assert (line[1:-1] < 1).all() and (line[1:-1] > 0.3).all()  # an edge pixel is a part of each cell there
    assert (crop[2:-2, 2:-2] == 1).all()


@pytest.mark.parametrize("side", [128, 512])
def test_other_sizes_are_first_brought_to_256(side: int):
    torch.manual_seed(0)
    image = torch.rand(1, 3, side, side)
    at_256 = (
        image.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if side == 128
        else image.reshape(1, 3, 256, 2, 256, 2).mean(dim=(3, 5))
    )
    torch.testing.assert_close(face_crop(image), face_crop(at_256))


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x).mean(dim=(2, 3)) * 7  # not of unit length


def test_one_minus_cosine():
    loss = IdentityLoss(Embedding()).train()
    a = torch.zeros(2, 3, 256, 256)
    a[0, 0], a[1, 1] = 1.0, 0.2
    b = torch.zeros(2, 3, 256, 256)
    b[0, 0], b[1, 1], b[1, 2] = 0.5, 3.0, 3.0
    torch.testing.assert_close(loss.similarity(a, b), torch.tensor([1.0, 0.5**0.5]))
    assert loss(a, b).item() == pytest.approx((1 - 0.5**0.5) / 2, abs=1e-6)
    assert loss(b, b).item() == pytest.approx(0, abs=1e-6)


def test_gradient_reaches_the_image_and_not_the_target_or_the_network():
    network = Embedding()
    loss = IdentityLoss(network)
    image, target = torch.rand(2, 1, 3, 256, 256).unbind()
    image.requires_grad_()
    target.requires_grad_()
    loss(image, target).backward()
    assert image.grad is not None and image.grad.abs().sum() > 0 and image.grad.isfinite().all()
    assert target.grad is None and network.norm.weight.grad is None


def test_other_domains_bring_their_own_crop():
    seen = []
    loss = IdentityLoss(lambda x: seen.append(x.shape) or x.mean(dim=(2, 3)), crop=None)
    loss(torch.ones(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    assert seen == [(1, 3, 64, 64)] * 2
