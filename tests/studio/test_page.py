"""The page in a real browser. Where there is no Chromium, these tests are skipped and say so."""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gradstyle.studio.export import FRAMES, SIDES
from tests.support.studios import CHROMIUM, MAX_UPLOAD, Running, a_photo

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO BROWSER: the studio's page is NOT tested. `make test` installs Chromium where it may (as root, with "
    "apt); else install it, or set GRADSTYLE_CHROMIUM to where it is",
)
SLOW = 60_000  # milliseconds: on a machine with other work


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


class Seen:
    """What a page asked for and complained of."""

    def __init__(self, page: Page, studio: Running) -> None:
        self.foreign: list[str] = []
        self.errors: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

        def only_ours(route: Any) -> None:
            if route.request.url.startswith((studio.address, "data:", "blob:")):
                route.continue_()
            else:
                self.foreign.append(route.request.url)
                route.abort()

        page.route("**/*", only_ours)


def opened(browser: Browser, studio: Running, **options: Any) -> tuple[Page, Seen]:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(SLOW)
    expect.set_options(timeout=SLOW)
    seen = Seen(page, studio)
    page.goto(studio.address)
    page.wait_for_selector('.gs-canvas[data-empty="false"]')
    return page, seen


@pytest.fixture(scope="module")
def both(browser: Browser, studio: Running) -> Iterator[tuple[Page, Seen]]:
    page, seen = opened(browser, studio, accept_downloads=True, viewport={"width": 1280, "height": 900})
    yield page, seen
    page.context.close()


@pytest.fixture
def page(both: tuple[Page, Seen]) -> Iterator[Page]:
    """The same page for all tests, on its first tab and with sliders at 0."""
    page, _ = both
    page.get_by_role("tab", name="Edit").click()
    if page.get_by_role("button", name="Reset", exact=True).is_enabled():
        page.get_by_role("button", name="Reset", exact=True).click()
        expect(page.locator(".gs-canvas")).to_have_attribute("data-plain", "true")
    yield page


def slider(page: Page, name: str) -> Any:
    return page.get_by_label(f"range slider for {name}")


def moved(page: Page, name: str, amount: float) -> None:
    """Move a slider, and wait until the page shows it."""
    slider(page, name).fill(str(amount))
    expect(page.locator(".gs-says")).to_contain_text(f"{name.lower()} {amount:+.3g}")


def shown(page: Page, which: str = "after") -> str:
    return str(page.locator(f".gs-{which}").get_attribute("src"))


def put_in(page: Page, path: Path) -> None:
    page.locator("#gs-photo input[type=file]").first.set_input_files(path)


def test_it_opens_with_a_picture_and_asks_nobody_else(both: tuple[Page, Seen], page: Page) -> None:
    expect(page.locator(".gs-made button")).to_have_count(6)
    assert both[1].foreign == [] and both[1].errors == []
    assert page.locator(".gs-after").get_attribute("alt") == "The face after: no edits, by e4e"
    assert page.evaluate("[...document.images].every((image) => image.alt && image.naturalWidth > 0)")
    assert page.evaluate("document.fonts.size") == 0  # the system's own


def test_a_slider_edits_the_face_and_the_whole_picture(page: Page) -> None:
    face = shown(page)
    page.get_by_role("button", name="Picture", exact=True).click()
    whole = shown(page)
    moved(page, "Smile", 2)
    assert shown(page) != whole and shown(page, "before") == whole
    page.get_by_role("button", name="Face", exact=True).click()
    assert shown(page) != face and shown(page, "before") == face
    assert "smile +2" in str(page.locator(".gs-after").get_attribute("alt"))
    page.get_by_role("button", name="The same, as a command or in Python").click()
    expect(page.get_by_text("--edit smile=2")).to_be_visible()
    page.get_by_label("Reset to default value").first.click()
    expect(page.locator(".gs-canvas")).to_have_attribute("data-plain", "true")
    assert shown(page) == face


def test_the_last_of_many_moves_is_answered(page: Page) -> None:
    """A slider that is let go says two things at once, and the next move may come while the last is answered.

    Gradio's queue loses an answer then, once in some fifty moves on a quick machine: none may go through it.
    """
    pauses, asked = random.Random(0), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    for number in range(40):
        amount = 0.05 * (1 + number * 7 % 39)
        page.evaluate(
            """(value) => {
              const slider = document.querySelector('input[type=range][aria-label="range slider for Smile"]');
              slider.value = value;
              slider.dispatchEvent(new Event("input", { bubbles: true }));
              slider.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
            }""",
            f"{amount:.2f}",
        )
        page.wait_for_timeout(pauses.randint(0, 120))
    expect(page.locator(".gs-says")).to_contain_text(f"smile {amount:+.3g}")
    assert asked and all("/gradio_api/run/" in url for url in asked), asked


def test_undo_redo_and_the_strip_bring_the_sliders_back(page: Page) -> None:
    moved(page, "Smile", 1)
    one = shown(page)
    moved(page, "Age", -1)
    two = shown(page)
    page.keyboard.press("Control+z")
    expect(slider(page, "Age")).to_have_value("0")
    assert shown(page) == one and slider(page, "Smile").input_value() == "1"
    page.keyboard.press("Control+Shift+z")
    expect(slider(page, "Age")).to_have_value("-1")
    assert shown(page) == two
    page.get_by_role("button", name="Undo").click()
    expect(slider(page, "Age")).to_have_value("0")
    page.locator(".gs-steps button").first.click()
    expect(slider(page, "Smile")).to_have_value("0")
    expect(page.locator(".gs-steps [aria-current]")).to_have_count(1)


def test_it_is_used_with_the_keyboard(page: Page) -> None:
    slider(page, "Smile").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".gs-says")).to_contain_text("smile +0.2")
    divider = page.get_by_label("Divider")
    divider.focus()
    page.keyboard.press("Home")
    assert page.locator(".gs-pair").evaluate("(pair) => pair.style.getPropertyValue('--split')") == "0%"
    assert "none" not in page.locator(".gs-line span").evaluate("(knob) => getComputedStyle(knob).boxShadow")
    page.keyboard.press("ArrowRight")
    assert divider.get_attribute("aria-valuetext") == "1 % before"
    page.get_by_role("button", name="Picture", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Picture", exact=True)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Shift+Tab")
    focused = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Face" and focused == "solid"
    page.keyboard.press("Enter")


def test_a_photo_is_uploaded_edited_and_saved_at_full_size(page: Page, tmp_path: Path) -> None:
    put_in(page, a_photo(tmp_path, "My holiday.png", (640, 480), seed=5))
    expect(page.locator(".gs-says")).to_have_text("My holiday, 640 × 480")
    moved(page, "Smile", 2)
    with page.expect_download(timeout=SLOW) as download:
        page.get_by_role("button", name="Save the picture").click()
    saved = download.value
    assert saved.suggested_filename == "My holiday-edited.png"
    with Image.open(saved.path()) as picture:
        assert picture.size == (640, 480)
    with page.expect_download(timeout=SLOW) as download:
        page.get_by_role("button", name="Save the edit").click()
    edit = tmp_path / "edit.json"
    download.value.save_as(edit)
    assert json.loads(edit.read_text())["edits"] == {"smile": 2}
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(slider(page, "Smile")).to_have_value("0")
    page.locator("input[type=file][accept*=json]").set_input_files(edit)
    expect(slider(page, "Smile")).to_have_value("2")


def test_a_sweep_is_saved(page: Page) -> None:
    page.get_by_label("as", exact=True).click()
    page.get_by_role("option", name="gif").click()
    with page.expect_download(timeout=SLOW) as download:
        page.get_by_role("button", name="Save the sweep").click()
    with Image.open(download.value.path()) as picture:
        assert picture.format == "GIF" and picture.n_frames > FRAMES and picture.width == SIDES["gif"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "drawing.svg",
            "<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='owned'</script></svg>",
            "picture",
        ),
        ("page.jpg", "<script>document.title='owned'</script>", "page.jpg: not a picture that can be read"),
        ("<img src=x onerror=document.title='owned'>.png", "nothing", "not a picture that can be read"),
    ],
)
def test_what_is_no_photo_is_refused_on_the_page(
    page: Page, studio: Running, tmp_path: Path, name: str, content: str, said: str
) -> None:
    before = shown(page)
    (tmp_path / name).write_text(content)
    put_in(page, tmp_path / name)
    message = page.locator("#gs-note [role=alert], .toast-body").filter(has_text=said)
    expect(message.first).to_be_visible()
    assert page.title() != "owned" and shown(page) == before and studio.health()["status"] == "ok"
    page.locator(".gs-made button").nth(1).click()
    expect(page.locator("#gs-note [role=alert]")).to_have_count(0)


def test_too_large_a_photo_is_refused_on_the_page(page: Page, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes((MAX_UPLOAD + 1) << 20))
    put_in(page, tmp_path / "large.png")
    expect(page.locator(".toast-body").filter(has_text="maximum").first).to_be_visible()


def test_methods_side_by_side(page: Page) -> None:
    page.get_by_role("tab", name="Compare methods").click()
    expect(page.locator(".gs-compare figure")).to_have_count(6)
    assert page.locator(".gs-compare img").first.get_attribute("alt") == "gradmove: the face without edits"


def test_a_batch_comes_back_with_a_list_of_what_failed(page: Page, tmp_path: Path) -> None:
    moved(page, "Smile", 2)
    page.get_by_role("tab", name="Batch").click()
    (tmp_path / "no photo.jpg").write_text("not at all")
    photos = [a_photo(tmp_path, f"{n}.png", (200, 150), seed=n) for n in range(2)] + [tmp_path / "no photo.jpg"]
    page.locator("#gs-photos input[type=file]").set_input_files(photos)
    expect(page.locator("#gs-photos")).to_contain_text("no photo")
    page.get_by_role("button", name="Edit them all").click()
    expect(page.locator("#gs-report [role=status]")).to_have_text("2 of 3 photos edited.")
    expect(page.locator(".gs-report")).to_contain_text("no photo.jpg: not a picture that can be read")
    link = page.locator("#gs-zip a[href]").first
    with page.expect_download(timeout=SLOW) as download:
        link.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["001-0.png", "002-1.png", "report.csv"]
        with Image.open(io.BytesIO(archive.read("001-0.png"))) as picture:
            assert picture.size == (200, 150) and (np.asarray(picture) != np.asarray(Image.open(photos[0]))).any()
        rows = list(csv.DictReader(io.StringIO(archive.read("report.csv").decode())))
    assert [row["error"] != "" for row in rows] == [False, False, True]


def test_a_phone_and_the_dark(browser: Browser, studio: Running) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    page, seen = opened(browser, studio, **phone)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        light = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, each) => sum + +each, 0)"
        assert page.evaluate(light) < 150
        slider(page, "Hair colour").scroll_into_view_if_needed()
        box = page.locator(".gs-canvas").bounding_box()  # still in view, above the sliders
        assert box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 600
        moved(page, "Hair colour", 1)
        page.evaluate("scrollTo(0, 0)")
        page.get_by_role("button", name="Use light colours").click()
        assert page.evaluate(light) > 600
        page.reload()
        page.get_by_role("button", name="Use dark colours").wait_for()  # kept
        assert seen.foreign == [] and seen.errors == []
    finally:
        page.context.close()
