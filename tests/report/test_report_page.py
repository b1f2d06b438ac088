"""The page in a browser: it loads nothing, says no error, and does what its buttons promise."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradstyle.report.report import write_report
from tests.support import example_run
from tests.support.example_run import HOSTILE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An editing run's page, open; all that went wrong in it is in `page.wrong`."""
    api = pytest.importorskip("playwright.sync_api")
    run = example_run.write(tmp_path_factory.mktemp("page") / "run", "editing", count=30, drawn=2)
    file = write_report(run.path)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(120_000)
        page.wrong = []
        page.on("console", lambda message: page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith(("data:", "file:")) else page.wrong.append(r.url))
        page.goto(file.as_uri())
        yield page
        assert page.wrong == []
        browser.close()


def column(page: Any, table: str, place: int) -> list[str]:
    read = f"rows => rows.map(row => row.cells[{place}].dataset.value)"
    return list(page.locator(f"{table} tbody tr").evaluate_all(read))


def test_only_the_chosen_condition_is_shown(page: Any) -> None:
    for condition in ("age=+2", "smile=+2"):
        page.select_option("#condition", condition)
        shown = page.locator(".figures[data-condition]:visible")
        assert shown.count() == 1 and shown.get_attribute("data-condition") == condition
        assert page.locator(".sheet:visible").get_attribute("data-condition") == condition


def test_a_heading_sorts_and_sorts_back(page: Any) -> None:
    page.select_option("#condition", "smile=+2")
    table = '.figures[data-condition="smile=+2"]'
    for name, place, best_first in (("Identity", 1, True), ("L2", 2, False)):
        button = page.locator(f"{table} thead button", has_text=name)
        button.click()
        values = [float(text) for text in column(page, table, place)]
        assert values == sorted(values, reverse=best_first)
        button.click()
        assert [float(text) for text in column(page, table, place)] == values[::-1]
    page.locator(f"{table} thead button", has_text="method").click()
    assert column(page, table, 0) == sorted(example_run.STRENGTH)


def test_the_slider_moves_the_divider(page: Any) -> None:
    page.select_option("#condition", "smile=+2")
    stage = page.locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, middle)
    page.mouse.up()
    cut = float(stage.evaluate("each => each.style.getPropertyValue('--cut')").rstrip("%"))
    assert 20 < cut < 30
    page.locator(".stage input").press("ArrowRight")
    moved = float(stage.evaluate("each => each.style.getPropertyValue('--cut')").rstrip("%"))
    assert cut < moved < cut + 5
    widths = stage.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert widths == [48, 48]


def test_a_picture_of_the_sheet_is_looked_at(page: Any) -> None:
    page.select_option("#condition", "smile=+2")
    image = page.locator('.sheet:visible img[data-method="hfgi"][data-photo="1"]')
    image.click()
    before = image.get_attribute("src")
    assert page.locator("#right").input_value() == "hfgi" and page.locator(".viewer .photo").inner_text() == HOSTILE
    assert page.locator(".stage .after").get_attribute("src") == before
    source = page.locator('.sheet:visible img[data-method="source"][data-photo="1"]')
    assert page.locator(".stage .before").get_attribute("src") == source.get_attribute("src")
    page.select_option("#condition", "smile=-2")  # the same photo and methods, under another edit
    assert page.locator(".viewer .photo").inner_text() == HOSTILE and page.locator("#right").input_value() == "hfgi"
    assert page.locator(".stage .after").get_attribute("src") == image.get_attribute("src") != before


def test_best_and_worst_follow_the_choices(page: Any) -> None:
    page.select_option("#condition", "smile=+2")
    page.select_option("#ends-method", "sdic")
    page.select_option("#ends-metric", label="L2")
    found = example_run.values("editing", 30)["sdic", "smile=+2", "l2"]
    for place, ordered in (("#best", sorted(found.items(), key=lambda p: p[1])),
                           ("#worst", sorted(found.items(), key=lambda p: -p[1]))):  # fmt: skip
        names = page.locator(f"{place} .photo").all_inner_texts()
        assert names == [photo.rpartition("/")[2] for photo, _ in ordered[:10]]
        values = [float(text) for text in page.locator(f"{place} .value").all_inner_texts()]
        assert values == pytest.approx([value for _, value in ordered[:10]], abs=1e-3)


def test_a_method_can_be_picked_out(page: Any) -> None:
    first, second = page.locator('.legend button[data-colour="1"]:visible').all()[:2]
    first.click()
    assert page.evaluate("document.body.dataset.only") == "1" and second.get_attribute("aria-pressed") == "true"
    first.click()
    page.mouse.move(0, 0)
    assert page.evaluate("document.body.dataset.only ?? null") is None


def test_light_and_dark(page: Any) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert light != dark
    page.locator(".theme").click()
    assert ground() == light
    page.emulate_media(color_scheme="light")


def test_a_phone_need_not_scroll_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1200, "height": 900})


def test_without_scripts_everything_is_there(page: Any, tmp_path: Path) -> None:
    plain = page.context.browser.new_context(java_script_enabled=False).new_page()
    plain.set_default_timeout(120_000)
    plain.goto(page.url)
    assert plain.locator(".figures[data-condition]:visible").count() == len(example_run.KINDS["editing"])
    assert plain.locator(".viewer:visible, #ends:visible, #condition:visible").count() == 0
    plain.close()
