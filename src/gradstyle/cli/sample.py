"""gradstyle sample: pictures that nobody took."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import BundleOption, DeviceOption, ForceOption, errors, picture_target, say, writable

BATCH = 8


def sample(
    bundle: BundleOption = "faces",
    count: Annotated[int, typer.Option("--count", "-n", help="How many.", min=1, max=4096)] = 16,
    truncation: Annotated[float, typer.Option(help="1: as varied as it gets; less: more usual, cleaner.")] = 0.7,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="A picture for a sheet, or a folder for one each.")] = Path(
        "samples.png"
    ),
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Generate pictures from a bundle's generator, on one sheet or one file each."""
    import torch
    from rich.progress import track

    from ..bundles import Bundle
    from ..editor import device_of
    from ..photos import contact_sheet, to_photo, write_picture

    each = [out / f"{seed}-{i:04d}.png" for i in range(count)] if out.is_dir() or not out.suffix else []
    for path in each:
        writable(path, force)
    if not each:
        picture_target(out, force)
    generator = Bundle.load(bundle).generator(device=device_of(device))
    codes = generator.sample(count, truncation, seed)
    images = []
    with torch.inference_mode():
        for i in track(range(0, count, BATCH), description="sampling", transient=True, console=errors):
            images += list(generator(codes[i : i + BATCH]).cpu())
            while each and images:
                to_photo(images.pop(0)).save(each.pop(0))
    if images:
        columns = min(max(round(count**0.5), 1), 16)
        write_picture(contact_sheet([images[i : i + columns] for i in range(0, count, columns)]), out)
    say(f"{count} pictures of {generator.config.resolution} px in {out}")
