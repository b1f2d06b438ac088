"""gradstyle bundle: import, look at and fetch the weights that edits stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..files import check_name
from .app import Command, ForceOption, console, download_bar, printable, say

if TYPE_CHECKING:
    from ..bundles import Bundle
    from ..losses.judge import JudgeRecord

app = typer.Typer(help="Import, inspect, list and fetch bundles.", no_args_is_help=True)

NameOption = Annotated[
    str | None, typer.Option("--name", "-n", help="What to call the bundle; the file's name if not given.")
]
IntoOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder to write; else it is installed under its name.")
]


@app.command("import", cls=Command)
def import_(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(help="Published files: .pt, .pkl, .pth, .npy, .npz, .safetensors, or a zip with one of them."),
    ],
    name: NameOption = None,
    out: IntoOption = None,
    domain: Annotated[str, typer.Option(help="What its photos show: faces, cars, …")] = "unknown",
    aspect: Annotated[str, typer.Option(help="Width:height of its photos; cars are 4:3.")] = "1:1",
    crop: Annotated[
        str, typer.Option(help="How its photos of faces were cut: ffhq or celeba; none: photos are taken whole.")
    ] = "none",
    licence: Annotated[str, typer.Option(help="The licence of the weights, to be kept with them.")] = "",
    half: Annotated[bool, typer.Option(help="Store float16: half the size, no visible difference.")] = False,
    force: ForceOption = False,
) -> None:
    """Make a bundle of published checkpoints.

    What a file holds is told by its content. Several files make one bundle: a generator, an encoder, a method,
    directions. Nothing in the files is ever run.
    """
    from ..bundles import Domain
    from ..bundles.build import build

    try:
        width, height = (int(side) for side in aspect.split(":"))
    except ValueError:
        raise ValueError(f"--aspect is WIDTH:HEIGHT, such as 4:3, got {aspect!r}") from None
    if crop not in ("ffhq", "celeba", "none"):
        raise ValueError(f"--crop is ffhq, celeba or none, got {crop!r}")
    title = name or checkpoints[0].stem
    target = _target(title, out, force)
    with console.status("reading"):
        bundle, notes = build(title, checkpoints, Domain(domain, (width, height), crop), licence)  # type: ignore[arg-type]
    for note in notes:
        say(note, "dim")
    with console.status("writing"):
        import torch

        bundle.save(target, torch.float16 if half else None, overwrite=force)
    say(f"{title}: {', '.join(bundle)} in {target}")


@app.command(cls=Command)
def info(bundle: Annotated[str, typer.Argument(help="A bundle's folder or name.")]) -> None:
    """Say what a bundle holds, where it is from, and how large it is."""
    from ..bundles import Bundle
    from ..bundles.manifest import read_manifest
    from ..bundles.places import find_bundle

    folder = find_bundle(bundle)
    manifest, opened = read_manifest(folder), Bundle.load(folder)
    width, height = manifest.domain.aspect
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "name": manifest.name,
        "folder": str(folder),
        "domain": f"{manifest.domain.name}, {manifest.resolution} px"
        + f", {width}:{height}" * (width != height)
        + f", faces cut as {manifest.domain.crop} does" * (manifest.domain.crop != "none"),
        "methods": ", ".join(opened.methods) or "none: it has no encoder",
        "edits": ", ".join(_ranges(opened)) or "none",
        "origin": manifest.origin or "not said",
        "licence": manifest.licence or "not said",
        "fingerprint": manifest.fingerprint,
    }
    for name, part in manifest.parts.items():
        size = (folder / part.file).stat().st_size / 2**20
        row = f"{size:,.1f} MB, sha256 {part.sha256[:12]}…"
        rows[f"part {name}"] = f"{row}; {_judged(opened.config(name))}" if name == "judge" else row
    for key, value in rows.items():
        table.add_row(Text(key, "bold"), Text(printable(value), overflow="fold"))
    console.print(table, highlight=False)


@app.command("list", cls=Command)
def list_() -> None:
    """Show the installed bundles and the published checkpoints that can be pulled."""
    from ..bundles.catalog import CATALOG
    from ..bundles.manifest import read_manifest
    from ..bundles.places import find_bundle, installed

    here = Table("bundle", "domain", "px", "parts", title="installed", title_justify="left", box=None)
    for name in installed():
        try:
            manifest = read_manifest(find_bundle(name))
            cells = [manifest.domain.name, str(manifest.resolution), ", ".join(manifest.parts)]
        except ValueError as error:
            cells = ["broken", "", str(error)]
        here.add_row(*(Text(printable(cell), overflow="fold") for cell in (name, *cells)))
    console.print(here if here.row_count else "no bundle is installed yet")
    there = Table("name", "gives", "domain", "px", "licence", title="\nto pull", title_justify="left", box=None)
    for entry in CATALOG:
        there.add_row(entry.name, entry.kind, entry.domain, str(entry.resolution or ""), entry.licence)
    console.print(there)
    console.print()
    say("gradstyle bundle pull NAME fetches one and makes a bundle of it", "dim")


@app.command(cls=Command)
def pull(
    name: Annotated[str, typer.Argument(help="A name that `gradstyle bundle list` shows.")],
    sha256: Annotated[str | None, typer.Option(help="Refuse the file unless it has this SHA-256.")] = None,
    file_only: Annotated[bool, typer.Option("--file-only", help="Fetch the file; make no bundle of it.")] = False,
    force: ForceOption = False,
) -> None:
    """Fetch a published checkpoint and install it as a bundle. A broken download resumes."""
    from ..bundles import Domain
    from ..bundles.build import build
    from ..bundles.catalog import find
    from ..bundles.catalog import pull as fetch

    entry = find(name)
    alone = entry.kind in ("loss network", "directions")
    target = None if file_only or alone else _target(entry.name, None, force)
    say(f"{entry.title} — licence: {entry.licence}")
    said: list[str] = []
    with download_bar(entry.name) as bar:
        path = fetch(entry, progress=bar, sha256=sha256, tell=said.append)
    for text in said:
        say(text, "dim")
    if target is None:
        say(str(path))
        if entry.kind == "directions":
            say(f"directions need their generator: gradstyle bundle import GENERATOR {path}", "dim")
        return
    with console.status("converting"):
        domain = Domain(entry.domain, entry.aspect, "ffhq" if entry.domain == "ffhq" else "none")
        bundle, notes = build(entry.name, [path], domain, entry.licence, entry.source)
        bundle.save(target, overwrite=force)
    for note in notes:
        say(note, "dim")
    say(f"{entry.name}: {', '.join(bundle)} in {target}")


def _ranges(bundle: Bundle) -> Iterator[str]:
    """Each edit and the amounts over which it was found good; a text of its slider is for the studio."""
    sliders, failed = bundle.sliders, bundle.failed_edits
    for name in bundle.edits:
        if name in sliders:
            yield f"{name} {sliders[name].low:+g} … {sliders[name].high:+g}"
        else:
            yield f"{name} ({'found wanting' if name in failed else 'of any amount'})"


def _judged(record: JudgeRecord) -> str:
    """What a judge tells apart and how well, as far as its record says."""
    known = f"{len(record.network.attributes)} attributes"
    accuracy, pictures = record.report.get("balanced_accuracy"), record.report.get("pictures")
    if not isinstance(accuracy, int | float) or not isinstance(pictures, int):
        return f"{known}, not said how well"
    return f"{known}, balanced accuracy {accuracy:.1%} on {pictures:,} pictures"


def _target(name: str, out: Path | None, force: bool) -> Path:
    """Where the bundle goes, known to be free before anything is read or fetched."""
    from ..bundles import BundleError
    from ..files import cache_folder

    if out is None:  # else it is a title and no more
        check_name(name, "a bundle's name")
    target = out or cache_folder() / "bundles" / name
    if target.exists() and not force:
        raise BundleError(f"{target} exists; give another --name or --out, or --force to replace it")
    return target
