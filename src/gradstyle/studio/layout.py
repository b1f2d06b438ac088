"""The page: Gradio's components, where each stands, and which handler it calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from anyio import CapacityLimiter

from .calls import with_plain_errors
from .disk import Disk
from .engine import Engine
from .handlers import KINDS, StudioUI
from .limits import Limits
from .markup import escaped
from .programs import ProgramUI
from .visitors import Sessions

ASSETS = Path(__file__).parent / "assets"
THREADS = 4  # on which visitors' calls are answered
STAGE_EVENTS = ("undo", "redo", "reset", "step", "face")
MADE_EVENTS = ("pick", "more")


def asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


@dataclass(frozen=True, eq=False)
class Page:
    """The page, and how it looks."""

    blocks: Any
    looks: Mapping[str, Any]


def page(engine: Engine, sessions: Sessions, disk: Disk, limits: Limits) -> Page:
    """Lays out all that a visitor sees, and the functions that programs may call.

    What is answered at once is asked for without Gradio's queue: its page closes the line on which answers come when
    one call is done, and where the next was made just then, its answer is lost and the page asks for nothing more.
    """
    ui = ProgramUI(engine, sessions, disk)
    with gr.Blocks(title="GradStyle studio", analytics_enabled=False, fill_width=True) as blocks:
        ui.blocks = blocks
        gr.HTML(asset("head.html"), js_on_load="window.GradStyle.theme(element.querySelector('.gs-theme'))")
        with gr.Tabs():
            with gr.Tab("Edit"):
                _edit_tab(ui)
            with gr.Tab("Compare methods") as compare:
                _compare_tab(ui, compare)
            with gr.Tab("Batch"):
                _batch_tab(ui)
        _functions(ui)
        ui.connect()
        hidden = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        blocks.load(ui.welcome, None, ui.all, **hidden).then(ui.some_faces, None, [ui.made], **hidden)
        blocks.unload(ui.leave)
    blocks.process_api = with_plain_errors(blocks.process_api)
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
        "css": asset("studio.css") + zeros,
        "head": f"<script>{asset('studio.js')}</script>",
    }


def _edit_tab(ui: StudioUI) -> None:
    with gr.Row(elem_id="gs-edit"):
        with gr.Column(scale=7, min_width=320, elem_id="gs-left"):
            names = ", ".join(f"'{name}'" for name in STAGE_EVENTS)
            ui.stage = gr.HTML(
                None,
                html_template=asset("stage.html"),
                js_on_load=f"const events = [{names}]; window.GradStyle.stage(element, props, trigger, watch);",
                apply_default_css=False,
                elem_id="gs-stage",
            )
            ui.frame = gr.HTML(
                None,
                html_template="",
                js_on_load="window.GradStyle.before(props, watch);",
                elem_classes="gs-hidden",
            )
        with gr.Column(scale=4, min_width=300, elem_id="gs-right"):
            ui.photo = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "webcam", "clipboard"],
                label="Your photo",
                height=150,
                elem_id="gs-photo",
                buttons=[],
                placeholder="Drop, paste or choose a photo",
            )
            ui.note = gr.HTML("", elem_classes="gs-note", elem_id="gs-note")
            names = ", ".join(f"'{name}'" for name in MADE_EVENTS)
            ui.made = gr.HTML(
                None,
                html_template=asset("faces.html"),
                js_on_load=f"const events = [{names}]; window.GradStyle.faces(element, props, trigger, watch);",
                apply_default_css=False,
                elem_id="gs-made",
            )
            for bundle in ui.engine.bundles:
                _sliders(ui, bundle)
            _choices(ui)
            _exports(ui)
    ui.on(ui.photo.input, ui.take, [ui.photo], preprocess=False)
    ui.on(ui.stage.undo, ui.undo)
    ui.on(ui.stage.redo, ui.redo)
    ui.on(ui.stage.reset, ui.reset)
    ui.on(ui.stage.step, ui.go)
    ui.on(ui.stage.face, ui.choose_face)
    ui.on(ui.made.pick, ui.pick)
    ui.made.more(ui.more_faces, None, [ui.made], queue=False, api_visibility="private", show_progress="hidden")
    for bundle, sliders in ui.sliders.items():
        if sliders:
            gr.on(
                [event for slider in sliders.values() for event in (slider.input, slider.release)],
                ui.mover(bundle),
                list(sliders.values()),
                [ui.stage, ui.note, ui.command, ui.python],
                preprocess=False,
                trigger_mode="always_last",  # of the moves made while a picture is drawn only the last is asked for
                queue=False,
                show_progress="minimal",
                show_progress_on=ui.stage,
                api_visibility="private",
            )


def _sliders(ui: StudioUI, bundle: str) -> None:
    """A slider per edit, under the names of their groups."""
    ranges = ui.engine.sliders[bundle]
    groups = dict.fromkeys(slider.group for slider in ranges.values())
    ui.sliders[bundle] = {}
    with gr.Column(visible=bundle == ui.engine.first, elem_classes="gs-sliders gs-group") as column:
        if not ranges:
            gr.Markdown("This bundle has no edits with sliders yet: `gradstyle directions` finds some.")
        for group in groups:
            if len(groups) > 1 or group:
                gr.Markdown(f"### {escaped(group or 'other')}")
            for name, each in ranges.items():
                if each.group == group:
                    ui.sliders[bundle][name] = gr.Slider(
                        round(each.low, 2),
                        round(each.high, 2),
                        0,
                        step=0.05,
                        label=name[:1].upper() + name[1:],
                        buttons=["reset"],
                        elem_classes=f"gs-zero-{round(100 * each.low / (each.low - each.high))}",
                    )
    ui.columns[bundle] = column


def _choices(ui: StudioUI) -> None:
    engine = ui.engine
    with gr.Accordion("Method and model", open=False):
        ui.bundle = gr.Dropdown(list(engine.bundles), value=engine.first, label="Bundle", interactive=True)
        first = engine.bundle(engine.first)
        ui.method = gr.Radio(first.methods, value=first.usual_method, label="Method", interactive=True)
    ui.on(ui.bundle.input, ui.choose_bundle, [ui.bundle], preprocess=False)
    ui.on(ui.method.input, ui.choose_method, [ui.method], preprocess=False)


def _exports(ui: StudioUI) -> None:
    with gr.Accordion("Save and share", open=True):
        with gr.Row():
            save = gr.Button("Save the picture", variant="primary", scale=3, min_width=140, elem_id="gs-save")
            kind = gr.Dropdown(list(KINDS), value="png", label="Kind", container=False, min_width=90, scale=1)
        with gr.Row():
            keep = gr.Button("Save the edit", size="md", min_width=120)
            load = gr.UploadButton("Load an edit", file_types=[".json"], size="md", min_width=120)
        first = next(iter(ui.sliders.values()))
        with gr.Row(equal_height=True):
            ui.swept = gr.Dropdown(list(first), label="Sweep", value=next(iter(first), None), min_width=110)
            moving = gr.Dropdown(["mp4", "gif"], label="as", value="mp4", min_width=80)
            sweep = gr.Button("Save the sweep", min_width=120)
    with gr.Accordion("The same, as a command or in Python", open=False):
        ui.command = gr.Code("", language="shell", label="Command line", interactive=False, wrap_lines=True)
        ui.python = gr.Code("", language="python", label="Python", interactive=False, wrap_lines=True)
    ui.saved = gr.File(label="Saved", interactive=False, elem_classes="gs-hidden", elem_id="gs-saved")
    for button, act, inputs in (
        (save, ui.save, [kind]),
        (keep, ui.save_edit, []),
        (sweep, ui.sweep, [ui.swept, moving]),
    ):
        button.click(act, inputs, [ui.saved, ui.note], api_visibility="private", show_progress_on=button).success(
            None, [ui.saved], None, js="(file) => window.GradStyle.save(file)"
        )
    ui.on(load.upload, ui.load_edit, [load], preprocess=False)


def _compare_tab(ui: StudioUI, tab: Any) -> None:
    gr.Markdown(
        "Every method's own picture of the same face, without and with the present edit, as the network draws it: "
        "nothing is pasted into the photo."
    )
    again = gr.Button("Compare again", size="sm", scale=0, min_width=150)
    compared = gr.HTML("", min_height=240)
    for event in (tab.select, again.click):
        event(ui.compare, None, [compared], api_visibility="private")


def _batch_tab(ui: StudioUI) -> None:
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
        ui.batch,
        [photos, every],
        [result, report],
        preprocess=False,
        concurrency_limit=1,
        api_visibility="private",
        show_progress_on=report,
    )
    stop.click(ui.stop, None, None, api_visibility="private", queue=False, show_progress="hidden")


def _functions(ui: ProgramUI) -> None:
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
            ui.function_edit,
            [photo, edits, bundle, method, face],
            [edited],
            preprocess=False,
            api_name="edit",
            api_description="Edit a photo: edits as names and amounts, the largest face unless one is named.",
        )
        gr.Button().click(
            ui.function_bundles,
            None,
            [known],
            api_name="bundles",
            api_description="What there is: bundles, their methods and their edits with ranges.",
        )
