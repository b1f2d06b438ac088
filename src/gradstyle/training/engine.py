"""accelerate, set up for a recipe: processes, gradients and precision are its own."""

from __future__ import annotations

import ctypes
import sys
import warnings

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin

from .recipe import LoopRecipe


def engine_for(recipe: LoopRecipe, device: str | None = None) -> Accelerator:
    """accelerate, set up for a recipe: `accelerate launch` gives it its processes, the environment its devices.

    Buffers are not broadcast: they are the same everywhere, or synchronised where they are made.
    """
    AcceleratorState._reset_state(reset_partial_state=False)  # of an earlier training in this process
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # older PyTorch has no other
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if on_cpu:
        keep_freed_memory()
    else:
        tune_for_cuda(recipe.precision)
    engine = Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if computes_in_bf16(recipe.precision, on_cpu) else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=recipe.parts, sync_with_dataloader=False, adjust_scheduler=False
        ),
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=False)],
    )
    if recipe.batch % (engine.num_processes * recipe.parts):
        raise ValueError(
            f"a batch of {recipe.batch} cannot be dealt out to {engine.num_processes} processes "
            f"with {recipe.parts} parts each: set loop.batch to a multiple of {engine.num_processes * recipe.parts}"
        )
    return engine


def keep_freed_memory() -> None:
    """Left alone, glibc gives memory back after each layer and gets it page by page again: a tenth of a CPU's step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # glibc's names for them
        mallopt(mmap_threshold, 32 << 20)  # its largest
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 << 20)


def tune_for_cuda(precision: str) -> None:
    """What a recipe does not ask to be float32 may be TensorFloat32; batches of one size find their fastest kernels."""
    allowed = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True


def computes_in_bf16(precision: str, on_cpu: bool) -> bool:
    if precision != "auto":
        return precision == "bf16"
    if not on_cpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())
