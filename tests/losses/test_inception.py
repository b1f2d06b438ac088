"""The network that defines the FID computes what the published code does, and no other network passes for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gradstyle.losses.inception import Inception
from tests.support import tiny

# What the published PyTorch port of the network gives for the weights and the pictures below: places of its 2048
# features, and their values for two pictures.
PLACES = (0, 319, 320, 700, 1087, 1500, 1855, 1856, 2047)
VALUES = (
    (2.33697, 0.0, 1.81356, 1.2066, 1.28755, 0.73236, 1.35755, 0.0115, 0.15103),
    (2.07112, 0.0, 1.70868, 1.08552, 1.16466, 0.65215, 1.20477, 0.03574, 0.11246),
)


def weights() -> dict[str, Tensor]:
    """Filled by a rule from their names' order."""
    random, state = torch.Generator().manual_seed(0), dict[str, Tensor]()
    for name, like in sorted(Inception().state_dict().items()):
        noise = torch.randn(like.shape, generator=random) if like.is_floating_point() else like
        if name.endswith("conv.weight"):
            noise = noise * (2 / like[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            noise = 1 + 0.3 * noise.tanh()
        elif like.is_floating_point():
            noise = 0.1 * noise
        state[name] = noise
    state["fc.weight"], state["fc.bias"] = torch.zeros(1008, 2048), torch.zeros(1008)
    return state


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save(weights(), path)
    return path


@torch.inference_mode()
def test_features_are_the_published_networks(file: Path) -> None:
    network = Inception.open(file)
    assert sum(p.numel() for p in network.parameters()) == 21_785_568
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    vectors = network(tiny.photos(2, 64))
    assert vectors.shape == (2, 2048)
    assert torch.allclose(vectors[:, list(PLACES)], torch.tensor(VALUES), rtol=1e-4, atol=1e-4)


def test_other_networks_are_refused(file: Path, tmp_path: Path) -> None:
    state = weights()
    network = Inception()
    with pytest.raises(ValueError, match="of other classes than TensorFlow's 1008"):
        network.load({**state, "fc.weight": torch.zeros(1000, 2048)})
    with pytest.raises(ValueError, match=r"it has no Mixed_7c\.branch_pool\.conv\.weight"):
        network.load({name: value for name, value in state.items() if name != "Mixed_7c.branch_pool.conv.weight"})
    with pytest.raises(ValueError, match=r"Conv2d_1a_3x3\.conv\.weight must be \[32, 3, 3, 3\], got \[32, 1, 3, 3\]"):
        network.load({**state, "Conv2d_1a_3x3.conv.weight": torch.zeros(32, 1, 3, 3)})
    bad = tmp_path / "bad.pth"
    bad.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError):
        Inception.open(bad)
