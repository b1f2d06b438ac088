"""A run's folder: what is written comes back, and what is damaged is said to be."""

from __future__ import annotations

import json
from math import inf, isnan, nan
from pathlib import Path

import pytest

from gradstyle.evaluation.store import Failure, Picture, Record, RunFolder, Summary, picture_name
from gradstyle.metrics.values import Curve, Metric, Row, Values

PHOTOS = ("b/2.png", "a, with a comma.png", 'odd "quotes"\n.png', "number.png", "inf")


def an_example(path: Path) -> tuple[RunFolder, Record, Summary, Values]:
    values: Values = {}
    for place, method in enumerate(("gradstyle", "e4e")):
        for condition in ("", "smile=+2", "smile=matched:1.0"):
            values[method, condition, "ssim"] = {photo: 0.1 * i + place / 3 for i, photo in enumerate(PHOTOS)}
    del values["e4e", "", "ssim"][PHOTOS[3]]
    values["gradstyle", "", "psnr"] = {PHOTOS[0]: inf, PHOTOS[1]: nan}
    record = Record(
        kind="editing",
        protocol={"seed": 3, "amounts": [1.0, 2.0]},
        bundle={"name": "faces", "fingerprint": "0123", "resolution": 64, "parts": {"generator": "ab"}},
        data={"name": "photos.zip", "fingerprint": "cd", "split": "test", "photos": 5},
        methods=("gradstyle", "e4e"),
        conditions=("", "smile=+2", "smile=matched:1.0"),
        metrics=(Metric("ssim", "SSIM", "higher"), Metric("psnr", "PSNR (dB)", "higher", "of the mean error")),
        photos=PHOTOS,
        failures=(Failure("broken.png", "", "not a picture"), Failure(PHOTOS[3], "e4e", "out of memory")),
        pictures=(Picture(PHOTOS[0], "source", "", picture_name(0, "source", "")),),
        versions={"gradstyle": "0.0"},
        command="gradstyle evaluate editing",
        complete=True,
    )
    rows = (Row("gradstyle", "", "psnr", inf, None, None, 2), Row("e4e", "", "ssim", 0.5, 0.4, 0.6, 4, 1, 0.01))
    curves = (Curve("e4e", "smile+", "ssim", (0.0, 1.0), (0.9, 0.8), 0.85, 1.0),)
    summary = Summary("bootstrap", "permutation", rows, curves, ({"rho": 0.9},), ("a note",))
    folder = RunFolder(path)
    folder.write_record(record)
    folder.write_values(values, PHOTOS)
    folder.write_summary(summary)
    return folder, record, summary, values


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    _, record, summary, values = an_example(tmp_path / "run")
    again = RunFolder(tmp_path / "run")
    assert again.record() == record and again.record().seed == 3
    assert again.summary() == summary
    found = again.values()
    assert isnan(found["gradstyle", "", "psnr"].pop(PHOTOS[1])) and isnan(
        values["gradstyle", "", "psnr"].pop(PHOTOS[1])
    )
    assert found == values  # to the last digit
    assert list(found["gradstyle", "", "ssim"]) == list(PHOTOS)
    assert summary.row("e4e", "", "ssim") == summary.rows[1] and summary.row("e4e", "", "psnr") is None


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        an_example(tmp_path / name)
    for file in ("run.json", "values.csv", "summary.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    json.loads((tmp_path / "a" / "summary.json").read_text(), parse_constant=pytest.fail)  # no bare Infinity


def test_a_part_cut_short_counts_as_not_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.part(0) is None
    folder.write_part(0, {"values": [["photo", "e4e", "", "psnr", inf]]})
    assert folder.part(0) == {"values": [["photo", "e4e", "", "psnr", inf]]}
    file = tmp_path / "parts" / "00000.json"
    file.write_text(file.read_text()[:-5])
    assert folder.part(0) is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["00000.json"]


def test_identity_of_a_run_is_what_its_figures_depend_on(tmp_path: Path) -> None:
    _, record, _, _ = an_example(tmp_path)
    other = Record(**{**vars(record), "command": "another", "complete": False, "failures": ()})
    assert other.identity == record.identity
    for name, value in {
        "protocol": {"seed": 4},
        "methods": ("e4e",),
        "data": {},
        "bundle": {},
        "kind": "residuals",
    }.items():
        assert Record(**{**vars(record), name: value}).identity != record.identity, name


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("run.json", "{", "run.json"),
        ("run.json", '{"kind": "beauty"}', "expected one of 'reconstruction'"),
        ("summary.json", '{"rows": [{"method": 3}]}', r"rows\[0\]"),
        ("values.csv", "photo,value\n", "its columns are not photo, method"),
        ("values.csv", "photo,method,condition,metric,value\na,b,c,d,e\n", "could not convert"),
    ],
)
def test_damage_is_named(tmp_path: Path, file: str, text: str, said: str) -> None:
    folder = an_example(tmp_path)[0]
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=said):
        {"run.json": folder.record, "summary.json": folder.summary, "values.csv": folder.values}[file]()


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    for read in (RunFolder(tmp_path).record, RunFolder(tmp_path).summary, RunFolder(tmp_path).values):
        with pytest.raises(ValueError, match="is no run of `gradstyle evaluate`"):
            read()
    assert RunFolder(tmp_path).costs() == {}


def test_names_of_pictures_are_plain() -> None:
    assert picture_name(7, "e4e", "smile=+2") == "pictures/007-e4e-smile_+2.png"
    assert "/" not in picture_name(7, "e4e", "../x").removeprefix("pictures/")
