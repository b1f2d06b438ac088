"""What trainings share that learn by one loss: a step over the parts of a batch, and statistics over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

Norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Pass = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]  # a loss, and what it is made of


def place(module: nn.Module, device: torch.device) -> None:
    """On the device, kernels of pictures with their channels last; those of volumes stay as they are."""
    module.to(device)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def descend(
    engine: Accelerator, module: nn.Module, optimiser: Any, passes: Iterable[Pass], resting: Iterable[nn.Module] = ()
) -> dict[str, Tensor]:
    """One step on the mean of several passes; gives the means of what their losses are made of.

    What is `resting` does not move, and the optimiser does not count the step for it.
    """
    every: list[Mapping[str, Tensor]] = []
    for forward in passes:
        with engine.accumulate(module):
            loss, terms = forward()
            engine.backward(loss)
        every.append({name: term.detach().float() for name, term in terms.items()})
    for part in resting:
        part.zero_grad(set_to_none=True)
    optimiser.step()
    optimiser.zero_grad()
    return {name: torch.stack([terms[name] for terms in every]).mean() for name in every[0]}


def touch(loss: Tensor, module: nn.Module) -> Tensor:
    """The same loss, in which every weight that learns takes part: several processes wait for each of them."""
    learning = [parameter.sum() for parameter in module.parameters() if parameter.requires_grad]
    return loss + 0 * torch.stack(learning).sum()


def learning_mode(module: nn.Module, freeze_statistics: bool) -> None:
    """Training mode; with frozen statistics each BatchNorm computes as it will when the training is done."""
    module.train()
    if freeze_statistics:
        for norm in module.modules():
            if isinstance(norm, Norms):
                norm.eval()


@torch.no_grad()
def share_statistics(engine: Accelerator, module: nn.Module) -> None:
    """BatchNorm normalises by each process's own rows; the running statistics are the mean of all processes'."""
    if engine.num_processes == 1:
        return
    norms = [norm for norm in module.modules() if isinstance(norm, Norms) and norm.training]
    statistics = [s for norm in norms for s in (norm.running_mean, norm.running_var) if s is not None]
    if not statistics:
        return
    joined = engine.reduce(torch.cat(statistics), "mean")
    for own, mean in zip(statistics, joined.split([len(each) for each in statistics])):
        own.copy_(mean)


def by_groups(discriminator: Callable[[Tensor], Tensor], images: Tensor, group: int) -> Tensor:
    """Scores [N] of images whose minibatch deviation is that of consecutive rows; the module wants them a stride
    apart."""
    strided = images.reshape(-1, group, *images.shape[1:]).transpose(0, 1).flatten(0, 1)
    scores = discriminator(strided.contiguous(memory_format=torch.channels_last))
    return scores.reshape(group, -1).T.flatten()


def new_share(batch: int, images: int, half_life: float, rampup: float) -> float:
    """The share of new weights in an average whose half-life is at most `rampup` of the pictures seen."""
    half_life = min(half_life, images * rampup)
    return 1 - float(0.5 ** (batch / max(half_life, 1e-8)))
