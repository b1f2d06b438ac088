"""How soon a slider's release is seen: from letting go to the new face, the whole picture with it, in a real browser.

    python -m benchmarks.studio --bundle faces
    python -m benchmarks.studio --bundle ffhq --photo me.jpg --rounds 30 --threads 1

Each round moves a slider to a new place and waits until the browser has decoded the new picture. `face` and `whole` say
what was on the screen; both are sent every time. Beside them stands what the networks alone take for the same edits in
the same process, `render`, and what the server takes for all it does, `session`. Needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

MOVE = """async ([label, value]) => {
  const slider = document.querySelector(`input[type=range][aria-label="${label}"]`);
  const image = document.querySelector(".gs-after");
  const start = performance.now();
  const changed = new Promise((done, fail) => {
    const watch = new MutationObserver(() => { watch.disconnect(); done(); });
    setTimeout(() => fail(new Error(`no new picture in 30 s after ${label} went to ${value}`)), 30000);
    watch.observe(image, { attributes: true, attributeFilter: ["src"] });
  });
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  slider.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  await changed;
  await image.decode();
  return performance.now() - start;
}"""

GOLDEN = 0.618034


@contextmanager
def studio(bundle: str, threads: int) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gradstyle", "studio", "--bundle", bundle, "--port", str(port)]
    process = subprocess.Popen([*command, "--threads", str(threads)], stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                sys.exit("the studio did not start")
            try:
                urllib.request.urlopen(f"{address}/health", timeout=10).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def in_browser(address: str, photo: Path | None, rounds: int, chromium: str) -> dict[str, list[float]]:
    from playwright.sync_api import sync_playwright

    taken: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_selector('.gs-canvas[data-empty="false"]')
        if photo is not None:
            page.locator("#gs-photo input[type=file]").first.set_input_files(photo)
            page.locator(".gs-says").filter(has_text=photo.stem).wait_for()
        first = page.locator("input[type=range][aria-label^='range slider']").first
        label = first.get_attribute("aria-label")
        low, high = (float(first.get_attribute(end) or 0) for end in ("min", "max"))
        steps = (k * GOLDEN % 1 for k in itertools.count())  # never near the place before, from one view to the next
        for view in ("face", "whole"):
            page.locator(f"[data-view={view}]").click()
            page.wait_for_timeout(500)
            times = []
            for _ in track(range(rounds + 1), view, transient=True):
                place = low + (high - low) * next(steps)
                times.append(page.evaluate(MOVE, [label, f"{place:.2f}"]) / 1000)
                page.wait_for_timeout(200)  # a person looks
            taken[view] = times[1:]  # the first inverts the photo
        browser.close()
    return taken


def on_the_server(bundle: str, photo: Path | None, rounds: int) -> dict[str, list[float]]:
    from gradstyle.studio import Engine, Session

    engine = Engine([bundle])
    taken: dict[str, list[float]] = {"session": [], "render": []}
    with tempfile.TemporaryDirectory() as folder:
        session = Session(engine, Path(folder))
        if photo is None:
            session.open_portrait()
        else:
            session.open(Path(shutil.copy(photo, folder)), photo.name)
        name, slider = next(iter(session.sliders.items()))
        places = [slider.low + (slider.high - slider.low) * (k + 0.37) / (rounds + 1) for k in range(rounds + 1)]
        for place in track(places, "server", transient=True):
            start = time.perf_counter()
            session.shown(session.move({name: place}))
            taken["session"].append(time.perf_counter() - start)
        inversion = session._inversion(session.step.method, session.step.face)
        for place in places:
            start = time.perf_counter()
            engine.render(session.bundle, session.step.method, inversion, [{name: place * 0.99}])
            taken["render"].append(time.perf_counter() - start)
        session.close()
    return {name: times[1:] for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="faces")
    parser.add_argument("--photo", type=Path, help="the portrait that comes with the package, if not given")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--chromium", default=os.environ.get("GRADSTYLE_CHROMIUM") or shutil.which("chromium"))
    args = parser.parse_args()
    if not args.chromium:
        sys.exit("no Chromium: install it, or say --chromium PATH")
    torch.set_num_threads(args.threads)
    taken = on_the_server(args.bundle, args.photo, args.rounds)
    with studio(args.bundle, args.threads) as address:
        taken = {**in_browser(address, args.photo, args.rounds, args.chromium), **taken}
    table = Table(
        "", title=f"slider to picture, {args.threads} threads, {args.rounds} rounds, load {os.getloadavg()[0]:.1f}"
    )
    for column in ("median ms", "slowest tenth", "to render"):
        table.add_column(column, justify="right")
    render = statistics.median(taken["render"])
    for name, times in taken.items():
        middle, slow = statistics.median(times), sorted(times)[int(0.9 * len(times))]
        table.add_row(name, f"{middle * 1e3:.0f}", f"{slow * 1e3:.0f}", f"{middle / render:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
