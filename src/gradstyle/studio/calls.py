"""Runs a handler when its turn comes, and turns errors into messages."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import gradio as gr
from anyio.to_thread import run_sync

from .line import LineFull

LOG = logging.getLogger("gradstyle.studio")
R = TypeVar("R")


def with_plain_errors(process: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[R]]:
    """Turns Gradio's own errors into messages: it would answer with nothing, and log each at length."""

    @functools.wraps(process)
    async def processed(*given: Any, **named: Any) -> R:
        try:
            return await process(*given, **named)
        except gr.Error as error:
            error.print_exception = False
            raise
        except ValueError:
            raise gr.Error(
                "the call is not in the form that its function takes, or names a file that is no longer there",
                print_exception=False,
            ) from None
        except Exception:
            LOG.exception("a call failed")
            raise gr.Error("the studio failed at this; its log says why", print_exception=False) from None

    return processed


def in_line(act: Callable[..., R]) -> Callable[..., Awaitable[R]]:
    """Runs a visitor's call when there is room for the pixels of their photo at full size.

    No thread waits for that, so that those who come with large photos hold up nobody who has a small one.
    """

    @functools.wraps(act)
    async def in_turn(ui: Any, *given: Any) -> R:
        try:
            async with ui.engine.pixels.turn(await run_sync(ui.pixels_of, given)):
                return await run_sync(act, ui, *given, limiter=ui.blocks.limiter)
        except LineFull as error:
            raise gr.Error(str(error), print_exception=False) from None

    return in_turn


def visitor_of(request: gr.Request) -> str:
    """Gives the key that identifies a visitor's browser; no other visitor knows it."""
    return f"{request.username or ''}/{request.session_hash or secrets.token_hex(16)}"


def number_in(event: gr.EventData, name: str) -> int:
    value = event._data.get(name) if isinstance(event._data, dict) else None
    if not isinstance(value, int):
        raise ValueError(f"{name} is a number, got {str(value)[:80]!r}")
    return value
