"""A budget that many share: never more than there is, nobody forgotten, and who leaves takes nothing along."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gradstyle.studio.line import MOST_PASSING, MOST_WAITING, Line, LineFull


def test_no_more_than_there_is_at_once() -> None:
    line, most, lock = Line(10), 0, threading.Lock()

    def work(wanted: int) -> None:
        nonlocal most
        with line.room(wanted):
            with lock:
                most = max(most, line.used)
            threading.Event().wait(0.001)

    with ThreadPoolExecutor(8) as people:
        for done in [people.submit(work, 1 + number % 7) for number in range(60)]:
            done.result()
    assert 7 < most <= 10 and line.used == 0


def test_who_wants_more_than_there_is_has_all_of_it() -> None:
    line = Line(10)
    with line.room(1000):
        assert line.used == 10


def test_small_ones_pass_large_ones_but_not_for_ever() -> None:
    async def people() -> list[str]:
        line, came = Line(10), []
        leave = asyncio.Event()

        async def come(name: str, wanted: int, until: asyncio.Event | None = None) -> None:
            async with line.turn(wanted):
                came.append(name)
                if until is not None:
                    await until.wait()

        first = asyncio.create_task(come("first", 5, leave))
        await asyncio.sleep(0)
        large = asyncio.create_task(come("large", 8))
        await asyncio.sleep(0.01)
        for _ in range(MOST_PASSING):
            await come("small", 1)
        late = asyncio.create_task(come("late", 1))
        await asyncio.sleep(0.01)
        assert "late" not in came
        leave.set()
        await asyncio.gather(first, large, late)
        assert line.used == 0
        return came

    assert asyncio.run(people()) == ["first", *["small"] * MOST_PASSING, "large", "late"]


def test_who_leaves_the_line_holds_up_nobody() -> None:
    async def people() -> None:
        line = Line(10)

        async def come(wanted: int) -> None:
            async with line.turn(wanted):
                await asyncio.sleep(60)

        inside, waiting = asyncio.create_task(come(10)), asyncio.create_task(come(10))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        inside.cancel()
        await asyncio.wait([inside])
        assert line.used == 0
        async with line.turn(10):
            assert line.used == 10

    asyncio.run(people())


def test_where_many_wait_no_more_may_but_who_need_not_wait_comes_in() -> None:
    async def people() -> None:
        line, leave = Line(10), asyncio.Event()

        async def come(wanted: int) -> None:
            async with line.turn(wanted):
                await leave.wait()

        inside = [asyncio.create_task(come(8)) for _ in range(1 + MOST_WAITING)]
        await asyncio.sleep(0.01)
        with pytest.raises(LineFull, match="try again in a moment"):
            await come(8)
        async with line.turn(1):
            leave.set()
        await asyncio.gather(*inside)
        assert line.used == 0

    asyncio.run(people())
