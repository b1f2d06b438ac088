"""The page that the demo writes: one file, which needs no network."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from ..photos import Photo, to_photo

if TYPE_CHECKING:
    from torch import Tensor

    from .demo import Shown

STYLE = """
:root { color-scheme: light dark; --paper: light-dark(#faf9f7, #16161a); --ink: light-dark(#1d1d22, #ececf0);
  --dim: light-dark(#6b6b76, #9a9aa8); --card: light-dark(#fff, #202027); --line: light-dark(#e4e2de, #33333d);
  --accent: light-dark(#b4451f, #ff9a6b) }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: clamp(1.8rem, 5vw, 2.8rem); line-height: 1.1; margin: 0 0 .6rem; letter-spacing: -.02em }
h2 { margin: 3rem 0 .4rem; font-size: 1.3rem }
p { max-width: 44rem; margin: .3rem 0 1rem } .dim, figcaption { color: var(--dim); font-size: .9rem }
.pair { position: relative; width: min(100%, 32rem); border-radius: 12px; overflow: hidden; background: var(--card) }
.pair img { display: block; width: 100% } .pair .after { position: absolute; inset: 0;
  clip-path: inset(0 0 0 var(--cut, 50%)) } .pair::after { content: ""; position: absolute; top: 0; bottom: 0;
  left: var(--cut, 50%); width: 2px; background: #fff; box-shadow: 0 0 6px #0008; pointer-events: none }
.pair input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize }
.pair:focus-within { outline: 3px solid var(--accent); outline-offset: 2px }
.picks { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1rem }
.picks button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 99px; padding: .3rem .9rem; cursor: pointer }
.picks button[aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: var(--paper) }
.scroll { overflow-x: auto } table { border-spacing: 6px } th { font-weight: 500; text-align: left;
  font-size: .85rem; color: var(--dim); white-space: nowrap; padding-right: .6rem }
td img { display: block; width: clamp(72px, 11vw, 128px); border-radius: 8px }
"""
SCRIPT = """
for (const pair of document.querySelectorAll(".pair")) {
  const range = pair.querySelector("input");
  range.addEventListener("input", () => pair.style.setProperty("--cut", range.value + "%"));
}
for (const button of document.querySelectorAll(".picks button"))
  button.addEventListener("click", () => {
    for (const other of button.parentNode.children) other.setAttribute("aria-pressed", other === button);
    const after = document.querySelector(".pair .after");
    after.src = document.getElementById(button.dataset.shows).src;
    after.alt = button.textContent;
  });
"""


def page(shown: Shown) -> str:
    bundle, first = shown.bundle, next(iter(shown.methods))
    sections = [
        f"<h1>One thing changed</h1><p>{escape(shown.about)} Drag over the picture: left of the line is the photo, "
        f"right of it the edit that {escape(first)} made with the bundle <b>{escape(bundle.name)}</b> "
        f"({bundle.resolution} px). What the edit leaves alone is the photo, to the bit.</p>",
        _portrait(shown) if shown.photos else "",
        "<h2>Every method, the same edits</h2><p class=dim>The face as the generator draws it. Without an edit, a "
        "picture shows what a method keeps of the photo; e4e keeps only what the generator's codes can say.</p>",
        _table(["photo", "no edit", *shown.edits], {m: [shown.crop, *row] for m, row in shown.methods.items()}),
        f"<h2>Faces of nobody</h2><p class=dim>Sampled from the generator, then inverted and edited with "
        f"{escape(first)}.</p>",
        _table(["generated", *shown.edits], _numbered(shown.generated)),
        f"<p class=dim>{_facts(shown)}</p>",
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>GradStyle: one thing changed</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><main>{''.join(sections)}</main><script>{SCRIPT}</script></html>\n"
    )


def _portrait(shown: Shown) -> str:
    captions = list(shown.photos)
    buttons = "".join(
        f'<button type="button" data-shows="whole-{i}" aria-pressed="{str(i == 0).lower()}">{escape(caption)}</button>'
        for i, caption in enumerate(captions)
    )
    held = "".join(
        f'<img hidden id="whole-{i}" alt="{escape(caption)}" src="{_jpeg(photo)}">'
        for i, (caption, photo) in enumerate(shown.photos.items())
    )
    return (
        f'<div class="picks">{buttons}</div><div class="pair"><img alt="the photo" src="{_jpeg(shown.photo)}">'
        f'<img class="after" alt="{escape(captions[0])}" src="{_jpeg(shown.photos[captions[0]])}">'
        f'<input type="range" min="0" max="100" value="50" aria-label="before and after"></div>{held}'
    )


def _table(columns: list[str], rows: dict[str, list[Tensor]]) -> str:
    head = "".join(f'<th scope="col">{escape(caption)}</th>' for caption in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td><img alt="{escape(f"{name}, {c}")}" src="{_png(x)}"></td>' for c, x in zip(columns, row))
        + "</tr>"
        for name, row in rows.items()
    )
    return f'<div class="scroll"><table><tr><td></td>{head}</tr>{body}</table></div>'


def _numbered(rows: list[list[Tensor]]) -> dict[str, list[Tensor]]:
    return {str(number + 1): row for number, row in enumerate(rows)}


def _facts(shown: Shown) -> str:
    licence = f" Licence of its weights: {escape(shown.bundle.licence)}." if shown.bundle.licence else ""
    return (
        f"Loading the bundle and the first edit took {shown.first_edit:.2f} s here, a further edit "
        f"{shown.next_edit:.2f} s.{licence}"
    )


def _png(image: Tensor) -> str:
    return _uri(Image.fromarray(to_photo(image).pixels), "png")


def _jpeg(photo: Photo) -> str:
    return _uri(Image.fromarray(photo.pixels), "jpeg", quality=92)


def _uri(picture: Image.Image, kind: str, **options: int) -> str:
    held = io.BytesIO()
    picture.save(held, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode()}"
