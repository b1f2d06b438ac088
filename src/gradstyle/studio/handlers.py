"""What each component of the page does when a visitor uses it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ..photos import open_photo
from ..photos.portraits import ASTRONAUT
from .calls import in_line, number_in, visitor_of
from .components import Components, Updates
from .export import LARGEST_SWEEP, room_for, write_batch, write_sweep
from .markup import batch_report, comparison_figure, failure, remarks
from .memory import give_back
from .pictures import THUMB, uri
from .recipe import LARGEST_RECIPE
from .session import Session, says

FIRST_SEED = 7
PORTRAIT_SEED = -1  # stands for the portrait among the generated faces: it is there when the page opens
MADE_AT_ONCE = 6
MOST_PHOTOS = 200  # of a batch
KINDS = ("png", "jpg", "webp")


class StudioUI(Components):
    """Handles the page's events; everything that belongs to a visitor is in their session."""

    # ---- a visitor comes and goes

    @in_line
    def welcome(self, request: gr.Request) -> Updates:
        session = self.sessions[visitor_of(request)]
        if session.steps:
            return self._all_of(session)
        return self._try(session, lambda: self._start(session))

    def _start(self, session: Session, seed: int = PORTRAIT_SEED) -> None:
        if seed == PORTRAIT_SEED and self._has_portrait(session):
            session.open_portrait()
        else:
            session.open_generated(max(seed, FIRST_SEED))

    def _has_portrait(self, session: Session) -> bool:
        return self.engine.bundle(session.bundle).domain.crop != "none" and ASTRONAUT.is_file()

    def leave(self, request: gr.Request) -> None:
        self.sessions.rest(visitor_of(request))
        if (kept := getattr(self.blocks, "state_holder", None)) is not None:  # Gradio's copies of all that was shown
            kept.session_data.pop(request.session_hash, None)
        give_back()

    # ---- the photo

    @in_line
    def take(self, photo: Any, request: gr.Request) -> Updates:
        if not photo:
            return {self.note: ""}
        try:
            path, name = self.uploaded(photo)
        except ValueError as error:
            return {self.note: failure(error), self.photo: None}
        try:
            with self.sessions.uploading(visitor_of(request)) as session:
                return self._try(session, lambda: session.open(path, name), path)
        except ValueError as error:
            path.unlink(missing_ok=True)
            return {self.note: failure(error), self.photo: None}

    @in_line
    def pick(self, event: gr.EventData, request: gr.Request) -> Updates:
        session = self.sessions[visitor_of(request)]
        return self._try(session, lambda: self._start(session, number_in(event, "seed")))

    def some_faces(self, request: gr.Request) -> Any:
        return self._made(self.sessions.get(visitor_of(request)), FIRST_SEED)

    def more_faces(self, request: gr.Request) -> Any:
        session = self.sessions.get(visitor_of(request))
        session.seeds += MADE_AT_ONCE
        return self._made(session, FIRST_SEED + session.seeds)

    def _made(self, session: Session, first: int) -> Any:
        def small(seed: int) -> str:
            return uri(self.engine.generate(session.bundle, seed), THUMB)

        seeds = range(first, first + MADE_AT_ONCE)
        kept = [self.engine.shelf.get(("made", session.bundle, seed), lambda s=seed: small(s)) for seed in seeds]  # type: ignore[misc]
        faces = [{"seed": seed, "uri": each, "says": f"Generated face {seed}"} for seed, each in zip(seeds, kept)]
        if self._has_portrait(session):
            portrait = self.engine.shelf.get(("made", PORTRAIT_SEED), lambda: uri(open_photo(ASTRONAUT), THUMB))
            faces.insert(0, {"seed": PORTRAIT_SEED, "uri": portrait, "says": "Portrait of Eileen Collins (NASA)"})
        return {"faces": faces}

    # ---- edits

    def mover(self, bundle: str) -> Callable[..., Awaitable[Updates]]:
        """For the sliders of one bundle."""

        async def moved(request: gr.Request, *amounts: Any) -> Updates:
            return await self._move(request, bundle, *amounts)

        return moved

    @in_line
    def _move(self, request: gr.Request, bundle: str, *amounts: Any) -> Updates:
        session = self.sessions.get(visitor_of(request))
        if session.bundle != bundle:
            return {self.stage: gr.skip()}
        try:
            shown = session.shown(session.move(dict(zip(self.sliders[bundle], amounts))))
        except (ValueError, OSError) as error:
            return {self.note: failure(error)}
        if shown is None:
            return {self.stage: gr.skip()}
        note = remarks(session.note, shown["remark"])
        return {self.stage: shown, self.note: note, self.command: session.command(), self.python: session.python()}

    @in_line
    def undo(self, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        return self._try(session, session.undo)

    @in_line
    def redo(self, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        return self._try(session, session.redo)

    @in_line
    def reset(self, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        return self._try(session, session.reset)

    @in_line
    def go(self, event: gr.EventData, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        return self._try(session, lambda: session.go(number_in(event, "number")))

    @in_line
    def choose_face(self, event: gr.EventData, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        return self._try(session, lambda: session.choose_face(number_in(event, "number")))

    @in_line
    def choose_method(self, method: str, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        return self._try(session, lambda: session.choose_method(method))

    @in_line
    def choose_bundle(self, bundle: str, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        return self._try(session, lambda: session.choose_bundle(bundle))

    # ---- what a visitor takes home

    @in_line
    def save(self, kind: str, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        name = f"{session.name}-edited.{kind if kind in KINDS else 'png'}"
        said = self._give(lambda to: session.save(to / name), room_for(session.pixels))
        return {**said, self.note: remarks(session.remarks)}

    def save_edit(self, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))

        def write(to: Path) -> Path:
            recipe = json.dumps(session.recipe(), indent=2, ensure_ascii=False) + "\n"
            (to / "edit.json").write_text(recipe, "utf-8")
            return to / "edit.json"

        return self._give(write, LARGEST_RECIPE)

    @in_line
    def load_edit(self, file: Any, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        try:
            path, _ = self.uploaded(file[0] if isinstance(file, list) and file else file)
        except ValueError as error:
            return {self.note: failure(error)}
        try:
            return self._try(session, lambda: session.load_recipe(path))
        finally:
            path.unlink(missing_ok=True)

    @in_line
    def sweep(self, name: str | None, kind: str, request: gr.Request) -> Updates:
        session = self.sessions.get(visitor_of(request))
        stem = f"{session.name}-{name}".replace(" ", "-")
        kind = "gif" if kind == "gif" else "mp4"
        return self._give(lambda to: write_sweep(session, name or "", to / f"{stem}.{kind}"), LARGEST_SWEEP)

    @in_line
    def compare(self, request: gr.Request) -> str:
        session = self.sessions.get(visitor_of(request))
        try:
            rows, told = session.compare(), says(session.step.here)
        except (ValueError, OSError) as error:
            return failure(error)
        return f'<div class="gs-compare">{"".join(comparison_figure(row, told) for row in rows)}</div>'

    def batch(
        self,
        photos: Any,
        every_face: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, str]:
        session = self.sessions.get(visitor_of(request))
        if not photos:
            return None, failure(ValueError("there are no photos yet: drop some"))
        try:
            if len(photos) > MOST_PHOTOS:
                raise ValueError(
                    f"a batch has at most {MOST_PHOTOS} photos, got {len(photos)}: `gradstyle edit` takes more"
                )
            given: dict[Path, str] = {}
            for path, name in map(self.uploaded, photos):
                given[self._copied(path) if path in given else path] = name  # each is taken over, and then gone
            session.stopped = False

            def told(done: int, of: int, name: str) -> bool:
                session.touch()
                progress((done, of), desc=name or "writing the ZIP", unit="photos")
                return not session.stopped

            step, to = session.step, self.disk.place() / "edited.zip"
            room, every = self.disk.room, bool(every_face)
            outcomes = write_batch(
                self.engine, list(given.items()), session.bundle, step.method, step.here, every, to, told, room
            )
        except (ValueError, OSError) as error:
            return None, failure(error)
        return str(to), batch_report(outcomes, len(given))

    def stop(self, request: gr.Request) -> None:
        self.sessions.get(visitor_of(request)).stopped = True
