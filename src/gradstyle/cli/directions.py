"""gradstyle directions: where edits come from, and what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import (
    BundleOption,
    Command,
    DeviceOption,
    ForceOption,
    errors,
    picture_target,
    progress_bar,
    say,
    writable,
)

if TYPE_CHECKING:
    from ..bundles import Bundle
    from ..directions import FoundEdits

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
    from ..directions.wishes import wishes
    from ..editor import device_of

    opened, target = open_bundle(bundle, out, force, [wish.name for wish in wishes(wanted)])
    with progress_bar() as show:
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

    opened, target = open_bundle(bundle, out, force)
    with progress_bar() as show:
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
    opened, target = open_bundle(bundle, out, force)
    generator = opened.generator()
    make = components.ganspace if kind == "ganspace" else components.sefa
    edits = make(generator, count, samples, seed, parse_layers(layers) if layers else None)
    add(opened, {edit.name: (edit, None) for edit in edits}, force)
    rows: list[Any] = []
    with progress_bar() as show:
        for number, edit in enumerate(edits):
            show("drawing", number, len(edits))
            row, captions = components.sheet(generator, [edit])
            rows += row
    save_bundle(opened, target)
    write_picture(contact_sheet(rows, captions, _enlarged(opened.resolution)), drawn)
    say(f"{edits[0].name} … {edits[-1].name} in {target}; from top to bottom in {drawn}")


# ---- help


def open_bundle(bundle: str, out: Path | None, force: bool, new: list[str] | None = None) -> tuple[Bundle, Path]:
    """A bundle, and where it goes when it has more edits; what would be overwritten is said before the work."""
    from ..bundles import Bundle
    from ..bundles.places import find_bundle

    opened = Bundle.load(bundle)
    if out is not None:
        writable(out, force)
    if (taken := sorted(set(new or ()) & set(opened.edits))) and not force:
        raise ValueError(
            f"bundle {opened.name!r} has an edit {taken[0]!r}; choose another name, or --force to replace it"
        )
    return opened, out or find_bundle(bundle)


def save_bundle(bundle: Bundle, target: Path) -> None:
    bundle.save(target, overwrite=True)


def _keep(bundle: Bundle, found: FoundEdits, target: Path) -> None:
    found.put(bundle)
    save_bundle(bundle, target)
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


def _enlarged(resolution: int) -> int:
    return max(1, 96 // resolution)
