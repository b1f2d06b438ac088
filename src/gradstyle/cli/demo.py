"""gradstyle demo: see something within a minute of cloning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import say


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("out"),
) -> None:
    """Make pictures, offline, with what comes with the package.

    The bundled model is not here yet: this samples an untrained generator, whose pictures are coloured noise,
    and walks, saves and loads it as a trained one would be.
    """
    import torch

    from ..bundles import Bundle
    from ..photos import contact_sheet, write_picture
    from ..stylegan2 import Generator, GeneratorConfig

    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(64, 64, 64, 2, channel_base=2048, channel_max=64))
    bundle = Bundle("untrained", origin="random weights", licence="MIT")
    bundle.put("generator", generator)
    folder = bundle.save(out / "untrained", torch.float16, overwrite=True)
    again = Bundle.load(folder).generator()
    with torch.inference_mode():
        images = again(again.sample(32)).cpu()
    sheet = out / "samples.png"
    write_picture(contact_sheet([list(row) for row in images.split(8)], scale=2), sheet)
    say(f"{sheet}: samples of an untrained 64 px generator, so they show no faces yet")
    say(f"{folder}: the same generator as a bundle; try: gradstyle bundle info {folder}")
