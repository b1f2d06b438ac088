"""The components of the page, and how a session is shown in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from ..photos import pixels_in
from .calls import visitor_of
from .disk import Disk
from .engine import Engine
from .markup import failure, remarks
from .session import Session
from .visitors import Sessions

Updates = dict[Any, Any]


@dataclass(eq=False)
class Components:
    """Holds the page's components, and how what a handler did becomes what the page shows."""

    engine: Engine
    sessions: Sessions
    disk: Disk
    sliders: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    blocks: Any = None
    stage: Any = None
    frame: Any = None
    photo: Any = None
    note: Any = None
    made: Any = None
    bundle: Any = None
    method: Any = None
    command: Any = None
    python: Any = None
    swept: Any = None
    saved: Any = None

    @property
    def all(self) -> list[Any]:
        """Lists the components that may change when the photo or a choice does."""
        every = [slider for sliders in self.sliders.values() for slider in sliders.values()]
        fixed = [self.stage, self.frame, self.note, self.photo, self.bundle, self.method, self.command, self.python]
        return [*fixed, self.swept, *self.columns.values(), *every]

    def on(self, event: Any, act: Callable[..., Any], inputs: Sequence[Any] = (), preprocess: bool = True) -> None:
        """Has an action run on an event; the stage shows that it is under way."""
        self._waiting.append((event, act, list(inputs), preprocess))

    def __post_init__(self) -> None:
        self._waiting: list[tuple[Any, Callable[..., Updates], list[Any], bool]] = []

    def connect(self) -> None:
        """Connects events and handlers, once all components exist."""
        for event, act, inputs, preprocess in self._waiting:
            event(
                act,
                inputs,
                self.all,
                preprocess=preprocess,
                queue=False,
                show_progress="minimal",
                show_progress_on=self.stage,
                api_visibility="private",
            )

    def pixels_of(self, given: Sequence[Any]) -> int:
        """Gives the pixels of the largest photo that a call works on: the visitor's, or one that is sent."""
        sent = [each["path"] for each in given if isinstance(each, dict) and isinstance(each.get("path"), str)]
        opened = [self.sessions.get(visitor_of(each)).pixels for each in given if isinstance(each, gr.Request)]
        return max([*opened, *(pixels_in(self.disk.files / path) for path in sent)], default=0)

    # ---- what handlers share

    def _try(self, session: Session, act: Callable[[], object], upload: Path | None = None) -> Updates:
        """Runs an action and gives what the page shows then, or the error."""
        try:
            session.note = ""
            act()
            return self._all_of(session)
        except (ValueError, OSError, MemoryError) as error:
            if upload is not None:
                upload.unlink(missing_ok=True)
            return {self.note: failure(error), self.photo: None}

    def _all_of(self, session: Session) -> Updates:
        """Gives the updates of all components that follow from a session."""
        shown = session.shown()
        if shown is None:
            return {self.stage: gr.skip()}
        amounts, opened = session.step.here, self.engine.bundle(session.bundle)
        sliders = self.sliders[session.bundle]
        updates: Updates = {
            self.stage: shown,
            self.frame: session.before(),
            self.note: remarks(session.note, shown["remark"]),
            self.photo: None,
            self.bundle: session.bundle,
            self.method: gr.Radio(opened.methods, value=session.step.method),
            self.command: session.command(),
            self.python: session.python(),
            self.swept: gr.Dropdown(list(sliders)),
        }
        updates |= {column: gr.Column(visible=name == session.bundle) for name, column in self.columns.items()}
        return updates | {slider: amounts.get(name, 0) for name, slider in sliders.items()}

    def _give(self, write: Callable[[Path], Path], size: int) -> Updates:
        """Writes a file for the visitor, of at most `size` bytes, at an address that nobody can guess."""
        try:
            with self.disk.room(size):
                return {self.saved: str(write(self.disk.place())), self.note: ""}
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from None

    def _copied(self, path: Path) -> Path:
        with self.disk.room(path.stat().st_size):
            return Path(shutil.copy(path, self.disk.place()))

    def uploaded(self, sent: Any) -> tuple[Path, str]:
        """The file that a browser or a program has uploaded, and what it was called there."""
        path = sent.get("path") if isinstance(sent, dict) else None
        if not isinstance(path, str) or not path:
            raise ValueError("no file was sent: upload one first")
        found = (self.disk.files / path).resolve()
        if not found.is_relative_to(self.disk.files.resolve()) or not found.is_file():
            raise ValueError("that file was not uploaded here, or is no longer there")
        name = sent.get("orig_name")
        return found, Path(name.replace("\\", "/")).name[:120] if isinstance(name, str) and name else found.name
