"""Which codes an edit moves, how far its slider goes, and what speaks against one: on responses that are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from gradstyle.directions.bench import Responses
from gradstyle.directions.layers import choose_layers, on_layers, parse_layers
from gradstyle.directions.report import EditReport, measure
from gradstyle.edits import Edit

CODES = 20


@dataclass
class MadeUp:
    """A bench whose attribute answers to amounts as `answer` says, on each of 20 codes."""

    answer: Callable[[float], float] = lambda a: a
    others: dict[str, float] = field(default_factory=dict)
    distance: Callable[[float], float] | None = None
    real: Callable[[float], float] | None = None
    unsteady: int = 0  # codes that fall between 1 and 1.5

    def look(self, edit: Edit, amounts: list[float], attribute: str, independent: bool) -> Responses:
        own = torch.tensor([[self.answer(a)] * CODES for a in amounts]) + torch.linspace(-1, 1, CODES)
        if self.unsteady:
            own[amounts.index(1.5), : self.unsteady] -= 1.0
        near = {name: torch.tensor([[-v] * CODES, [v] * CODES]) for name, v in self.others.items()}
        real = None if self.real is None else torch.tensor([[self.real(a)] * 5 for a in amounts])
        return Responses(own, own[[amounts.index(-1.0), amounts.index(1.0)]], near, real)

    def strangeness(self, edits: list[Edit]) -> Tensor | None:
        if self.distance is None:
            return None
        return torch.tensor([[self.distance(float(edit.w[0, 0]))] * 5 for edit in edits])


def told(bench: MadeUp, watched: tuple[str, ...] = (), **given: Any) -> EditReport:
    report = EditReport("smile", "Smiling", False, "interfacegan", "teacher", "judge", True, **given)
    edit = Edit("smile", torch.ones(1, 2))
    return measure(bench, edit, report, list(watched))  # type: ignore[arg-type]


def test_a_good_edit_goes_all_the_way() -> None:
    report = told(MadeUp(others={"Male": -0.3}), watched=("Male",), accuracy=0.95)
    assert (report.low, report.high, report.monotonic, report.reasons) == (-3, 3, 1.0, [])
    assert report.moved == pytest.approx(1) and report.leaks == pytest.approx({"Male": -0.3}) and report.codes == CODES
    assert dict(map(tuple, report.response))[2.0] == pytest.approx(2)


def test_the_range_ends_where_the_edit_does() -> None:
    stops = told(MadeUp(lambda a: min(a, 1.55)))
    assert (stops.low, stops.high) == (-3, 1.5) and not stops.reasons
    other = told(MadeUp(distance=lambda a: 0.39 * a if a > 0 else -0.1 * a))
    assert (other.low, other.high) == (-3, 1.5)  # 0.6 is another person
    broken = told(MadeUp(real=lambda a: -0.55 * abs(a)))
    assert (broken.low, broken.high) == (-1.5, 1.5)  # one standard deviation
    assert not broken.reasons


def test_too_short_a_range_is_no_slider_and_says_why() -> None:
    short = told(MadeUp(distance=lambda a: abs(a)))
    assert (short.low, short.high) == (-0.5, 0.5)
    assert "its range is only -0.5 to +0.5: at -1 it is another person (distance 1.00)" in short.reasons[0]
    false = told(MadeUp(real=lambda a: -1.5 * abs(a)))
    assert "not real any more (the discriminator falls by 1.5)" in false.reasons[0]
    still = told(MadeUp(lambda a: 0.05 * a))
    assert "amount 1 moves Smiling by 0.05, less than 0.5" in still.reasons and still.high == 0


def test_it_rises_on_nine_of_ten_codes_or_the_range_is_narrowed() -> None:
    assert told(MadeUp(unsteady=2)).high == 3 and told(MadeUp(unsteady=2)).monotonic == 0.9
    narrowed = told(MadeUp(unsteady=3))
    assert narrowed.high == 1.0 and narrowed.low == -3 and narrowed.monotonic == 1.0
    wild = told(MadeUp(lambda a: a + 2.0 * (round(2 * a) % 2)))  # up and down everywhere
    assert wild.reasons and any("only" in reason or "steadily" in reason for reason in wild.reasons)


def test_an_edit_that_is_better_at_being_another_is_none() -> None:
    bench = MadeUp(others={"Male": 1.4, "Bald": 3.0})
    assert told(bench, watched=("Male",)).reasons == ["moves Male (+1.40) more than Smiling"]
    assert told(bench).reasons == []  # reported, but nobody asked to have it apart
    assert told(MadeUp(), accuracy=0.6).reasons == [
        "codes with and without it are hardly told apart: 60% of those held out"
    ]


def test_a_reversed_edit_is_good_when_it_lowers() -> None:
    report = EditReport("age", "Young", True, "interfacegan", "teacher", "judge", True)
    edit = Edit("age", torch.ones(1, 2))
    measure(MadeUp(lambda a: -a), edit, report, [])  # type: ignore[arg-type]
    assert report.moved == pytest.approx(1) and report.taught == pytest.approx(1) and not report.reasons
    wrong = EditReport("age", "Young", True, "interfacegan", "teacher", "judge", True)
    assert measure(MadeUp(), edit, wrong, []).reasons  # type: ignore[arg-type]


# ---- codes


def test_the_run_with_least_leakage_for_its_effect_is_chosen() -> None:
    own = torch.tensor([0.0, 0.5, 0.5, 0.05, 0.0])
    others = torch.tensor([[0.3, 0.0], [0.0, 0.0], [0.1, 0.0], [0.0, 0.9], [0.0, 0.9]])
    assert choose_layers(own, others) == (1, 2)
    assert choose_layers(own, others, kept=0.4) == (1, 1)  # half of the effect for no leakage at all
    assert choose_layers(own, torch.zeros(5, 2)) == (1, 2)  # the shortest of those that leak alike
    with pytest.raises(ValueError, match="no code moves"):
        choose_layers(-own, others)


def test_codes_outside_the_run_stay() -> None:
    offset = on_layers(torch.ones(4), (1, 2), 5)
    assert offset.sum(dim=1).tolist() == [0, 4, 4, 0, 0]
    assert parse_layers("4-7") == (4, 7) and parse_layers("3") == (3, 3)
    for wrong in ((3, 2), (-1, 2), (0, 5)):
        with pytest.raises(ValueError, match="codes go from 0 to 4"):
            on_layers(torch.ones(4), wrong, 5)
    for text in ("", "a-b", "1-", "1-x", "-3"):
        if text != "1-":
            with pytest.raises(ValueError, match="FIRST-LAST"):
                parse_layers(text)
