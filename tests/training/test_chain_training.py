from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gradstyle.bundles import Bundle
from gradstyle.directions.find import wishes
from gradstyle.losses import Judge
from gradstyle.metrics.face_frame import FaceFrame
from gradstyle.training import chain, pieces
from gradstyle.training.launch import Outcome, Request, open_images, trainable
from gradstyle.training.loop import Budget, Progress
from tests.support.pictures import Silent, draw_pictures, make_bundle

SPLIT = 'data.split=["labels.csv", "part", "train"]'


def test_all_is_trained_in_one_budget_and_in_pieces(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 64)
    cache, folder = tmp_path / "cache", tmp_path / "chain"
    common = {"largest_file": 20_000, "cache": cache, "device": "cpu"}
    first = Silent()
    begun = chain.run(folder, first, data, "tiny", 0.25, 0.05, labels="labels.csv", overrides=[SPLIT], **common)  # type: ignore[arg-type]
    assert not begun and any("call again" in said for said in first.said)
    half_way = json.loads((folder / "chain.json").read_text())
    assert half_way["minutes"] == 0.25 and sum(half_way["spent"].values()) > 0
    logs = {file: file.read_text() for file in folder.glob("*/log.jsonl")}
    pieces.join(folder / "export", tmp_path / "early")  # what there is by then
    assert (tmp_path / "early" / "teacher.safetensors").is_file()

    last = Silent()
    assert chain.run(folder, last, **common)  # type: ignore[arg-type]
    assert logs and all(file.read_text().startswith(log) for file, log in logs.items())  # gone on with, not begun again
    assert any("teacher" in said and "beside training" in said for said in last.said)
    ended = json.loads((folder / "chain.json").read_text())
    assert tuple(ended["done"]) == chain.TRAINED and not ended["failed"]
    for stage in chain.TRAINED:
        wanted = 1.0 if stage in chain.JUDGES else 0.3  # the others were at 1 for four fifths of their time
        assert f"rate_factor = {wanted}" in (folder / stage / "recipe.toml").read_text(), stage
    bundle = Bundle.load(folder / "bundle")
    assert {"generator", "encoder", "discriminator", "judge", *chain.METHODS} == set(bundle)
    assert Bundle.load(folder / "generator" / "bundle").fingerprint == bundle.fingerprint
    assert bundle.judge().config == Judge.open(folder / "judge" / "judge.safetensors").config

    files = [file for file in (folder / "export").rglob("*") if file.is_file()]
    assert all(file.stat().st_size <= 20_000 for file in files) and len(files) > 10
    made = pieces.join(folder / "export", tmp_path / "whole")
    whole = Bundle.load(tmp_path / "whole" / "bundle")
    photos = torch.rand(2, 3, 16, 16) * 2 - 1
    for name in bundle.methods:
        method = whole.method(name)
        assert bool(method.render(method.invert(photos)).isfinite().all()), name
    for stage in chain.TRAINED:
        kept = {file.name for file in made if file.parent.name == stage}
        assert kept == {"recipe.toml", "run.json", "log.jsonl", "preview.png"}
    for judge in chain.JUDGES:
        assert Judge.open(tmp_path / "whole" / f"{judge}.safetensors").report["pictures"] == 16

    for changed in ({"recipe": "faces-64"}, {"labels": "other.csv"}, {"overrides": ["encoder.rate=1"]}):
        with pytest.raises(ValueError, match="was begun with"):
            chain.run(folder, Silent(), **common, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["generator", "encoder", "sdic"])
def test_a_stage_ends_with_smaller_steps(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now, parts = [100.0], list[tuple[str, float]]()

    def spend(request: Request, budget: Budget, *_: object) -> Outcome:
        assert budget.minutes is not None
        parts.append((next(iter(request.overrides)), budget.started + 60 * budget.minutes - now[0]))
        now[0] = budget.started + 60 * budget.minutes
        return Outcome(Progress(), False, None)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(chain, "start", spend)
    plan = chain.Chain("data", "tiny", 5.0)
    for seconds, calm in ((100.0, 80.0), (50.0, 80.0), (10.0, -10.0)):
        assert not chain._train(plan, tmp_path, stage, seconds, calm, None, None, Silent(), open_images)
    full, calmer = "loop.rate_factor=1", "loop.rate_factor=0.3"
    assert parts == [(full, 80.0), (calmer, 20.0), (full, 50.0), (calmer, 10.0)]


def test_a_method_that_fails_costs_no_other(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 16)
    failing = ["gradstyle.loop.largest_loss=1e-9", "sdic.loop.batch=2", "generator.loop.images=8"]
    few = [f"{stage}.loop.images=16" for stage in ("encoder", *chain.METHODS)]
    said = Silent()
    common = {"cache": tmp_path / "cache", "device": "cpu"}
    assert chain.run(tmp_path / "chain", said, data, "tiny", 5.0, overrides=[*few, *failing], **common)  # type: ignore[arg-type]
    state = json.loads((tmp_path / "chain" / "chain.json").read_text())
    assert list(state["failed"]) == ["gradstyle"] and "diverged at step 1" in state["failed"]["gradstyle"]
    assert any("gradstyle failed" in line for line in said.said)
    assert set(Bundle.load(tmp_path / "chain" / "bundle").methods) == {"e4e", "gradmove", "styleres", "sdic", "hfgi"}


def test_a_chain_goes_on_from_all_that_a_bundle_holds(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 16)
    overrides = [f"{stage}.loop.images=16" for stage in ("generator", "encoder", *chain.METHODS)]
    common = {"overrides": overrides, "cache": tmp_path / "cache", "device": "cpu"}
    begin_with = make_bundle(tmp_path / "before")
    assert chain.run(tmp_path / "chain", Silent(), data, "tiny", 5.0, start_weights=begin_with, **common)  # type: ignore[arg-type]
    told = {file.parent.name: json.loads(file.read_text()) for file in (tmp_path / "chain").glob("*/run.json")}
    assert set(told) == {"generator", "encoder", *chain.METHODS}
    begun = {stage for stage, run in told.items() if run["inputs"].get("start") == str(begin_with)}
    assert begun == {"generator", "encoder"}  # the methods it has none of begin anew


def test_edits_are_found_with_the_teacher_and_kept_in_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_faces(generator: object) -> None:
        raise ValueError("none")

    monkeypatch.setattr(FaceFrame, "of", no_faces)
    data = draw_pictures(tmp_path / "data", 64)
    recipe = tmp_path / "mine.toml"
    asked = 'edits = ["light=bright", "dark=-bright", "smile=Smiling"]\nedit_samples = 300\n'
    tiny = (chain.recipes.FOLDER / "tiny.toml").read_text()
    recipe.write_text(tiny.replace("[all.shares]", f"[all]\n{asked}\n[all.shares]"))
    few = [f"{stage}.loop.images=16" for stage in chain.TRAINED]
    common = {"labels": "labels.csv", "overrides": [*few, SPLIT], "cache": tmp_path / "cache", "device": "cpu"}
    said = Silent()
    assert chain.run(tmp_path / "chain", said, data, str(recipe), 5.0, **common)  # type: ignore[arg-type]
    assert json.loads((tmp_path / "chain" / "chain.json").read_text())["done"] == list(chain.STAGES)
    bundle = Bundle.load(tmp_path / "chain" / "bundle")
    assert set(bundle.edits) == {"light", "dark"} == {*bundle.sliders} | {*bundle.failed_edits}
    light, dark = (bundle.edits[name].w for name in ("light", "dark"))
    assert light is not None and dark is not None
    assert float(F.cosine_similarity(light.flatten(), dark.flatten(), dim=0)) < -0.2
    assert any(line.startswith("edit light: ") for line in said.said)


def test_a_generator_that_diverges_stops_the_chain(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 16)
    with pytest.raises(ValueError, match="diverged"):
        chain.run(
            tmp_path / "chain",
            Silent(),
            data,
            "tiny",
            5.0,
            overrides=["generator.loop.largest_loss=1e-9"],
            cache=tmp_path / "cache",
            device="cpu",
        )
    state = json.loads((tmp_path / "chain" / "chain.json").read_text())
    assert state["done"] == [] and state["spent"]["generator"] > 0


def test_the_time_is_noted_while_it_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A process that is killed says nothing at its end."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    plan = chain.Chain("data", "tiny", 5.0, spent={"sdic": 40.0})
    clock = chain.Clock(plan, tmp_path, "sdic", Silent())
    now[0] += 3
    clock.show(Progress(), 1, {}, None)
    assert chain.Chain.read(tmp_path) is None  # not at each look
    now[0] += 4
    clock.show(Progress(), 1, {}, None)
    kept = chain.Chain.read(tmp_path)
    assert kept is not None and kept.spent == {"sdic": 47.0}


def test_snapshots_of_a_chain_are_close_together():
    plan = chain.Chain("data", "faces-64", 5.0, overrides={"hfgi": ["loop.snapshot_minutes=0.5"]})
    assert chain._overrides(plan, "generator")[-1] == "loop.snapshot_minutes=2.0"
    assert chain._overrides(plan, "hfgi")[-1] == "loop.snapshot_minutes=0.5"


@pytest.mark.parametrize("recipe", ["faces-32", "faces-64", "faces-128", "cars-128"])
def test_a_recipe_has_all_that_a_chain_needs(recipe: str):
    shares = chain.recipes.load(chain.ChainRecipe, "all", recipe).shares
    labels = None if recipe.startswith("cars") else "labels.csv"
    for stage in chain.Chain("data", recipe, 1.0, labels).stages:
        assert getattr(shares, stage) > 0
        chain.recipes.load(trainable(stage).Recipe, stage, recipe)
    wanted = chain.recipes.load(chain.ChainRecipe, "all", recipe).edits
    assert len(wishes(wanted)) >= 8 if labels else not wanted


def test_time_that_a_stage_leaves_goes_to_the_next_ones():
    shares = dict.fromkeys(chain.STAGES, 1.0)
    plan = chain.Chain("data", "tiny", 350 / 60)  # without labels: seven stages, fifty seconds each
    assert plan.stages == ["generator", "encoder", "gradmove", "gradstyle", "styleres", "sdic", "hfgi"]
    assert plan.seconds_left("generator", shares) == pytest.approx(50)
    plan.spent["generator"] = 30
    assert plan.seconds_left("generator", shares) == pytest.approx(20)
    assert plan.seconds_left("encoder", shares) == pytest.approx(320 / 6)
    plan.spent |= {"encoder": 150, "gradmove": 60, "gradstyle": 110}
    assert plan.seconds_left("styleres", shares) == pytest.approx(0)


def test_what_is_wrong_is_said_before_hours_are_spent(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 8)
    with pytest.raises(ValueError, match="begin"):
        chain.run(tmp_path / "chain", Silent())
    for wrong, said in (("encoder.ratte=1", "rate"), ("speed=1", "a stage"), ("hfgi.config.layer=x", "int")):
        with pytest.raises(ValueError, match=said):
            chain.run(tmp_path / "chain", Silent(), data, "tiny", 1.0, overrides=[wrong])
    assert not (tmp_path / "chain").exists()


def test_one_process_trains_a_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one process"):
        chain.run(tmp_path / "chain", Silent(), tmp_path, "tiny", 1.0)
    assert not (tmp_path / "chain").exists()


# ---- files


def fill(root: Path) -> dict[str, bytes]:
    contents = {"small.txt": b"abc", "deep/large.bin": bytes(range(256)) * 40, "empty": b""}
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return contents


def test_results_are_packed_and_unpacked(tmp_path: Path):
    contents = fill(tmp_path / "root")
    out = tmp_path / "out"
    made = pieces.pack(tmp_path / "root", out, 3000)
    assert {*made} == {*out.iterdir()} and len(made) > 4
    assert max(file.stat().st_size for file in made) <= 3000
    assert {*pieces.join(out, tmp_path / "joined")} == {tmp_path / "joined" / name for name in contents}
    for name, content in contents.items():
        assert (tmp_path / "joined" / name).read_bytes() == content

    with pytest.raises(ValueError, match="exists"):
        pieces.join(out, tmp_path / "joined")
    assert len(pieces.pack(tmp_path / "root", out, 10**6)) == 2 == len(list(out.iterdir()))  # the former ones go


def test_any_tar_opens_the_pieces(tmp_path: Path):
    contents = fill(tmp_path / "root")
    pieces.pack(tmp_path / "root", tmp_path / "out", 3000)
    (tmp_path / "by_hand").mkdir()
    command = f"cat {tmp_path}/out/results.tar.part-* | tar x -C {tmp_path}/by_hand"
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "by_hand" / "deep" / "large.bin").read_bytes() == contents["deep/large.bin"]


def test_damaged_pieces_are_named(tmp_path: Path):
    fill(tmp_path / "root")
    out = tmp_path / "out"
    pieces.pack(tmp_path / "root", out, 3000)
    piece = out / "results.tar.part-001"
    data = piece.read_bytes()
    piece.write_bytes(data[:-1] + b"!")
    with pytest.raises(ValueError, match=r"part-001 is damaged.*copy it again"):
        pieces.join(out, tmp_path / "joined")
    piece.unlink()
    with pytest.raises(ValueError, match=r"lacks results\.tar\.part-001"):
        pieces.join(out, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_folder_of_other_files_is_not_replaced(tmp_path: Path):
    fill(tmp_path / "root")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ValueError, match="other files"):
        pieces.pack(tmp_path / "root", tmp_path / "out", 3000)
    assert (tmp_path / "out" / "mine.txt").exists()


def archive(folder: Path, entry: tarfile.TarInfo, piece: str = "results.tar.part-000") -> None:
    folder.mkdir()
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.addfile(entry)
    (folder / "results.tar.part-000").write_bytes(held.getvalue())
    listed = {"pieces": [{"name": piece, "sha256": hashlib.sha256(held.getvalue()).hexdigest()}]}
    (folder / "files.json").write_text(json.dumps(listed))


def test_what_is_unpacked_may_not_leave_its_folder(tmp_path: Path):
    for number, name in enumerate(("../x", "/x", "deep/../../x")):
        archive(tmp_path / str(number), tarfile.TarInfo(name))
        with pytest.raises(ValueError, match="no file of a training"):
            pieces.join(tmp_path / str(number), tmp_path / "out")
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive(tmp_path / "link", link)
    with pytest.raises(ValueError, match="no file of a training"):
        pieces.join(tmp_path / "link", tmp_path / "out")
    archive(tmp_path / "list", tarfile.TarInfo("x"), piece="../0/results.tar.part-000")
    with pytest.raises(ValueError, match="elsewhere"):
        pieces.join(tmp_path / "list", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "size"), [("15MB", 15_000_000), ("4 MiB", 4 << 20), ("2000", 2000), ("1.5kb", 1500), ("7 b", 7)]
)
def test_sizes(text: str, size: int):
    assert pieces.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "0", "3 apples"])
def test_what_is_no_size(text: str):
    with pytest.raises(ValueError, match="size"):
        pieces.parse_size(text)
