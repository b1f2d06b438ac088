"""gradstyle train: a generator and what stands on it, from a folder or zip of pictures."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .app import Command, ForceOption, console
from .progress_line import ProgressLine

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

# What a training stands on beside the pictures:
LabelsOption = Annotated[
    str | None,
    typer.Option(help="A CSV of zeros and ones, a line a picture: a path, or its name among the pictures."),
]
BundleOption = Annotated[
    str,
    typer.Option("--bundle", "-b", help="The bundle that it stands on: a folder or a name; a resumed run knows it."),
]
StartOption = Annotated[
    str | None, typer.Option(help="Weights to begin with: a bundle's folder or name, or a published file.")
]
FeaturesOption = Annotated[
    Path | None, typer.Option(help="EfficientNet-Lite's weights: the recipe's critic looks through its features.")
]
TeacherOption = Annotated[Path | None, typer.Option(help="A teacher: its features are what losses compare.")]
PerceptualOption = Annotated[
    Path | None, typer.Option(help="Published weights of the perceptual network that the recipe names.")
]
HeadsOption = Annotated[Path | None, typer.Option(help="LPIPS's linear heads, beside --perceptual.")]
IdentityOption = Annotated[Path | None, typer.Option(help="Published weights of ArcFace's IR-SE-50.")]
DiscriminatorOption = Annotated[
    Path | None, typer.Option(help="A bundle or published weights with the discriminator to begin with.")
]
ON_A_BUNDLE = ("bundle", "start", "teacher", "perceptual", "heads", "identity")
INPUTS = {"labels", "features", "discriminator", *ON_A_BUNDLE}
NETWORKS = {  # what can be trained beside methods: in words, and its inputs
    "generator": (
        "Train StyleGAN2 from nothing or from weights, with adaptive discriminator augmentation.",
        ("start", "features", "teacher"),
    ),
    "judge": ("Train a network that tells attributes apart and only judges: nothing may learn from it.", ("labels",)),
    "teacher": (
        "Train a network as a judge is, whose features stand in the losses of encoders and methods (--teacher).",
        ("labels",),
    ),
    "encoder": ("Train e4e's encoder on the generator of a bundle.", ON_A_BUNDLE),
}


def train(
    kind: str,
    data: DataArgument,
    out: RunOption,
    labels: LabelsOption = None,
    bundle: BundleOption = "",
    recipe: RecipeOption = "",
    start: StartOption = None,
    features: FeaturesOption = None,
    teacher: TeacherOption = None,
    perceptual: PerceptualOption = None,
    heads: HeadsOption = None,
    identity: IdentityOption = None,
    discriminator: DiscriminatorOption = None,
    changes: SetOption = None,
    minutes: MinutesOption = None,
    images: ImagesOption = None,
    resume: ResumeOption = False,
    split: SplitOption = None,
    cache: CacheOption = None,
    device: DeviceOption = None,
) -> None:
    """Train one thing; each kind has those of the inputs that it can use."""
    from ..bundles.places import find_bundle
    from ..training.launch import Request
    from ..training.launch import start as begin
    from ..training.table import Split
    from ..training.trainable import Budget

    files = {"features": features, "teacher": teacher, "perceptual": perceptual, "heads": heads}
    files |= {"identity": identity, "discriminator": discriminator}
    for file in files.values():
        if file is not None and not file.exists():
            raise ValueError(f"there is no {file}")
    inputs = {name: str(file.absolute()) for name, file in files.items() if file is not None}
    if bundle:
        inputs["bundle"] = str(find_bundle(bundle).absolute())
    if start:
        inputs["start"] = str(_weights(start))
    if labels:
        inputs["labels"] = _table(labels)
    rows = Split.parse(split) if split else None
    request = Request(
        kind, data, out, recipe, changes or (), inputs, resume=resume, cache=cache, device=device, split=rows
    )
    with ProgressLine() as line:
        outcome = begin(request, Budget(minutes, images), line)
        ended = "the run is done" if outcome.done else "go on with --resume"
        line.say(f"{outcome.progress.images:,} images seen; {ended}")
    if outcome.signal is not None:
        raise typer.Exit(128 + outcome.signal)


def _weights(start: str) -> Path:
    """An absolute path, so that a run may go on from elsewhere."""
    from ..bundles.places import find_bundle

    return (Path(start) if Path(start).is_file() else find_bundle(start)).absolute()


def _table(labels: str) -> str:
    """An absolute path, so that a run may go on from elsewhere; a name inside the data stays."""
    return str(Path(labels).absolute()) if Path(labels).is_file() else labels


def _verb(kind: str, inputs: tuple[str, ...]) -> Callable[..., None]:
    """`train` for one kind, with those inputs alone."""

    def verb(**options: Any) -> None:
        train(kind, **options)

    signature = inspect.signature(train, eval_str=True)
    unused = {"kind"} | INPUTS.difference(inputs)
    options = [option for name, option in signature.parameters.items() if name not in unused]
    verb.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    return verb


class Kinds(typer.core.TyperGroup):
    """The verbs, and one for each method that learns. Methods are imported where no other verb fits."""

    def list_commands(self, ctx: Any) -> list[str]:
        from ..methods import METHODS

        methods = [name for name, method in METHODS.items() if method.learning]
        return [*NETWORKS, *methods, *(name for name in self.commands if name not in NETWORKS)]

    def get_command(self, ctx: Any, name: str) -> Any:
        if name in self.commands or name not in self.list_commands(ctx):
            return super().get_command(ctx, name)
        alone = typer.Typer(add_completion=False)
        text = f"Train {name} on the generator and encoder of a bundle."
        alone.command(name, cls=Command, help=text)(_verb(name, (*ON_A_BUNDLE, "discriminator")))
        return typer.main.get_command(alone)


app = typer.Typer(help="Train a generator, and what stands on it.", no_args_is_help=True, cls=Kinds)
for _kind, (_help, _inputs) in NETWORKS.items():
    app.command(_kind, cls=Command, help=_help)(_verb(_kind, _inputs))


@app.command("all", cls=Command)
def everything(
    data: Annotated[Path | None, typer.Argument(help="Pictures; not needed to go on.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the chain.")] = Path("chain"),
    recipe: RecipeOption = "",
    minutes: Annotated[float | None, typer.Option(help="For the whole chain, over all calls.", min=0)] = None,
    piece: Annotated[float | None, typer.Option(help="Minutes after which this call stops.", min=0)] = None,
    pieces: Annotated[str | None, typer.Option("--max-file-size", "--largest-file", hidden=True)] = None,
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
    from ..training.table import Split

    if pieces is not None:
        raise ValueError(
            "results are not cut into files any more: leave --max-file-size out, and write them by "
            f"`gradstyle train export {out} --out BUNDLE --half`"
        )
    overrides = list(changes or [])
    if split:
        overrides.append("data.split=" + json.dumps(Split.parse(split).named, ensure_ascii=False))
    weights, table = _weights(start) if start else None, _table(labels) if labels else None
    with ProgressLine() as line:
        done = chain.run(out, line, data, recipe, minutes, piece, table, weights, overrides, cache, device)
        line.say("all is trained" if done else "call again to go on")


@app.command(cls=Command, hidden=True)
def join(
    folder: Annotated[Path, typer.Argument()] = Path("chain/export"),
    out: Annotated[Path | None, typer.Option("--out", "-o")] = None,
) -> None:
    """Is gone: `cat results.tar.part-* | tar x` unpacks what it unpacked."""
    raise ValueError(f"`gradstyle train join` is gone: cat {folder}/results.tar.part-* | tar x")


@app.command(cls=Command)
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a chain's.")],
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
