"""How much memory this process has held at its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak() -> int:
    """In MB. Linux counts in `ru_maxrss` what the parent held when it started this process; VmHWM is our own."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most >> 20 if sys.platform == "darwin" else most >> 10
