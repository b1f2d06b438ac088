"""The demo, with a bundle of tiny networks in the place of the one that comes with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gradstyle.bundles import Bundle, Domain
from gradstyle.bundles.sliders import Slider
from gradstyle.cli import app
from gradstyle.cli.demo import chosen
from gradstyle.edits import Edit
from gradstyle.photos import open_photo
from gradstyle.photos.portraits import ABOUT, astronaut
from tests.support.bundles import bundle
from tests.support.pages import Tree


@pytest.fixture(scope="module")
def made() -> Bundle:
    made = bundle(methods=("styleres", "hfgi"))
    made.name, made.domain = "<b>tiny</b>", Domain("faces", crop="celeba")
    torch.manual_seed(0)
    width = made.config("generator").w_dim
    edits = {name: Edit(name, torch.randn(1, width), generator=made.fingerprint) for name in ("wig", "age", "smile")}
    made.put_edits(edits, {"wig": Slider(-1, 2), "age": Slider(-3, 1), "smile": Slider(-3, 2)})
    return made


def demo(made: Bundle, folder: Path) -> tuple[str, Tree]:
    made.save(folder / "bundle", overwrite=True)
    done = CliRunner().invoke(app, ["demo", "-b", str(folder / "bundle"), "-o", str(folder / "out")])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout, Tree((folder / "out" / "index.html").read_text("utf-8"))


def test_the_portrait_has_a_face_and_says_whose() -> None:
    (face,) = astronaut().faces
    assert face.score > 0.99 and "NASA" in ABOUT and "public domain" in ABOUT


def test_edits_go_most_of_the_way_to_the_upper_end_unless_the_lower_is_far(made: Bundle) -> None:
    assert chosen(made) == {
        "smile +1.6": {"smile": pytest.approx(1.6)},
        "age -2.4": {"age": pytest.approx(-2.4)},
        "wig +1.6": {"wig": pytest.approx(1.6)},
    }


def test_one_page_shows_all_methods_and_edits(made: Bundle, tmp_path: Path) -> None:
    said, page = demo(made, tmp_path)
    names = [f"{method}, {column}" for method in made.methods for column in ("photo", "no edit", *chosen(made))]
    shown = [image["alt"] for image in page.all("img")]
    assert [name for name in shown if name in names] == names
    assert [name for name in shown if name and name.startswith("4, ")] == [
        "4, generated",
        *(f"4, {e}" for e in chosen(made)),
    ]
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert not page.all("link") and not [script for script in page.all("script") if "src" in script]
    assert "<b>tiny</b>" in page.said("b")  # as text, not as markup
    out = tmp_path / "out"
    for file in ("index.html", "methods.png", "generated.png", "portrait-1.png"):
        assert str(out / file) in said and (out / file).is_file()
    whole, photo = open_photo(out / "portrait-1.png"), astronaut()
    differs = (whole.pixels != photo.pixels).any(axis=2)
    assert differs.any() and not differs[300:].any()  # the face, and not the suit
    demo(made, tmp_path)  # again, over what it wrote


def test_a_bundle_without_edits_shows_what_it_keeps(made: Bundle, tmp_path: Path) -> None:
    plain = bundle(methods=())
    plain.put_edits({})
    said, page = demo(plain, tmp_path)
    assert [image["alt"] for image in page.all("img")][:2] == ["e4e, photo", "e4e, no edit"]
    assert not page.all("button") and "portrait-1" not in said
