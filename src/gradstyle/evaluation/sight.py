"""How far edits go: as judges see it, and onlookers where there is one for what an edit is meant to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..metrics.attributes import Target, spread
from ..metrics.onlookers import LOST, ONLOOKERS, Onlooker, faces_of, measured
from ..metrics.values import Metric
from ..photos.faces import Face
from .bench import Bench
from .evaluators import FIRST, Seen

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


class Sight:
    """All that see how far edits go, and the photos as they see them."""

    def __init__(self, bench: Bench, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self.names, self.attributes = bench.gauge.names, bench.judges[0].config.attributes
        self.onlookers = {t: ONLOOKERS[t.attribute] for t in targets if t.attribute in ONLOOKERS}
        for target, onlooker in [*self.onlookers.items()]:
            if onlooker.missing:
                bench.notes.append(
                    f"{target.name}: the judge alone says how far it goes; `pip install 'gradstyle[{onlooker.extra}]'` "
                    f"brings a network from elsewhere, {onlooker.source}."
                )
                del self.onlookers[target]
        logits, figures = list[list[Tensor]](), list[dict[str, Tensor]]()
        self.places: list[Face | None] = []
        for batch in range(bench.photos.batches):
            logits.append([bench.judged(batch, judge)[1].double() for judge in range(len(bench.judges))])
            if self.onlookers:
                images = bench.at_resolution(batch)
                faces = faces_of(images)
                self.places += faces
                figures.append(measured(self._all, images, faces))
            bench.say("looking at photos", batch + 1, bench.photos.batches)
        self.photos = [torch.cat(of_judge) for of_judge in zip(*logits)]  # [photos, attributes] a judge
        self.spreads = [spread(each) for each in self.photos]
        self._check_faces(bench)
        self.units = {
            o.name: float(spread(torch.cat([each[o.name] for each in figures])[:, None])) if o.in_deviations else 1.0
            for o in self._all
        }

    def _check_faces(self, bench: Bench) -> None:
        faceless = sum(face is None for face in self.places)
        if faceless and faceless == len(self.places):
            if turning := [target.name for target in self.onlookers if target.turns]:
                raise ValueError(
                    f"in none of the {faceless:,} photos a face is found, so that nothing sees how far "
                    f"{turning[0]!r} turns heads: measure other edits with --edit"
                )
            bench.notes.append("No face is found in any photo: the judge alone says how far edits go.")
            self.onlookers.clear()
        elif faceless:
            bench.notes.append(
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
        found = [onlooker.metric for onlooker in self._all]
        whose = list(zip(self.names, ("", ", second judge")))
        found += [
            Metric(f"{name}_change", f"Measured change{w}, sd", "", "of the attribute, in the edit's sense, in sd")
            for name, w in whose
        ]
        found += [LOST] * bool(self.onlookers)
        return found + [
            Metric(f"{name}_others", f"Other attributes{w}", "lower", "mean |change| of the others, in sd")
            for name, w in whose
        ]

    def change(self, target: Target) -> tuple[str, str, tuple[float, ...]]:
        """Which metric says how far an edit goes, its unit, and the changes at which methods are compared."""
        if onlooker := self.onlookers.get(target):
            return onlooker.name, onlooker.unit, onlooker.goals
        return f"{FIRST}_change", " sd", CHANGES

    @property
    def protocol(self) -> dict[str, Any]:
        """By edit, what it is meant to change, who sees it, and how it is counted."""
        found = {}
        for target in self.targets:
            change, unit, goals = self.change(target)
            found[target.name] = {
                "attribute": target.attribute,
                "reverse": target.reverse,
                "range": [target.low, target.high],
                "change": change,
                "unit": unit,
                "goals": list(goals),
                "by": self.onlookers[target].provenance if target in self.onlookers else FIRST,
            }
        return found

    # ---- pictures

    def look(self, seen: Seen, first: int, target: Target | None = None) -> View:
        """At pictures of photos from the `first` on; of one edit's, its own onlooker alone looks."""
        onlookers = self._all if target is None else [o for t, o in self.onlookers.items() if t == target]
        places = self.places[first : first + len(seen)]
        figures = measured(onlookers, seen.images, places) if onlookers else {}
        return View(tuple(x.double() for x in seen.logits), figures, torch.tensor([place is None for place in places]))

    def changes(self, target: Target, before: View, after: View) -> dict[str, Tensor]:
        """How far an edit went, and how much else it changed, by metric [N].

        A judge counts in standard deviations among the photos. Where a face is lost in either picture, how far the edit
        went is NaN, and that it is lost is a figure.
        """
        found = dict[str, Tensor]()
        if onlooker := self.onlookers.get(target):
            moved = (after.figures[onlooker.name] - before.figures[onlooker.name]) / self.units[onlooker.name]
            found[onlooker.name] = target.sign * onlooker.sign * moved
            found[LOST.name] = moved.isnan().double().where(~before.faceless, torch.nan)
        here = self.attributes.index(target.attribute) if target.attribute in self.attributes else None
        others = [place for place in range(len(self.attributes)) if place != here]
        for name, old, new, unit in zip(self.names, before.logits, after.logits, self.spreads):
            moved = (new - old) / unit
            if here is not None:
                found[f"{name}_change"] = target.sign * moved[:, here]
            found[f"{name}_others"] = moved[:, others].abs().mean(dim=1)
        return found

    def seen(self, target: Target, photos: Sequence[str], every: Sequence[str]) -> list[str]:
        """Those of the photos in which how far an edit goes can be seen at all."""
        faceless = {p for p, place in zip(every, self.places) if place is None} if target in self.onlookers else set()
        return [photo for photo in photos if photo not in faceless]

    @property
    def gaps(self) -> frozenset[str]:
        """Metrics that some pictures have no figure of: there is no face in them."""
        return frozenset({LOST.name, *(onlooker.name for onlooker in self._all)})
