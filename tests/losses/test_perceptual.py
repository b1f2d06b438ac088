from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from gradstyle.losses import LPIPS, FeatureDistance, KerasVGGLoss, pixel_loss
from gradstyle.losses.perceptual import read_state, vgg16

# (number in torchvision's `features`, inputs, outputs, kernel) of every convolution
VGG = [
    (0, 3, 64, 3),
    (2, 64, 64, 3),
    (5, 64, 128, 3),
    (7, 128, 128, 3),
    (10, 128, 256, 3),
    (12, 256, 256, 3),
    (14, 256, 256, 3),
    (17, 256, 512, 3),
    (19, 512, 512, 3),
    (21, 512, 512, 3),
    (24, 512, 512, 3),
    (26, 512, 512, 3),
    (28, 512, 512, 3),
]
ALEX = [(0, 3, 64, 11), (3, 64, 192, 5), (6, 192, 384, 3), (8, 384, 256, 3), (10, 256, 256, 3)]
WIDTHS = {"vgg": [64, 128, 256, 512, 512], "alex": [64, 192, 384, 256, 256]}


def published(convolutions, seed: int = 0) -> dict[str, Tensor]:
    """A torchvision file's names and shapes with random values in them, the classifier's included."""
    torch.manual_seed(seed)
    state = {}
    for index, inputs, outputs, kernel in convolutions:
        scale = (2 / (inputs * kernel**2)) ** 0.5
        state[f"features.{index}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * scale
        state[f"features.{index}.bias"] = torch.randn(outputs) * 0.1
    return state | {"classifier.0.bias": torch.zeros(1)}


def heads(backbone: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(WIDTHS[backbone])}


def pictures(side: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    a, b = torch.rand(2, 2, 3, side, side) * 2 - 1
    return a, b


def vgg_maps(x: Tensor, state: dict[str, Tensor]) -> list[Tensor]:
    maps = []
    for block in ([0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]):
        x = F.max_pool2d(x, 2) if block[0] else x
        for index in block:
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
            x = x.clamp_min(0)
        maps.append(x)
    return maps


def alex_maps(x: Tensor, state: dict[str, Tensor]) -> list[Tensor]:
    maps = []
    for index, stride, padding, pool in [(0, 4, 2, 0), (3, 1, 2, 1), (6, 1, 1, 1), (8, 1, 1, 0), (10, 1, 1, 0)]:
        x = F.max_pool2d(x, 3, 2) if pool else x
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        x = F.conv2d(x, weight, bias, stride=stride, padding=padding).clamp_min(0)
        maps.append(x)
    return maps


def naive_lpips(backbone: str, a: Tensor, b: Tensor, state: dict[str, Tensor], lins: dict[str, Tensor]):
    """As the paper and the published code say it, a place at a time."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    maps = {"vgg": vgg_maps, "alex": alex_maps}[backbone]
    found = np.zeros(len(a))
    for layer, (x, y) in enumerate(zip(maps((a - shift) / scale, state), maps((b - shift) / scale, state))):
        weight = lins[f"lin{layer}.model.1.weight"].numpy().ravel().astype(float)
        x, y = x.double().numpy(), y.double().numpy()
        n, _, height, width = x.shape
        for i in range(n):
            for row in range(height):
                for column in range(width):
                    p, q = x[i, :, row, column], y[i, :, row, column]
                    p, q = p / (np.sqrt((p**2).sum()) + 1e-10), q / (np.sqrt((q**2).sum()) + 1e-10)
                    found[i] += (weight * (p - q) ** 2).sum() / (height * width)
    return found


@pytest.mark.parametrize(("backbone", "layers", "side"), [("vgg", VGG, 16), ("alex", ALEX, 64)])
def test_lpips_is_the_published_one(backbone, layers, side):
    state, lins = published(layers), heads(backbone)
    lpips = LPIPS(backbone).load(state, lins)
    a, b = pictures(side)
    expected = naive_lpips(backbone, a, b, state, lins)
    assert expected.min() > 0.1
    np.testing.assert_allclose(lpips.distance(a, b).numpy(), expected, rtol=1e-4)
    assert lpips(a, b).item() == pytest.approx(expected.mean(), rel=1e-4)
    assert lpips(a, a).item() == 0


def test_layers_stand_where_torchvision_has_them():
    lpips = LPIPS("vgg")
    shapes = {name: list(value.shape) for name, value in lpips.features.state_dict().items()}
    expected = {f"{i}.weight": [o, c, k, k] for i, c, o, k in VGG} | {f"{i}.bias": [o] for i, _, o, _ in VGG}
    assert shapes == expected
    sides = [m.shape[1:] for m in lpips.maps(torch.zeros(1, 3, 32, 32))]
    assert [tuple(s) for s in sides] == [(c, 32 >> i, 32 >> i) for i, c in enumerate(WIDTHS["vgg"])]
    alex = LPIPS("alex").features.state_dict()
    assert {name: tuple(alex[name].shape) for name in alex if name.endswith("weight")} == {
        f"{i}.weight": (o, c, k, k) for i, c, o, k in ALEX
    }
    assert len(vgg16(convolutions=10)) == 23 and isinstance(vgg16(10)[-1], nn.ReLU)


def test_lpips_gradients_are_finite_even_where_features_vanish():
    state = published(ALEX)
    state["features.6.bias"] -= 100.0  # a dead layer: every place of its map is zero
    lpips = LPIPS("alex").load(state, heads("alex"))
    a, b = pictures(64)
    a.requires_grad_()
    lpips(a, b).backward()
    assert a.grad is not None and a.grad.isfinite().all() and a.grad.abs().sum() > 0
    still = torch.zeros(1, 3, 64, 64, requires_grad=True)
    lpips(still, still.detach()).backward()
    assert still.grad is not None and still.grad.isfinite().all()


def test_networks_stay_frozen():
    lpips = LPIPS("alex").train()
    assert not lpips.training and not any(p.requires_grad for p in lpips.parameters())
    dropout = nn.Dropout(0.5)
    dropout.features = lambda x: [dropout(x)]  # type: ignore[assignment]
    judge = FeatureDistance(dropout).train()
    assert not dropout.training
    assert judge(*[pictures(8)[0]] * 2) == pytest.approx(0, abs=1e-6)


def test_lpips_reads_published_files(tmp_path: Path):
    state, lins = published(ALEX), heads("alex")
    torch.save(state, tmp_path / "alexnet-owt-7be5be79.pth")
    save_file(lins, tmp_path / "alex.safetensors")
    opened = LPIPS.open("alex", tmp_path / "alexnet-owt-7be5be79.pth", tmp_path / "alex.safetensors")
    a, b = pictures(64)
    assert torch.equal(opened.distance(a, b), LPIPS("alex").load(state, lins).distance(a, b))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_their_file(tmp_path: Path, bad: float):
    heads = {"lin0.model.1.weight": torch.ones(1, 64, 1, 1), "lin1.model.1.weight": torch.full((1, 192, 1, 1), bad)}
    torch.save(heads, tmp_path / "heads.pth")
    with pytest.raises(ValueError, match=r"heads\.pth: lin1\.model\.1\.weight holds values that are not finite"):
        read_state(tmp_path / "heads.pth")


def test_wrong_weights_are_named():
    with pytest.raises(ValueError, match=r"no features\.0\.weight among conv\.weight"):
        LPIPS("alex").load({"conv.weight": torch.zeros(1)}, heads("alex"))
    with pytest.raises(ValueError, match=r"features\.0\.weight must be \[64, 3, 11, 11\], got \[64, 3, 3, 3\]"):
        LPIPS("alex").load(published(VGG), heads("alex"))
    with pytest.raises(ValueError, match=r"lin1\.model\.1\.weight must be \[1, 192, 1, 1\]"):
        LPIPS("alex").load(published(ALEX), heads("vgg"))
    with pytest.raises(ValueError, match="got 'squeeze'"):
        LPIPS("squeeze")  # type: ignore[arg-type]


def test_styleres_loss_reads_keras_arrays_and_sees_bgr(tmp_path: Path):
    state = published(VGG)
    names = [f"block{b}_conv{c}" for b, n in enumerate([2, 2, 3, 3, 3], start=1) for c in range(1, n + 1)]
    arrays = {}
    for name, (index, *_) in zip(names, VGG):
        arrays[f"{name}_W_1:0"] = state[f"features.{index}.weight"].permute(2, 3, 1, 0).numpy()
        arrays[f"{name}_b_1:0"] = state[f"features.{index}.bias"].numpy()
    np.savez(tmp_path / "vgg16.npz", **{name.replace(":0", ""): array for name, array in arrays.items()})
    loss = KerasVGGLoss.open(tmp_path / "vgg16.npz")

    a, b = pictures(16)
    means = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)

    def conv4_3(x: Tensor) -> Tensor:
        bgr = torch.stack([x[:, 2], x[:, 1], x[:, 0]], dim=1)
        return vgg_maps(127.5 * bgr + 127.5 - means, state)[3]

    expected = (conv4_3(a) - conv4_3(b)).square().mean()
    torch.testing.assert_close(loss(a, b), expected, rtol=1e-4, atol=0)
    assert loss(a, a) == 0
    assert loss.conv4_3(a).shape == (2, 512, 2, 2)


class Steps:
    """A network of two maps that are known."""

    def features(self, images: Tensor) -> list[Tensor]:
        return [3 * images, images[:, :, :2, :2]]


def test_feature_distance_by_hand():
    a = torch.zeros(1, 2, 4, 4)
    b = torch.zeros(1, 2, 4, 4)
    a[:, 0], b[:, 0] = 5.0, 2.0
    b[:, :, 0, 0] = torch.tensor([0.0, 7.0])  # one place of 16, of 4 in the second map, at a right angle: 2
    distance = FeatureDistance(Steps())
    assert distance(a, b).item() == pytest.approx((2 / 16 + 2 / 4) / 2)
    assert distance(a, a).item() == pytest.approx(0, abs=1e-6)


def test_pixel_loss():
    assert pixel_loss(torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), -0.5)) == 1
