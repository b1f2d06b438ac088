"""How far edits go: as judges see it, and onlookers where there is one for what an edit is meant to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..editor import Editor
from ..edits import Edit
from ..methods import Inversion
from ..metrics.attributes import Target, spread, target_of
from ..metrics.onlookers import LOST, ONLOOKERS, Onlooker, faces_of, measured
from ..metrics.values import Metric
from ..photos.faces import Face
from .evaluators import FIRST, Features
from .matching import condition, fixed
from .protocol import PAPER_EDITS, edit_names
from .run import Run

VANISHING = 1e-4  # times an edit
CHANGES = (0.5, 1.0, 1.5, 2.0)  # changes in a judge's eyes at which methods are compared, in its deviations


@dataclass(frozen=True, eq=False)
class View:
    """What all of them see in some pictures."""

    logits: tuple[Tensor, ...]  # [N, attributes] a judge
    figures: Mapping[str, Tensor]  # [N] an onlooker; NaN where no face is found
    faceless: Tensor  # [N], of photos in which no face is found even unedited

    @property
    def lost(self) -> Tensor:
        """Whether a picture's face is not found, [N]; NaN where the photo's is not either."""
        none = torch.stack([*self.figures.values()]).isnan().any(dim=0)
        return none.double().where(~self.faceless, torch.nan)


@dataclass(frozen=True, eq=False)
class Rendered:
    """Pictures of one edit at one amount, and what is measured of them."""

    target: Target
    amount: float
    condition: str
    fixed: bool  # whether it is the amount of the table at a fixed slider value
    pictures: Features
    figures: dict[str, Tensor]


def vanishing(targets: Sequence[Target]) -> Edit:
    """An edit that no picture shows, and that is yet rendered as edits are."""
    return VANISHING * targets[0].edit


class Sight:
    """All that see how far edits go, and the photos as they see them."""

    def __init__(self, run: Run, steps: Sequence[float]) -> None:
        evaluators = run.evaluators
        self.evaluators, self.steps = evaluators, tuple(steps)
        self.names, self.attributes = evaluators.names, evaluators.judges[0].config.attributes
        self.targets = targets_of(run, self.attributes, max(steps))
        self.onlookers = {t: ONLOOKERS[t.attribute] for t in self.targets if t.attribute in ONLOOKERS}
        for target, onlooker in [*self.onlookers.items()]:
            if onlooker.missing:
                run.notes.append(
                    f"{target.name}: the judge alone says how far it goes; `pip install 'gradstyle[{onlooker.extra}]'` "
                    f"brings a network from elsewhere, {onlooker.source}."
                )
                del self.onlookers[target]
        logits, figures = list[list[Tensor]](), list[dict[str, Tensor]]()
        self.places: list[Face | None] = []
        for batch in range(run.photos.batches):
            sources = run.sources(batch)
            logits.append([of_judge.double() for of_judge in sources.logits])
            if self.onlookers:
                faces = faces_of(sources.images)
                self.places += faces
                figures.append(measured(self._all, sources.images, faces))
            run.progress("looking at photos", batch + 1, run.photos.batches)
        self.photos = [torch.cat(of_judge) for of_judge in zip(*logits)]  # [photos, attributes] a judge
        self.spreads = [spread(each) for each in self.photos]
        self._check_faces(run)
        self.units = {
            o.name: float(spread(torch.cat([each[o.name] for each in figures])[:, None])) if o.in_deviations else 1.0
            for o in self._all
        }

    def _check_faces(self, run: Run) -> None:
        faceless = sum(face is None for face in self.places)
        if faceless and faceless == len(self.places):
            if turning := [target.name for target in self.onlookers if target.turns]:
                raise ValueError(
                    f"in none of the {faceless:,} photos a face is found, so that nothing sees how far "
                    f"{turning[0]!r} turns heads: measure other edits with --edit"
                )
            run.notes.append("No face is found in any photo: the judge alone says how far edits go.")
            self.onlookers.clear()
        elif faceless:
            run.notes.append(
                f"In {faceless:,} of {len(self.places):,} photos no face is found even unedited: how far "
                f"{', '.join(target.name for target in self.onlookers)} goes is not measured there, for any method."
            )

    @property
    def _all(self) -> list[Onlooker]:
        return [*dict.fromkeys(self.onlookers.values())]

    # ---- what a run says of it

    @property
    def metrics(self) -> list[Metric]:
        """Of how far edits go, onlookers' first; then how much else changes, in the judges' eyes."""
        judges, sense = list(zip(self.names, ("", ", second judge"))), "of the attribute, in the edit's sense, in sd"
        others = "mean |change| of the others, in sd"
        return [
            *(onlooker.metric for onlooker in self._all),
            *(Metric(f"{name}_change", f"Measured change{whose}, sd", "", sense) for name, whose in judges),
            *([LOST] * bool(self.onlookers)),
            *(Metric(f"{name}_others", f"Other attributes{whose}", "lower", others) for name, whose in judges),
        ]

    def change(self, target: Target) -> tuple[str, str, tuple[float, ...]]:
        """Which metric says how far an edit goes, its unit, and the changes at which methods are compared."""
        if onlooker := self.onlookers.get(target):
            return onlooker.name, onlooker.unit, onlooker.goals
        return f"{FIRST}_change", " sd", CHANGES

    @property
    def protocol(self) -> dict[str, Any]:
        """By edit, what it is meant to change, who sees it, and how it is counted."""
        edits = {}
        for target in self.targets:
            change, unit, goals = self.change(target)
            edits[target.name] = {
                "attribute": target.attribute,
                "reverse": target.reverse,
                "range": [target.low, target.high],
                "change": change,
                "unit": unit,
                "goals": list(goals),
                "by": self.onlookers[target].provenance if target in self.onlookers else FIRST,
            }
        return edits

    # ---- pictures

    def look(self, pictures: Features, first: int, target: Target | None = None) -> View:
        """At pictures of photos from the `first` on; of one edit's, its own onlooker alone looks."""
        onlookers = self._all if target is None else [o for t, o in self.onlookers.items() if t == target]
        places = self.places[first : first + len(pictures)]
        figures = measured(onlookers, pictures.images, places) if onlookers else {}
        return View(
            tuple(x.double() for x in pictures.logits), figures, torch.tensor([place is None for place in places])
        )

    def edits(
        self, editor: Editor, inversion: Inversion, before: View, sources: Features, first: int, every: bool
    ) -> Iterator[Rendered]:
        """Renders edits at every amount, or at the fixed ones alone, and measures them."""
        for target in self.targets:
            amounts = target.amounts(self.steps)
            nearest = fixed(amounts)
            for amount in amounts if every else nearest:
                pictures = self.evaluators.look(editor.render(inversion, amount * target.edit), pairs=False)
                figures = self.evaluators.compare_identity(pictures, sources)
                figures |= self.changes(target, before, self.look(pictures, first, target))
                yield Rendered(target, amount, condition(target, amount), amount in nearest, pictures, figures)

    def changes(self, target: Target, before: View, after: View) -> dict[str, Tensor]:
        """How far an edit went, and how much else it changed, by metric [N].

        A judge counts in standard deviations among the photos. Where a face is lost in either picture, how far the edit
        went is NaN, and that it is lost is a figure.
        """
        figures = dict[str, Tensor]()
        if onlooker := self.onlookers.get(target):
            moved = (after.figures[onlooker.name] - before.figures[onlooker.name]) / self.units[onlooker.name]
            figures[onlooker.name] = target.sign * onlooker.sign * moved
            figures[LOST.name] = moved.isnan().double().where(~before.faceless, torch.nan)
        here = self.attributes.index(target.attribute) if target.attribute in self.attributes else None
        others = [place for place in range(len(self.attributes)) if place != here]
        for name, old, new, unit in zip(self.names, before.logits, after.logits, self.spreads):
            moved = (new - old) / unit
            if here is not None:
                figures[f"{name}_change"] = target.sign * moved[:, here]
            figures[f"{name}_others"] = moved[:, others].abs().mean(dim=1)
        return figures

    def measurable(self, target: Target, photos: Sequence[str], every: Sequence[str]) -> list[str]:
        """Those of the photos in which how far an edit goes can be seen at all."""
        faceless = {p for p, place in zip(every, self.places) if place is None} if target in self.onlookers else set()
        return [photo for photo in photos if photo not in faceless]

    @property
    def gaps(self) -> frozenset[str]:
        """Metrics that some pictures have no figure of: there is no face in them."""
        return frozenset({LOST.name, *(onlooker.name for onlooker in self._all)})


def targets_of(run: Run, attributes: tuple[str, ...], reach: float) -> tuple[Target, ...]:
    """The edits that the person names; else the paper's, as far as the bundle has them; else its first two."""
    edits, sliders, options = run.bundle.edits, run.bundle.sliders, run.protocol.options
    offered = sliders or edits
    usual = [name for name in PAPER_EDITS if name in offered][:2] or list(offered)[:2]
    named = dict(options.get("attributes") or {})
    return tuple(
        target_of(name, edits[name], sliders.get(name), attributes, named.get(name), reach)
        for name in edit_names(run.bundle, options.get("edits") or (), usual)
    )
