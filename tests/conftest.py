"""Being here puts this folder on the import path, so that any test may `from interop import filled`."""

from collections.abc import Iterator

import pytest
import torch

# Most networks here are tiny: a second thread costs more than it gives, and test files run side by side.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def gradients_stay_on() -> Iterator[None]:
    """What leaves gradients off would fail tests that come later, far from the cause."""
    yield
    on = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert on, "the test left gradients switched off"
