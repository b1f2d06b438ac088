"""What each part of GradStyle is for: the paper's Figure 8 as a table.

Two kinds of variants, which are not the same thing. *Of one training*: parts of a trained GradStyle are left out when
it is used; what remains was trained with them. *Of their own training*: bundles that were trained without the part,
given by name. Without the GRM there is only the second kind: its place is taken by weights that must be learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..bundles import Bundle
from ..editor import Editor
from ..methods.gradstyle import GradStyle
from ..progress import Progress
from .evaluators import Features
from .matching import condition, fixed
from .measurement import Measurement
from .protocol import Protocol
from .run import Run
from .sheet import write_sheet
from .sight import Sight, vanishing
from .store import PICTURES, RunFolder

KEEPS = (5.0, 15.0, 30.0, 60.0, 100.0)  # μ
STEPS = (1.0, 2.0)
FULL = "full"
SHEET = f"{PICTURES}/sheet"


class Variant(Editor):
    """An editor whose GradStyle was changed after training."""

    def __init__(self, bundle: Bundle, device: torch.device, method: GradStyle) -> None:
        super().__init__(bundle, "gradstyle", device)
        self._method = method


def ablation(protocol: Protocol, progress: Progress | None = None) -> RunFolder:
    """Measures GradStyle and what is left of it without its parts, and writes the run's folder."""
    run = Run("ablation", replace(protocol, methods=("gradstyle",)), progress)
    evaluators, own = run.evaluators, Bundle.load(protocol.bundle).method("gradstyle", device=run.device)
    assert isinstance(own, GradStyle)
    run.editors = {name: Variant(run.bundle, run.device, method) for name, method in variants(own).items()}
    trained: dict[str, dict[str, Any]] = {}
    for name, path in dict(protocol.options.get("variants") or {}).items():
        run.editors[name], trained[name] = _trained(name, path, run)
    run.methods = tuple(run.editors)
    sight: Sight | None = None
    if evaluators.judges and run.bundle.edits:
        sight = Sight(run, STEPS)
    else:
        run.notes.append("No edits are measured: that needs a judge, and edits in the bundle.")
    targets = sight.targets if sight else ()
    record = run.record(
        ["", *(condition(target, amount) for target in targets for amount in fixed(target.amounts(STEPS)))],
        [*evaluators.pair_metrics, *(sight.metrics if sight else ())],
        variants={name: _described(editor, name in trained) for name, editor in run.editors.items()},
        trained=trained,
        edits=sight.protocol if sight else {},
    )

    def work(method: str, photos: Tensor, sources: Features, first: int) -> Measurement:
        editor = run.editors[method]
        inversion = editor.invert(photos)
        plain = evaluators.look(editor.render(inversion))
        measurement = Measurement(pictures={"": plain.images}, gaps=sight.gaps if sight else frozenset())
        measurement.add("", evaluators.compare(plain, sources))
        if sight is not None:
            base = evaluators.look(editor.render(inversion, vanishing(targets)))
            for edited in sight.edits(editor, inversion, sight.look(base, first), sources, first, every=False):
                measurement.add(edited.condition, edited.figures)
                measurement.pictures[edited.condition] = edited.pictures.images
        return measurement

    record, values, _ = run.measure(record, work)
    summary = run.summary(record, values)
    for number, named in enumerate(record.conditions):
        write_sheet(run.folder.path, record, named, f"{SHEET}-{number}")
    return run.finish(record, replace(summary, notes=(*summary.notes, *_notes(own, trained))))


def variants(full: GradStyle) -> dict[str, GradStyle]:
    """What is left of one trained GradStyle without its parts."""
    config, count = full.config, len(full.config.stages)
    made = {FULL: full}
    if config.with_gam:
        made["without GAM"] = changed(full, with_gam=False)
    if count > 1:
        made["low stage only"] = changed(full, stages=[0])
        made["high stage only"] = changed(full, stages=[count - 1])
        made |= {f"first {n} stages": changed(full, stages=list(range(n))) for n in range(2, count)}
    if config.with_gam:
        made |= {f"μ {keep:g}": changed(full, keep=keep) for keep in KEEPS if keep != config.keep}
    return made


def changed(full: GradStyle, stages: Sequence[int] | None = None, **changes: Any) -> GradStyle:
    """The same weights under another config; those of what is left out stay behind."""
    chosen = range(len(full.config.stages)) if stages is None else stages
    config = replace(full.config, stages=tuple(full.config.stages[place] for place in chosen), **changes)
    device = next(full.parameters()).device
    made = GradStyle(full.generator, full.encoder, config).to(device)
    places = {f"stages.{old}.": f"stages.{new}." for new, old in enumerate(chosen)}
    weights: dict[str, Tensor] = {}
    for name, tensor in full.own_state().items():
        prefix = ".".join(name.split(".")[:2]) + "."
        if prefix in places and (config.with_gam or not name.startswith(f"{prefix}align.")):
            weights[places[prefix] + name.removeprefix(prefix)] = tensor
    made.load_own(weights)
    return made.eval().requires_grad_(False)


def _trained(name: str, path: str, run: Run) -> tuple[Editor, dict[str, Any]]:
    """A bundle's GradStyle that was trained without something, on the same generator and encoder."""
    other = Bundle.load(path)
    if other.fingerprint != run.bundle.fingerprint:
        raise ValueError(f"variant {name!r} is on generator {other.fingerprint}, not on {run.bundle.fingerprint}")
    editor = Editor(other, "gradstyle", run.device)
    config = other.config("gradstyle")
    return editor, {"fingerprint": other.fingerprint, "with_grm": config.with_grm, "with_gam": config.with_gam}


def _described(editor: Editor, trained: bool) -> dict[str, Any]:
    config: Any = editor._method.config
    return {
        "trained so": trained,
        "layers": [stage.layer for stage in config.stages],
        "keep": config.keep,
        "with_grm": config.with_grm,
        "with_gam": config.with_gam,
    }


def _notes(own: GradStyle, trained: Mapping[str, Mapping[str, Any]]) -> list[str]:
    notes = [
        "Variants of one training: weights of the full method, of which parts are left out when it is used"
        + (f"; of their own training: {', '.join(trained)}." if trained else ".")
    ]
    if own.config.with_grm and not any(not each["with_grm"] for each in trained.values()):
        notes.append(
            "Without the GRM is not in the table: what takes its place must be trained. Train a GradStyle with "
            "with_grm = false and give it as --variant 'without GRM=BUNDLE'."
        )
    if own.config.with_gam:
        notes.append("μ and the GAM act on edits alone: without an edit these variants are the full method.")
    return notes
