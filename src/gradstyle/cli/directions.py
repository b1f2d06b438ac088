"""gradstyle directions: where edits come from, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .app import (
    BundleOption,
    Command,
    DeviceOption,
    ForceOption,
    console,
    errors,
    picture_target,
    printable,
    say,
    writable,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundles import Bundle
    from ..directions import FoundEdits
    from ..edits import Edit

app = typer.Typer(help="Find edits, measure what they do, name them, keep them.", no_args_is_help=True)

WishArgument = Annotated[
    list[str],
    typer.Argument(
        help="NAME=ATTRIBUTE raises it, NAME=-ATTRIBUTE lowers it; yaw and pitch need no scorer.",
        metavar="NAME=ATTRIBUTE…",
        show_default=False,
    ),
]
ScorerOption = Annotated[
    Path | None,
    typer.Option(
        "--scorer", "-s", help="Who teaches: a network's file (gradstyle train teacher), or labels of samples (.csv)."
    ),
]
JudgeOption = Annotated[
    Path | None,
    typer.Option("--judge", "-j", help="Another network, that says what edits do; else the bundle's own."),
]
SamplesOption = Annotated[int, typer.Option("--samples", "-n", min=100, max=1_000_000, help="Pictures to score.")]
SeedOption = Annotated[int, typer.Option(help="The same seed gives the same edits.")]
LayersOption = Annotated[
    str | None, typer.Option(help="FIRST-LAST code that moves, such as 4-7.", metavar="FIRST-LAST")
]
CacheOption = Annotated[
    Path | None, typer.Option(help="Where scores are kept; what was stopped goes on from there.", show_default=False)
]
IntoOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write another bundle; else the edits go into this one.")
]
SheetOption = Annotated[
    Path | None, typer.Option("--sheet", help="The picture that shows what each component does.", show_default=False)
]
CountOption = Annotated[int, typer.Option("--count", "-c", min=1, max=512, help="How many components.")]


@app.command(cls=Command)
def find(
    wanted: WishArgument,
    bundle: BundleOption = "faces",
    scorer: ScorerOption = None,
    judge: JudgeOption = None,
    samples: SamplesOption = 10_000,
    seed: SeedOption = 0,
    out: IntoOption = None,
    cache: CacheOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Find a whole set of edits, calibrate and measure each, and give sliders to those that are good.

    gradstyle directions find smile=Smiling age=-Young yaw --bundle faces --scorer teacher.safetensors

    Samples are scored once and kept: stopped, the same command goes on. Each edit is freed of the others that would
    go along, laid on the codes where it belongs, and brought to a unit: amount 1 moves its attribute by one standard
    deviation.
    """
    _find(wanted, bundle, scorer, judge, samples, seed, out, cache, force, device)


@app.command(cls=Command)
def interfacegan(
    wanted: WishArgument,
    bundle: BundleOption = "faces",
    scorer: ScorerOption = None,
    judge: JudgeOption = None,
    given: Annotated[
        list[str] | None, typer.Option("--given", "-g", help="An attribute to project out. Repeat it for several.")
    ] = None,
    layers: LayersOption = None,
    share: Annotated[float, typer.Option(help="Of the samples, how many at each end are learned from.")] = 0.1,
    truncation: Annotated[float, typer.Option(help="Of the samples; 1: as varied as it gets.")] = 1.0,
    samples: SamplesOption = 10_000,
    seed: SeedOption = 0,
    out: IntoOption = None,
    cache: CacheOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """As find, with nothing decided on its own: what is projected out is what --given says, and nothing without it.

    gradstyle directions interfacegan glasses=Eyeglasses --given Young --scorer teacher.safetensors
    """
    from ..directions.layers import parse_layers

    more = {"given": given or [], "share": share, "truncation": truncation}
    _find(
        wanted, bundle, scorer, judge, samples, seed, out, cache, force, device,
        layers=parse_layers(layers) if layers else None, **more,
    )  # fmt: skip


def _find(
    wanted: list[str],
    bundle: str,
    scorer: Path | None,
    judge: Path | None,
    samples: int,
    seed: int,
    out: Path | None,
    cache: Path | None,
    force: bool,
    device: str | None,
    **more: Any,
) -> None:
    from ..directions import find as search
    from ..directions.find import wishes
    from ..editor import device_of

    opened, target = _open(bundle, out, force, [wish.name for wish in wishes(wanted)])
    with meter() as show:
        found = search(
            opened, wanted, scorer, _judge(opened, judge), samples, seed, show,
            cache=cache, device=device_of(device or "cpu"), **more,
        )  # fmt: skip
    _keep(opened, found, target)


@app.command(cls=Command)
def calibrate(
    wanted: WishArgument,
    bundle: BundleOption = "faces",
    scorer: ScorerOption = None,
    judge: JudgeOption = None,
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    out: IntoOption = None,
    cache: CacheOption = None,
    force: ForceOption = False,
    device: DeviceOption = None,
) -> None:
    """Give a unit, a report and a slider to edits that a bundle has: published ones, components, edits of words.

    gradstyle directions calibrate smile=Smiling --bundle ffhq --scorer teacher.safetensors
    """
    from ..directions import measure_edits
    from ..editor import device_of

    opened, target = _open(bundle, out, force)
    with meter() as show:
        found = measure_edits(
            opened, wanted, scorer, _judge(opened, judge), samples, seed, show,
            cache=cache, device=device_of(device or "cpu"),
        )  # fmt: skip
    _keep(opened, found, target)


@app.command(cls=Command)
def ganspace(
    bundle: BundleOption = "faces",
    count: CountOption = 10,
    layers: LayersOption = None,
    samples: SamplesOption = 10_000,
    seed: SeedOption = 0,
    sheet: SheetOption = None,
    out: IntoOption = None,
    force: ForceOption = False,
) -> None:
    """Add the principal components of the codes as pca-0, pca-1 …, and draw what each does.

    A person names those that mean something: gradstyle directions name pca-3 beard --layers 2-5
    """
    _components("ganspace", bundle, count, layers, samples, seed, sheet, out, force)


@app.command(cls=Command)
def sefa(
    bundle: BundleOption = "faces",
    count: CountOption = 10,
    layers: LayersOption = None,
    samples: SamplesOption = 10_000,
    seed: SeedOption = 0,
    sheet: SheetOption = None,
    out: IntoOption = None,
    force: ForceOption = False,
) -> None:
    """Add what the styles of the chosen codes listen to most as sefa-0, sefa-1 …, and draw what each does."""
    _components("sefa", bundle, count, layers, samples, seed, sheet, out, force)


def _components(
    kind: str,
    bundle: str,
    count: int,
    layers: str | None,
    samples: int,
    seed: int,
    picture: Path | None,
    out: Path | None,
    force: bool,
) -> None:
    from ..directions import components
    from ..directions.files import add
    from ..directions.layers import parse_layers
    from ..photos import contact_sheet, write_picture

    drawn = picture or Path(f"{kind}.png")
    picture_target(drawn, force)
    opened, target = _open(bundle, out, force)
    generator = opened.generator()
    make = components.ganspace if kind == "ganspace" else components.sefa
    edits = make(generator, count, samples, seed, parse_layers(layers) if layers else None)
    add(opened, {edit.name: (edit, None) for edit in edits}, force)
    rows: list[Any] = []
    with meter() as show:
        for number, edit in enumerate(edits):
            show("drawing", number, len(edits))
            row, captions = components.sheet(generator, [edit])
            rows += row
    _save(opened, target)
    write_picture(contact_sheet(rows, captions, _enlarged(opened.resolution)), drawn)
    say(f"{edits[0].name} … {edits[-1].name} in {target}; from top to bottom in {drawn}")


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

    opened, target = _open(bundle, out, force)
    edit = _edit(opened, component)
    if layers:
        edit = within(edit, parse_layers(layers), opened.config("generator").codes)
    edit = replace(-edit if reverse else edit, name=called)
    about = f"{component}{', reversed' if reverse else ''}{f', codes {layers}' if layers else ''}; named by a person"
    add(opened, {called: (edit, Slider(low, high, group, about))}, force)
    _save(opened, target)
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

    opened, target = _open(bundle, out, force)
    with errors.status("measuring footprints") as status:
        put_footprints(opened, lambda name: status.update(f"measuring the footprint of {name}"))
    _save(opened, target)
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

    opened, target = _open(bundle, out, force, [called])
    editor = load(opened, "e4e", device)
    failed: list[str] = []
    encoder = opened.encoder(device=editor.device)
    with meter() as show:

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
    _save(opened, target)
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

    opened, target = _open(bundle, out, force, [called])
    on = device_of(device)
    clip, generator = OpenClip(model, weights, on), opened.generator(device=on)
    kept = cache or cache_folder() / "styles" / f"{opened.fingerprint}-{Path(weights).stem}-{model}.safetensors"
    with meter() as show:
        effects, spread = channel_effects(generator, clip, kept, show)
    edit = from_words(called, target_text, neutral, effects, spread, clip, generator, threshold)
    add(opened, {called: (edit, None)}, force)
    _save(opened, target)
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

    opened, target = _open(bundle, out, force)
    more: dict[str, Any] = {}
    for file in files:
        more |= open_edits(file, opened)
    put(opened, more, force)
    _save(opened, target)
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


@contextmanager
def meter() -> Iterator[Any]:
    """A bar a stage: called with what is done, how much of it, of how much."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors) as progress:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            stage = what.partition(" ")[0]
            if stage not in tasks:
                tasks[stage] = progress.add_task(what, total=total)
            progress.update(tasks[stage], completed=done, total=total, description=what)

        yield show


def _open(bundle: str, out: Path | None, force: bool, new: list[str] | None = None) -> tuple[Bundle, Path]:
    """A bundle, and where it goes when it has more edits; what would be overwritten is said before the work."""
    from ..bundles import Bundle
    from ..bundles.bundle import find_bundle

    opened = Bundle.load(bundle)
    if out is not None:
        writable(out, force)
    if (taken := sorted(set(new or ()) & set(opened.edits))) and not force:
        raise ValueError(
            f"bundle {opened.name!r} has an edit {taken[0]!r}; choose another name, or --force to replace it"
        )
    return opened, out or find_bundle(bundle)


def _save(bundle: Bundle, target: Path) -> None:
    bundle.save(target, overwrite=True)


def _keep(bundle: Bundle, found: FoundEdits, target: Path) -> None:
    found.put(bundle)
    _save(bundle, target)
    for each, told in found.reports.items():
        if each in found.sliders:
            slider = found.sliders[each]
            say(
                f"{each}: {slider.low:+g} … {slider.high:+g}; amount 1 moves {told['attribute']} by {told['moved']:.2f}"
            )
        else:
            say(f"{each}: no slider: {'; '.join(told['reasons'])}", "yellow")
    say(f"in {target}; `gradstyle directions report --bundle {target}` says more", "dim")


def _judge(bundle: Bundle, judge: Path | None) -> Any:
    if judge is not None:
        return judge
    if "judge" in bundle:
        from ..directions import JudgeScorer

        return JudgeScorer(bundle.judge(), "judge")
    errors.print("no --judge, and the bundle has none: edits are judged by what found them", style="yellow")
    return None


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


def _enlarged(resolution: int) -> int:
    return max(1, 96 // resolution)
