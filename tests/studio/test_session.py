"""One visitor, without a page: photos, faces, moves, the way back, and what is taken home."""

from __future__ import annotations

import json
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gradstyle.photos.carry import Carrying
from gradstyle.photos.faces import Face
from gradstyle.studio import Engine, Session, Sessions
from gradstyle.studio import session as module
from gradstyle.studio.pictures import plain_name
from tests.support.studios import a_photo, far, make_bundle, pixels


@pytest.fixture
def session(engine: Engine, tmp_path: Path) -> Session:
    made = Session(engine, tmp_path / "visitors")
    made.open(a_photo(tmp_path, "My Photo.jpg"))
    return made


def faces_at(*centres: tuple[float, float], size: float = 20.0) -> list[Face]:
    """Faces whose landmarks lie where they do in a face that looks ahead."""
    spread = np.zeros((68, 2))
    spread[36:42], spread[42:48], spread[48], spread[54] = (-0.15, -0.06), (0.15, -0.06), (-0.13, 0.25), (0.13, 0.25)
    spread[8], spread[:8], spread[9:17] = (0, 0.45), (-0.4, 0.1), (0.4, 0.1)
    return [
        Face((x - size / 2, y - size / 2, x + size / 2, y + size / 2), spread * size + (x, y), 1.0) for x, y in centres
    ]


def test_a_photo_is_taken_over(session: Session, tmp_path: Path) -> None:
    before, shown = session.before(), session.shown()
    assert shown is not None
    assert not (tmp_path / "My Photo.jpg").exists() and len(list(session.folder.iterdir())) == 1
    assert (session.name, before["size"], before["name"]) == ("My Photo", "90 × 80", "My Photo")
    assert far(before["before"], shown["after"]) == 0 == far(before["whole"], shown["whole"])
    assert (shown["undo"], shown["redo"], shown["reset"], shown["says"]) == (False, False, False, "no edits")
    session.close()
    assert not session.folder.exists() and session.engine.shelf.bytes == 0


def test_a_file_that_is_no_picture_changes_nothing(session: Session, tmp_path: Path) -> None:
    session.shown(session.move({"smile": 1}))
    kept = session.shown()
    (tmp_path / "x.jpg").write_text("<svg onload='alert(1)'/>")
    with pytest.raises(ValueError, match=r"^evil\.svg: not a picture that can be read$"):
        session.open(tmp_path / "x.jpg", "evil.svg")
    assert session.shown() == kept and session.name == "My Photo"


def test_a_move_shows_in_the_face_and_in_the_whole_picture(session: Session) -> None:
    before, shown = session.before(), session.shown(session.move({"smile": 2, "age": 0}))
    assert shown is not None and shown["says"] == "smile +2" and shown["undo"] and shown["reset"]
    assert far(before["before"], shown["after"]) > 1 and far(before["whole"], shown["whole"]) > 1
    again = session.shown(session.move({"smile": 0}))
    assert again is not None and far(before["before"], again["after"]) == 0 and not again["reset"]


def test_an_edit_that_was_found_wanting_is_no_step(tmp_path: Path) -> None:
    made = make_bundle()
    sliders = {name: slider for name, slider in made.sliders.items() if name != "age"}
    made.put_edits(made.edits, sliders, {"age": {"reasons": ["it ages no one"]}})
    session = Session(Engine([made], "cpu"), tmp_path)
    session.open(a_photo(tmp_path))
    session.move({"smile": 1, "age": 0})
    recipe = {**session.recipe(), "edits": {"age": 1}}
    (tmp_path / "edit.json").write_text(json.dumps(recipe))
    for door in (lambda: session.move({"age": 1}), lambda: session.load_recipe(tmp_path / "edit.json")):
        with pytest.raises(ValueError, match=r"^age has no slider: it ages no one; "):
            door()
    assert session.step.here == {"smile": 1} and session.shown() is not None


def test_it_is_said_where_an_edit_fails(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(amounts: dict[str, float]) -> str:
        shown = session.shown(session.move(amounts))
        assert shown is not None and shown["remark"] == session.remarks
        return str(shown["remark"])

    assert said({"smile": 1e-6}) == "smile +1e-06 changes next to nothing in this photo"
    assert said({"smile": 2}) == said({}) == ""
    looks: list[str] = []
    monkeypatch.setattr(module, "remark", lambda said, *given: looks.append(said) or "no face")
    assert said({"smile": 1}) == said({"smile": 1}) == "no face" and looks == ["smile +1"]  # looked at once
    monkeypatch.setattr(Session, "faces", faces_at((20, 40), (60, 40)))
    session.choose_face(1)
    assert said({"age": 1}) == "face 1: no face; face 2: no face"


def test_a_photo_is_inverted_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    inverted = []
    invert = session.engine.invert
    monkeypatch.setattr(session.engine, "invert", lambda *given: (inverted.append(1), invert(*given))[1])
    for amount in (1.0, 2.0, -1.0, 1.0):
        session.shown(session.move({"smile": amount}))
    assert len(inverted) == 1


def test_the_newest_move_wins(session: Session) -> None:
    old = session.move({"smile": 1})
    new = session.move({"smile": 2})
    assert session.shown(old) is None
    shown = session.shown(new)
    assert shown is not None and shown["says"] == "smile +2"


def test_of_many_moves_at_once_older_ones_are_dropped_and_the_last_is_drawn(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradstyle.studio.session.ONE_MOVE", 600.0)  # on a slow machine too, one step for all moves
    drawn, carry = [], session.engine.carry

    def slow(*given: object) -> object:
        drawn.append(given[-1])
        return carry(*given)  # type: ignore[arg-type]

    session.engine.carry = slow  # type: ignore[assignment, method-assign]
    tickets = [session.move({"smile": amount / 10}) for amount in range(1, 21)]
    results: dict[int, object] = {}

    def ask(ticket: int) -> None:
        results[ticket] = session.shown(ticket)

    threads = [threading.Thread(target=ask, args=(ticket,)) for ticket in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ticket for ticket in tickets if results[ticket] is not None] == tickets[-1:]
    assert len(drawn) == 1  # the last alone


def test_amounts_are_kept_within_the_sliders(session: Session) -> None:
    session.move({"smile": 99, "age": -99})
    assert session.step.here == {"smile": 3.0, "age": -2.5}
    with pytest.raises(ValueError, match=r"has no edit 'grin'; it has .*smile"):
        session.move({"grin": 1})
    for wrong in (float("nan"), "2", None):
        with pytest.raises(ValueError, match="is a number"):
            session.move({"smile": wrong})  # type: ignore[dict-item]


def test_undo_redo_and_the_strip(session: Session) -> None:
    for now, amounts in enumerate(({"smile": 1}, {"smile": 1, "age": 1}, {"smile": 1, "age": 1, "hair colour": 1})):
        session.move(amounts, now=10.0 * now)
    assert [step.label for step in session.steps] == ["original", "smile +1", "age +1", "hair colour +1"]
    session.undo()
    session.undo()
    assert session.step.here == {"smile": 1}
    session.redo()
    assert session.step.here == {"smile": 1, "age": 1}
    session.go(0)
    session.undo()  # there is nothing before
    assert session.step.here == {} and session.at == 0
    session.go(2)
    session.move({"smile": 2, "age": 1}, now=100.0)  # what was undone is gone
    assert [step.label for step in session.steps] == ["original", "smile +1", "age +1", "smile +2"]
    session.redo()
    session.reset()
    assert session.step.here == {} and session.step.label == "reset"
    session.undo()
    assert session.step.here == {"smile": 2, "age": 1}
    with pytest.raises(ValueError, match="there are 5 steps, there is no number 6"):
        session.go(5)
    shown = session.shown()
    assert shown is not None and [step["label"] for step in shown["steps"]] == [step.label for step in session.steps]
    assert len({step["thumb"] for step in shown["steps"]}) == 4  # reset looks like the original


def test_a_drag_is_one_step(session: Session) -> None:
    for tenth in range(10):
        session.move({"smile": 0.1 * (tenth + 1)}, now=5 + 0.1 * tenth)
    assert [step.label for step in session.steps] == ["original", "smile +1"]
    session.move({"smile": 2}, now=60.0)
    assert len(session.steps) == 3
    session.undo()
    session.move({"smile": 1.5}, now=60.1)  # of a step that was returned to, the picture stays
    assert [step.label for step in session.steps] == ["original", "smile +1", "smile +1.5"]


def test_steps_are_bounded(session: Session) -> None:
    for number in range(2 * module.MOST_STEPS):
        session.move({"smile": 1 if number % 2 else -1}, now=10.0 * number)
    assert len(session.steps) == module.MOST_STEPS and session.at == module.MOST_STEPS - 1
    shown = session.shown()
    assert shown is not None and len(shown["steps"]) == module.SHOWN_STEPS
    assert shown["steps"][-1]["number"] == shown["at"]


def test_what_had_no_room_is_made_again(bundle: Path, tmp_path: Path) -> None:
    small, large = (Session(Engine([bundle], "cpu", memory), tmp_path) for memory in (1000, 64 << 20))
    for session in (small, large):
        session.open(a_photo(tmp_path))
    assert small.shown(small.move({"smile": 1})) == large.shown(large.move({"smile": 1}))
    assert small.engine.shelf.bytes <= 1000


def all_person(pixels: np.ndarray) -> torch.Tensor:
    """What is drawn here is no person's picture, which a network would see."""
    return torch.ones(1, 1, *pixels.shape[:2])


def test_several_faces_each_with_its_own_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradstyle.photos.carry.person_mask", all_person)
    monkeypatch.setattr("gradstyle.photos.carry.CARRYING", Carrying(alike=(-3, -2)))  # nor what a tiny generator draws
    large, small = faces_at((180, 60), size=60) + faces_at((60, 60), size=40)
    monkeypatch.setattr(module, "find_faces", lambda photo, thorough: [large, small])
    session = Session(Engine([make_bundle(crop="celeba")], "cpu"), tmp_path)
    session.open(a_photo(tmp_path, size=(240, 120)))
    assert len(session.before()["faces"]) == 2 and "2 faces" in session.note
    assert session.step.face == 1  # the larger one, which is on the right
    plain = pixels(session.before()["whole"])
    shown = session.shown(session.move({"smile": 3}))
    assert shown is not None
    change = np.abs(pixels(shown["whole"]).astype(int) - plain).max(axis=2)
    assert change[:, 150:].max() > 5 and change[:, :90].max() <= 4  # JPEG's own
    session.choose_face(0)
    assert session.step.here == {}
    both = session.shown(session.move({"smile": 3}))
    assert both is not None
    change = np.abs(pixels(both["whole"]).astype(int) - plain).max(axis=2)
    assert change[:, 150:].max() > 5 and change[:, :90].max() > 5
    assert "--face 1" in session.command() and "face=1" in session.python()
    written = np.asarray(Image.open(session.save(tmp_path / "both.png")))
    original = session.photo.pixels
    assert (written[:, 150:] != original[:, 150:]).any() and (written[:, :90] != original[:, :90]).any()
    assert (written[110:, 100:130] == original[110:, 100:130]).all()
    with pytest.raises(ValueError, match="2 faces were found, there is no number 3"):
        session.choose_face(2)


def test_a_photo_without_a_face_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_faces", lambda photo, thorough: [])
    session = Session(Engine([make_bundle(crop="celeba")], "cpu"), tmp_path)
    session.open(a_photo(tmp_path))
    assert session.note.startswith("No face was found") and session.shown() is not None
    with pytest.raises(ValueError, match=r"me\.jpg: no face is found in it"):
        session.open(a_photo(tmp_path), needs_face=True)


def test_a_picture_is_saved_at_full_size(session: Session, tmp_path: Path) -> None:
    large = a_photo(tmp_path, "large.png", (2000, 1500))
    session.open(large)
    before = session.photo.pixels
    assert (np.asarray(Image.open(session.save(tmp_path / "same.png"))) == before).all()
    session.move({"smile": 3})
    with Image.open(session.save(tmp_path / "smile.png")) as written:
        assert written.size == (2000, 1500) and (np.asarray(written) != before).any()
        assert "smile +3" in str(written.info)


def test_methods_are_compared_and_chosen(session: Session) -> None:
    session.move({"smile": 2})
    rows = session.compare()
    assert [row["method"] for row in rows] == session.engine.bundle("tiny").methods
    assert len({row["plain"] for row in rows}) == len(rows) and all(far(r["plain"], r["edited"]) > 0.5 for r in rows)
    one = session.shown()
    session.choose_method("gradstyle")
    other = session.shown()
    assert (
        one is not None
        and other is not None
        and other["method"] == "gradstyle"
        and far(one["after"], other["after"]) > 0
    )
    session.undo()
    assert session.step.method == "e4e"
    with pytest.raises(ValueError, match="no method 'best'; it has gradmove, gradstyle"):
        session.choose_method("best")


def test_another_bundle_starts_anew_on_the_same_photo(bundle: Path, tmp_path: Path) -> None:
    other = make_bundle("other")
    session = Session(Engine([bundle, other], "cpu"), tmp_path)
    session.open(a_photo(tmp_path))
    session.move({"smile": 2})
    session.choose_bundle("other")
    assert session.step.here == {} and len(session.steps) == 1 and session.name == "me" and session.shown() is not None
    with pytest.raises(ValueError, match="no bundle 'third' here; there are tiny, other"):
        session.choose_bundle("third")


def test_generated_faces_can_be_edited(session: Session) -> None:
    session.open_generated(3)
    one, moved = session.before()["before"], session.shown(session.move({"smile": 2}))
    session.open_generated(4)
    assert far(one, session.before()["before"]) > 1 and moved is not None and far(one, moved["after"]) > 1
    with pytest.raises(ValueError, match="a seed is a number from 0"):
        session.open_generated(-5)


def test_an_edit_is_a_file_that_comes_back(session: Session, tmp_path: Path) -> None:
    session.move({"smile": 1.5, "age": -1})
    session.choose_method("sdic")
    file = tmp_path / "edit.json"
    file.write_text(json.dumps(session.recipe()))
    session.open(a_photo(tmp_path, "another.jpg", seed=1))
    session.load_recipe(file)
    assert session.step.here == {"smile": 1.5, "age": -1.0} and session.step.method == "sdic"
    file.write_text(json.dumps({**session.recipe(), "generator": "0123456789abcdef", "bundle": "ffhq"}))
    with pytest.raises(ValueError, match=r"for generator 0123456789abcdef .bundle 'ffhq'.*choose that bundle"):
        session.load_recipe(file)
    deep = "[" * 100_000
    for wrong in (
        "",
        "{}",
        "[1]",
        deep,
        '{"gradstyle": 1}',
        "x" * 70_000,
        json.dumps({**session.recipe(), "edits": 3}),
    ):
        file.write_text(wrong)
        with pytest.raises(ValueError, match="is no file of edits"):
            session.load_recipe(file)
    file.write_text(json.dumps({**session.recipe(), "edits": {"smile": 1e999}}))
    with pytest.raises(ValueError, match="is a number"):
        session.load_recipe(file)


def test_the_command_and_the_python_make_the_same_picture(
    session: Session, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradstyle.cli import app

    photo = a_photo(tmp_path, "My Photo.png", (90, 80), seed=2)
    copy = tmp_path / "copy.png"
    copy.write_bytes(photo.read_bytes())
    session.open(copy, photo.name)
    session.move({"smile": 2, "hair colour": -1})
    expected = np.asarray(Image.open(session.save(tmp_path / "expected.png")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "bundles").mkdir(parents=True)
    (tmp_path / "home" / "bundles" / "tiny").symlink_to(bundle)
    words = shlex.split(session.command())
    assert words[:3] == ["gradstyle", "edit", "My Photo.png"]
    done = CliRunner().invoke(app, [*words[1:], "--out", "by-command.png", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    exec(compile(session.python(), "python", "exec", dont_inherit=True), {})
    for name in ("by-command.png", "My Photo-edited.png"):
        off = np.abs(np.asarray(Image.open(name).convert("RGB")).astype(int) - expected)
        assert off.max() <= 2 and (expected != np.asarray(Image.open(photo))).any(), name


def test_visitors_are_forgotten(engine: Engine, tmp_path: Path) -> None:
    sessions = Sessions(engine, tmp_path / "visitors", keep=60, most=3)
    for key in "abc":
        sessions[key].open(a_photo(tmp_path, f"{key}.jpg"))
    first = sessions["a"]
    sessions.sweep(now=first.used + 59)
    assert len(sessions) == 3 and len(list((tmp_path / "visitors").iterdir())) == 3
    sessions.sweep(now=first.used + 61)
    assert len(sessions) == 0 and not list((tmp_path / "visitors").iterdir()) and engine.shelf.bytes == 0


def test_nobody_pushes_a_visitor_out(engine: Engine, tmp_path: Path) -> None:
    """Neither with any number of names, nor with photos of their own."""
    sessions = Sessions(engine, tmp_path / "visitors", most=3)
    for key in "abc":
        with sessions.uploading(key) as session:
            session.open(a_photo(tmp_path, f"{key}.jpg"))
            session.move({"smile": 1})
    for number in range(20):
        sessions[f"new {number}"].open_generated(number)
        sessions.get(f"newer {number}").stopped = True
    with pytest.raises(ValueError, match="3 people have photos here"), sessions.uploading("d"):
        raise AssertionError("there is no room")
    with sessions.uploading("a") as again:  # who has one may bring another
        again.open(a_photo(tmp_path, "again.jpg"))
    assert [sessions.get(key).name for key in "abc"] == ["again", "b", "c"] and len(sessions) == 3 + 3
    assert sessions.get("b").step.here == {"smile": 1}
    sessions["b"].open_generated(1)  # the photo is given up, and with it the place
    with sessions.uploading("d") as session:
        session.open(a_photo(tmp_path, "d.jpg"))


def test_of_guests_those_go_first_who_did_nothing(engine: Engine, tmp_path: Path) -> None:
    sessions = Sessions(engine, tmp_path / "visitors", most=3)
    sessions["edits"].open_generated(1)
    sessions["edits"].move({"smile": 1})
    for number in range(9):
        sessions[f"looks {number}"].open_generated(number)
    assert sessions.get("edits").step.here == {"smile": 1} and len(sessions) == 3


def test_an_upload_that_fails_makes_no_visitor(engine: Engine, tmp_path: Path) -> None:
    sessions = Sessions(engine, tmp_path / "visitors", most=1)
    (tmp_path / "no.jpg").write_text("no")
    with pytest.raises(ValueError, match="not a picture"), sessions.uploading("a") as session:
        session.open(tmp_path / "no.jpg")
    with sessions.uploading("b") as session:
        session.open(a_photo(tmp_path))


def test_the_portrait_is_read_where_it_is(engine: Engine, tmp_path: Path) -> None:
    session = Session(engine, tmp_path / "visitors")
    session.open_portrait()
    session.open(a_photo(tmp_path))
    session.close()
    assert module.ASTRONAUT.is_file()


@pytest.mark.parametrize("amount", [10**400, -(10**400), float("inf"), float("nan"), "1", None])
def test_an_amount_is_a_number_that_can_be(session: Session, tmp_path: Path, amount: object) -> None:
    with pytest.raises(ValueError, match="the amount of 'smile' is a number, got"):
        session.move({"smile": amount})  # type: ignore[dict-item]
    recipe = {**session.recipe(), "edits": {"smile": amount}}
    (tmp_path / "edit.json").write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match="the amount of 'smile' is a number, got"):
        session.load_recipe(tmp_path / "edit.json")


def test_who_comes_back_finds_everything(engine: Engine, tmp_path: Path) -> None:
    sessions = Sessions(engine, tmp_path / "visitors")
    sessions["a"].open(a_photo(tmp_path))
    before = sessions["a"].shown(sessions["a"].move({"smile": 1}))
    sessions.rest("a")
    sessions.rest("nobody")
    assert sessions.present == 0 and len(sessions) == 1 and engine.shelf.bytes == 0
    assert sessions["a"].shown() == before and sessions.present == 1


def test_two_visitors_share_nothing(engine: Engine, tmp_path: Path) -> None:
    sessions = Sessions(engine, tmp_path / "visitors")
    for seed, key in enumerate("ab"):
        sessions[key].open(a_photo(tmp_path, "same-name.jpg", seed=seed))
        sessions[key].move({"smile": 1 + seed})
    a, b = sessions["a"].shown(), sessions["b"].shown()
    assert a is not None and b is not None and a["says"] == "smile +1" and b["says"] == "smile +2"
    assert far(a["whole"], b["whole"]) > 2
    sessions.close("a")
    assert sessions["b"].shown() == b and sessions["a"].steps == []


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("me.jpg", "me"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot"),
        ("<script>alert(1)</script>.png", "script"),
        ("....", "photo"),
        ("Zoë – Ürlaub.jpeg", "Zoë - Ürlaub"),
        ("a" * 300 + ".png", "a" * 60),
        ("\x00\n.png", "photo"),
    ],
)
def test_names_lead_nowhere(given: str, plain: str) -> None:
    assert plain_name(given) == plain
