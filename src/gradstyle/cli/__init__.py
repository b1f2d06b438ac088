"""The command line: one file a verb."""

from __future__ import annotations

import typer

from . import bundle, demo, edit, evaluate, own_edits, sample, sheets, studio, train, video
from .app import Command

app = typer.Typer(
    name="gradstyle",
    help="Edit real photos with GAN inversion: one photo, one slider, everything else stays.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.add_typer(bundle.app, name="bundle")
app.add_typer(own_edits.app, name="directions")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
for verb in (demo.demo, sample.sample, edit.edit, sheets.sweep, sheets.compare, video.video, studio.studio):
    app.command(cls=Command)(verb)
