"""Sweeps as moving pictures, and batches of which a broken photo takes nothing away."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from gradstyle.studio import Engine, Session
from gradstyle.studio.export import FRAMES, SIDES, PhotoOutcome, report, write_batch, write_sweep
from tests.support.studios import a_photo


@pytest.fixture
def session(engine: Engine, tmp_path: Path) -> Session:
    made = Session(engine, tmp_path / "visitors")
    made.open(a_photo(tmp_path))
    return made


def test_a_sweep_goes_over_the_whole_range_and_back(session: Session, tmp_path: Path) -> None:
    session.move({"age": 1})
    with Image.open(write_sweep(session, "smile", tmp_path / "out" / "smile.gif")) as picture:
        assert picture.width == SIDES["gif"] and picture.info["loop"] == 0
        count = picture.n_frames  # type: ignore[attr-defined]
        frames = []
        for number in range(count):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
    assert FRAMES < count <= 2 * FRAMES - 2  # frames that look alike are one
    assert np.abs(frames[0] - frames[count // 2]).mean() > 1
    ends = [session.shown(session.move({"age": 1, "smile": amount})) for amount in (-2, 3)]
    assert ends[0] != ends[1]
    with av.open(str(write_sweep(session, "smile", tmp_path / "smile.mp4"))) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.pix_fmt) == ("h264", SIDES["mp4"], "yuv420p")
        assert sum(1 for _ in film.decode(stream)) == 3 * (2 * FRAMES - 2)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["smile.mp4"]  # nothing half done
    with pytest.raises(ValueError, match="no slider 'grin'"):
        write_sweep(session, "grin", tmp_path / "grin.gif")
    with pytest.raises(ValueError, match="written as gif or mp4"):
        write_sweep(session, "smile", tmp_path / "smile.exe")


def test_a_batch_loses_nothing_to_a_broken_photo(engine: Engine, tmp_path: Path) -> None:
    photos = [(a_photo(tmp_path, f"{n}.jpg", (120, 90), n), "../same name.jpg") for n in range(3)]
    (tmp_path / "broken.png").write_text("no")
    photos.insert(1, (tmp_path / "broken.png", "=HYPERLINK(1).png"))
    told: list[tuple[int, int, str]] = []

    def progress(*given: object) -> bool:
        told.append(given)  # type: ignore[arg-type]
        return True

    outcomes = write_batch(engine, photos, "tiny", "e4e", {"smile": 2}, False, tmp_path / "edited.zip", progress)
    assert [outcome.result for outcome in outcomes] == [
        "001-same name.png",
        "",
        "003-same name.png",
        "004-same name.png",
    ]
    assert "not a picture" in outcomes[1].error and [done for done, _, _ in told] == [0, 1, 2, 3, 4]
    with zipfile.ZipFile(tmp_path / "edited.zip") as archive:
        assert archive.namelist() == [o.result for o in outcomes if o.result] + ["report.csv"] and not archive.testzip()
        assert "'=HYPERLINK" in archive.read("report.csv").decode()
        with Image.open(io.BytesIO(archive.read("004-same name.png"))) as picture:
            assert picture.size == (120, 90)
    assert engine.shelf.bytes == 0 and not list((tmp_path / "work").iterdir())


def test_a_batch_that_is_stopped_keeps_what_is_done(engine: Engine, tmp_path: Path) -> None:
    photos = [(a_photo(tmp_path, f"{n}.jpg"), f"{n}.jpg") for n in range(3)]
    outcomes = write_batch(engine, photos, "tiny", "e4e", {}, True, tmp_path / "z.zip", lambda done, of, name: done < 1)
    assert [outcome.name for outcome in outcomes] == ["0.jpg"]
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        assert archive.namelist() == ["001-0.png", "report.csv"]


def test_no_cell_of_the_list_is_a_formula() -> None:
    lines = report(
        [PhotoOutcome("@x", "r.png"), PhotoOutcome("ok", "", "-1 is wrong"), PhotoOutcome("y", "y.png", "", "=1")]
    )
    assert lines.splitlines() == ["photo,result,error,remark", "'@x,r.png,,", "ok,,'-1 is wrong,", "y,y.png,,'=1"]


def test_a_batch_lists_what_an_edit_did_nothing_to(engine: Engine, tmp_path: Path) -> None:
    photos = [(a_photo(tmp_path, f"{n}.jpg"), f"{n}.jpg") for n in range(2)]
    for amount, said in ((1e-6, "smile +1e-06 changes next to nothing in this photo"), (2, "")):
        copies = [(Path(shutil.copy(path, tmp_path / f"copy-{name}")), name) for path, name in photos]
        outcomes = write_batch(engine, copies, "tiny", "e4e", {"smile": amount}, False, tmp_path / "z.zip")
        assert [outcome.remark for outcome in outcomes] == [said, said] and not any(o.error for o in outcomes)
    assert engine.shelf.bytes == 0
