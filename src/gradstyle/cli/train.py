"""gradstyle train: a generator and what stands on it, from a folder or zip of pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import Command, ForceOption, console

if TYPE_CHECKING:
    from ..training.loop import Progress

app = typer.Typer(help="Train a generator, and what stands on it.", no_args_is_help=True)

DataArgument = Annotated[Path, typer.Argument(help="Pictures: a folder (nested), a zip, a tar or a folder of tars.")]
RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="faces-32, faces-64, faces-128, cars-128, paper-1024, or a .toml file.")
]
RunOption = Annotated[Path, typer.Option("--out", "-o", help="The run's folder.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Change a value of the recipe.", metavar="KEY=VALUE")
]
MinutesOption = Annotated[float | None, typer.Option(help="Stop, with a snapshot, after this time.", min=0)]
ImagesOption = Annotated[int | None, typer.Option(help="Stop when the run has seen so many pictures.", min=1)]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")]
SplitOption = Annotated[
    str | None,
    typer.Option(
        help="Only pictures that FILE lists, or whose COLUMN in the CSV is VALUE.", metavar="FILE[:COLUMN=VALUE]"
    ),
]
CacheOption = Annotated[Path | None, typer.Option(help="Where decoded pictures are kept.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, even where there is a GPU.")]


HALF_LIFE = 20.0  # seconds, of what the shown speed is the mean of


class Line:
    """A progress line on a terminal; elsewhere a line every half minute."""

    def __init__(self, interval: float = 30.0) -> None:
        self.interval, self.shown_at = interval, float("-inf")
        self.images = self.seconds = 0.0  # the later ones weigh more
        self.last: Progress | None = None
        self.status: Any = None

    def __enter__(self) -> Line:
        if console.is_terminal:
            self.status = console.status("starting")
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is not None:
            with suppress(OSError):
                self.status.stop()

    def show(self, progress: Progress, goal: int, terms: Mapping[str, float], left: float | None) -> None:
        speed = self.speed(progress, terms)
        if self.status is None and time.monotonic() - self.shown_at < self.interval:
            return
        self.shown_at = time.monotonic()
        remaining = (goal - progress.images) / max(speed, 1e-9)
        if left is not None:
            remaining = min(remaining, max(left, 0))
        shown = "  ".join(f"{name} {value:.3g}" for name, value in terms.items() if name != "images_per_second")
        text = f"{progress.images:,} of {goal:,} images  {speed:.1f}/s  {_clock(remaining)} left  {shown}"
        if self.status is None:
            self.say(text)
        else:
            with suppress(OSError):
                self.status.update(text)

    def speed(self, progress: Progress, terms: Mapping[str, float]) -> float:
        """Pictures a second, of late."""
        if self.last is None or progress.images <= self.last.images:  # another training
            self.images = self.seconds = 0.0
            images = seconds = 0.0
        else:
            images, seconds = progress.images - self.last.images, progress.seconds - self.last.seconds
        self.last = replace(progress)
        keep = 0.5 ** (seconds / HALF_LIFE)
        self.images, self.seconds = keep * self.images + images, keep * self.seconds + seconds
        return self.images / self.seconds if self.seconds else terms["images_per_second"]

    def say(self, text: str) -> None:
        """A terminal may have gone; the training goes on, or ends with its snapshot, without it."""
        with suppress(OSError):
            console.print(text, soft_wrap=True, highlight=False, markup=False)


def _clock(seconds: float) -> str:
    minutes, hours = int(seconds / 60) % 60, int(seconds / 3600)
    return f"{hours}:{minutes:02}:{int(seconds) % 60:02}"


def _train(
    kind: str,
    data: Path,
    recipe: str,
    out: Path,
    changes: list[str] | None,
    minutes: float | None,
    images: int | None,
    resume: bool,
    split: str | None,
    cache: Path | None,
    device: str | None,
    inputs: Mapping[str, object],
) -> None:
    from ..training.launch import Request, start
    from ..training.loop import Budget

    budget = Budget(minutes, images)
    overrides = [*(changes or []), *([_split(split)] if split else [])]
    given = {name: str(value) for name, value in inputs.items() if value is not None}
    with Line() as line:
        outcome = start(
            Request(kind, data, out, recipe, overrides, given, resume=resume, cache=cache, device=device), budget, line
        )
        ended = "the run is done" if outcome.done else "go on with --resume"
        line.say(f"{outcome.progress.images:,} images seen; {ended}")
    if outcome.signal is not None:
        raise typer.Exit(128 + outcome.signal)


def _split(text: str) -> str:
    from ..training.data import Split

    split = Split.parse(text)
    each = (split.file, split.column or "", split.value or "")
    parts = [part.replace("\\", "\\\\").replace('"', '\\"') for part in each]
    return "data.split=[" + ", ".join(f'"{part}"' for part in parts) + "]"


StartOption = Annotated[
    str | None, typer.Option(help="Weights to begin with: a bundle's folder or name, or a published file.")
]
FeaturesOption = Annotated[
    Path | None, typer.Option(help="EfficientNet-Lite's weights: the recipe's critic looks through its features.")
]
TeacherOption = Annotated[Path | None, typer.Option(help="A teacher: its features are what losses compare.")]


@app.command(cls=Command)
def generator(
    data: DataArgument,
    out: RunOption,
    recipe: RecipeOption = "",
    start: StartOption = None,
    features: FeaturesOption = None,
    teacher: TeacherOption = None,
    changes: SetOption = None,
    minutes: MinutesOption = None,
    images: ImagesOption = None,
    resume: ResumeOption = False,
    split: SplitOption = None,
    cache: CacheOption = None,
    device: DeviceOption = None,
) -> None:
    """Train StyleGAN2 from nothing or from weights, with adaptive discriminator augmentation."""
    inputs = _standing("", start, features=features, teacher=teacher)
    _train("generator", data, recipe, out, changes, minutes, images, resume, split, cache, device, inputs)


LabelsOption = Annotated[
    str | None,
    typer.Option(help="A CSV of zeros and ones, a line a picture: a path, or its name among the pictures."),
]


@app.command(cls=Command)
def judge(
    data: DataArgument,
    out: RunOption,
    labels: LabelsOption = None,
    recipe: RecipeOption = "",
    changes: SetOption = None,
    minutes: MinutesOption = None,
    images: ImagesOption = None,
    resume: ResumeOption = False,
    split: SplitOption = None,
    cache: CacheOption = None,
    device: DeviceOption = None,
) -> None:
    """Train a network that tells attributes apart and only judges: nothing may learn from it."""
    inputs = {"labels": _labels(labels)}
    _train("judge", data, recipe, out, changes, minutes, images, resume, split, cache, device, inputs)


@app.command(cls=Command)
def teacher(
    data: DataArgument,
    out: RunOption,
    labels: LabelsOption = None,
    recipe: RecipeOption = "",
    changes: SetOption = None,
    minutes: MinutesOption = None,
    images: ImagesOption = None,
    resume: ResumeOption = False,
    split: SplitOption = None,
    cache: CacheOption = None,
    device: DeviceOption = None,
) -> None:
    """Train a network as a judge is, whose features stand in the losses of encoders and methods (--teacher)."""
    inputs = {"labels": _labels(labels)}
    _train("teacher", data, recipe, out, changes, minutes, images, resume, split, cache, device, inputs)


BundleOption = Annotated[
    str,
    typer.Option("--bundle", "-b", help="The bundle that it stands on: a folder or a name; a resumed run knows it."),
]
PerceptualOption = Annotated[
    Path | None, typer.Option(help="Published weights of the perceptual network that the recipe names.")
]
HeadsOption = Annotated[Path | None, typer.Option(help="LPIPS's linear heads, beside --perceptual.")]
IdentityOption = Annotated[Path | None, typer.Option(help="Published weights of ArcFace's IR-SE-50.")]
AdversaryOption = Annotated[
    Path | None, typer.Option(help="A bundle or published weights with the discriminator to begin with.")
]


@app.command(cls=Command)
def encoder(
    data: DataArgument,
    out: RunOption,
    bundle: BundleOption = "",
    recipe: RecipeOption = "",
    start: StartOption = None,
    teacher: TeacherOption = None,
    perceptual: PerceptualOption = None,
    heads: HeadsOption = None,
    identity: IdentityOption = None,
    changes: SetOption = None,
    minutes: MinutesOption = None,
    images: ImagesOption = None,
    resume: ResumeOption = False,
    split: SplitOption = None,
    cache: CacheOption = None,
    device: DeviceOption = None,
) -> None:
    """Train e4e's encoder on the generator of a bundle."""
    inputs = _standing(bundle, start, teacher=teacher, perceptual=perceptual, heads=heads, identity=identity)
    _train("encoder", data, recipe, out, changes, minutes, images, resume, split, cache, device, inputs)


def _method(name: str) -> None:
    """A verb for each method: they differ in their names alone."""

    def verb(
        data: DataArgument,
        out: RunOption,
        bundle: BundleOption = "",
        recipe: RecipeOption = "",
        start: StartOption = None,
        teacher: TeacherOption = None,
        perceptual: PerceptualOption = None,
        heads: HeadsOption = None,
        identity: IdentityOption = None,
        discriminator: AdversaryOption = None,
        changes: SetOption = None,
        minutes: MinutesOption = None,
        images: ImagesOption = None,
        resume: ResumeOption = False,
        split: SplitOption = None,
        cache: CacheOption = None,
        device: DeviceOption = None,
    ) -> None:
        files = {"teacher": teacher, "perceptual": perceptual, "heads": heads, "identity": identity}
        inputs = _standing(bundle, start, **files, discriminator=discriminator)
        _train(name, data, recipe, out, changes, minutes, images, resume, split, cache, device, inputs)

    app.command(name, cls=Command, help=f"Train {name} on the generator and encoder of a bundle.")(verb)


for _name in ("gradmove", "gradstyle", "styleres", "sdic", "hfgi"):
    _method(_name)


def _standing(bundle: str, start: str | None, **files: Path | None) -> dict[str, object]:
    """Absolute paths, so that a run may go on from elsewhere."""
    from ..bundles.bundle import find_bundle

    for file in files.values():
        if file is not None and not file.exists():
            raise ValueError(f"there is no {file}")
    given: dict[str, object] = {name: file.absolute() for name, file in files.items() if file is not None}
    if bundle:
        given["bundle"] = find_bundle(bundle).absolute()
    if start:
        given["start"] = _start(start)
    return given


def _start(given: str) -> Path:
    from ..bundles.bundle import find_bundle

    return (Path(given) if Path(given).is_file() else find_bundle(given)).absolute()


@app.command("all", cls=Command)
def everything(
    data: Annotated[Path | None, typer.Argument(help="Pictures; not needed to go on.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the chain.")] = Path("chain"),
    recipe: RecipeOption = "",
    minutes: Annotated[float | None, typer.Option(help="For the whole chain, over all calls.", min=0)] = None,
    piece: Annotated[float | None, typer.Option(help="Minutes after which this call stops.", min=0)] = None,
    max_file_size: Annotated[
        str | None, typer.Option("--max-file-size", help="Export in files no larger, such as 15MB.")
    ] = None,
    labels: LabelsOption = None,
    split: SplitOption = None,
    start: StartOption = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Change a value of a stage, or of data.", metavar="STAGE.KEY=VALUE"),
    ] = None,
    cache: CacheOption = None,
    device: DeviceOption = None,
) -> None:
    """Train judges, generator, encoder and all methods in one time budget; call again to go on."""
    from ..training import chain
    from ..training.pieces import parse_size

    largest = None if max_file_size is None else parse_size(max_file_size)
    overrides = [*(changes or []), *([_split(split)] if split else [])]
    begin_with = _start(start) if start else None
    with Line() as line:
        done = chain.run(
            out, line, data, recipe, minutes, piece, largest, _labels(labels), begin_with, overrides, cache, device
        )
        line.say("all is trained" if done else "call again to go on")


@app.command(cls=Command)
def join(
    folder: Annotated[Path, typer.Argument(help="The export, with its files.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the whole files go.")],
) -> None:
    """Unpack what `train all --max-file-size` has exported, and check it."""
    from ..training.pieces import join as put_together

    for file in put_together(folder, out):
        console.print(str(file), soft_wrap=True, highlight=False)


def _labels(given: str | None) -> str | None:
    """An absolute path, so that a run may go on from elsewhere; a name inside the data stays."""
    return str(Path(given).absolute()) if given is not None and Path(given).is_file() else given


@app.command(cls=Command)
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder.")],
    name: Annotated[str, typer.Option(help="The bundle's name; that of its folder if not given.")] = "",
    licence: Annotated[str, typer.Option(help="What may be done with the weights; their data may say.")] = "",
    half: Annotated[bool, typer.Option("--half", help="Write 16-bit floats: half the size.")] = False,
    force: ForceOption = False,
) -> None:
    """Write what a run has learned so far as a bundle."""
    from ..training.launch import export as write

    bundle = write(run, out, name, half, force, licence)
    console.print(f"{', '.join(bundle)} in {out}")


@app.command(cls=Command)
def plot(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The picture; RUN/curves.png if not given.")] = None,
) -> None:
    """Draw how a run's losses went."""
    from ..training.plot import plot as draw

    console.print(f"curves in {draw(run, out or run / 'curves.png')}")
