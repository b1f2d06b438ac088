"""What happens when something on the page is used, without a page: who waits, who does not, and what is refused."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio
import pytest
from anyio import CapacityLimiter
from PIL import Image

from gradstyle.photos import open_photo
from gradstyle.studio import Engine, Sessions
from gradstyle.studio import session as module
from gradstyle.studio.disk import Disk
from gradstyle.studio.handlers import StudioUI
from gradstyle.studio.layout import THREADS
from gradstyle.studio.line import Line
from gradstyle.studio.programs import ProgramUI
from tests.support.studios import a_photo

LARGE = (300, 200)


@pytest.fixture
def ui(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StudioUI]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    disk = Disk(1 << 24)
    engine.pixels = Line(LARGE[0] * LARGE[1] * 3 // 2)
    ui = ProgramUI(engine, Sessions(engine, disk.visitors, most=3), disk, sliders={"tiny": {}})
    ui.blocks = SimpleNamespace(limiter=CapacityLimiter(THREADS))
    ui.note = "note"
    yield ui
    disk.close()


def by(key: str) -> gradio.Request:
    return gradio.Request(session_hash=key)


def sent(ui: StudioUI, size: tuple[int, int] = LARGE, seed: int = 0) -> dict[str, Any]:
    return {"path": str(a_photo(ui.disk.place(), "me.png", size, seed)), "orig_name": "me.png"}


def test_large_photos_are_worked_on_one_after_the_other(ui: StudioUI, monkeypatch: pytest.MonkeyPatch) -> None:
    ui.sessions.most = 8
    at_once, most, lock = 0, 0, threading.Lock()

    def counted(path: Path) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.02)
        photo = open_photo(path)
        with lock:
            at_once -= 1
        return photo

    monkeypatch.setattr(module, "open_photo", counted)

    async def crowd() -> None:
        files = [sent(ui, seed=number) for number in range(8)]
        await asyncio.gather(*(ui.take(file, by(str(number))) for number, file in enumerate(files)))
        await asyncio.gather(*(ui.save("png", by(str(number))) for number in range(8)))

    asyncio.run(crowd())
    assert most == 1 and [ui.sessions.get(f"/{number}").name for number in range(8)] == ["me"] * 8


def test_who_has_a_small_photo_waits_for_no_large_one(ui: StudioUI, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, they hold no thread that the small one needs."""
    ui.sessions.most = 9
    go_on = threading.Event()

    def slow(path: Path) -> Any:
        photo = open_photo(path)
        if photo.size == LARGE:
            assert go_on.wait(300)
        return photo

    monkeypatch.setattr(module, "open_photo", slow)

    async def crowd() -> None:
        large = [asyncio.create_task(ui.take(sent(ui, seed=n), by(f"large {n}"))) for n in range(8)]
        await asyncio.sleep(0.1)
        await asyncio.wait_for(ui.take(sent(ui, (40, 30)), by("small")), 200)
        assert ui.sessions.get("/small").name == "me" and not any(task.done() for task in large)
        go_on.set()
        await asyncio.gather(*large)

    asyncio.run(crowd())


def test_calls_of_strangers_make_no_visitors(ui: StudioUI) -> None:
    async def crowd() -> None:
        await ui.take(sent(ui), by("ada"))
        for number in range(5):
            for act in (ui.undo, ui.redo, ui.reset, ui.compare):
                await act(by(f"stranger {number}"))
            ui.stop(by(f"stranger {number}"))
            ui.more_faces(by(f"stranger {number}"))

    asyncio.run(crowd())
    assert len(ui.sessions) == 1 and ui.sessions.get("/ada").name == "me"


def test_with_no_room_for_visitors_an_upload_is_refused_and_removed(ui: StudioUI) -> None:
    async def crowd() -> Any:
        for number in range(3):
            await ui.take(sent(ui, seed=number), by(str(number)))
        return await ui.take(file, by("late"))

    file = sent(ui)
    answer = asyncio.run(crowd())
    assert "3 people have photos here" in answer["note"] and not Path(file["path"]).exists()


def test_the_same_photo_twice_in_a_batch_is_edited_twice(ui: StudioUI) -> None:
    asyncio.run(ui.take(sent(ui), by("ada")))
    file = sent(ui)
    path, report = ui.batch([file, file], False, by("ada"), lambda *given, **named: None)  # type: ignore[arg-type]
    assert "2 of 2 photos edited" in report and path and not Path(file["path"]).exists()


def test_it_is_said_where_other_remarks_are_that_an_edit_does_nothing(ui: StudioUI) -> None:
    ui.sliders = {"tiny": {"smile": "slider"}}

    def told(doing: Any) -> str:
        return str(asyncio.run(doing)["note"])

    none = '<p role="status">smile +1e-06 changes next to nothing in this photo</p>'
    assert told(ui.take(sent(ui), by("ada"))) == ""
    ui.sessions.get("/ada").note = "2 faces"
    two = '<p role="status">2 faces</p>'
    assert told(ui._move(by("ada"), "tiny", 2)) == two
    assert told(ui._move(by("ada"), "tiny", 1e-6)) == two + none
    assert told(ui.save("png", by("ada"))) == none
    assert told(ui.undo(by("ada"))) == "" and told(ui.redo(by("ada"))) == none
    _, report = ui.batch([sent(ui)], False, by("ada"), lambda *given, **named: None)  # type: ignore[arg-type]
    assert "1 of 1 photos edited" in report and "smile +1e-06 changes next to nothing" in report


def test_results_count_for_the_disk(ui: StudioUI) -> None:
    asyncio.run(ui.take(sent(ui), by("ada")))
    ui.disk.most = ui.disk.used + 1000
    with pytest.raises(gradio.Error, match="disk is full"):
        asyncio.run(ui.save("png", by("ada")))
    with pytest.raises(gradio.Error, match="disk is full"):
        asyncio.run(ui.sweep("smile", "gif", by("ada")))
    with pytest.raises(gradio.Error, match="disk is full"):
        asyncio.run(ui.function_edit(sent(ui, (30, 20)), {"smile": 1}, "", "", "largest"))
    _, report = ui.batch([sent(ui, (30, 20))], False, by("ada"), lambda *given, **named: None)  # type: ignore[arg-type]
    assert "0 of 1 photos edited" in report and "disk is full" in report


@pytest.mark.parametrize("size", [LARGE, (40, 30)])
def test_the_size_of_a_photo_is_known_before_it_is_read(ui: StudioUI, size: tuple[int, int]) -> None:
    file = sent(ui, size)
    assert ui.pixels_of([file, by("ada")]) == size[0] * size[1]
    asyncio.run(ui.take(file, by("ada")))
    assert ui.pixels_of(["png", by("ada")]) == size[0] * size[1]
    assert ui.pixels_of([{"path": "nowhere"}, {"path": "\0"}, {"path": "a" * 5000}, {"path": 7}]) == 0


def test_a_picture_of_two_colours_counts_by_its_pixels(ui: StudioUI) -> None:
    path = ui.disk.place() / "bomb.png"
    Image.new("1", (9000, 9000)).save(path)
    assert path.stat().st_size < 20_000 and ui.pixels_of([{"path": str(path)}]) == 81_000_000
