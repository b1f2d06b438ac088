"""What a method costs: seconds and memory of one photo alone."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..editor import Editor

REPEATS = 5  # of which the median time counts


def measure_costs(editors: Mapping[str, Editor], photo: Tensor) -> dict[str, dict[str, float]]:
    """Measures by method the seconds to invert and to render, and the memory beyond what was held before."""
    costs: dict[str, dict[str, float]] = {}
    for method, editor in editors.items():
        try:
            memory = PeakMemory(photo.device)
            inversion = editor.invert(photo)
            editor.render(inversion)
            peak = memory.megabytes()
            invert = _median_seconds(lambda: editor.invert(photo), photo.device)  # noqa: B023
            render = _median_seconds(lambda: editor.render(inversion), photo.device)  # noqa: B023
        except Exception:  # it is among the failures
            continue
        costs[method] = {"seconds_to_invert": invert, "seconds_to_render": render, "seconds": invert + render}
        if peak is not None:
            costs[method]["peak_memory_mb"] = peak
    return costs


def _median_seconds(work: Callable[[], Any], device: torch.device) -> float:
    times = []
    for _ in range(REPEATS):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return sorted(times)[REPEATS // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """The most memory held at once since this was made, beyond what was held then; None where it cannot be known."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before: float | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = float(torch.cuda.memory_allocated(device))
        elif sys.platform == "linux":
            try:
                ctypes.CDLL(None).malloc_trim(0)  # what was freed before would hide what is taken
                Path("/proc/self/clear_refs").write_text("5")
                self.before = _process_bytes("VmRSS")
            except (OSError, AttributeError):
                pass

    def megabytes(self) -> float | None:
        if self.before is None:
            return None
        if self.device.type == "cuda":
            return (torch.cuda.max_memory_allocated(self.device) - self.before) / 2**20
        return max(0.0, _process_bytes("VmHWM") - self.before) / 2**20


def _process_bytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
