"""The page: Gradio's components, what happens when they are used, and nothing that a session could do itself."""

from __future__ import annotations

import functools
import html
import json
import logging
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ..photos import open_photo, pixels_in
from ..photos.portraits import ASTRONAUT
from .disk import Disk
from .engine import Engine
from .export import LARGEST_SWEEP, Outcome, room_for, write_batch, write_sweep
from .line import LineFull
from .memory import give_back
from .pictures import THUMB, uri
from .session import LARGEST_RECIPE, Session, Sessions, says

if TYPE_CHECKING:
    from .server import Limits

ASSETS = Path(__file__).parent / "assets"
FIRST_SEED = 7
PORTRAIT_SEED = -1  # stands for the portrait among the generated faces: it is there when the page opens
THREADS = 4  # on which visitors' calls are answered
MADE_AT_ONCE = 6
MOST_PHOTOS = 200  # of a batch
KINDS = ("png", "jpg", "webp")
STAGE_EVENTS = ("undo", "redo", "reset", "step", "face")
MADE_EVENTS = ("pick", "more")

HEAD = """
<div class="gs-head">
  <svg class="gs-mark" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="9" style="fill:var(--color-accent);stroke:none" />
    <path d="M7 20c4.5 0 4.5-8 9-8s4.5 8 9 8" style="stroke:#fff;stroke-width:2.6" />
    <circle cx="16" cy="12" r="3.4" style="fill:#fff;stroke:none" />
  </svg>
  <h1>GradStyle studio</h1>
  <p>One photo, one slider, everything else stays.</p>
  <button type="button" class="gs-theme" title="Light or dark"><svg viewBox="0 0 24 24" aria-hidden="true">
    <circle cx="12" cy="12" r="8.5" /><path d="M12 3.5v17a8.5 8.5 0 0 0 0-17Z" style="fill:currentColor" />
  </svg></button>
</div>
"""
MADE = """
<p class="gs-caption">or start from one of these</p>
<div class="gs-from">
  <div class="gs-made" role="group" aria-label="Generated faces"></div>
  <button type="button" class="gs-more" aria-label="More generated faces" title="More"><svg width="18" height="18"
    viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" aria-hidden="true">
    <path d="M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6" /></svg></button>
</div>
"""

LOG = logging.getLogger("gradstyle.studio")

Updates = dict[Any, Any]
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Page:
    """The page, and how it looks."""

    blocks: Any
    looks: Mapping[str, Any]


def page(engine: Engine, sessions: Sessions, disk: Disk, limits: Limits) -> Page:
    """Everything that a visitor sees, and the functions that programs may call.

    What is answered at once is asked for without Gradio's queue: its page closes the line on which answers come when
    one call is done, and where the next was made just then, its answer is lost and the page asks for nothing more.
    """
    desk = Desk(engine, sessions, disk)
    with gr.Blocks(title="GradStyle studio", analytics_enabled=False, fill_width=True) as blocks:
        desk.blocks = blocks
        gr.HTML(HEAD, js_on_load="window.GradStyle.theme(element.querySelector('.gs-theme'))")
        with gr.Tabs():
            with gr.Tab("Edit"):
                _edit_tab(desk)
            with gr.Tab("Compare methods") as compare:
                _compare_tab(desk, compare)
            with gr.Tab("Batch"):
                _batch_tab(desk)
        _functions(desk)
        desk.connect()
        hidden = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        blocks.load(desk.welcome, None, desk.all, **hidden).then(desk.some_faces, None, [desk.made], **hidden)
        blocks.unload(desk.leave)
    blocks.process_api = plainly(blocks.process_api)
    blocks.queue(max_size=limits.queue, default_concurrency_limit=THREADS)
    blocks.limiter = CapacityLimiter(
        THREADS
    )  # past the queue too: what each thread holds of memory is never given back
    blocks.state_session_capacity = limits.sessions  # Gradio keeps the last value of every output of each
    return Page(blocks, looks())


def looks() -> dict[str, Any]:
    """Colours, type and scripts, all from this machine."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    theme = gr.themes.Base(primary_hue="indigo", neutral_hue="zinc", radius_size="lg", font=sans, font_mono=mono).set(
        body_background_fill="#fbfbfd",
        body_background_fill_dark="#131318",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1b1b22",
        block_border_width="1px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="white",
        color_accent="*primary_600",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )
    zeros = "".join(f".gs-zero-{percent} {{ --gs-zero: {percent}%; }}\n" for percent in range(101))
    return {
        "theme": theme,
        "css": (ASSETS / "studio.css").read_text("utf-8") + zeros,
        "head": f"<script>{(ASSETS / 'studio.js').read_text('utf-8')}</script>",
    }


# ---- the tabs


def _edit_tab(desk: Desk) -> None:
    with gr.Row(elem_id="gs-edit"):
        with gr.Column(scale=7, min_width=320, elem_id="gs-left"):
            names = ", ".join(f"'{name}'" for name in STAGE_EVENTS)
            desk.stage = gr.HTML(
                None,
                html_template=(ASSETS / "stage.html").read_text("utf-8"),
                js_on_load=f"const events = [{names}]; window.GradStyle.stage(element, props, trigger, watch);",
                apply_default_css=False,
                elem_id="gs-stage",
            )
            desk.frame = gr.HTML(
                None,
                html_template="",
                js_on_load="window.GradStyle.before(props, watch);",
                elem_classes="gs-hidden",
            )
        with gr.Column(scale=4, min_width=300, elem_id="gs-right"):
            desk.photo = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "webcam", "clipboard"],
                label="Your photo",
                height=150,
                elem_id="gs-photo",
                buttons=[],
                placeholder="Drop, paste or choose a photo",
            )
            desk.note = gr.HTML("", elem_classes="gs-note", elem_id="gs-note")
            names = ", ".join(f"'{name}'" for name in MADE_EVENTS)
            desk.made = gr.HTML(
                None,
                html_template=MADE,
                js_on_load=f"const events = [{names}]; window.GradStyle.faces(element, props, trigger, watch);",
                apply_default_css=False,
                elem_id="gs-made",
            )
            for bundle in desk.engine.bundles:
                _sliders(desk, bundle)
            _choices(desk)
            _exports(desk)
    desk.on(desk.photo.input, desk.take, [desk.photo], preprocess=False)
    desk.on(desk.stage.undo, desk.undo)
    desk.on(desk.stage.redo, desk.redo)
    desk.on(desk.stage.reset, desk.reset)
    desk.on(desk.stage.step, desk.go)
    desk.on(desk.stage.face, desk.choose_face)
    desk.on(desk.made.pick, desk.pick)
    desk.made.more(desk.more_faces, None, [desk.made], queue=False, api_visibility="private", show_progress="hidden")
    for bundle, sliders in desk.sliders.items():
        if sliders:
            gr.on(
                [event for slider in sliders.values() for event in (slider.input, slider.release)],
                desk.mover(bundle),
                list(sliders.values()),
                [desk.stage, desk.note, desk.command, desk.python],
                preprocess=False,
                trigger_mode="always_last",  # of the moves made while a picture is drawn only the last is asked for
                queue=False,
                show_progress="minimal",
                show_progress_on=desk.stage,
                api_visibility="private",
            )


def _sliders(desk: Desk, bundle: str) -> None:
    """A slider per edit, under the names of their groups."""
    ranges = desk.engine.sliders[bundle]
    groups = dict.fromkeys(slider.group for slider in ranges.values())
    desk.sliders[bundle] = {}
    with gr.Column(visible=bundle == desk.engine.first, elem_classes="gs-sliders gs-group") as column:
        if not ranges:
            gr.Markdown("This bundle has no edits with sliders yet: `gradstyle directions` finds some.")
        for group in groups:
            if len(groups) > 1 or group:
                gr.Markdown(f"### {_plain(group or 'other')}")
            for name, each in ranges.items():
                if each.group == group:
                    desk.sliders[bundle][name] = gr.Slider(
                        round(each.low, 2),
                        round(each.high, 2),
                        0,
                        step=0.05,
                        label=name[:1].upper() + name[1:],
                        buttons=["reset"],
                        elem_classes=f"gs-zero-{round(100 * each.low / (each.low - each.high))}",
                    )
    desk.columns[bundle] = column


def _choices(desk: Desk) -> None:
    engine = desk.engine
    with gr.Accordion("Method and model", open=False):
        desk.bundle = gr.Dropdown(list(engine.bundles), value=engine.first, label="Bundle", interactive=True)
        first = engine.bundle(engine.first)
        desk.method = gr.Radio(first.methods, value=first.usual_method, label="Method", interactive=True)
    desk.on(desk.bundle.input, desk.choose_bundle, [desk.bundle], preprocess=False)
    desk.on(desk.method.input, desk.choose_method, [desk.method], preprocess=False)


def _exports(desk: Desk) -> None:
    with gr.Accordion("Save and share", open=True):
        with gr.Row():
            save = gr.Button("Save the picture", variant="primary", scale=3, min_width=140, elem_id="gs-save")
            kind = gr.Dropdown(list(KINDS), value="png", label="Kind", container=False, min_width=90, scale=1)
        with gr.Row():
            keep = gr.Button("Save the edit", size="md", min_width=120)
            load = gr.UploadButton("Load an edit", file_types=[".json"], size="md", min_width=120)
        first = next(iter(desk.sliders.values()))
        with gr.Row(equal_height=True):
            desk.swept = gr.Dropdown(list(first), label="Sweep", value=next(iter(first), None), min_width=110)
            moving = gr.Dropdown(["mp4", "gif"], label="as", value="mp4", min_width=80)
            sweep = gr.Button("Save the sweep", min_width=120)
    with gr.Accordion("The same, as a command or in Python", open=False):
        desk.command = gr.Code("", language="shell", label="Command line", interactive=False, wrap_lines=True)
        desk.python = gr.Code("", language="python", label="Python", interactive=False, wrap_lines=True)
    desk.saved = gr.File(label="Saved", interactive=False, elem_classes="gs-hidden", elem_id="gs-saved")
    for button, act, inputs in (
        (save, desk.save, [kind]),
        (keep, desk.save_edit, []),
        (sweep, desk.sweep, [desk.swept, moving]),
    ):
        button.click(act, inputs, [desk.saved, desk.note], api_visibility="private", show_progress_on=button).success(
            None, [desk.saved], None, js="(file) => window.GradStyle.save(file)"
        )
    desk.on(load.upload, desk.load_edit, [load], preprocess=False)


def _compare_tab(desk: Desk, tab: Any) -> None:
    gr.Markdown(
        "Every method's own picture of the same face, without and with the present edit, as the network draws it: "
        "nothing is pasted into the photo."
    )
    again = gr.Button("Compare again", size="sm", scale=0, min_width=150)
    compared = gr.HTML("", min_height=240)
    for event in (tab.select, again.click):
        event(desk.compare, None, [compared], api_visibility="private")


def _batch_tab(desk: Desk) -> None:
    gr.Markdown("The present sliders, on many photos: one ZIP comes back, with a list of what became of each photo.")
    with gr.Row():
        with gr.Column():
            photos = gr.File(file_count="multiple", label="Photos", height=220, elem_id="gs-photos")
            every = gr.Checkbox(False, label="All faces of each photo, not only the largest")
            with gr.Row():
                start = gr.Button("Edit them all", variant="primary", elem_id="gs-batch")
                stop = gr.Button("Stop")
        with gr.Column():
            result = gr.File(label="Results", interactive=False, elem_id="gs-zip")
            report = gr.HTML("", min_height=80, elem_id="gs-report")
    start.click(
        desk.batch,
        [photos, every],
        [result, report],
        preprocess=False,
        concurrency_limit=1,
        api_visibility="private",
        show_progress_on=report,
    )
    stop.click(desk.stop, None, None, api_visibility="private", queue=False, show_progress="hidden")


def _functions(desk: Desk) -> None:
    """What programs may call, as docs/studio.md tells."""
    with gr.Row(visible=False):
        photo = gr.File(label="photo")
        edits = gr.JSON(label="edits")
        bundle = gr.Textbox("", label="bundle")
        method = gr.Textbox("", label="method")
        face = gr.Textbox("largest", label="face")
        edited = gr.File(label="edited")
        known = gr.JSON(label="bundles")
        gr.Button().click(
            desk.function_edit,
            [photo, edits, bundle, method, face],
            [edited],
            preprocess=False,
            api_name="edit",
            api_description="Edit a photo: edits as names and amounts, the largest face unless one is named.",
        )
        gr.Button().click(
            desk.function_bundles,
            None,
            [known],
            api_name="bundles",
            api_description="What there is: bundles, their methods and their edits with ranges.",
        )


# ---- what happens


def plainly(process: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[R]]:
    """Errors of Gradio's own are told: it would say nothing to who made a call, and write each to the log at length."""

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
    """What a visitor asks for is done when their photo's turn comes, at its full size.

    No thread waits for that, so that those who come with large photos hold up nobody who has a small one.
    """

    @functools.wraps(act)
    async def in_turn(desk: Desk, *given: Any) -> R:
        try:
            async with desk.engine.pixels.turn(await run_sync(desk.pixels_of, given)):
                return await run_sync(act, desk, *given, limiter=desk.blocks.limiter)
        except LineFull as error:
            raise gr.Error(str(error), print_exception=False) from None

    return in_turn


@dataclass(eq=False)
class Desk:
    """The page's components, and what to do when one is used. What belongs to a visitor is in their session."""

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
        """What may change when the photo or a choice does."""
        every = [slider for sliders in self.sliders.values() for slider in sliders.values()]
        fixed = [self.stage, self.frame, self.note, self.photo, self.bundle, self.method, self.command, self.python]
        return [*fixed, self.swept, *self.columns.values(), *every]

    def on(self, event: Any, act: Callable[..., Any], inputs: Sequence[Any] = (), preprocess: bool = True) -> None:
        """Have something done when a component is used; the stage shows that it is under way."""
        self._waiting.append((event, act, list(inputs), preprocess))

    def __post_init__(self) -> None:
        self._waiting: list[tuple[Any, Callable[..., Updates], list[Any], bool]] = []

    def connect(self) -> None:
        """Once all components are there."""
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
        """Of the largest photo that a call works on: the visitor's, or one that is sent."""
        sent = [each["path"] for each in given if isinstance(each, dict) and isinstance(each.get("path"), str)]
        opened = [self.sessions.get(_who(each)).pixels for each in given if isinstance(each, gr.Request)]
        return max([*opened, *(pixels_in(self.disk.files / path) for path in sent)], default=0)

    # ---- a visitor comes and goes

    @in_line
    def welcome(self, request: gr.Request) -> Updates:
        session = self.sessions[_who(request)]
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
        self.sessions.rest(_who(request))
        if (kept := getattr(self.blocks, "state_holder", None)) is not None:  # Gradio's copies of all that was shown
            kept.session_data.pop(request.session_hash, None)
        give_back()

    # ---- the photo

    @in_line
    def take(self, photo: Any, request: gr.Request) -> Updates:
        if not photo:
            return {self.note: ""}
        try:
            path, name = self._uploaded(photo)
        except ValueError as error:
            return {self.note: _wrong(error), self.photo: None}
        try:
            with self.sessions.uploading(_who(request)) as session:
                return self._try(session, lambda: session.open(path, name), path)
        except ValueError as error:
            path.unlink(missing_ok=True)
            return {self.note: _wrong(error), self.photo: None}

    @in_line
    def pick(self, event: gr.EventData, request: gr.Request) -> Updates:
        session = self.sessions[_who(request)]
        return self._try(session, lambda: self._start(session, _number(event, "seed")))

    def some_faces(self, request: gr.Request) -> Any:
        return self._made(self.sessions.get(_who(request)), FIRST_SEED)

    def more_faces(self, request: gr.Request) -> Any:
        session = self.sessions.get(_who(request))
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
        session = self.sessions.get(_who(request))
        if session.bundle != bundle:
            return {self.stage: gr.skip()}
        try:
            shown = session.shown(session.move(dict(zip(self.sliders[bundle], amounts))))
        except (ValueError, OSError) as error:
            return {self.note: _wrong(error)}
        if shown is None:
            return {self.stage: gr.skip()}
        note = _said(session.note, shown["remark"])
        return {self.stage: shown, self.note: note, self.command: session.command(), self.python: session.python()}

    @in_line
    def undo(self, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        return self._try(session, session.undo)

    @in_line
    def redo(self, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        return self._try(session, session.redo)

    @in_line
    def reset(self, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        return self._try(session, session.reset)

    @in_line
    def go(self, event: gr.EventData, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        return self._try(session, lambda: session.go(_number(event, "number")))

    @in_line
    def choose_face(self, event: gr.EventData, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        return self._try(session, lambda: session.choose_face(_number(event, "number")))

    @in_line
    def choose_method(self, method: str, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        return self._try(session, lambda: session.choose_method(method))

    @in_line
    def choose_bundle(self, bundle: str, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        return self._try(session, lambda: session.choose_bundle(bundle))

    # ---- what a visitor takes home

    @in_line
    def save(self, kind: str, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        name = f"{session.name}-edited.{kind if kind in KINDS else 'png'}"
        said = self._give(lambda to: session.save(to / name), room_for(session.pixels))
        return {**said, self.note: _said(session.remarks)}

    def save_edit(self, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))

        def write(to: Path) -> Path:
            recipe = json.dumps(session.recipe(), indent=2, ensure_ascii=False) + "\n"
            (to / "edit.json").write_text(recipe, "utf-8")
            return to / "edit.json"

        return self._give(write, LARGEST_RECIPE)

    @in_line
    def load_edit(self, file: Any, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        try:
            path, _ = self._uploaded(file[0] if isinstance(file, list) and file else file)
        except ValueError as error:
            return {self.note: _wrong(error)}
        try:
            return self._try(session, lambda: session.load_recipe(path))
        finally:
            path.unlink(missing_ok=True)

    @in_line
    def sweep(self, name: str | None, kind: str, request: gr.Request) -> Updates:
        session = self.sessions.get(_who(request))
        stem = f"{session.name}-{name}".replace(" ", "-")
        kind = "gif" if kind == "gif" else "mp4"
        return self._give(lambda to: write_sweep(session, name or "", to / f"{stem}.{kind}"), LARGEST_SWEEP)

    @in_line
    def compare(self, request: gr.Request) -> str:
        session = self.sessions.get(_who(request))
        try:
            rows, told = session.compare(), says(session.step.here)
        except (ValueError, OSError) as error:
            return _wrong(error)
        return f'<div class="gs-compare">{"".join(_figure(row, told) for row in rows)}</div>'

    def batch(
        self,
        photos: Any,
        every_face: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, str]:
        session = self.sessions.get(_who(request))
        if not photos:
            return None, _wrong(ValueError("there are no photos yet: drop some"))
        try:
            if len(photos) > MOST_PHOTOS:
                raise ValueError(
                    f"a batch has at most {MOST_PHOTOS} photos, got {len(photos)}: `gradstyle edit` takes more"
                )
            given: dict[Path, str] = {}
            for path, name in map(self._uploaded, photos):
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
            return None, _wrong(error)
        return str(to), _report(outcomes, len(given))

    def stop(self, request: gr.Request) -> None:
        self.sessions.get(_who(request)).stopped = True

    # ---- functions for programs

    @in_line
    def function_edit(self, photo: Any, edits: Any, bundle: str, method: str, face: str) -> str:
        """Stateless: what is sent is forgotten when the answer is written."""
        try:
            path, name = self._uploaded(photo)
            session = Session(self.engine, self.sessions.folder, bundle or self.engine.first)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        try:
            self.engine.bundle(session.bundle)
            with self.disk.room(room_for(pixels_in(path))):
                session.open(path, name, needs_face=True)
                session.choose_method(method or session.step.method)
                for number in _faces(face, len(session.faces), session.step.face):
                    session.choose_face(number)
                    session.move(_amounts(edits))
                return str(session.save(self.disk.place() / f"{session.name}-edited.png"))
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        finally:
            path.unlink(missing_ok=True)
            session.close()

    def function_bundles(self) -> dict[str, Any]:
        return {
            name: {
                "methods": bundle.methods,
                "resolution": bundle.resolution,
                "edits": {edit: [slider.low, slider.high] for edit, slider in self.engine.sliders[name].items()},
            }
            for name, bundle in self.engine.bundles.items()
        }

    # ---- inside

    def _try(self, session: Session, act: Callable[[], object], upload: Path | None = None) -> Updates:
        """Do something, and show what became of it, or why nothing did."""
        try:
            session.note = ""
            act()
            return self._all_of(session)
        except (ValueError, OSError, MemoryError) as error:
            if upload is not None:
                upload.unlink(missing_ok=True)
            return {self.note: _wrong(error), self.photo: None}

    def _all_of(self, session: Session) -> Updates:
        """Everything on the page that follows from a session."""
        shown = session.shown()
        if shown is None:
            return {self.stage: gr.skip()}
        amounts, opened = session.step.here, self.engine.bundle(session.bundle)
        sliders = self.sliders[session.bundle]
        updates: Updates = {
            self.stage: shown,
            self.frame: session.before(),
            self.note: _said(session.note, shown["remark"]),
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
        """A file for the visitor, of no more bytes than `size`, at an address that nobody can guess."""
        try:
            with self.disk.room(size):
                return {self.saved: str(write(self.disk.place())), self.note: ""}
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from None

    def _copied(self, path: Path) -> Path:
        with self.disk.room(path.stat().st_size):
            return Path(shutil.copy(path, self.disk.place()))

    def _uploaded(self, sent: Any) -> tuple[Path, str]:
        """The file that a browser or a program has uploaded, and what it was called there."""
        path = sent.get("path") if isinstance(sent, dict) else None
        if not isinstance(path, str) or not path:
            raise ValueError("no file was sent: upload one first")
        found = (self.disk.files / path).resolve()
        if not found.is_relative_to(self.disk.files.resolve()) or not found.is_file():
            raise ValueError("that file was not uploaded here, or is no longer there")
        name = sent.get("orig_name")
        return found, Path(name.replace("\\", "/")).name[:120] if isinstance(name, str) and name else found.name


def _who(request: gr.Request) -> str:
    """The key that a visitor's browser has drawn; it is told to nobody else."""
    return f"{request.username or ''}/{request.session_hash or secrets.token_hex(16)}"


def _number(event: gr.EventData, name: str) -> int:
    value = event._data.get(name) if isinstance(event._data, dict) else None
    if not isinstance(value, int):
        raise ValueError(f"{name} is a number, got {str(value)[:80]!r}")
    return value


def _amounts(edits: Any) -> dict[str, float]:
    if edits is None:
        return {}
    if not isinstance(edits, dict):
        raise ValueError('edits are names and amounts, such as {"smile": 2}')
    return edits


def _faces(wanted: Any, found: int, largest: int) -> list[int]:
    """Faces by what was asked for: the largest, all, or one by its number from left to right."""
    word = str(wanted or "largest").strip()
    if word == "largest":
        return [largest]
    if word == "all":
        return list(range(max(1, found)))
    if not word.isdecimal() or not 1 <= int(word[:9]) <= max(1, found):
        raise ValueError(f"face is largest, all, or a number from 1 to {max(1, found)}, got {word[:80]!r}")
    return [int(word) - 1]


def _plain(text: str) -> str:
    return html.escape(text)


def _said(*notes: str) -> str:
    return "".join(f'<p role="status">{_plain(note)}</p>' for note in notes if note)


def _wrong(error: BaseException) -> str:
    return f'<p class="gs-wrong" role="alert">{_plain(str(error) or type(error).__name__)}</p>'


def _figure(row: Mapping[str, Any], told: str) -> str:
    method = _plain(row["method"])
    return (
        f'<figure><div class="gs-two"><img src="{row["plain"]}" alt="{method}: the face without edits">'
        f'<img src="{row["edited"]}" alt="{method}: {_plain(told)}"></div>'
        f"<figcaption><b>{method}</b>{row['error']:.1f} dB to the photo · {row['render'] * 1000:.0f} ms a render"
        f"</figcaption></figure>"
    )


def _report(outcomes: Sequence[Outcome], of: int) -> str:
    failed = [outcome for outcome in outcomes if outcome.error]
    done = len(outcomes) - len(failed)
    left = f", {of - len(outcomes)} not begun" if of > len(outcomes) else ""
    rows = "".join(f"<tr><td>{_plain(each.name)}</td><td>{_plain(each.error)}</td></tr>" for each in failed)
    table = f'<table class="gs-report"><tr><th>Photo</th><th>Why it failed</th></tr>{rows}</table>' if failed else ""
    remarked = "".join(
        f"<tr><td>{_plain(each.name)}</td><td>{_plain(each.remark)}</td></tr>" for each in outcomes if each.remark
    )
    table += (
        f'<table class="gs-report"><tr><th>Photo</th><th>Look at it</th></tr>{remarked}</table>' if remarked else ""
    )
    return f'<p role="status">{done} of {of} photos edited{left}.</p>{table}'
