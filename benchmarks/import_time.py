"""How much longer `import gradstyle` takes than `import torch`: the bar is 0.3 s.

    python -m benchmarks.import_time

Each figure is the median over fresh processes, whose programs take turns. Rooms of the package are imported when
a name in them is first asked for, so what all of them take is shown too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

BAR = 0.3  # seconds
PROGRAMS = {
    "torch": "import torch",
    "gradstyle after torch": "import torch; start = now(); import gradstyle",
    "and every name it gives": "import torch; start = now(); import gradstyle\n"
    "for name in gradstyle.__all__: getattr(gradstyle, name)",
    "gradstyle alone": "import gradstyle",
    "the command line": "import gradstyle.cli",
}


def seconds(program: str) -> float:
    code = f"from time import perf_counter as now\nstart = now()\n{program}\nprint(now() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for program in PROGRAMS.values():
        seconds(program)  # fills the disk's cache
    taken = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            taken[name].append(seconds(program))
    table = Table("import", "median", "least", "most", title=f"seconds, {rounds} processes each", title_justify="left")
    for name, each in taken.items():
        table.add_row(name, *(f"{value:.3f}" for value in (statistics.median(each), min(each), max(each))))
    console = Console()
    console.print(table)
    more = statistics.median(taken["gradstyle after torch"])
    console.print(f"import gradstyle takes {more:.3f} s more than import torch; the bar is {BAR} s")


if __name__ == "__main__":
    main()
