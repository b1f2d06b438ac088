"""What an edit of a whole photo takes, part by part: finding the face, cutting it, the networks, pasting, the files.

    python -m benchmarks.photos                      # a generator without training, 64 px, and a made photo
    python -m benchmarks.photos --bundle ffhq --photo me.jpg --megapixels 12

The photo is enlarged to the size that is asked for. Parts are also given as shares of the whole, which is what can be
compared between machines. Each figure is the least of the rounds: what it takes when nothing else runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def untrained() -> Any:
    """A bundle of faces with networks that have learned nothing, of the sizes of a small trained one."""
    import torch

    from gradstyle.bundles import Bundle, Domain
    from gradstyle.edits import Edit
    from gradstyle.encoder import Encoder, EncoderConfig
    from gradstyle.stylegan2 import Generator, GeneratorConfig

    torch.manual_seed(0)
    bundle = Bundle("untrained", Domain("faces", crop="celeba"))
    bundle.put("generator", Generator(GeneratorConfig(64, 256, 256, channel_base=2048, channel_max=256)))
    bundle.put("encoder", Encoder(EncoderConfig(10, 256, 64)))
    bundle.put_edits({"smile": Edit("smile", torch.randn(10, 256) * 0.3)})
    return bundle


def portrait(megapixels: float, path: Path | None) -> Any:
    import numpy as np
    from PIL import Image

    from gradstyle.photos import Photo, open_photo

    if path is None:
        from skimage import data

        face = Image.fromarray(data.astronaut())
    else:
        face = Image.fromarray(open_photo(path).pixels)
    scale = (megapixels * 1e6 / (face.width * face.height)) ** 0.5
    size = (round(face.width * scale), round(face.height * scale))
    return Photo(np.asarray(face.resize(size, Image.Resampling.BICUBIC)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", help="a bundle's folder or name")
    parser.add_argument("--method", help="one of its methods")
    parser.add_argument("--edit", help="NAME=AMOUNT; the bundle's first if not given")
    parser.add_argument("--photo", type=Path, help="a photo with a face; else one of scikit-image's")
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    from gradstyle import Bundle, open_photo
    from gradstyle.editor import Editor
    from gradstyle.photos import align, find_faces, paste

    editor = Editor(Bundle.load(options.bundle) if options.bundle else untrained(), options.method)
    editor.beyond = True  # times are no less those of an edit that was found wanting
    edit = options.edit or f"{next(iter(editor.edits))}=2"
    photo = portrait(options.megapixels, options.photo)
    side = max(editor.bundle.config("encoder").input_size, editor.resolution)
    taken: dict[str, list[float]] = defaultdict(list)

    def timed(what: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        done = work(*arguments)
        taken[what].append(time.perf_counter() - start)
        return done

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "photo.jpg", Path(folder) / "edited.jpg"
        photo.save(source)
        for _ in range(options.rounds + 1):  # the first loads what is loaded once
            opened = timed("read", open_photo, source)
            faces = timed("detect, and landmarks", find_faces, opened.pixels)
            crop = timed("align", align, opened, faces[0], editor.bundle.domain, side)
            inversion = timed("invert", editor.invert, crop)
            before, after = timed("render, without edits and with", editor.render_each, inversion, [(), edit])
            done = timed("paste", paste, opened, crop, before, after)
            timed("write", done.save, target)
    least = {what: min(each[1:]) for what, each in taken.items()}
    whole = sum(least.values())
    width, height = photo.size
    title = f"{width}×{height}, a face of {crop.frame.side:.0f} px, {editor.method} of {editor.bundle.name}, {edit}"
    table = Table("part", "seconds", "share", title=title, title_justify="left")
    for what, seconds in {**least, "all": whole}.items():
        table.add_row(what, f"{seconds:.3f}", f"{seconds / whole:.0%}")
    Console().print(table)
    again = least["render, without edits and with"] + least["paste"] + least["write"]
    Console().print(f"a further edit of the same photo takes {again / whole:.0%} of it")


if __name__ == "__main__":
    main()
