"""Every odd file there is, uploaded: each is shown or refused in a line, and the studio goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from gradstyle.studio import Engine, Session
from tests.support.odd_files import REASONS, odd_files
from tests.support.studios import Running, a_photo, edit, upload


def test_each_odd_file_is_shown_or_refused_in_a_line(engine: Engine, tmp_path: Path) -> None:
    session = Session(engine, tmp_path / "visitors")
    session.open(a_photo(tmp_path))
    kept, refused = session.name, set()
    for name, path in odd_files(tmp_path / "odd").items():
        copy = Path(shutil.copy(path, tmp_path / "upload"))
        try:
            session.open(copy, name)
            kept = session.name
            assert not copy.exists() and session.photo.size[0] > 0
        except ValueError as error:
            refused.add(name)
            assert "\n" not in str(error) and str(error).startswith(name) and str(tmp_path) not in str(error)
            assert session.name == kept and copy.exists()
    assert {name for name, reason in REASONS.items() if "no face" not in reason} <= refused
    assert len(refused) < len(REASONS) + 5  # and the others are photos
    session.open(a_photo(tmp_path))
    assert session.shown(session.move({"smile": 1})) is not None
    assert len(list(session.folder.iterdir())) == 1  # of the photos before nothing is left


def test_the_server_lives_through_the_worst_of_them(studio: Running, tmp_path: Path) -> None:
    files = odd_files(tmp_path / "odd")
    for name in ("bomb.png", "bomb.gif", "cut-off.webp", "no-width.png", "far-integers.tiff", "archive.zip.jpg"):
        how, answer = edit(studio, upload(studio, name, files[name].read_bytes()), name)
        assert how == "error" and name in answer["error"], answer
    assert studio.health()["status"] == "ok"
