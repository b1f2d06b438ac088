"""What all verbs share: how errors are shown, how amounts of work are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

console = Console()
errors = Console(stderr=True)


class Command(typer.core.TyperCommand):
    """A verb whose expected failures are one line, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            errors.print(f"[bold red]error:[/] {_escaped(error)}", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            errors.print("stopped")
            raise typer.Exit(130) from None


def _escaped(error: Exception) -> str:
    return str(error).replace("[", r"\[")


@contextmanager
def download_bar(title: str) -> Iterator[Any]:
    """A bar to hand to a download: called with the bytes so far and the bytes in all, if known."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=errors) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


BundleOption = Annotated[
    str, typer.Option("--bundle", "-b", help="A bundle's folder, or the name of an installed one.", metavar="BUNDLE")
]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", "-m", help="gradstyle, styleres, sdic, hfgi or e4e; the bundle's first if not given."),
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the picture.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda or mps; the fastest there is, if not given.", show_default=False)
]


def writable(path: Path, force: bool) -> Path:
    """Nothing is overwritten unless asked."""
    if path.exists() and not force:
        raise ValueError(f"{path} exists; give another --out, or --force to overwrite it")
    return path
