from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gradstyle.bundles import Bundle
from gradstyle.directions.wishes import wishes
from gradstyle.losses import Judge
from gradstyle.metrics.face_frame import FaceFrame
from gradstyle.training import chain
from gradstyle.training.launch import Outcome, Request, export, trainable
from gradstyle.training.stages import Chain, ChainRecipe, Clock, methods_in_order, stages, trained
from gradstyle.training.trainable import Budget, Progress
from tests.support.pictures import Silent, draw_pictures, make_bundle
from tests.support.same import assert_same

JUDGES = ("teacher", "judge")
SPLIT = 'data.split=["labels.csv", "part", "train"]'


def test_all_is_trained_in_one_budget_and_in_pieces(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 64)
    cache, folder = tmp_path / "cache", tmp_path / "chain"
    common = {"cache": cache, "device": "cpu"}
    first = Silent()
    begun = chain.run(folder, first, data, "tiny", 0.25, 0.05, labels="labels.csv", overrides=[SPLIT], **common)  # type: ignore[arg-type]
    assert not begun and any("call again" in said for said in first.said)
    half_way = json.loads((folder / "chain.json").read_text())
    assert half_way["minutes"] == 0.25 and sum(half_way["spent"].values()) > 0
    logs = {file: file.read_text() for file in folder.glob("*/log.jsonl")}
    assert (folder / "teacher" / "teacher.safetensors").is_file()  # what there is by then

    last = Silent()
    assert chain.run(folder, last, **common)  # type: ignore[arg-type]
    assert logs and all(file.read_text().startswith(log) for file, log in logs.items())  # gone on with, not begun again
    assert any("teacher" in said and "beside training" in said for said in last.said)
    ended = json.loads((folder / "chain.json").read_text())
    assert ended["done"] == trained() and not ended["failed"]
    for stage in trained():
        wanted = 1.0 if stage in JUDGES else 0.3  # the others were at 1 for four fifths of their time
        assert f"rate_factor = {wanted}" in (folder / stage / "recipe.toml").read_text(), stage
    bundle = Bundle.load(folder / "bundle")
    assert {"generator", "encoder", "discriminator", "judge", *methods_in_order()} == set(bundle)
    assert Bundle.load(folder / "generator" / "bundle").fingerprint == bundle.fingerprint
    assert bundle.judge().config == Judge.open(folder / "judge" / "judge.safetensors").config

    whole = export(folder, tmp_path / "half", half=True)
    assert isinstance(whole, Bundle) and set(whole) == set(bundle) and whole.name == "half"
    sizes = [sum(file.stat().st_size for file in out.iterdir()) for out in (tmp_path / "half", folder / "bundle")]
    assert sizes[0] < 0.6 * sizes[1]
    whole = Bundle.load(tmp_path / "half")
    photos = torch.rand(2, 3, 16, 16) * 2 - 1
    for name in bundle.methods:
        method = whole.method(name)
        assert bool(method.render(method.invert(photos)).isfinite().all()), name
    for stage in trained():
        files = {file.name for file in (folder / stage).iterdir()}
        assert {"recipe.toml", "run.json", "log.jsonl"} <= files and list((folder / stage / "previews").iterdir())
    for judge in JUDGES:
        assert Judge.open(folder / judge / f"{judge}.safetensors").report["pictures"] == 16

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
    plan = Chain("data", "tiny", 5.0)
    for seconds, calm in ((100.0, 80.0), (50.0, 80.0), (10.0, -10.0)):
        assert not chain.Call(plan, tmp_path, Silent()).train(stages()[stage], seconds, calm, Silent())
    full, calmer = "loop.rate_factor=1", "loop.rate_factor=0.3"
    assert parts == [(full, 80.0), (calmer, 20.0), (full, 50.0), (calmer, 10.0)]


def test_a_method_that_fails_costs_no_other(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 16)
    failing = ["gradstyle.loop.largest_loss=1e-9", "sdic.loop.batch=2", "generator.loop.images=8"]
    few = [f"{stage}.loop.images=16" for stage in ("encoder", *methods_in_order())]
    said = Silent()
    common = {"cache": tmp_path / "cache", "device": "cpu"}
    assert chain.run(tmp_path / "chain", said, data, "tiny", 5.0, overrides=[*few, *failing], **common)  # type: ignore[arg-type]
    state = json.loads((tmp_path / "chain" / "chain.json").read_text())
    assert list(state["failed"]) == ["gradstyle"] and "diverged at step 1" in state["failed"]["gradstyle"]
    assert any("gradstyle failed" in line for line in said.said)
    assert set(Bundle.load(tmp_path / "chain" / "bundle").methods) == {"e4e", "gradmove", "styleres", "sdic", "hfgi"}


def test_a_chain_goes_on_from_all_that_a_bundle_holds(tmp_path: Path):
    data = draw_pictures(tmp_path / "data", 16)
    overrides = [f"{stage}.loop.images=16" for stage in ("generator", "encoder", *methods_in_order())]
    overrides += ["gradmove.rate=0", "gradmove.freeze_statistics=true"]
    common = {"overrides": overrides, "cache": tmp_path / "cache", "device": "cpu"}
    begin_with = make_bundle(tmp_path / "before")
    assert chain.run(tmp_path / "chain", Silent(), data, "tiny", 5.0, start_weights=begin_with, **common)  # type: ignore[arg-type]
    told = {file.parent.name: json.loads(file.read_text()) for file in (tmp_path / "chain").glob("*/run.json")}
    assert set(told) == {"generator", "encoder", *methods_in_order()}
    begun = {stage for stage, run in told.items() if run["inputs"].get("start") == str(begin_with)}
    assert begun == {"generator", "encoder"}  # the methods it has none of begin anew
    assert told["gradmove"]["inputs"]["start"] == str(tmp_path / "chain" / "gradstyle" / "bundle")  # but for this one
    bundle = Bundle.load(tmp_path / "chain" / "bundle")
    shared = {key: value for key, value in bundle.state("gradstyle").items() if ".align." not in key}
    assert_same(shared, {key: value for key, value in bundle.state("gradmove").items() if ".move." not in key})


def test_gradmove_begins_anew_where_it_is_not_as_wide_as_gradstyle(tmp_path: Path):
    make_bundle(tmp_path / "gradstyle" / "bundle")
    for width, start in ((8, str(tmp_path / "gradstyle" / "bundle")), (4, None)):
        plan = Chain("data", "tiny", 5.0, overrides={"gradmove": [f"config.residual_width={width}"]})
        assert chain.Call(plan, tmp_path, Silent()).first_weights("gradmove") == start


def test_a_chain_that_had_gradmove_before_gradstyle_goes_on():
    shares = dict.fromkeys(stages(), 1.0)
    plan = Chain("data", "tiny", 5.0, spent={"generator": 50, "encoder": 50, "gradmove": 40})
    plan.done = list(plan.spent)
    assert plan.seconds_left("gradstyle", shares) == pytest.approx(160 / 4)
    assert plan.seconds_left("hfgi", shares) == pytest.approx(160)


def test_edits_are_found_with_the_teacher_and_kept_in_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_faces(generator: object) -> None:
        raise ValueError("none")

    monkeypatch.setattr(FaceFrame, "of", no_faces)
    data = draw_pictures(tmp_path / "data", 64)
    recipe = tmp_path / "mine.toml"
    asked = 'edits = ["light=bright", "dark=-bright", "smile=Smiling"]\nedit_samples = 300\n'
    tiny = (chain.recipes.FOLDER / "tiny.toml").read_text()
    recipe.write_text(tiny.replace("[all.shares]", f"[all]\n{asked}\n[all.shares]"))
    few = [f"{stage}.loop.images=16" for stage in trained()]
    common = {"labels": "labels.csv", "overrides": [*few, SPLIT], "cache": tmp_path / "cache", "device": "cpu"}
    said = Silent()
    assert chain.run(tmp_path / "chain", said, data, str(recipe), 5.0, **common)  # type: ignore[arg-type]
    assert json.loads((tmp_path / "chain" / "chain.json").read_text())["done"] == list(stages())
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
    plan = Chain("data", "tiny", 5.0, spent={"sdic": 40.0})
    clock = Clock(plan, tmp_path, "sdic", Silent())
    now[0] += 3
    clock.show(Progress(), 1, {}, None)
    assert Chain.read(tmp_path) is None  # not at each look
    now[0] += 4
    clock.show(Progress(), 1, {}, None)
    kept = Chain.read(tmp_path)
    assert kept is not None and kept.spent == {"sdic": 47.0}


def test_snapshots_of_a_chain_are_close_together():
    plan = Chain("data", "faces-64", 5.0, overrides={"hfgi": ["loop.snapshot_minutes=0.5"]})
    assert chain.first_overrides(plan, "generator")[-1] == "loop.snapshot_minutes=2.0"
    assert chain.first_overrides(plan, "hfgi")[-1] == "loop.snapshot_minutes=0.5"


@pytest.mark.parametrize("recipe", ["faces-32", "faces-64", "faces-128", "cars-128"])
def test_a_recipe_has_all_that_a_chain_needs(recipe: str):
    asked = chain.recipes.load(ChainRecipe, "all", recipe)
    labels = None if recipe.startswith("cars") else "labels.csv"
    for stage in Chain("data", recipe, 1.0, labels).stages:
        assert asked.share(stage) > 0
        chain.recipes.load(trainable(stage).Recipe, stage, recipe)
    assert len(wishes(asked.edits)) >= 8 if labels else not asked.edits


def test_time_that_a_stage_leaves_goes_to_the_next_ones():
    shares = dict.fromkeys(stages(), 1.0)
    plan = Chain("data", "tiny", 350 / 60)  # without labels: seven stages, fifty seconds each
    assert plan.stages == ["generator", "encoder", "gradstyle", "gradmove", "styleres", "sdic", "hfgi"]
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
