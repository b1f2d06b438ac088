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
from ..metrics.attributes import Target
from ..progress import Progress
from .bench import Bench, Outcome, Request
from .editing import VANISHING, targets_of
from .evaluators import Seen
from .matching import condition, fixed
from .sheet import write_sheet
from .sight import Sight
from .store import PICTURES, RunFolder

KEEPS = (5.0, 15.0, 30.0, 60.0, 100.0)  # μ
FULL = "full"
SHEET = f"{PICTURES}/sheet"


class Variant(Editor):
    """An editor whose GradStyle was changed after training."""

    def __init__(self, bundle: Bundle, device: torch.device, method: GradStyle) -> None:
        super().__init__(bundle, "gradstyle", device)
        self._method = method


def ablation(request: Request, say: Progress | None = None) -> RunFolder:
    """Measure GradStyle and what is left of it without its parts, and write the run's folder."""
    bench = Bench("ablation", replace(request, methods=("gradstyle",)), say)
    own = Bundle.load(request.bundle).method("gradstyle", device=bench.device)
    assert isinstance(own, GradStyle)
    bench.editors = {name: Variant(bench.bundle, bench.device, m) for name, m in variants(own).items()}
    trained: dict[str, dict[str, Any]] = {}
    for name, path in dict(request.changes.get("variants") or {}).items():
        bench.editors[name], trained[name] = _trained(name, path, bench)
    bench.methods = tuple(bench.editors)
    judged = bool(bench.judges) and bool(bench.bundle.edits)
    sight: Sight | None = None
    targets: tuple[Target, ...] = ()
    if judged:
        targets = targets_of(bench.bundle, request, bench.judges[0].config.attributes, (1.0, 2.0))
        sight = Sight(bench, targets)
    else:
        bench.notes.append("No edits are measured: that needs a judge, and edits in the bundle.")
    where = {target: fixed(target.amounts((1.0, 2.0))) for target in targets}
    conditions = ["", *(condition(target, amount) for target, amounts in where.items() for amount in amounts)]
    metrics = list(bench.gauge.pair_metrics)
    if sight:
        metrics += sight.metrics
    described = {name: _described(editor, name in trained) for name, editor in bench.editors.items()}
    record = bench.record(
        conditions,
        metrics,
        variants=described,
        trained=trained,
        edits=sight.protocol if sight else {},
    )

    def work(method: str, photos: Tensor, seen: Seen, first: int) -> Outcome:
        editor, gauge = bench.editors[method], bench.gauge
        inversion = editor.invert(photos)
        plain = gauge.look(editor.render(inversion))
        out = Outcome({("", name): v for name, v in gauge.compare(plain, seen).items()}, pictures={"": plain.images})
        if sight is None:
            return out
        out.gaps = sight.gaps
        before = sight.look(gauge.look(editor.render(inversion, VANISHING * targets[0].edit)), first)
        for target, amounts in where.items():
            for amount in amounts:
                named = condition(target, amount)
                edited = gauge.look(editor.render(inversion, amount * target.edit), pairs=False)
                changes = sight.changes(target, before, sight.look(edited, first, target))
                found = gauge.compare_identity(edited, seen) | changes
                out.values |= {(named, name): value for name, value in found.items()}
                out.pictures[named] = edited.images
        return out

    record, values, _ = bench.measure(record, work)
    _, summary = bench.summary(record, values)
    notes = (*summary.notes, *_notes(own, trained))
    for number, named in enumerate(record.conditions):
        write_sheet(bench.folder.path, record, named, f"{SHEET}-{number}")
    bench.finish(record, replace(summary, notes=notes))
    return bench.folder


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
    state = full.own_state()
    places = {f"stages.{old}.": f"stages.{new}." for new, old in enumerate(chosen)}
    kept: dict[str, Tensor] = {}
    for name, tensor in state.items():
        prefix = ".".join(name.split(".")[:2]) + "."
        if prefix in places and (config.with_gam or not name.startswith(f"{prefix}align.")):
            kept[places[prefix] + name.removeprefix(prefix)] = tensor
    made.load_own(kept)
    return made.eval().requires_grad_(False)


def _trained(name: str, path: str, bench: Bench) -> tuple[Editor, dict[str, Any]]:
    """A bundle's GradStyle that was trained without something, on the same generator and encoder."""
    other = Bundle.load(path)
    if other.fingerprint != bench.bundle.fingerprint:
        raise ValueError(f"variant {name!r} is on generator {other.fingerprint}, not on {bench.bundle.fingerprint}")
    editor = Editor(other, "gradstyle", bench.device)
    config = other.config("gradstyle")
    return editor, {"fingerprint": other.fingerprint, "with_grm": config.with_grm, "with_gam": config.with_gam}


def _described(editor: Editor, trained: bool) -> dict[str, Any]:
    method = editor._method
    assert isinstance(method, GradStyle)
    config = method.config
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
