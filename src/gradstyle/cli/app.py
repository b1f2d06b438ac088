"""What all verbs share: how errors are shown, how amounts of work are shown, what is not overwritten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import progress as bars
from rich.console import Console
from rich.text import Text

from ..files import check_name
from ..progress import Progress

if TYPE_CHECKING:
    from ..report.tables import Table

console = Console()
errors = Console(stderr=True)

# Modules that a verb may lack, and the extra that brings each. Where an import says so itself, it is not here.
BROUGHT_BY = {"accelerate": "train", "matplotlib": "train", "scipy": "evaluate"}


class Command(typer.core.TyperCommand):
    """A verb whose expected failures are one line, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            for place in ("out", "target"):
                if isinstance(path := ctx.params.get(place), Path) and path.name not in ("", ".."):
                    check_name(path.name.removeprefix("."), "what is written")
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            raise _failed(str(error) or type(error).__name__) from None
        except ModuleNotFoundError as error:
            module = (error.name or "").partition(".")[0]
            if module not in BROUGHT_BY:
                raise
            extra = "evaluate" if " evaluate " in ctx.command_path else BROUGHT_BY[module]
            raise _failed(f'this needs {module}, which is not installed: pip install "gradstyle[{extra}]"') from None
        except KeyboardInterrupt as stopped:  # a download says what it has kept
            errors.print(Text(printable(str(stopped) or "stopped")), soft_wrap=True)
            raise typer.Exit(130) from None


def _failed(message: str) -> typer.Exit:
    errors.print(Text.assemble(("error: ", "bold red"), printable(message)), soft_wrap=True)
    return typer.Exit(1)


def printable(text: str) -> str:
    """One line without control characters: names in files are chosen by whoever made the files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str, style: str = "") -> None:
    """A line for the person, as it stands: not wrapped, and nothing in it is markup."""
    console.print(Text(printable(text), style), soft_wrap=True)


def print_table(table: Table, styles: Sequence[str] = ()) -> None:
    """Prints a table, its lines in styles; without the intervals where they do not fit."""
    lines = table.terminal()
    if max(line.cell_len for line in lines) > console.width:
        lines = table.terminal(intervals=False)
    if table.title:
        say(table.title, "italic")
    for line, style in zip(lines, [*styles, *[""] * len(lines)]):
        line.stylize_before(style)
        line.rstrip()
        console.print(line, soft_wrap=True)
    if table.note:
        say(table.note, "dim")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Shows a bar for each kind of work that it is called with: how far it is, and the time that is left."""
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    times = (bars.TimeElapsedColumn(), bars.TextColumn("left"), bars.TimeRemainingColumn())
    with bars.Progress(*columns, *times, console=errors, transient=True) as shown:
        tasks: dict[str, bars.TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            kind = what.partition(" ")[0]  # "measuring smile" and "measuring yaw" share a bar; a total may grow
            if kind not in tasks:
                tasks[kind] = shown.add_task(what, total=total, completed=done)
            shown.update(tasks[kind], completed=done, total=total, description=what)

        yield show


@contextmanager
def download_bar(title: str) -> Iterator[Any]:
    """Shows a bar for a download; it is called with the bytes so far and the bytes in all, if known."""
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.DownloadColumn())
    times = (bars.TransferSpeedColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*columns, *times, console=errors) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


BundleOption = Annotated[
    str, typer.Option("--bundle", "-b", help="A bundle's folder, or the name of an installed one.", metavar="BUNDLE")
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        help="gradstyle, styleres, sdic, hfgi or e4e, which it is if not given.",
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the picture.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda or mps; the fastest there is, if not given.", show_default=False)
]
EditOption = Annotated[
    list[str], typer.Option("--edit", "-e", help="NAME=AMOUNT, such as smile=2. Several add up.", metavar="NAME=AMOUNT")
]
FaceOption = Annotated[
    str,
    typer.Option("--face", help="Which face: largest, all, or a number from 1, from left to right.", metavar="FACE"),
]
AlignedOption = Annotated[
    bool, typer.Option("--aligned", help="The photo is a face, cut as the bundle's training photos: look for none.")
]
BeyondOption = Annotated[
    bool, typer.Option("--beyond", help="Go beyond the range that a slider is good for, and take edits that have none.")
]


def writable(path: Path, force: bool) -> Path:
    """Nothing is overwritten unless asked."""
    if path.exists() and not force:
        raise ValueError(f"{path} exists; give another --out, or --force to overwrite it")
    return path


def picture_target(path: Path, force: bool) -> Path:
    """Before the work: a place where a picture may be written, under a name that says which kind."""
    from ..photos import check_picture_name

    check_picture_name(path)
    return writable(path, force)
