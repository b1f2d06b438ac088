"""gradstyle studio: the web page."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import DeviceOption, errors, say


def studio(
    bundles: Annotated[
        list[str],
        typer.Option("--bundle", "-b", help="A bundle's folder or name; several may be given.", metavar="BUNDLE"),
    ] = ["faces"],  # noqa: B006
    host: Annotated[
        str, typer.Option(help="Who may reach it: 127.0.0.1 this machine, 0.0.0.0 the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    auth: Annotated[
        list[str],
        typer.Option(
            help="USER:PASSWORD that must be given to enter; several may be. Better set in the environment.",
            metavar="USER:PASSWORD",
            envvar="GRADSTYLE_STUDIO_AUTH",
        ),
    ] = [],  # noqa: B006
    allow_host: Annotated[
        list[str],
        typer.Option(
            help="A name that browsers know it by, behind a proxy or in a network; several may be, * is any.",
            metavar="NAME",
            envvar="GRADSTYLE_STUDIO_HOSTS",
        ),
    ] = [],  # noqa: B006
    allow_frame: Annotated[
        list[str],
        typer.Option(help="Whose pages may show it within themselves, as https://huggingface.co.", metavar="ORIGIN"),
    ] = [],  # noqa: B006
    max_upload: Annotated[int, typer.Option(help="The largest file that is taken, in MB.", min=1, max=4096)] = 40,
    queue: Annotated[int, typer.Option(help="How many calls may wait; more are sent away.", min=1)] = 100,
    keep: Annotated[
        float, typer.Option(help="Minutes after which files and idle visitors are forgotten.", min=0.05)
    ] = 60,
    memory: Annotated[int, typer.Option(help="MB of photos and inversions that are kept, to be quick.", min=16)] = 512,
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to compute on; all, if not given.", min=1)
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    device: DeviceOption = None,
) -> None:
    """Open the studio: a web page where editing a photo is moving a slider.

    gradstyle studio --bundle faces --open

    It works without a network, and only this machine can reach it unless --host says otherwise. Photos stay in memory
    and in a temporary folder, and are removed after --keep minutes and when it stops. /health says how it is.
    """
    from ..studio.limits import Limits
    from ..studio.server import LOOPBACK, serve

    users = [_user(entry) for line in auth for entry in line.split()]
    limits = Limits(max_upload=max_upload << 20, queue=queue, keep=keep * 60, memory=memory << 20)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
    address = f"http://{shown}:{port}"

    def ready() -> None:
        say(f"the studio is at {address}; Ctrl+C stops it")
        if host not in LOOPBACK and not users:
            say("anyone who can reach this machine can use it: --auth USER:PASSWORD asks for a password", "yellow")
        if open_browser:
            import webbrowser

            webbrowser.open(address)

    with errors.status("starting"):
        from ..studio.server import build

        made = build(bundles, limits, users, device, host, port, allow_host, allow_frame)
    serve(made, ready=ready)


def _user(entry: str) -> tuple[str, str]:
    user, colon, password = entry.partition(":")
    if not (user and colon and password):
        raise ValueError("--auth is USER:PASSWORD")  # what was given is not repeated: it may be a password
    return user, password
