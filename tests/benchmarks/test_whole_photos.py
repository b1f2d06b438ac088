"""The benchmark of whole photos, on two faces that the bundled generator draws."""

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gradstyle
from benchmarks.whole_photos.__main__ import Outcome, at_equal_change, chosen, lines_of, main
from benchmarks.whole_photos.ways import Ready
from gradstyle.photos import Paste, Photo, to_photo
from gradstyle.training.sources import Source


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two portraits of 256 pixels, the face in their middle."""
    folder: Path = tmp_path_factory.mktemp("faces")
    generator = gradstyle.load().bundle.generator()
    for number, image in enumerate(generator(generator.sample(2, 0.5, seed=1))):
        small = Image.fromarray(to_photo(image.clamp(-1, 1)).pixels).resize((160, 160), Image.Resampling.BICUBIC)
        around = np.pad(np.asarray(small), ((48, 48), (48, 48), (0, 0)), "edge")
        Image.fromarray(around).save(folder / f"{number}.png")
    return folder


@pytest.mark.skipif(find_spec("face_recognition_models") is None, reason="dlib's vectors are not installed")
def test_two_faces_are_measured_in_each_way(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--persons all --method e4e --edit smile=1.5 --way carried --way keep --megapixels --pictures"
    monkeypatch.setattr(sys, "argv", ["whole_photos", str(faces), *options.split(), "--out", str(tmp_path)])
    main()
    rows = list(csv.DictReader((tmp_path / "values.csv").open(encoding="utf-8")))
    assert [(row["photo"], row["way"]) for row in rows] == [
        (f"{number}.png", way) for number in range(2) for way in ("none", "carried", "keep")
    ]
    for row in rows:
        if row["way"] == "none":
            assert float(row["mouth"]) == float(row["identity"]) == float(row["wall"]) == 0
            assert float(row["detail"]) == pytest.approx(1)
        else:
            assert float(row["mouth"]) > 0.2 and float(row["identity"]) > 0.01 and float(row["own"]) > 0.3
            assert (tmp_path / "smile+1.5" / f"e4e-{row['way']}" / row["photo"]).is_file()
    report = (tmp_path / "report.md").read_text("utf-8")
    assert "| e4e | carried | to the bit | " in report and "| smile +1.5 | – | none | " in report
    assert "2 photos" in capsys.readouterr().out


def test_a_photo_that_is_inverted_once_is_edited_as_the_editor_does(faces: Path) -> None:
    editor = gradstyle.load(method="e4e")
    photo = Photo(np.asarray(Image.open(faces / "0.png")))
    ready = Ready(editor, photo)
    for way, how in (("carried", None), ("auto", Paste()), ("crop", Paste("crop"))):
        expected = editor.edit(photo, {"smile": 1.0}, how=how).pixels.astype(int)
        assert np.abs(ready.edited("smile", 1.0, way) - expected).max() <= 1
        assert np.abs(expected - photo.pixels).max() > 10


def test_photos_are_taken_from_the_wanted_persons_by_turns(tmp_path: Path) -> None:
    persons = {"a": 1, "b": 1, "c": 2, "d": 3, "e": 3, "f": 3}
    for name in persons:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    lines = "".join(f"{name}.png,{person}\n" for name, person in persons.items())
    (tmp_path / "identities.csv").write_text("image_id,person\n" + lines, "utf-8")
    source = Source.open(tmp_path)

    def names(persons: str, count: int) -> str:
        return "".join(source.names[index][0] for index in chosen(source, persons, None, count))

    assert names("odd", 9) == "adbef" and names("odd", 3) == "adb"
    assert names("even", 9) == "c" and names("all", 2) == "af"


def test_a_line_has_means_and_leaves_out_what_was_not_measured() -> None:
    found = [{"yaw": 10.0, "detail": 0.8, "lost": 0.0}, {"yaw": 20.0, "detail": 0.9, "lost": 0.0}, {"lost": 1.0}]
    ((name, *cells),) = lines_of([Outcome("yaw +2", "e4e", "keep", "a", m) for m in found], lambda o: (o.way,))
    assert name == "keep"
    assert cells[0] == "15.0 ±5.0" and cells[1] == "–" and cells[-2:] == ["0.850", "1 of 3"]


def test_identity_is_compared_where_photos_have_turned_equally_far() -> None:
    def turned(method: str, photo: str, amount: float, yaw: float | None, identity: float = 0.0) -> Outcome:
        seen = {} if yaw is None else {"yaw": yaw, "identity": identity, "detail": 1 - identity}
        return Outcome(f"yaw {amount:+g}", method, "carried", photo, seen)

    lines = at_equal_change(
        [
            turned("far", "a", -1, -8, 0.2),
            turned("far", "a", -2, -16, 0.6),  # 10° lie a quarter of the way on: .2 + .25 · .4
            turned("near", "a", -2, -12, 0.3),
            turned("near", "a", -1, -5, 0.1),  # and here at 5 of 7: .1 + 5/7 · .2
            turned("far", "b", -1, -20, 0.4),
            turned("near", "b", -1, -6, 0.4),  # never comes so far: b is left out
            turned("far", "c", -1, None),  # lost before it got there
            turned("far", "c", -2, -30, 0.1),
            Outcome("yaw -1", "–", "none", "a", {"yaw": 0.0, "identity": 0.0}),
        ]
    )
    first = [line for line in lines if line[0] == "yaw -10"]
    assert [line[1] for line in first] == ["far", "near"]
    assert first[0][3].startswith("0.300") and first[0][4].startswith("0.700")
    assert first[1][3].startswith("0.243")
    assert [line[5:] for line in first] == [["2 of 3", "1"], ["1 of 2", "1"]]
    far, near = (line for line in lines if line[0] == "yaw -15")  # near comes so far in no photo: it is not compared
    assert far[3].startswith("0.425") and far[5:] == ["2 of 3", "2"] and near[3:] == ["–", "–", "0 of 2", "0"]
