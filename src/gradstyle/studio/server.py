"""Runs the server: the page, a health page, and a folder of files that is removed at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bundles import Bundle
from ..version import __version__
from .disk import Disk
from .engine import Engine
from .limits import Limits
from .memory import give_back, keep_few_pools
from .visitors import Sessions

if TYPE_CHECKING:
    import torch

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SWEEP_EVERY = 60.0  # seconds, at most


@dataclass(frozen=True, eq=False)
class Studio:
    """Holds a server that is ready to run, with its engine, sessions and files."""

    app: Any  # an ASGI application
    engine: Engine
    sessions: Sessions
    disk: Disk
    host: str
    port: int

    def close(self) -> None:
        """Forget all visitors and remove every file."""
        self.sessions.close_all()
        self.disk.close()

    def sweep(self, keep: float) -> None:
        """Remove what is older than `keep` seconds."""
        self.sessions.sweep()
        give_back()
        oldest = time.time() - keep
        for path in sorted(self.disk.files.rglob("*"), reverse=True):  # folders after what is in them
            with suppress(OSError):
                if path.is_dir():
                    if path.stat().st_mtime < oldest:
                        path.rmdir()
                elif path.stat().st_mtime < oldest:
                    path.unlink()


def build(
    bundles: Sequence[str | os.PathLike[str] | Bundle] = ("faces",),
    limits: Limits | None = None,
    auth: Sequence[tuple[str, str]] = (),
    device: torch.device | str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    allow_hosts: Sequence[str] = (),
    allow_frames: Sequence[str] = (),
) -> Studio:
    """The studio as an ASGI application: `uvicorn`, or any other server, runs it.

    `allow_hosts` are names under which browsers may reach it, beside its addresses and this machine's own; pages of
    the origins in `allow_frames` may show it within themselves.
    """
    limits = limits or Limits()
    engine = Engine(bundles, device, limits.memory, limits.pixels)
    disk = Disk(limits.disk)
    try:
        sessions = Sessions(engine, disk.visitors, limits.keep, limits.sessions)
        app = _app(engine, sessions, disk, limits, auth, host, port, allow_hosts, allow_frames)
    except BaseException:
        disk.close()
        raise
    studio = Studio(app, engine, sessions, disk, host, port)
    app.state.studio = studio
    return studio


def _app(
    engine: Engine,
    sessions: Sessions,
    disk: Disk,
    limits: Limits,
    auth: Sequence[tuple[str, str]],
    host: str,
    port: int,
    allow_hosts: Sequence[str],
    allow_frames: Sequence[str],
) -> Any:
    # Gradio reads these when it is imported, or when a component is made: no telemetry, uploads in our folder.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_TEMP_DIR=str(disk.files))
    try:
        import gradio
        from fastapi import FastAPI
    except ImportError as error:
        raise ValueError(f'the studio needs Gradio: pip install "gradstyle[studio]" ({error})') from error
    from .entrance import Logins, Names
    from .guard import Guard
    from .layout import page
    from .uploads import Uploads

    started = time.time()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async def sweeping() -> None:
            while True:
                await asyncio.sleep(min(SWEEP_EVERY, limits.keep / 2))
                await asyncio.to_thread(app.state.studio.sweep, limits.keep)

        task = asyncio.create_task(sweeping())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.to_thread(app.state.studio.close)

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "version": __version__,
            "bundles": {name: bundle.methods for name, bundle in engine.bundles.items()},
            "device": str(engine.device),
            "visitors": sessions.present,
            "kept_mb": round(engine.shelf.bytes / 2**20, 1),
            "seconds": round(time.time() - started),
        }

    app.add_route("/gradio_api/upload", Uploads(disk, limits.max_upload).answer, methods=["POST"])
    made = page(engine, sessions, disk, limits)
    gradio.mount_gradio_app(
        app,
        made.blocks,
        "/",
        server_name=host,
        server_port=port,
        footer_links=["api"],
        run_history=False,
        auth=list(auth) or None,
        auth_message="GradStyle studio",
        show_error=False,
        max_file_size=limits.max_upload,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        **made.looks,
    )
    made.blocks.has_launched = True  # a mounted page is never launched, and Gradio then checks no path that it is sent
    gradios: Any = app.routes[-1].app  # type: ignore[attr-defined]

    def is_known(cookies: Mapping[str, str]) -> bool:
        return any(
            cookies.get(f"access-token{kind}-{gradios.cookie_id}") in gradios.tokens for kind in ("", "-unsecure")
        )

    app.add_middleware(
        Guard,
        disk=disk,
        names=Names(allow_hosts, any_name=host not in LOOPBACK and not auth),
        logins=Logins(bool(auth), is_known),
        max_upload=limits.max_upload,
        most_waiting=limits.queue,
        frames=allow_frames,
    )
    return app


def serve(
    studio: Studio | str | os.PathLike[str] | Bundle | Sequence[str | os.PathLike[str] | Bundle] = "faces",
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: Sequence[tuple[str, str]] = (),
    limits: Limits | None = None,
    device: torch.device | str | None = None,
    ready: Callable[[], None] = lambda: None,
    allow_hosts: Sequence[str] = (),
    allow_frames: Sequence[str] = (),
) -> None:
    """Open the studio, with a bundle or several, and stay until stopped.

    Only this machine can reach it unless `host` says otherwise. `ready` is called when visitors may come.
    """
    if isinstance(studio, str | os.PathLike | Bundle):
        studio = [studio]
    if not isinstance(studio, Studio):
        studio = build(studio, limits, auth, device, host, port, allow_hosts, allow_frames)
    keep_few_pools()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as Ctrl+C: what is below is still done
    try:
        import uvicorn

        from .connections import AT_ONCE, Connection, log_sparingly, most_connections

        with _listening(studio.host, studio.port) as listening:
            ready()
            Connection.most = most_connections()
            config = uvicorn.Config(
                studio.app,
                http=Connection,
                ws="none",
                log_level="warning",
                backlog=AT_ONCE,
                timeout_graceful_shutdown=2,
            )
            log_sparingly()
            uvicorn.Server(config).run([listening])
    finally:
        studio.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ValueError(
            f"nothing can listen at {host} port {port}: {os.strerror(error.errno or 0)}; choose another --port"
        ) from None
