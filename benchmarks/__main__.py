"""What measures, and never asserts.

python -m benchmarks            # the quick ones
python -m benchmarks NAME …     # one of them, with its own options; --help says which
"""

from __future__ import annotations

import pkgutil
import runpy
import sys
from pathlib import Path

QUICK = ("import_time", "speed", "loading")


def main() -> None:
    every = sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name != "__main__")
    name, *options = sys.argv[1:] or [""]
    if name and name not in every:
        sys.exit(f"{__doc__}\nthere are: {', '.join(every)}")
    for chosen in [name] if name else QUICK:
        print(f"\n== {chosen}", flush=True)
        sys.argv = [f"benchmarks.{chosen}", *options]
        runpy.run_module(f"benchmarks.{chosen}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
