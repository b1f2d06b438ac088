"""gradstyle sample: pictures that nobody took."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import BundleOption, DeviceOption, ForceOption, console, writable


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
    from ..editor import best_device
    from ..photos import contact_sheet, to_photo

    each = not out.suffix
    if each and out.is_file():
        raise ValueError(f"{out} is a file; give a folder, or a name that ends in .png for one sheet")
    if not each:
        writable(out, force)
    generator = Bundle.load(bundle).generator().to(device or best_device())
    codes = generator.sample(count, truncation, seed)
    images = []
    with torch.inference_mode():
        for i in track(range(0, count, 8), description="sampling", transient=True):
            images += list(generator(codes[i : i + 8]).cpu())
    if each:
        for i, image in enumerate(images):
            to_photo(image).save(writable(out / f"{seed}-{i:04d}.png", force))
    else:
        columns = min(max(round(count**0.5), 1), 16)
        sheet = contact_sheet([images[i : i + columns] for i in range(0, count, columns)])
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out)
    console.print(f"{count} pictures of {generator.config.resolution} px in {out}")
