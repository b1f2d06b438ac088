"""The options that all measuring verbs share, declared once."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .app import DeviceOption, ForceOption, progress_bar

if TYPE_CHECKING:
    from ..evaluation.protocol import Protocol
    from ..evaluation.store import RunFolder
    from ..progress import Progress

BundleArgument = Annotated[str, typer.Argument(help="A bundle's folder, or the name of an installed one.")]
DataArgument = Annotated[Path, typer.Argument(help="Photos the bundle has not learned from: a folder, a zip or a tar.")]
NetworkFile = Path | None
NETWORKS = ("judge", "second_judge", "face_network", "face_crop", "lpips", "heads", "backbone")


@dataclass(frozen=True)
class Shared:
    """What a person asks of any kind of run."""

    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The run's folder; an interrupted run goes on there. [default: runs/KIND-BUNDLE]"
        ),
    ] = None
    preset: Annotated[
        Literal["bundled", "celeba-hq-1000"],
        typer.Option(
            help="bundled: the first 1,000 photos of the test part. celeba-hq-1000: the paper's protocol, the first "
            "1,000 photos at 1024 px by the paper's metrics, whose networks are to be given."
        ),
    ] = "bundled"
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Only this method or baseline (paste, carried); may be given again. All, if not given.",
        ),
    ] = None
    photos: Annotated[int | None, typer.Option(help="The first so many photos.", min=1, show_default="1000")] = None
    split: Annotated[
        str | None,
        typer.Option(
            help="Only photos that FILE lists, or whose COLUMN in the CSV is VALUE; 'all' takes every photo. "
            "If not given: the test part, where an attributes.csv beside the photos says which it is.",
            metavar="FILE[:COLUMN=VALUE]",
        ),
    ] = None
    judge: Annotated[NetworkFile, typer.Option(help="A judge's file, in place of the bundle's own.")] = None
    second_judge: Annotated[
        NetworkFile, typer.Option(help="Another, never a teacher: how far the two agree is said.")
    ] = None
    face_network: Annotated[NetworkFile, typer.Option(help="ArcFace's or CurricularFace's published file, for ID.")] = (
        None
    )
    face_crop: Annotated[
        Literal["celeba", "ffhq"] | None,
        typer.Option(help="How the photos are cut, where the bundle does not say; dlib's ID needs it."),
    ] = None
    lpips: Annotated[NetworkFile, typer.Option(help="The backbone's weights, as torchvision has them.")] = None
    heads: Annotated[NetworkFile, typer.Option(help="LPIPS's own linear heads for that backbone.")] = None
    backbone: Annotated[Literal["alex", "vgg"], typer.Option(help="Which backbone --lpips holds.")] = "alex"
    inception: Annotated[
        NetworkFile, typer.Option(help="pt_inception-2015-12-05-6726825d.pth, which defines the FID.")
    ] = None
    batch: Annotated[int, typer.Option(help="Photos at once; a part of the protocol.", min=1)] = 20
    seed: Annotated[int, typer.Option(help="Of bootstrap and tests; of the pictures of pairs too.", min=0)] = 0
    shown: Annotated[int, typer.Option(help="Of so many photos, pictures are kept for the report.", min=0)] = 12
    device: DeviceOption = None
    force: ForceOption = False


def with_shared_options(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb's command line the shared options, but for some, in place of its parameter `shared`."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(verb, eval_str=True).parameters.values() if p.name != "shared"]
        options = inspect.signature(Shared, eval_str=True).parameters
        shared = [p for name, p in options.items() if name not in left_out]

        def command(**values: Any) -> None:
            verb(shared=Shared(**{p.name: values.pop(p.name) for p in shared}), **values)

        command.__name__, command.__doc__ = verb.__name__, verb.__doc__
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        return command

    return decorate


def measure(
    kind: Callable[[Protocol, Progress], RunFolder],
    shared: Shared,
    bundle: str,
    data: str | Path = "",
    photos: int | None = None,
    **options: Any,
) -> RunFolder:
    """Measures one kind of figures under the protocol that the options make, and shows how far it is."""
    from ..evaluation.protocol import Protocol, under_preset
    from ..training.table import Split

    same = {field.name for field in fields(Shared)} & {field.name for field in fields(Protocol)}
    asked = {name: getattr(shared, name) for name in same}
    asked |= {
        "out": shared.out or Path("runs") / f"{kind.__name__}-{Path(bundle).name}",
        "methods": tuple(shared.method or ()),
        "split": Split.parse(shared.split) if shared.split and shared.split != "all" else None,
        "every_photo": shared.split == "all",
        "photos": photos or shared.photos or 1000,
        "command": shlex.join(["gradstyle", *sys.argv[1:]]),
        "options": options,
    }
    protocol = under_preset(Protocol(bundle=bundle, data=str(data), **asked), shared.preset)
    with progress_bar() as progress:
        return kind(protocol, progress)


def named(texts: list[str] | None, option: str, form: str) -> dict[str, str]:
    """Reads NAME=VALUE of each text of an option."""
    values = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (equals and name and value):
            raise ValueError(f"{option} is {form}, got {text!r}")
        values[name] = value
    return values
