"""Folders of photos: each is edited or told why not, nothing is lost, nothing overwritten, a stopped batch goes on."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from gradstyle.bundles import Domain
from gradstyle.cli import app
from gradstyle.editor import Editor
from gradstyle.files import file_sha256
from gradstyle.photos import batch, open_photo
from tests.support.bundles import bundle
from tests.support.odd_files import REASONS, odd_files, portrait


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def faces(tmp_path: Path) -> str:
    return str(bundle(Domain("faces", crop="celeba")).save(tmp_path / "faces"))


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["edit", *map(str, arguments), "--device", "cpu"])


def report(folder: str | Path) -> dict[str, batch.Line]:
    return {Path(line.photo).name: line for line in batch.read_report(Path(folder) / batch.REPORT)}


def some(count: int, folder: str = "photos") -> list[Path]:
    """Photos of one face, each a little smaller than the one before."""
    Path(folder).mkdir(exist_ok=True)
    paths = [Path(folder) / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        portrait().crop((0, 0, 200 - i, 200)).save(path)
    return paths


def test_odd_files_are_edited_or_get_their_reason(faces: str) -> None:
    files = odd_files(Path("odd"))
    assert len(files) >= 60
    (Path("odd") / "notes.txt").write_text("mine")
    (Path("odd") / "nowhere.jpg").symlink_to("nothing")
    before = {path: path.read_bytes() for path in files.values()}
    done = run("odd", "-b", faces, "-e", "smile=3", "--jobs", 2)
    assert done.exit_code == 1 and "Traceback" not in done.output, done.output
    lines = report("odd-edited")
    assert lines.keys() == files.keys() | {"nowhere.jpg"}  # each has its line
    for name, path in files.items():
        line = lines[name]
        if name in REASONS:
            assert line.status == "failed" and re.search(REASONS[name], line.why), (name, line)
            assert "\n" not in line.why and name in done.stderr
        else:
            assert line.status == "edited", (name, line)
            source, result = open_photo(path), open_photo(line.out)
            assert result.size == source.size, name
            assert result.edited == "" and "smile=+3" in (result.origin.edited if result.origin else ""), name
    assert lines["nowhere.jpg"].status == "failed" and "1 left alone" in done.stdout
    assert {path: path.read_bytes() for path in files.values()} == before
    edited = {Path(line.out).name for line in lines.values() if line.status == "edited"}
    assert {path.name for path in Path("odd-edited").iterdir()} == edited | {batch.REPORT}
    assert len(edited) == len(files) - len(REASONS)  # no two share a place
    assert lines["ten-faces.jpg"].notes == ("it has 10 faces and the largest was edited; --face all edits all of them",)


def test_what_an_edit_did_nothing_to_is_listed(faces: str, monkeypatch: pytest.MonkeyPatch) -> None:
    some(3)
    none = "photos/1.png: smile +2 changes next to nothing in this photo"
    carry, pixels = Editor.carry, open_photo("photos/1.png").size

    def carried(self: Editor, carrier: Any, inversion: Any, edits: Any) -> Any:
        still = carrier.size == pixels
        return None if still else carry(self, carrier.carrier, inversion, edits)

    def ready(self: Editor, photo: Any, crop: Any, inversion: Any) -> Any:
        return SimpleNamespace(size=photo.size, carrier=carrier(self, photo, crop, inversion))

    carrier = Editor.carrier
    monkeypatch.setattr(Editor, "carrier", ready)
    monkeypatch.setattr(Editor, "carry", carried)
    done = run("photos", "-b", faces, "-e", "smile=2", "--jobs", 2)
    assert done.exit_code == 0 and done.output.count("next to nothing") == 1 and none in done.output
    notes = {name: line.notes for name, line in report("photos-edited").items()}
    assert notes == {"0.png": (), "1.png": (none.removeprefix("photos/1.png: "),), "2.png": ()}
    again = run("photos", "-b", faces, "-e", "smile=2")
    assert "next to nothing" not in again.output and report("photos-edited")["1.png"].notes == notes["1.png"]


def test_what_is_done_is_not_done_again(faces: str, monkeypatch: pytest.MonkeyPatch) -> None:
    some(3)
    assert run("photos", "-b", faces, "-e", "smile=2").exit_code == 0
    stamps = {path: path.stat().st_mtime_ns for path in Path("photos-edited").glob("*.png")}
    assert len(stamps) == 3
    portrait().save("photos/1.png")  # changed since
    portrait().save("photos/3.png")  # new
    done = run("photos", "-b", faces, "-e", "smile=2")
    assert "1 edited, 2 done before, 1 failed" in done.stdout  # what stands there is not overwritten
    assert "photos-edited/1.png exists; give another --out, or --force" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert "4 failed" in run("photos", "-b", faces, "-e", "smile=1").stdout  # another edit is another batch
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert run("photos", "-b", faces, "-e", "smile=1", "--force").exit_code == 0
    assert all(path.stat().st_mtime_ns != stamp for path, stamp in stamps.items())


def test_a_stopped_batch_goes_on(faces: str, monkeypatch: pytest.MonkeyPatch) -> None:
    some(5)
    edit, seen = Editor.edit, list[str]()

    def stops(self: Editor, *arguments: Any) -> Any:
        seen.append("")
        if len(seen) == 3:
            raise KeyboardInterrupt
        return edit(self, *arguments)

    monkeypatch.setattr(Editor, "edit", stops)
    done = run("photos", "-b", faces, "-e", "smile=2")
    assert done.exit_code == 130 and "the same command goes on" in done.stderr
    kept = {path: path.stat().st_mtime_ns for path in Path("photos-edited").glob("*.png")}
    assert 2 <= len(kept) < 5
    with (Path("photos-edited") / batch.REPORT).open("a") as file:
        file.write('{"photo": "photos/3.pn')  # the power went
    seen += [""] * 9
    done = run("photos", "-b", faces, "-e", "smile=2")
    assert done.exit_code == 0 and f"{5 - len(kept)} edited, {len(kept)} done before" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(Path("photos-edited").glob("*.png"))) == 5


def test_a_picture_that_was_written_before_the_report_said_so(faces: str) -> None:
    some(1)
    assert run("photos", "-b", faces, "-e", "smile=2").exit_code == 0
    path = Path("photos-edited") / batch.REPORT
    begun, edited = path.read_text().splitlines()
    assert (json.loads(begun)["status"], json.loads(edited)["status"]) == ("begun", "edited")
    path.write_text(begun + "\n")
    assert "1 done before" in run("photos", "-b", faces, "-e", "smile=2").stdout


def test_what_is_done_is_known_by_digests_not_by_names(faces: str) -> None:
    """Of a picture that was begun with other settings, emptied, changed or put there, nothing false is said."""
    some(4)
    out = Path("photos-edited")
    assert run("photos", "-b", faces, "-e", "smile=1").exit_code == 0
    first = {path.name: path.read_bytes() for path in out.glob("*.png")}
    # As after `smile=-1 --force` that was killed: the report names what 0.png was to become, 1.png has become it.
    assert run("photos", "-b", faces, "-e", "smile=-1", "--force").exit_code == 0
    second = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert all(second[name] != first[name] for name in first)
    (out / "0.png").write_bytes(first["0.png"])
    (out / "2.png").write_bytes(b"")
    (out / "3.png").write_bytes(second["1.png"])
    done = run("photos", "-b", faces, "-e", "smile=-1")
    assert "1 edited, 1 done before, 2 failed" in done.stdout  # empty: made again
    assert "0.png is no longer what was written" in done.stderr and "3.png is no longer what was written" in done.stderr
    assert (out / "0.png").read_bytes() == first["0.png"]  # nothing is overwritten unless asked
    done = run("photos", "-b", faces, "-e", "smile=-1", "--force")
    assert "2 edited, 2 done before" in done.stdout
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == second


def test_what_is_done_stays_done_elsewhere_and_under_other_amounts_that_mean_the_same(faces: str) -> None:
    some(2)
    assert run("photos", "-b", faces, "-e", "smile=2").exit_code == 0
    Path("photos").rename("moved")
    Path("photos-edited").rename("moved-edited")
    os.utime("moved/0.png", (0, 0))
    assert "2 done before" in run("moved", "-b", faces, "-e", "smile=1.0", "-e", "smile=1").stdout


def test_other_weights_are_another_batch(faces: str, tmp_path: Path) -> None:
    some(1)
    assert run("photos", "-b", faces, "-e", "smile=2").exit_code == 0
    changed = bundle(Domain("faces", crop="celeba"))
    changed.put_edits({**changed.edits, "smile": 2 * changed.edits["smile"]})
    changed.save(Path(faces), overwrite=True)
    assert "0.png exists" in run("photos", "-b", faces, "-e", "smile=2").stderr
    assert "1 edited" in run("photos", "-b", faces, "-e", "smile=2", "--force").stdout


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_two_photos_share_an_output(faces: str, jobs: int) -> None:
    """Told apart by the whole name of what is written, and as a disk tells them that takes `A.png` for `a.png`."""
    Path("photos").mkdir()
    for i, name in enumerate(("b.bmp", "b.bmp.png", "B.BMP", "a.png", "A.png", "e\u0301.png", "\u00e9.png")):
        portrait().crop((0, 0, 200 - i, 200)).save(Path("photos") / name)
    count = len(list(Path("photos").iterdir()))  # seven, where the disk tells them apart
    done = run("photos", "-b", faces, "-e", "smile=2", "--jobs", jobs, "--force")
    assert done.exit_code == 0 and f"{count} edited" in done.stdout, done.output
    lines = report("photos-edited")
    places = {unicodedata.normalize("NFC", Path(line.out).name).casefold() for line in lines.values()}
    assert len(places) == count >= 4
    for line in lines.values():  # each of its own photo
        assert open_photo(line.out).size == open_photo(line.photo).size and file_sha256(Path(line.out)) == line.sha256
    assert run("photos", "-b", faces, "-e", "smile=2").stdout.startswith(f"{count} done before")


def test_a_name_that_is_no_text(faces: str) -> None:
    Path("photos").mkdir()
    odd = os.fsencode("photos/") + b"\xff\xe9.png"
    try:
        Path(os.fsdecode(odd)).write_bytes(b"")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such name")
    portrait().save(os.fsdecode(odd))
    for status in ("1 edited", "1 done before"):
        assert status in run("photos", "-b", faces, "-e", "smile=2").stdout


def test_one_batch_at_a_time_writes_to_a_folder(faces: str) -> None:
    some(1)
    Path("photos-edited").mkdir()
    with batch.locked(Path("photos-edited") / batch.LOCK, lambda: None):
        done = run("photos", "-b", faces, "-e", "smile=2")
        assert done.exit_code == 1 and "another batch writes to photos-edited: wait until it is done" in done.stderr
    assert run("photos", "-b", faces, "-e", "smile=2").exit_code == 0
    assert {path.name for path in Path("photos-edited").iterdir()} == {"0.png", batch.REPORT}


WRITER = """
import sys, time
from pathlib import Path
from gradstyle.photos.batch import find_photos, run
source, out, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def work(photo, place):
    text = f"{photo.read_text()} {how}"
    with place.open("w") as file:
        for half in (text[:5], text[5:]):
            file.write(half)
            file.flush()
            time.sleep(0.005)
    return ()
for line in run(find_photos([source], out)[0], work, out, {"how": how}, 2, force=True):
    print(line.status, line.photo)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process the POSIX way")
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Nothing that is done is lost or done again, nothing is half, nothing of other settings passes for done."""
    names, out = [f"{i}.png" for i in range(24)], tmp_path / "out"
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_text(f"photo {name}")

    def started(how: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "in"), str(out), how]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def begun() -> int:
        return (out / batch.REPORT).read_text().count('"begun"') if (out / batch.REPORT).exists() else 0

    def there(how: str) -> set[str]:
        return {name for name in names if (out / name).exists() and (out / name).read_text() == f"photo {name} {how}"}

    chance, finished = random.Random(0), 0
    for kill, how in zip([signal.SIGKILL, signal.SIGHUP] * 3, itertools.cycle("aab")):
        before, until = there(how), begun() + chance.randrange(1, 9)
        running = started(how)
        while running.poll() is None and begun() < until:
            time.sleep(0.002)
        running.send_signal(kill)
        finished += running.wait(30) == 0
        assert before <= there(how)
        assert there("a") | there("b") == {name for name in names if (out / name).exists()}  # whole, each of them
        assert kill == signal.SIGKILL or not (out / batch.PARTIAL).exists()
    before = there("b")
    said, _ = (last := started("b")).communicate(timeout=60)
    assert finished < 6 and last.returncode == 0 and there("b") == set(names)
    assert said.count("done before") == len(before) and said.count("edited") == len(names) - len(before)
    assert {path.name for path in out.iterdir()} == {*names, batch.REPORT}


def test_patterns_and_names(faces: str) -> None:
    some(3)
    some(1, "other")
    done = run("photos/*.png", "other/0.png", "photos/1.png", "-b", faces, "-e", "smile=2")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("edited").iterdir()) == [
        "0-2.png",
        "0.png",
        "1.png",
        "2.png",
        batch.REPORT,
    ]
    assert "no file is named like 'none*.jpg'" in run("none*.jpg", "-b", faces, "-e", "smile=2").stderr
    Path("empty").mkdir()
    assert "no photo in empty" in run("empty", "-b", faces, "-e", "smile=2").stderr
    assert run("photos", "missing.png", "-b", faces, "-e", "smile=2", "-o", "third").exit_code == 1
    assert report("third")["missing.png"].status == "failed" and report("third")["0.png"].status == "edited"
    done = run("photos", "-b", faces, "-e", "smyle=2", "-o", "fourth")
    assert "did you mean smile?" in done.stderr and not Path("fourth").exists()  # before any photo is read
    Path("file").touch()
    assert (
        "file is a file; several photos are written to a folder"
        in run("photos", "-b", faces, "-e", "smile=2", "-o", "file").stderr
    )


def test_subfolders_keep_their_places_and_results_are_no_photos(faces: str) -> None:
    some(1)
    some(1, "photos/deep")
    some(1, "photos/.hidden")
    for _ in range(2):
        assert run("photos", "-b", faces, "-e", "smile=2", "-o", "photos/done").exit_code == 0
        assert {str(p) for p in Path("photos/done").rglob("*.png")} == {"photos/done/0.png", "photos/done/deep/0.png"}


def test_which_face(faces: str) -> None:
    sheet = Image.new("RGB", (430, 220), "white")
    sheet.paste(portrait(), (0, 10))
    sheet.paste(portrait().resize((220, 220)), (210, 0))
    sheet.save("two.png")
    before = open_photo("two.png").pixels

    def changed(face: str) -> tuple[bool, bool]:
        assert run("two.png", "-b", faces, "-e", "smile=3", "--face", face, "-o", f"{face}.png").exit_code == 0
        differs = (open_photo(f"{face}.png").pixels != before).any(axis=(0, 2))
        return bool(differs[:205].any()), bool(differs[205:].any())

    assert [changed(face) for face in ("1", "2", "largest", "all")] == [
        (True, False), (False, True), (False, True), (True, True)
    ]  # fmt: skip
    assert "it has 2 faces" in run("two.png", "-b", faces, "-e", "smile=1", "--face", "3", "-o", "x.png").stderr
    Image.new("RGB", (50, 50)).save("none.png")
    assert "say --aligned" in run("none.png", "-b", faces, "-e", "smile=1").stderr
    assert run("none.png", "-b", faces, "-e", "smile=1", "--aligned").exit_code == 0


def test_one_photo_beside_itself_or_into_a_folder(faces: str) -> None:
    portrait().save("me.JPG")
    assert run("me.JPG", "-b", faces, "-e", "smile=2").stdout.strip() == "me-edited.JPG"
    Path("folder").mkdir()
    assert Path(run("me.JPG", "-b", faces, "-e", "smile=2", "-o", "folder").stdout.strip()) == Path("folder/me.JPG")
    assert "me-edited.JPG exists" in run("me.JPG", "-b", faces, "-e", "smile=2").stderr
    portrait().save("is-png.jpg", "PNG")
    assert run("is-png.jpg", "-b", faces, "-e", "smile=2").stdout.strip() == "is-png-edited.png"
    assert np.array_equal(open_photo("is-png.jpg").pixels[:3], open_photo("is-png-edited.png").pixels[:3])
