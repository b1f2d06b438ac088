"""Being here puts this folder on the import path, so that any test may `from interop import filled`."""

import torch

# Most networks here are tiny: a second thread costs more than it gives, and test files run side by side.
torch.set_num_threads(1)
