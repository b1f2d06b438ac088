from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor, nn

from gradstyle.losses import FeatureDistance, IdentityLoss, Judge, JudgeConfig, Teacher
from gradstyle.losses.perceptual import unit, unit_distance


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    made = Judge(JudgeConfig(("smile", "hat"), 32, (8, 12, 16), 10))
    for norm in (part for part in made.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    return made.eval()


def photos(seed: int, count: int = 3) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_teacher_sees_what_its_judge_sees(judge: Judge) -> None:
    teacher, before = Teacher(judge), {name: value.clone() for name, value in judge.state_dict().items()}
    for seen, wanted in zip(teacher.features(photos(1)), judge.features(photos(1)), strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(teacher.embed(photos(1)), judge.embed(photos(1)), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in judge.state_dict().items())
    assert not any(weight.requires_grad for weight in teacher.parameters())


def test_both_distances_and_their_gradients_are_the_judges(judge: Judge) -> None:
    def gradient(network: Judge | Teacher) -> Tensor:
        images = photos(1).requires_grad_()
        total = FeatureDistance(network)(images, photos(2))
        total = total + IdentityLoss(network.embed, crop=None)(images, photos(2))
        return torch.autograd.grad(total, images)[0]

    torch.testing.assert_close(gradient(Teacher(judge)), gradient(judge), rtol=1e-3, atol=1e-6)


def test_the_same_pictures_are_looked_at_once_and_forgotten_with_them(judge: Judge) -> None:
    teacher, looks = Teacher(judge), list[int]()
    teacher.judge.levels[0].register_forward_hook(lambda _module, inputs, _out: looks.append(len(inputs[0])))
    perceptual, identity = FeatureDistance(teacher), IdentityLoss(teacher.embed, crop=None)
    images, targets = photos(1).requires_grad_(), photos(2)
    (perceptual(images, targets) + identity(images, targets)).backward()
    assert looks == [3, 3] and len(teacher.kept) == 2
    with torch.no_grad():  # what was kept has a graph, which is gone
        perceptual(images, targets)
        images.add_(1)
        changed = perceptual(images, targets)
    assert looks == [3] * 4
    torch.testing.assert_close(changed, FeatureDistance(judge)(photos(1) + 1, targets), rtol=1e-3, atol=1e-5)
    del images, targets
    gc.collect()
    assert len(teacher.kept) == 0


def test_a_distance_without_unit_vectors_is_theirs() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 6, 5, 4).relu_()
    a[:, :, 0], b[:, :, :2] = 0, 0  # nothing is seen there
    a.requires_grad_()
    wanted = (unit(a) - unit(b)).square().sum(dim=1).mean(dim=(1, 2))
    found = unit_distance(a, b)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(each.sum(), a, retain_graph=True)[0] for each in (found, wanted)]
    assert bool(gradients[0].isfinite().all())
    seen = a.detach().abs().sum(dim=1, keepdim=True) > 0
    torch.testing.assert_close(*(gradient * seen for gradient in gradients), rtol=1e-3, atol=1e-5)
