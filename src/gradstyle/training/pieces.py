"""Results in files no larger than asked, and whole again: plain pieces, which `cat NAME.part-*` joins too."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..tensors import file_sha256

LIST = "files.json"  # what the pieces join to, with digests
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str) -> int:
    """Bytes from "15MB", "4 MiB" or "20000"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b?)", text.strip(), re.IGNORECASE)
    unit = found[2].upper() if found else ""
    if found is None or unit not in UNITS or float(found[1]) * UNITS[unit] < 1:
        raise ValueError(f"a size is a number with B, KB, MB, GB, MiB or GiB, got {text!r}")
    return int(float(found[1]) * UNITS[unit])


def split(files: Iterable[Path], root: Path, out: Path, largest: int) -> list[Path]:
    """Copy files below `root` to `out`, those above `largest` bytes in pieces. What an earlier call left goes."""
    if out.exists():
        if any(out.iterdir()) and not (out / LIST).exists():
            raise ValueError(f"{out} holds other files: give another folder")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    listed, written = {}, []
    for file in files:
        name = file.relative_to(root).as_posix()
        pieces = []
        with file.open("rb") as source:
            number = -(-file.stat().st_size // largest) or 1
            for index in range(number):
                piece = out / (name if number == 1 else f"{name}.part-{index:03d}")
                piece.parent.mkdir(parents=True, exist_ok=True)
                piece.write_bytes(source.read(largest))
                pieces.append(piece.relative_to(out).as_posix())
                written.append(piece)
        listed[name] = {"sha256": file_sha256(file), "pieces": pieces}
    (out / LIST).write_text(json.dumps(listed, indent=2) + "\n")
    return [*written, out / LIST]


def join(folder: Path, out: Path) -> list[Path]:
    """Put the files together again; each is checked against its digest before it has its name."""
    try:
        listed = json.loads((folder / LIST).read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no {LIST}: it was not made by `gradstyle train all`") from None
    made = []
    for name, entry in listed.items():
        for each in (name, *entry["pieces"]):
            if Path(each).is_absolute() or ".." in Path(each).parts:
                raise ValueError(f"{folder / LIST} names {each!r}, which lies elsewhere")
        target = out / name
        if target.exists():
            raise ValueError(f"{target} exists: give another --out")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial, digest = target.with_name(f".{target.name}.partial"), hashlib.sha256()
        try:
            with partial.open("wb") as joined:
                for piece in entry["pieces"]:
                    if not (folder / piece).is_file():
                        raise ValueError(f"{folder} lacks {piece}, a piece of {name}")
                    data = (folder / piece).read_bytes()
                    digest.update(data)
                    joined.write(data)
            if digest.hexdigest() != entry["sha256"]:
                raise ValueError(f"{name} is damaged: its pieces in {folder} do not have the digest that {LIST} gives")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        made.append(target)
    return made
