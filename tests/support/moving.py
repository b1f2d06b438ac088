"""Reads a checkpoint and copies it tensor by tensor; prints memory before, after reading, and at the peak, in MB."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from gradstyle.pickles.files import read_file
from tests.support.peak_memory import peak


def main(path: Path) -> None:
    torch.set_num_threads(1)
    torch.ones(1000).clone()
    before = peak()
    state = read_file(path)
    read = peak()
    kept = {name: state.pop(name).clone() for name in list(state)}
    assert len(kept) > 1
    print(before, read, peak())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
