"""gradstyle directions: edits that a person names, makes from photos or words, saves, adds and reads about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import (
    BundleOption,
    Command,
    DeviceOption,
    ForceOption,
    console,
    errors,
    printable,
    progress_bar,
    say,
    writable,
)
from .directions import CacheOption, IntoOption, LayersOption, SeedOption, app, open_bundle, save_bundle

__all__ = ["app"]

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundles import Bundle
    from ..edits import Edit


@app.command(cls=Command)
def name(
    component: Annotated[str, typer.Argument(help="An edit of the bundle, such as pca-3.")],
    called: Annotated[str, typer.Argument(metavar="NAME", help="What it does, in a word or two.")],
    bundle: BundleOption = "faces",
    layers: LayersOption = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="More of it is where it was less.")] = False,
    low: Annotated[float, typer.Option(help="The slider's least amount.")] = -2.0,
    high: Annotated[float, typer.Option(help="The slider's largest amount.")] = 2.0,
    group: Annotated[str, typer.Option(help="Under which heading its slider stands.")] = "",
    out: IntoOption = None,
    force: ForceOption = False,
) -> None:
    """Give an edit a name and a slider, because a person has looked at it. The nameless one stays too.

    gradstyle directions name pca-3 beard --layers 2-5 --reverse --low -1.5
    """
    from dataclasses import replace

    from ..bundles import Slider
    from ..directions.components import within
    from ..directions.files import add
    from ..directions.layers import parse_layers

    opened, target = open_bundle(bundle, out, force)
    edit = _edit(opened, component)
    if layers:
        edit = within(edit, parse_layers(layers), opened.config("generator").codes)
    edit = replace(-edit if reverse else edit, name=called)
    about = f"{component}{', reversed' if reverse else ''}{f', codes {layers}' if layers else ''}; named by a person"
    add(opened, {called: (edit, Slider(low, high, group, about))}, force)
    save_bundle(opened, target)
    say(f"{called}: {component}, from {low:+g} to {high:+g}, in {target}")


@app.command("footprints", cls=Command)
def footprints(
    bundle: BundleOption = "faces",
    out: IntoOption = None,
    force: ForceOption = False,
) -> None:
    """Measure where each edit acts, over random faces, and keep it with the edit: nothing is pasted elsewhere.

    gradstyle directions footprints --bundle faces --out faces-2
    """
    from ..directions.footprint import put_footprints

    opened, target = open_bundle(bundle, out, force)
    with errors.status("measuring footprints") as status:
        put_footprints(opened, lambda name: status.update(f"measuring the footprint of {name}"))
    save_bundle(opened, target)
    say(f"{', '.join(opened.edits)}: footprints measured, in {target}")


@app.command("from-photos", cls=Command)
def from_photos(
    called: Annotated[str, typer.Argument(metavar="NAME", help="What the photos of the first folder have.")],
    with_it: Annotated[Path, typer.Option("--with", help="A folder of photos with it.")],
    without: Annotated[Path, typer.Option("--without", help="A folder of photos without it.")],
    bundle: BundleOption = "faces",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The photos are faces, cut as the training photos: look for none.")
    ] = False,
    seed: SeedOption = 0,
    out: IntoOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Make an edit from two folders of photos: the way from the mean code of one to that of the other.

    gradstyle directions from-photos freckles --with freckled/ --without plain/ --bundle faces

    It is given a slider if half of the photos give the same, and the direction tells photos apart that it has not
    seen.
    """
    from ..bundles import Slider
    from ..directions.examples import RANGE, codes_of, from_examples
    from ..directions.find import FoundEdits
    from ..editor import load

    opened, target = open_bundle(bundle, out, force, [called])
    editor = load(opened, "e4e", device)
    failed: list[str] = []
    encoder = opened.encoder(device=editor.device)
    with progress_bar() as show:

        def read(folder: Path) -> Tensor:
            files = _pictures(folder)
            images = _crops(editor, files, aligned, failed)
            return codes_of(encoder, images, lambda seen: show(f"reading {folder.name}", seen, len(files)))

        found = [read(folder) for folder in (with_it, without)]
    for line in failed:
        errors.print(printable(line), style="red", soft_wrap=True, highlight=False, markup=False)
    edit, reliability = from_examples(called, found[0], found[1], seed)
    report = {"source": "photos", **reliability.to_json()}
    about = f"{reliability.with_it} photos with it, {reliability.without} without"
    sliders = {} if reliability.reasons else {called: Slider(-RANGE, RANGE, "", about, report)}
    FoundEdits({called: edit}, sliders, {called: report}).put(opened)
    save_bundle(opened, target)
    say(
        f"{called}: from {about}; half of them give the same direction to a cosine of {reliability.halves:.2f}, "
        f"it tells {reliability.told_apart:.0%} of them apart unseen"
    )
    say("; ".join(reliability.reasons) or f"a slider from {-RANGE:+g} to {RANGE:+g}, in {target}")


@app.command(cls=Command)
def words(
    called: Annotated[str, typer.Argument(metavar="NAME", help="What the edit is called.")],
    target_text: Annotated[str, typer.Option("--to", help="What the picture is to show: 'a smiling face'.")],
    neutral: Annotated[str, typer.Option("--from", help="What it shows now: 'a face'.")],
    bundle: BundleOption = "faces",
    threshold: Annotated[float, typer.Option(help="Relevance below which a style channel stays.")] = 0.1,
    model: Annotated[str, typer.Option(help="The CLIP of open_clip, and the weights it was trained to.")] = "ViT-B-32",
    weights: Annotated[str, typer.Option(help="Weights that open_clip knows, or their file.")] = "openai",
    cache: CacheOption = None,
    out: IntoOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Make an edit from words, in the generator's style space; needs CLIP, the extra "words".

    gradstyle directions words grin --from 'a face' --to 'a grinning face' --bundle faces

    What CLIP sees of each style channel is measured once, which takes long; stopped, it goes on from there.
    """
    from ..directions.files import add
    from ..directions.text import OpenClip, channel_effects, from_words
    from ..editor import device_of
    from ..files import cache_folder

    opened, target = open_bundle(bundle, out, force, [called])
    on = device_of(device)
    clip, generator = OpenClip(model, weights, on), opened.generator(device=on)
    kept = cache or cache_folder() / "styles" / f"{opened.fingerprint}-{Path(weights).stem}-{model}.safetensors"
    with progress_bar() as show:
        effects, spread = channel_effects(generator, clip, kept, show)
    edit = from_words(called, target_text, neutral, effects, spread, clip, generator, threshold)
    add(opened, {called: (edit, None)}, force)
    save_bundle(opened, target)
    moving = 0 if edit.s is None else int((edit.s != 0).sum())
    say(f"{called}: {moving} style channels, in {target}; `gradstyle directions calibrate` measures it")


@app.command(cls=Command)
def save(
    edits: Annotated[str, typer.Argument(help="Edits and amounts, such as 'smile=2, yaw=-1': they add up.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: NAME.safetensors.")],
    bundle: BundleOption = "faces",
    called: Annotated[str | None, typer.Option("--name", help="What to call it; the sum, if not given.")] = None,
    force: ForceOption = False,
) -> None:
    """Write edits, or what they add up to, to a file that names its generator and is refused on another."""
    from dataclasses import replace

    from ..bundles import Bundle
    from ..directions import save_edit
    from ..editor import parse_edits
    from ..edits import combine

    opened = Bundle.load(bundle)
    amounts = parse_edits(edits) if "=" in edits else {edits: 1.0}
    total = combine([amount * _edit(opened, each) for each, amount in amounts.items()])
    if total is None:
        raise ValueError(f"{edits!r} changes nothing")
    alone = list(amounts.items()) == [(total.name, 1.0)]
    save_edit(
        out, replace(total, name=called or total.name), opened, opened.sliders.get(total.name) if alone else None, force
    )
    say(str(out))


@app.command(cls=Command)
def add(
    files: Annotated[list[Path], typer.Argument(help="Edits that were saved, or published files of directions.")],
    bundle: BundleOption = "faces",
    out: IntoOption = None,
    force: ForceOption = False,
) -> None:
    """Put edits from files into a bundle. One that was saved for another generator is refused."""
    from ..directions.files import add as put
    from ..directions.files import open_edits

    opened, target = open_bundle(bundle, out, force)
    more: dict[str, Any] = {}
    for file in files:
        more |= open_edits(file, opened)
    put(opened, more, force)
    save_bundle(opened, target)
    say(f"{', '.join(more)} in {target}")


@app.command(cls=Command)
def report(
    bundle: BundleOption = "faces",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file for the table; else it is shown.")] = None,
    force: ForceOption = False,
) -> None:
    """What each edit of a bundle was found to do, as a table in Markdown; and why some have no slider."""
    from ..bundles import Bundle
    from ..files import write_text
    from ..report.edits import markdown, provenance

    opened = Bundle.load(bundle)
    text = f"{markdown(opened)}\n\n{provenance(opened)}"
    if out is None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    write_text(writable(out, force), text + "\n")
    say(str(out))


# ---- help


def _edit(bundle: Bundle, named: str) -> Edit:
    if named not in bundle.edits:
        raise ValueError(f"bundle {bundle.name!r} has no edit {named!r}; it has {', '.join(bundle.edits) or 'none'}")
    return bundle.edits[named]


def _pictures(folder: Path) -> list[Path]:
    from PIL import Image

    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of photos")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in Image.registered_extensions())
    if not files:
        raise ValueError(f"{folder} holds no photos")
    return files


def _crops(editor: Any, files: list[Path], aligned: bool, failed: list[str]) -> Iterator[Any]:
    """The largest face of each; a photo that cannot be read, or shows none, costs no other."""
    from ..photos import open_photo

    for file in files:
        try:
            yield editor.crops(open_photo(file), "largest", aligned)[0].image.to(editor.device)
        except ValueError as error:
            failed.append(str(error) if str(file) in str(error) else f"{file}: {error}")
