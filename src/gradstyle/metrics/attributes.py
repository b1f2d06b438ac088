"""What an edit is meant to change, and how much of it a picture shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..bundles.sliders import Slider
from ..edits import Edit
from .pose import POSE

# Names that people give to edits, and CelebA's for what they change; True: the other way round.
KNOWN = {
    "smile": ("Smiling", False),
    "age": ("Young", True),
    "young": ("Young", False),
    "pose": ("yaw", False),
    "yaw": ("yaw", False),
    "pitch": ("pitch", False),
    "glasses": ("Eyeglasses", False),
    "eyeglasses": ("Eyeglasses", False),
    "gender": ("Male", False),
    "beard": ("No_Beard", True),
    "bangs": ("Bangs", False),
    "pale": ("Pale_Skin", False),
}


@dataclass(frozen=True)
class Target:
    """An edit, what it is meant to change, and over which amounts."""

    name: str
    edit: Edit
    attribute: str
    reverse: bool
    low: float
    high: float

    @property
    def turns(self) -> bool:
        """Whether it turns heads, which a face's mesh sees and judges do not."""
        return self.attribute in POSE

    @property
    def sign(self) -> float:
        return -1.0 if self.reverse else 1.0

    def amounts(self, steps: tuple[float, ...]) -> list[float]:
        return amounts_within(self.low, self.high, steps)


def amounts_within(low: float, high: float, steps: tuple[float, ...]) -> list[float]:
    """Both ways, as far as the slider goes; where it goes less far than the first step, its end."""
    up = [a for a in steps if a <= high] or [high] * (high > 0)
    down = [a for a in steps if a <= -low] or [-low] * (low < 0)
    return [*(-a for a in reversed(down)), *up]


def target_of(
    name: str,
    edit: Edit,
    slider: Slider | None,
    attributes: tuple[str, ...],
    named: str | None = None,
    reach: float = 3.0,
) -> Target:
    """What an edit changes: as the person says, as its slider's report says, or as its name does."""
    low, high = (slider.low, slider.high) if slider else (-reach, reach)
    reported = slider.report.get("attribute") if slider else None
    known = {attribute.casefold(): attribute for attribute in (*attributes, *POSE)}
    if named:
        wanted, reverse = named.removeprefix("-"), named.startswith("-")
    elif isinstance(reported, str):
        wanted, reverse = reported, bool(slider and slider.report.get("reverse"))
    else:
        wanted, reverse = KNOWN.get(name.casefold(), (name.replace(" ", "_"), False))
    if wanted.casefold() not in known:
        raise ValueError(
            f"edit {name!r} is said to change {wanted!r}, which the judge does not see: "
            f"say what it changes with --attribute '{name}=NAME', a name of {', '.join((*attributes, *POSE))}"
        )
    return Target(name, edit, known[wanted.casefold()], reverse, low, high)


def spread(scores: Tensor) -> Tensor:
    """One standard deviation of each column among real photos; one that does not vary moves nothing."""
    deviations = torch.stack([column[~column.isnan()].std() for column in scores.T])
    return torch.where(deviations > 0, deviations, torch.inf)  # [attributes]


def shown(labels: Mapping[str, list[bool | None]], attribute: str, scores: Tensor) -> list[bool | None]:
    """Which photos have an attribute: by the table where it has that column, else by the judge."""
    if attribute in labels:
        return labels[attribute]
    return [bool(score > 0) for score in scores.tolist()]
