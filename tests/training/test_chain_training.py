from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pictures import Silent, draw_pictures

from gradstyle.bundles import Bundle
from gradstyle.losses import Judge
from gradstyle.training import chain, pieces

SPLIT = 'data.split=["labels.csv", "part", "train"]'


def test_all_is_trained_in_one_budget_and_in_pieces(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 64)
    cache, folder = tmp_path / "cache", tmp_path / "chain"
    common = {"largest_file": 20_000, "cache": cache, "device": "cpu"}
    first = Silent()
    begun = chain.run(folder, first, data, "tiny", 0.5, 0.1, labels="labels.csv", overrides=[SPLIT], **common)  # type: ignore[arg-type]
    assert not begun and any("call again" in said for said in first.said)
    half_way = json.loads((folder / "chain.json").read_text())
    assert half_way["minutes"] == 0.5 and 0 < sum(half_way["spent"].values()) < 0.5 * 60
    log = (folder / "generator" / "log.jsonl").read_text()

    assert chain.run(folder, Silent(), **common)  # type: ignore[arg-type]
    assert (folder / "generator" / "log.jsonl").read_text().startswith(log)  # gone on with, not begun again
    ended = json.loads((folder / "chain.json").read_text())
    assert tuple(ended["done"]) == chain.STAGES
    bundle = Bundle.load(folder / "bundle")
    assert list(bundle) == ["generator", "encoder", "discriminator", "gradstyle", "styleres", "sdic", "hfgi"]
    assert Bundle.load(folder / "generator" / "bundle").fingerprint == bundle.fingerprint

    files = [file for file in (folder / "export").rglob("*") if file.is_file()]
    assert all(file.stat().st_size <= 20_000 for file in files)
    assert len(pieces.join(folder / "export", tmp_path / "whole")) < len(files)
    whole = Bundle.load(tmp_path / "whole" / "bundle")
    photos = torch.rand(2, 3, 16, 16) * 2 - 1
    for name in bundle.methods:
        method = whole.method(name)
        assert bool(method.render(method.invert(photos)).isfinite().all()), name
    for judge in chain.JUDGES:
        assert Judge.open(tmp_path / "whole" / f"{judge}.safetensors").report["pictures"] == 16


def test_time_that_a_stage_leaves_goes_to_the_next_ones():
    shares = dict.fromkeys(chain.STAGES, 1.0)
    plan = chain.Chain("data", "tiny", 5.0)  # without labels: six stages, fifty seconds each
    assert plan.stages == ["generator", "encoder", "gradstyle", "styleres", "sdic", "hfgi"]
    assert plan.seconds_left("generator", shares) == pytest.approx(50)
    plan.spent["generator"] = 30
    assert plan.seconds_left("generator", shares) == pytest.approx(20)
    assert plan.seconds_left("encoder", shares) == pytest.approx(270 / 5)
    plan.spent |= {"encoder": 150, "gradstyle": 120}
    assert plan.seconds_left("styleres", shares) == pytest.approx(0)


def test_what_is_wrong_is_said_before_hours_are_spent(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 8)
    with pytest.raises(ValueError, match="begin"):
        chain.run(tmp_path / "chain", Silent())
    for wrong, said in (("encoder.ratte=1", "rate"), ("speed=1", "a stage"), ("hfgi.config.layer=x", "int")):
        with pytest.raises(ValueError, match=said):
            chain.run(tmp_path / "chain", Silent(), data, "tiny", 1.0, overrides=[wrong])
    assert not (tmp_path / "chain").exists()


def test_files_split_and_join(tmp_path: Path):
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    contents = {"small.txt": b"abc", "deep/large.bin": bytes(range(256)) * 40, "empty": b""}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    made = pieces.split([root / name for name in contents], root, tmp_path / "out", 1000)
    assert max(file.stat().st_size for file in made) <= 1000 and len(made) == 11 + 2 + 1
    assert (b"".join(file.read_bytes() for file in sorted((tmp_path / "out" / "deep").iterdir()))) == contents[
        "deep/large.bin"
    ]
    pieces.join(tmp_path / "out", tmp_path / "joined")
    for name, content in contents.items():
        assert (tmp_path / "joined" / name).read_bytes() == content

    with pytest.raises(ValueError, match="exists"):
        pieces.join(tmp_path / "out", tmp_path / "joined")
    (tmp_path / "out" / "deep" / "large.bin.part-003").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match=r"large\.bin is damaged"):
        pieces.join(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again" / "deep" / "large.bin").exists()


def test_a_list_of_files_may_not_leave_its_folder(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "files.json").write_text('{"../x": {"sha256": "", "pieces": []}}')
    with pytest.raises(ValueError, match="elsewhere"):
        pieces.join(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "size"), [("15MB", 15_000_000), ("4 MiB", 4 << 20), ("2000", 2000), ("1.5kb", 1500), ("7 b", 7)]
)
def test_sizes(text: str, size: int):
    assert pieces.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "0", "3 apples"])
def test_what_is_no_size(text: str):
    with pytest.raises(ValueError, match="size"):
        pieces.parse_size(text)
