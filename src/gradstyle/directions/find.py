"""Finds a whole set of edits: directions, the codes they belong on, their units and what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..bundles import Bundle, Slider
from ..edits import Edit
from ..metrics.pose import POSE
from ..progress import Progress
from ..stylegan2 import Generator
from . import bench as benches
from .bench import EditBench, bench_of
from .boundary import SHARE, boundary, choose_given, conditioned, gains
from .footprint import footprint_of
from .layers import KEPT, choose_layers, layer_effects, on_layers
from .report import EditReport, Thresholds, measure
from .samples import SAMPLES, Samples, score_samples
from .scorers import Labels, Scorer, Scoring, as_scorer, with_pose
from .wishes import Wish, group_of, wishes

LAYER_CODES = 16  # on which it is measured where an edit belongs
TRIES = 3  # of the unit's length, each nearer
FURTHEST_UNIT = 4.0  # standard deviations of the codes along the direction: no amount 1 is as far


class FoundEdits(NamedTuple):
    """Holds edits by name, the sliders of those that are good enough, and a report of each."""

    edits: dict[str, Edit]
    sliders: dict[str, Slider]
    reports: dict[str, dict[str, Any]]

    def put(self, bundle: Bundle) -> None:
        """Puts the edits into a bundle, beside those that it has; those of the same names are replaced."""
        sliders = {n: s for n, s in bundle.sliders.items() if n not in self.edits}
        failed = {n: r for n, r in bundle.failed_edits.items() if n not in self.edits}
        failed |= {n: r for n, r in self.reports.items() if n not in self.sliders}
        bundle.put_edits({**bundle.edits, **self.edits}, {**sliders, **self.sliders}, failed)


def find(
    bundle: Bundle,
    wanted: Mapping[str, str] | Sequence[str],
    scorer: Scoring | None = None,
    judge: Scoring | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    meter: Progress | None = None,
    *,
    given: Sequence[str] | None = None,
    layers: tuple[int, int] | None = None,
    share: float = SHARE,
    truncation: float = 1.0,
    kept: float = KEPT,
    codes: int | None = None,
    limits: Thresholds | None = None,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> FoundEdits:
    """Finds directions of InterfaceGAN for some attributes, as edits with a known unit.

    `scorer` teaches: a judge's file, a table of labels, a function; yaw and pitch need none. `judge` is another
    network that says what the edits do. `given` are attributes to project out of each direction; without it, those
    of the other edits that would go along. `layers` are the codes that move; without it, they are measured.
    """
    asked = wishes(wanted)
    generator, teacher, looking = _eyes(bundle, asked, scorer, judge, device)
    drawn = score_samples(generator, teacher, samples, seed, truncation, cache, meter)
    eye: Scorer | None = looking if isinstance(teacher, Labels) else teacher
    boundaries = {wish.attribute: boundary(drawn, wish.attribute, share, seed) for wish in asked}
    for name in given or ():
        boundaries.setdefault(name, boundary(drawn, name, share, seed))
    slopes = gains(drawn)
    bench = None
    if eye is not None:
        spread = drawn.spread if eye is teacher else {}
        bench = bench_of(bundle, eye, spread, looking, seed, device, codes or benches.CODES)
    found = FoundEdits({}, {}, {})
    for number, wish in enumerate(asked):
        if meter is not None:
            meter(f"measuring {wish.name}", number, len(asked))
        own = boundaries[wish.attribute]
        others = {name: b for name, b in boundaries.items() if name != wish.attribute}
        chosen = (
            [n for n in given if n != wish.attribute]
            if given is not None
            else choose_given(own, others, slopes, drawn.w)
        )
        direction = conditioned(own.normal, [boundaries[name].normal for name in chosen])
        if wish.reverse:
            direction = -direction
        seen = int((~drawn.of(wish.attribute).isnan()).sum())
        report = _report(wish, "interfacegan", teacher, looking, seen, seed)
        report.accuracy, report.given = own.accuracy, chosen
        watched = [w.attribute for w in asked if w.attribute != wish.attribute]
        edit, slider = settle(bench, generator.config.codes, drawn, direction, report, watched, layers, kept, limits)
        turns = wish.attribute.lower() in POSE
        found.edits[wish.name] = replace(
            edit,
            generator=bundle.fingerprint,
            turns=turns,
            footprint=None if turns else footprint_of(generator, edit, slider),
        )
        found.reports[wish.name] = report.to_json()
        if slider is not None:
            found.sliders[wish.name] = slider
    if meter is not None:
        meter("measuring", len(asked), len(asked))
    return found


def settle(
    bench: EditBench | None,
    count: int,
    drawn: Samples,
    direction: Tensor,
    report: EditReport,
    watched: list[str],
    layers: tuple[int, int] | None = None,
    kept: float = KEPT,
    limits: Thresholds | None = None,
) -> tuple[Edit, Slider | None]:
    """Lays a direction of W on its codes, finds the length of amount 1, and measures."""
    along = float(((drawn.w - drawn.w.mean(dim=0)) @ direction).std())
    if bench is None or report.attribute not in bench.scorer.attributes:
        report.reasons = [f"nothing here can see {report.attribute} in a picture: its unit is that of the codes"]
        report.layers, report.unit = list(layers or (0, count - 1)), along
        return Edit(report.name, on_layers(direction * along, layers or (0, count - 1), count)), None
    sign = -1.0 if report.reverse else 1.0
    try:
        if layers is None:
            own, others = layer_effects(bench, direction * along, report.attribute, bench.codes[:LAYER_CODES])
            layers = choose_layers(sign * own, others, kept)
        offset = on_layers(direction, layers, count)
        report.layers = list(layers)
        report.unit = calibrate(bench, Edit(report.name, offset), report, sign, along)
    except ValueError as error:
        report.layers, report.unit = list(layers or (0, count - 1)), along
        report.reasons = [str(error)]
        return Edit(report.name, on_layers(direction * along, layers or (0, count - 1), count)), None
    edit = Edit(report.name, offset * report.unit)
    return edit, _measured(bench, edit, report, watched, limits)


def measure_edits(
    bundle: Bundle,
    wanted: Mapping[str, str] | Sequence[str],
    scorer: Scoring | None = None,
    judge: Scoring | None = None,
    samples: int = 1000,
    seed: int = 0,
    meter: Progress | None = None,
    *,
    codes: int | None = None,
    limits: Thresholds | None = None,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> FoundEdits:
    """Gives a unit, a report and a slider to edits that the bundle already has.

    An edit that moves its attribute down is turned around. Which codes it moves stays as it is.
    """
    asked = wishes(wanted)
    if missing := [wish.name for wish in asked if wish.name not in bundle.edits]:
        raise ValueError(
            f"bundle {bundle.name!r} has no edit {missing[0]!r}; it has {', '.join(bundle.edits) or 'none'}"
        )
    generator, teacher, looking = _eyes(bundle, asked, scorer, judge, device)
    if isinstance(teacher, Labels):
        raise ValueError("a table of labels says nothing about edited pictures: give a teacher's file or a function")
    drawn = score_samples(generator, teacher, samples, seed, 1.0, cache, meter)
    bench = bench_of(bundle, teacher, drawn.spread, looking, seed, device, codes or benches.CODES)
    found = FoundEdits({}, {}, {})
    for number, wish in enumerate(asked):
        if meter is not None:
            meter(f"measuring {wish.name}", number, len(asked))
        edit = bundle.edits[wish.name]
        report = _report(wish, "measured as it was", teacher, looking, len(drawn), seed)
        moving = [] if edit.w is None else edit.w.abs().sum(dim=1).nonzero()[:, 0].tolist()
        report.layers = [moving[0], moving[-1]] if moving and edit.w is not None and len(edit.w) > 1 else []
        sign = -1.0 if wish.reverse else 1.0
        try:
            slope = bench.moved(edit * _small(edit, drawn), wish.attribute, bench.codes[:LAYER_CODES])
            edit = replace(edit if sign * slope > 0 else -edit, name=wish.name)
            report.unit = calibrate(bench, edit, report, sign, _small(edit, drawn))
        except ValueError as error:
            report.reasons = [str(error)]
            found.edits[wish.name], found.reports[wish.name] = edit, report.to_json()
            continue
        edit = replace(edit * report.unit, name=wish.name)
        found.edits[wish.name] = edit
        slider = _measured(bench, edit, report, [w.attribute for w in asked if w.attribute != wish.attribute], limits)
        found.reports[wish.name] = report.to_json()
        if slider is not None:
            found.sliders[wish.name] = slider
    if meter is not None:
        meter("measuring", len(asked), len(asked))
    return found


def _small(edit: Edit, drawn: Samples) -> float:
    """Gives the amount at which an edit is one standard deviation of the codes along it; 1 for edits of styles."""
    if edit.w is None or not (length := float(edit.w.norm(dim=1).max())):
        return 1.0
    way = edit.w[edit.w.norm(dim=1).argmax()] / length
    return float(((drawn.w - drawn.w.mean(dim=0)) @ way).std()) / length


def _measured(
    bench: EditBench, edit: Edit, report: EditReport, watched: list[str], limits: Thresholds | None
) -> Slider | None:
    measure(bench, edit, report, watched, limits)
    if report.reasons:
        return None
    about = f"{report.attribute}{', reversed' if report.reverse else ''}"
    return Slider(report.low, report.high, group_of(report.attribute), about, report.to_json())


def calibrate(bench: EditBench, edit: Edit, report: EditReport, sign: float, along: float) -> float:
    """Finds the length of amount 1, so that it moves the attribute by one standard deviation of the scorer's."""
    unit = along
    for _ in range(TRIES):
        moved = sign * bench.moved(edit * unit, report.attribute, bench.codes[: 2 * LAYER_CODES])
        if not moved > 0.05:
            far = unit / along
            raise ValueError(f"it does not move {report.attribute}: by {moved:+.2f} over {far:.1f} of the codes' own")
        unit *= min(max(1 / moved, 1 / 3), 3.0)
        if unit > FURTHEST_UNIT * along:
            raise ValueError(f"it hardly moves {report.attribute}: amount 1 would be far outside of the codes")
    return unit


def _eyes(
    bundle: Bundle, asked: Sequence[Wish], scorer: Scoring | None, judge: Scoring | None, device: torch.device | str
) -> tuple[Generator, Scorer | Labels, Scorer | None]:
    """Opens the generator, the scorer that teaches, and the judge."""
    generator = bundle.generator(device=device)
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = None if scorer is None else as_scorer(scorer, device)
    needs_pose = any(wish.attribute in POSE for wish in asked)
    if teacher is None and not all(wish.attribute in POSE for wish in asked):
        raise ValueError(
            "a scorer is needed: a teacher's file (gradstyle train teacher), a table of labels, a function"
        )
    if needs_pose and not (teacher is not None and set(POSE) <= set(teacher.attributes)):
        if isinstance(teacher, Labels):
            raise ValueError(f"{teacher.title} does not know yaw and pitch: find them in a run of their own")
        teacher = with_pose(teacher, generator)
    assert teacher is not None
    if unknown := [wish.attribute for wish in asked if wish.attribute not in teacher.attributes]:
        raise ValueError(
            f"{teacher.title} does not know {', '.join(unknown)}; it knows {', '.join(teacher.attributes)}"
        )
    looking = None if judge is None else as_scorer(judge, device)
    if isinstance(looking, Labels):
        raise ValueError("a judge looks at pictures: a table of labels cannot")
    return generator, teacher, looking


def _report(
    wish: Wish, source: str, teacher: Scorer | Labels, looking: Scorer | None, samples: int, seed: int
) -> EditReport:
    """Begins a report: who found the edit, who judges it, and whether the two are independent."""
    known = looking is not None and wish.attribute in looking.attributes
    judge = looking.title if looking is not None and known else teacher.title
    independent = looking is not None and known and looking.identity != teacher.identity
    return EditReport(
        wish.name, wish.attribute, wish.reverse, source, teacher.title, judge, independent, samples=samples, seed=seed
    )
