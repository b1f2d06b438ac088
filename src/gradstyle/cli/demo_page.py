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
body { margin: 0 auto; max-width: 68rem; padding: 1.2rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); line-height: 1.1; margin: 0 0 .4rem; letter-spacing: -.02em }
h2 { margin: 3rem 0 .4rem; font-size: 1.3rem }
p { max-width: 44rem; margin: .3rem 0 1rem } .dim, figcaption { color: var(--dim); font-size: .9rem }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem; margin: 0 0 .6rem }
.pair figure { margin: 0 } .pair img { display: block; width: 100%; border-radius: 12px; background: var(--card) }
.pair figcaption { padding: .3rem .2rem }
.picks { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1rem }
.picks button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 99px; padding: .3rem .9rem; cursor: pointer }
.picks button[aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: var(--paper) }
.scroll { overflow-x: auto } table { border-spacing: 6px } th { font-weight: 500; text-align: left;
  font-size: .85rem; color: var(--dim); white-space: nowrap; padding-right: .6rem }
td img { display: block; width: clamp(72px, 11vw, 128px); border-radius: 8px }
"""
SCRIPT = """
for (const button of document.querySelectorAll(".picks button"))
  button.addEventListener("click", () => {
    for (const other of button.parentNode.children) other.setAttribute("aria-pressed", other === button);
    const after = document.querySelector(".after");
    after.src = document.getElementById(button.dataset.shows).src;
    after.alt = button.textContent;
    after.nextElementSibling.textContent = button.textContent;
  });
"""


def page(shown: Shown) -> str:
    bundle = shown.bundle
    sections = [
        f"<h1>One thing changed</h1><p>{escape(shown.about)} The photo is carried along the motion of an edit of the "
        f"bundle <b>{escape(bundle.name)}</b>, whose own pictures have {bundle.resolution} px. What the edit leaves "
        "alone is the photo, to the bit.</p>",
        _portrait(shown) if shown.photos else "",
        "<h2>Every method, the same edits</h2><p class=dim>The face as the generator draws it. Without an edit, a "
        "picture shows what a method keeps of the photo; e4e keeps only what the generator's codes can say.</p>",
        _table(["photo", "no edit", *shown.edits], {m: [shown.crop, *row] for m, row in shown.methods.items()}),
        f"<h2>Faces of nobody</h2><p class=dim>Sampled from the generator, then inverted and edited with "
        f"{escape(bundle.usual_method)}.</p>",
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
    photo = _jpeg(_close(shown.photo, shown.head))
    close = {caption: _jpeg(_close(photo, shown.head)) for caption, photo in shown.photos.items()}
    held = "".join(
        f'<img hidden id="whole-{i}" alt="{escape(caption)}" src="{uri}">'
        for i, (caption, uri) in enumerate(close.items())
    )
    return (
        f'<div class="picks">{buttons}</div><div class="pair">'
        f'<figure><img alt="the photo" src="{photo}"><figcaption>the photo</figcaption>'
        f'</figure><figure><img class="after" alt="{escape(captions[0])}" src="{close[captions[0]]}">'
        f"<figcaption>{escape(captions[0])}</figcaption></figure></div>{held}"
    )


def _close(photo: Photo, head: tuple[int, int, int, int]) -> Photo:
    """The part of a photo around a head, with shoulders and wall."""
    left, top, right, bottom = head
    return Photo(photo.pixels[top:bottom, left:right])


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
