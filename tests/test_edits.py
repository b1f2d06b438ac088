"""Edits as values: they scale, add, know their generator, and change codes in one place."""

from __future__ import annotations

import pytest
import torch

from gradstyle.edits import Edit, combine
from gradstyle.stylegan2 import Codes


def edit(name: str, seed: int, rows: int = 1, s: bool = False, generator: str = "here") -> Edit:
    numbers = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, 4, generator=numbers) if rows else None
    return Edit(name, w, torch.randn(6, generator=numbers) if s else None, generator)


SMILE, POSE, HAT, TAN = (
    edit("smile", 1),
    edit("pose", 2, rows=3),
    edit("hat", 3, rows=0, s=True),
    edit("tan", 4, 3, True),
)


def codes(s: bool = False) -> Codes:
    numbers = torch.Generator().manual_seed(9)
    return Codes(torch.randn(2, 3, 4, generator=numbers), torch.randn(2, 6, generator=numbers) if s else None)


def test_the_arithmetic_is_that_of_the_offsets() -> None:
    both = 2 * SMILE - POSE
    torch.testing.assert_close(both.w, 2 * SMILE.w - POSE.w)
    assert both.s is None and both.generator == "here"
    mixed = SMILE + 0.5 * TAN - HAT
    torch.testing.assert_close(mixed.w, SMILE.w + 0.5 * TAN.w)
    torch.testing.assert_close(mixed.s, 0.5 * TAN.s - HAT.s)
    torch.testing.assert_close((-POSE).w, -POSE.w)
    torch.testing.assert_close((POSE * 3).w, (3 * POSE).w)
    torch.testing.assert_close((HAT - TAN).s, HAT.s - TAN.s)
    torch.testing.assert_close((HAT - TAN).w, -TAN.w)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (2 * SMILE - POSE, "2 * smile - pose"),
        (SMILE * 1, "smile"),
        (-SMILE, "-1 * smile"),
        (0.5 * (SMILE + POSE), "0.5 * (smile + pose)"),
        (SMILE - (POSE + HAT), "smile - (pose + hat)"),
        (SMILE - 2 * POSE, "smile - (2 * pose)"),
        (1e-9 * SMILE, "1e-09 * smile"),
    ],
)
def test_names_say_what_was_done(made: Edit, name: str) -> None:
    assert made.name == name


def test_zero_edits_are_no_edits() -> None:
    assert SMILE and HAT and TAN and 1e-6 * SMILE
    assert not 0 * SMILE and not -0.0 * TAN and not SMILE - SMILE
    assert not Edit("none", torch.zeros(3, 4), torch.zeros(6))
    assert Edit("half", torch.zeros(3, 4), torch.ones(6))


def test_codes_move_by_the_offset_and_the_input_stays() -> None:
    for before in (codes(), codes(s=True)):
        kept = Codes(before.w.clone(), None if before.s is None else before.s.clone())
        for made in (SMILE, POSE, HAT, TAN, 2 * SMILE - TAN):
            after = made.apply(before)
            moved = torch.zeros(3, 4) if made.w is None else made.w
            torch.testing.assert_close(after.w, kept.w + moved)
            if made.s is None:
                assert after.s is before.s
            else:
                torch.testing.assert_close(after.s, (0 if kept.s is None else kept.s) + made.s.expand(2, 6))
            assert torch.equal(before.w, kept.w)
            assert before.s is kept.s is None or torch.equal(before.s, kept.s)


def test_one_row_moves_every_code_alike() -> None:
    moved = SMILE.apply(codes()).w - codes().w
    torch.testing.assert_close(moved, SMILE.w.expand(2, 3, 4))
    assert not torch.allclose((POSE.apply(codes()).w - codes().w)[:, 0], POSE.w[1])


def test_adding_is_applying_one_after_the_other() -> None:
    together, after = (2 * SMILE - TAN).apply(codes()), (-TAN).apply((2 * SMILE).apply(codes()))
    torch.testing.assert_close(together.w, after.w)
    torch.testing.assert_close(together.s, after.s)


def test_codes_keep_their_precision() -> None:
    half = Codes(codes().w.to(torch.bfloat16), None)
    after = TAN.apply(half)
    assert after.w.dtype == after.s.dtype == torch.bfloat16


def test_another_generators_edits_are_refused_with_both_names() -> None:
    other, free = edit("glasses", 5, generator="there"), edit("beard", 6, generator="")
    with pytest.raises(ValueError, match="'smile' and 'glasses' are for the generators here and there"):
        SMILE + other
    with pytest.raises(ValueError, match="generators here and there"):
        SMILE - other
    assert (SMILE + free).generator == (free + SMILE).generator == "here"
    assert (free + other).generator == "there" and (free * 2).generator == ""


def test_offsets_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'pose' and 'four' do not add: they move \[3, 4\] and \[5, 4\]"):
        POSE + edit("four", 1, rows=5)
    with pytest.raises(ValueError, match="do not add"):
        SMILE + Edit("wide", torch.ones(1, 5))
    with pytest.raises(ValueError, match=r"'four' moves codes \[5, 4\], these are \[3, 4\]"):
        edit("four", 1, rows=5).apply(codes())
    with pytest.raises(ValueError, match=r"moves codes \[1, 5\]"):
        Edit("wide", torch.ones(1, 5)).apply(codes())
    with pytest.raises(ValueError, match="'long' moves 7 style channels, these are 6"):
        Edit("long", None, torch.ones(7)).apply(codes(s=True))
    for w, s in ((None, None), (torch.ones(4), None), (None, torch.ones(1, 6)), (torch.ones(1, 3, 4), None)):
        with pytest.raises(ValueError, match="edit 'odd'"):
            Edit("odd", w, s)


@pytest.mark.parametrize("amount", [float("nan"), float("inf")])
def test_an_amount_is_a_number(amount: float) -> None:
    with pytest.raises(ValueError, match=f"{amount} times edit 'smile' is no edit"):
        amount * SMILE


def test_several_edits_are_their_sum_and_nothing_is_none() -> None:
    total = combine([2 * SMILE, -POSE])
    assert total is not None
    torch.testing.assert_close(total.w, 2 * SMILE.w - POSE.w)
    assert combine([]) is combine(()) is combine(0 * SMILE) is combine([SMILE, -SMILE]) is None
    alone = combine(HAT)
    assert alone is not None and alone.s is HAT.s
