from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gradstyle.training import recipe as recipes
from gradstyle.training import snapshot
from gradstyle.training.generator_recipe import GeneratorRecipe
from gradstyle.training.plot import plot, smooth
from gradstyle.training.run import Run, RunInfo, held, read_log

STATE = {
    "numbers": {"step": 3, "p": 0.25, "warm": True, "none": None, "name": "a/b"},
    "optimiser": {"state": {0: {"m": torch.arange(6.0).reshape(2, 3)}, 1: {}}, "groups": [{"params": [0, 1]}]},
    "weights": {
        "half": torch.randn(3, 5).bfloat16(),
        "last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "random": torch.Generator().manual_seed(1).get_state(),
        "scalar": torch.tensor(2.5),
    },
}


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def at(step: int) -> dict[str, object]:
    return {"step": step, "weight": torch.full((3,), step)}


def new_run(folder: Path) -> Run:
    recipe = recipes.load(GeneratorRecipe, "generator", "tiny")
    return Run.create(folder, RunInfo.now("generator", "tiny", "/data", "f00", 12, {"start": "/w"}), recipe)


# ---- snapshots


def test_a_snapshot_gives_back_what_it_was_given(tmp_path: Path):
    snapshot.save(tmp_path, 7, STATE)
    found = snapshot.load_last(tmp_path)
    assert found is not None and found[0].name == "000000007"
    assert same(found[1], STATE)
    assert not any(b"pickle" in file.read_bytes() for file in found[0].iterdir())


def test_what_cannot_be_kept_is_refused(tmp_path: Path):
    with pytest.raises(TypeError, match=r"a/1: .* got PosixPath|got WindowsPath"):
        snapshot.pack({"a": [1, Path()]}, {})


def test_the_last_two_are_kept(tmp_path: Path):
    for number in (2, 9, 10, 30):
        snapshot.save(tmp_path, number, at(number))
    assert [path.name for path in snapshot.listed(tmp_path)] == ["000000010", "000000030"]
    snapshot.save(tmp_path, 30, at(-30))  # the same step again, after a resume
    found = snapshot.load_last(tmp_path)
    assert found is not None and same(found[1], at(-30))


@pytest.mark.parametrize("damage", ["cut", "flipped", "no tensors", "no state", "half a state"])
def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, damage: str):
    snapshot.save(tmp_path, 1, STATE)
    last = snapshot.save(tmp_path, 2, STATE)
    tensors, state = last / snapshot.TENSORS, last / snapshot.STATE
    data = tensors.read_bytes()
    match damage:
        case "cut":
            tensors.write_bytes(data[:-8])
        case "flipped":
            tensors.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
        case "no tensors":
            tensors.unlink()
        case "no state":
            state.unlink()
        case "half a state":
            state.write_text(state.read_text()[:50])
    found = snapshot.load_last(tmp_path)
    assert found is not None and found[0].name == "000000001" and same(found[1], STATE)


def test_a_full_disk_keeps_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot.save(tmp_path, 1, at(1))
    snapshot.save(tmp_path, 2, at(2))

    def full(path: Path, *_: object) -> str:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshot, "write_tensors", full)
    with pytest.raises(snapshot.SnapshotError, match=r"snapshot 3 .*No space left.*000000002\. Make room and --resume"):
        snapshot.save(tmp_path, 3, at(3))
    assert [path.name for path in tmp_path.iterdir()] == ["000000002"]  # nor is there a half-written one
    found = snapshot.load_last(tmp_path)
    assert found is not None and same(found[1], at(2))


def test_older_snapshots_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in (1, 2):
        snapshot.save(tmp_path, number, at(number))
    write = snapshot.write_tensors

    def nearly_full(path: Path, *rest: object) -> str:
        if len(snapshot.listed(tmp_path)) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot, "write_tensors", nearly_full)
    snapshot.save(tmp_path, 3, at(3))
    assert [path.name for path in snapshot.listed(tmp_path)] == ["000000002", "000000003"]


# ---- the folder


def test_a_run_says_what_it_is(tmp_path: Path):
    run = new_run(tmp_path / "run")
    found = Run.find(tmp_path / "run")
    assert found.info == run.info and found.info.fingerprint == "f00"
    assert set(found.info.versions) >= {"torch", "accelerate", "gradstyle", "python"}
    written = recipes.read_toml(tmp_path / "run" / "recipe.toml")
    assert written["r1_gamma"] == pytest.approx(0.0064)  # no value is left to a heuristic or a default
    assert written["loop"]["largest_loss"] == 1e6 and written["data"]["domain"]["name"] == "unknown"


def test_nothing_is_overwritten(tmp_path: Path):
    new_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"run exists and is not empty: go on with it by --resume, or give another"):
        new_run(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"other exists and is not empty: give another --out"):
        new_run(tmp_path / "other")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.toml").touch()  # killed before it was a run
    (tmp_path / "begun" / ".run.json.123").touch()
    new_run(tmp_path / "begun")
    with pytest.raises(ValueError, match=r"is not a run: it has no run\.json"):
        Run.find(tmp_path / "other")
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run\.json cannot be read"):
        Run.find(tmp_path / "run")


def test_the_log_goes_on_where_the_snapshot_was(tmp_path: Path):
    run = new_run(tmp_path)
    with run.logging(0):
        for step in range(1, 6):
            run.log({"step": step, "images": step * 8, "loss": step / 3})
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "ima')  # a kill
    run = Run.find(tmp_path)
    with run.logging(3):
        run.log({"step": 4, "images": 32, "loss": -1.0})
    lines = list(read_log(tmp_path))
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] == -1 and lines[0] == {"step": 1, "images": 8, "loss": 0.333333}
    assert all(json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())


def test_a_full_disk_is_told_whatever_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = new_run(tmp_path / "run")
    run.save(3, at(3))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    recipe = recipes.load(GeneratorRecipe, "generator", "tiny")
    for write in (lambda: run.describe(recipe), lambda: run.logging(3).__enter__()):
        with pytest.raises(OSError, match=r"No space left.*last good snapshot is .*000000003\. Make room"):
            write()


def test_previews_are_pictures(tmp_path: Path):
    run = new_run(tmp_path)
    path = run.preview(123, [[torch.zeros(3, 8, 8)] * 3] * 2, ("a", "b", "c"))
    assert path == tmp_path / "previews" / "000123.png" and path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == ["000123.png"]


def test_curves(tmp_path: Path):
    run = new_run(tmp_path)
    with pytest.raises(ValueError, match="no log yet"):
        plot(tmp_path, tmp_path / "curves.png")
    with run.logging(0):
        for step in range(1, 50):
            r1 = {"r1": 1 / step} if step % 16 == 0 else {}
            run.log({"step": step, "images": step * 8, "seconds": step, "loss": 1 / step, **r1})
    first = plot(tmp_path, tmp_path / "new" / "curves.png").read_bytes()
    assert first.startswith(b"\x89PNG") and len(first) > 5000
    shutil.copy(tmp_path / "log.jsonl", tmp_path / "kept")
    changed = re.sub(r'"loss": [\d.]+', '"loss": 3', (tmp_path / "kept").read_text())
    (tmp_path / "log.jsonl").write_text(changed)
    assert plot(tmp_path, tmp_path / "other.png").read_bytes() != first


def test_the_running_mean_halves_the_past():
    assert smooth((5.0, 5.0, 5.0), 2) == pytest.approx([5, 5, 5])
    assert smooth((0.0, 1.0), 1) == pytest.approx([0, 1 / 1.5])


# ---- damaged snapshots


def damage(path: Path) -> None:
    file = path / snapshot.TENSORS
    file.write_bytes(file.read_bytes()[:-3] + b"?!?")


def test_without_a_whole_one_nothing_begins_again(tmp_path: Path):
    assert snapshot.load_last(tmp_path) is None
    for path in [snapshot.save(tmp_path, number, at(number)) for number in (1, 2)]:
        damage(path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(snapshot.SnapshotError, match=r"no snapshot of this run is whole: .*02 is .*; .*01 is .*copy"):
        snapshot.load_last(tmp_path)
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_it_is_told_which_is_passed_over_and_why(tmp_path: Path):
    snapshot.save(tmp_path, 1, at(1))
    damage(snapshot.save(tmp_path, 2, at(2)))
    said: list[str] = []
    found = snapshot.load_last(tmp_path, said.append)
    assert found is not None and same(found[1], at(1))
    assert len(said) == 1 and "000000002 is damaged (" in said[0] and "SHA-256" in said[0]


def test_a_damaged_one_pushes_no_good_one_out(tmp_path: Path):
    snapshot.save(tmp_path, 100, at(100))
    damage(snapshot.save(tmp_path, 200, at(200)))  # and the run goes on from 100
    for number, there in ((150, [100, 150]), (160, [150, 160]), (200, [160, 200])):
        snapshot.save(tmp_path, number, at(number))
        assert [int(path.name) for path in snapshot.listed(tmp_path)] == there
    assert (tmp_path / "damaged-000000200" / snapshot.TENSORS).is_file()
    damage(tmp_path / "000000200")  # after it was written
    snapshot.save(tmp_path, 210, at(210))
    assert [int(path.name) for path in snapshot.listed(tmp_path)] == [160, 210]


def test_room_is_not_made_by_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot.save(tmp_path, 1, at(1))
    damage(snapshot.save(tmp_path, 2, at(2)))

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshot, "write_tensors", full)
    with pytest.raises(snapshot.SnapshotError, match=r"last good snapshot is .*000000001\."):
        snapshot.save(tmp_path, 3, at(3))
    found = snapshot.load_last(tmp_path)
    assert found is not None and same(found[1], at(1))


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "{}", '{"sha256": "", "snapshot": 3}', '{"snapshot": {}}', "[" * 20_000, "\\u", '{"state": 1}'],
)
def test_a_state_that_is_none_is_passed_over(tmp_path: Path, text: str):
    snapshot.save(tmp_path, 1, at(1))
    (snapshot.save(tmp_path, 2, at(2)) / snapshot.STATE).write_text(text)
    found = snapshot.load_last(tmp_path)
    assert found is not None and same(found[1], at(1))


def test_a_state_is_under_the_checksum_too(tmp_path: Path):
    snapshot.save(tmp_path, 1, {"progress": {"images": 100}})
    file = snapshot.save(tmp_path, 2, {"progress": {"images": 200}}) / snapshot.STATE
    file.write_text(file.read_text().replace("200", "100"))
    said: list[str] = []
    found = snapshot.load_last(tmp_path, said.append)
    assert found is not None and found[0].name == "000000001" and "state.json: its SHA-256 is not" in said[0]


def test_a_snapshot_of_the_former_form_is_read(tmp_path: Path):
    path = snapshot.save(tmp_path, 1, STATE)
    content = json.loads((path / snapshot.STATE).read_text())["snapshot"]
    (path / snapshot.STATE).write_text(json.dumps({"sha256": content["tensors"], "state": content["state"]}))
    assert same(snapshot.load(path), STATE)


# ---- a damaged log, and who writes


def test_a_line_of_the_log_that_cannot_be_read_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = new_run(tmp_path)
    with run.logging(0):
        for step in range(1, 6):
            run.log({"step": step, "images": step * 8})
    assert run.lines == 5
    lines = (tmp_path / "log.jsonl").read_bytes().splitlines()
    lines[1] = lines[1][:-3] + b"\xff\xfe}"
    (tmp_path / "log.jsonl").write_bytes(b"\n".join([*lines, b'{"step": 6, "ima']))
    assert [line["step"] for line in read_log(tmp_path)] == [1, 3, 4, 5] and not caplog.text
    with run.logging(5, run.lines):
        pass
    assert "log.jsonl, line 2: it cannot be read" in caplog.text and "line 6" not in caplog.text
    assert "log.jsonl has lost 1 of 5 lines up to step 5" in caplog.text
    assert [line["step"] for line in read_log(tmp_path)] == [1, 3, 4, 5]


HOLD = "import sys, time; from pathlib import Path; from gradstyle.training.run import held\n"
HOLD += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_one_process_at_a_time_writes_into_a_run(tmp_path: Path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="run is in use by another process: wait"), held(tmp_path / "run"):
            pass
    finally:
        other.kill()
        other.wait()
    with held(tmp_path / "run"):  # the system let go of it
        assert new_run(tmp_path / "run").folder.is_dir()
