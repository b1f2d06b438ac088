from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gradstyle.bundles import Bundle
from gradstyle.training import frozen_inputs as standing
from gradstyle.training import snapshot
from gradstyle.training.frozen_inputs import LossesRecipe
from gradstyle.training.launch import Request, export, start
from gradstyle.training.trainable import Budget
from gradstyle.training.watch import Diverged
from tests.support.pair import gradients
from tests.support.pictures import Silent, draw_pictures, make_bundle, make_teacher
from tests.support.same import assert_same


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a bundle of a generator alone, a teacher."""
    folder = tmp_path_factory.mktemp("place")
    draw_pictures(folder / "data")
    make_bundle(folder / "bundle", with_encoder=False)
    make_teacher(folder / "teacher.safetensors")
    return folder


def request(place: Path, out: Path, *changes: str, resume: bool = False) -> Request:
    inputs = {"bundle": str(place / "bundle"), "teacher": str(place / "teacher.safetensors")}
    recipe = "" if resume else "tiny"
    return Request("encoder", place / "data", out, recipe, changes, inputs, resume, place / "cache", "cpu")


def test_reconstructions_come_closer_and_the_bundle_can_invert(place: Path, tmp_path: Path):
    meter = Silent()
    assert start(request(place, tmp_path / "run", "loop.images=800"), Budget(), meter).done
    pixel = torch.tensor([terms["pixel"] for terms in meter.terms])
    assert pixel[-20:].mean() < 0.8 * pixel[:20].mean()  # 0.58 to 0.70 with seeds 0 to 3
    bundle = Bundle.load(tmp_path / "run" / "bundle")
    assert list(bundle) == ["generator", "encoder", "discriminator"] and bundle.methods == ["e4e"]
    assert bundle.fingerprint == Bundle.load(place / "bundle").fingerprint
    photo = torch.rand(2, 3, 16, 16) * 2 - 1
    method = bundle.method("e4e")
    assert method.render(method.invert(photo)).shape == (2, 3, 16, 16)
    assert len(list((tmp_path / "run" / "previews").glob("*.png"))) == 1


def test_codes_begin_at_the_mean_and_deltas_go_on_one_at_a_time(place: Path, tmp_path: Path):
    meter = Silent()
    changes = ("loss.first_delta=1", "loss.delta_every=2", "loop.images=48")
    start(request(place, tmp_path / "run", *changes), Budget(), meter)
    assert [terms["deltas"] for terms in meter.terms] == [0, 1, 1, 2, 2, 3]
    _, state = snapshot.load_last(tmp_path / "run" / "snapshots") or (None, None)
    assert state is not None
    mean = Bundle.load(place / "bundle").generator().estimated_mean()
    assert torch.allclose(state["modules"]["encoder"]["mean_codes"], mean.expand(6, 16))


def test_an_encoder_goes_on_from_another_with_all_its_deltas(place: Path, tmp_path: Path):
    make_bundle(tmp_path / "before")
    asked = request(place, tmp_path / "run", "loss.first_delta=9", "loop.images=8", "rate=0", "freeze_statistics=true")
    asked.inputs["start"] = str(tmp_path / "before")  # type: ignore[index]
    meter = Silent()
    assert start(asked, Budget(), meter).done
    assert meter.terms[0]["deltas"] == 5
    before, after = (Bundle.load(tmp_path / name).state("encoder") for name in ("before", "run/bundle"))
    mean = after.pop("mean_codes")
    assert not torch.equal(mean, before.pop("mean_codes"))  # the generator's, not what the other one stood on
    assert_same(before, after)


def test_heads_whose_delta_is_off_rest(place: Path, tmp_path: Path):
    start(request(place, tmp_path / "run", "loss.first_delta=3", "loop.images=16"), Budget(), Silent())
    _, state = snapshot.load_last(tmp_path / "run" / "snapshots") or (None, None)
    assert state is not None
    names = list(state["modules"]["encoder"])
    learning = [n for n in names if not n.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    learning.remove("mean_codes")
    steps = state["optimisers"]["encoder"]["optimizer"]["state"]
    counted = {learning[int(index)].split(".")[1] for index in steps if learning[int(index)].startswith("heads.")}
    assert counted == {"0"}


def test_a_resumed_run_ends_with_the_same_bits(place: Path, tmp_path: Path):
    goal = "loop.images=128"  # past the first deltas and with full pools
    start(request(place, tmp_path / "whole", goal), Budget(), Silent())
    start(request(place, tmp_path / "parts", goal), Budget(images=56), Silent())
    start(request(place, tmp_path / "parts", resume=True), Budget(), Silent())
    states = [snapshot.load_last(tmp_path / name / "snapshots") for name in ("whole", "parts")]
    assert_same(*(each[1] | {"progress": None} for each in states if each))


def test_parts_of_a_batch_give_its_gradient(place: Path, tmp_path: Path):
    changes = ("freeze_statistics=true", "loss.adversarial=0", "loop.batch=8")
    whole = gradients(request(place, tmp_path, *changes))
    parts = gradients(request(place, tmp_path, *changes, "loop.parts=2"))
    for name, gradient in whole.items():
        if name.startswith("0.encoder"):
            torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_run_never_goes_on_with_another_generator(place: Path, tmp_path: Path):
    start(request(place, tmp_path / "run", "loop.images=32"), Budget(images=8), Silent())
    bundle = Bundle.load(place / "bundle")
    generator = bundle.generator()
    generator.const.add_(1)
    other = Bundle("other")
    other.put("generator", generator)
    other.save(tmp_path / "other")
    moved = request(place, tmp_path / "run", resume=True)
    moved.inputs["bundle"] = str(tmp_path / "other")  # type: ignore[index]
    with pytest.raises(ValueError, match="generator is not the one"):
        start(moved, Budget(), Silent())


def test_a_resumed_run_keeps_its_teacher(place: Path, tmp_path: Path):
    start(request(place, tmp_path / "run", "loop.images=16"), Budget(images=8), Silent())
    again, meter = request(place, tmp_path / "run", resume=True), Silent()
    del again.inputs["teacher"]  # type: ignore[union-attr, attr-defined]
    start(again, Budget(), meter)
    assert meter.terms[-1]["perceptual"] > 0


def test_what_it_cannot_stand_on_is_refused(place: Path, tmp_path: Path):
    make_bundle(tmp_path / "deaf", with_encoder=False, mapping_layers=0)
    asked = request(place, tmp_path / "run")
    with pytest.raises(ValueError, match="mapping network"):
        start(Request(**{**vars(asked), "inputs": {"bundle": str(tmp_path / "deaf")}}), Budget(), Silent())
    with pytest.raises(ValueError, match="--bundle"):
        start(Request(**{**vars(asked), "inputs": {}}), Budget(), Silent())


def test_divergence_names_the_term_and_leaves_the_last_good_snapshot(place: Path, tmp_path: Path):
    start(request(place, tmp_path / "run"), Budget(images=16), Silent())
    again = request(place, tmp_path / "run", "rate=1e30", resume=True)
    with pytest.raises(Diverged, match=r"step \d+: \w+ is .*000000002"):
        start(again, Budget(), Silent())
    assert export(tmp_path / "run", tmp_path / "bundle")


def test_without_a_network_to_compare_with_it_takes_the_discriminator_and_says_so(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    standing._tell_once.cache_clear()
    asked = vars(request(place, tmp_path / "run", "loop.images=8"))
    meter = Silent()
    start(Request(**{**asked, "inputs": {"bundle": str(place / "bundle")}}), Budget(), meter)
    assert "discriminator are compared" in caplog.text and "identity term" in caplog.text
    assert meter.terms[0]["perceptual"] > 0 and meter.terms[0]["identity"] == 0
    bare = Bundle.load(place / "bundle")
    alone = Bundle("alone")
    alone.put_state("generator", bare.config("generator"), bare.state("generator"))
    alone.save(tmp_path / "alone")
    asked |= {"out": tmp_path / "other", "inputs": {"bundle": str(tmp_path / "alone")}}
    start(Request(**asked), Budget(), meter)
    assert "perceptual and the identity term, which is left out" in caplog.text
    assert meter.terms[-1]["perceptual"] == 0


def test_a_discriminators_maps_tell_how_far_pictures_are_apart(place: Path):
    compare, _ = standing.open_losses({}, LossesRecipe(), torch.device("cpu"), Bundle.load(place / "bundle"))
    photos = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    near, far = (float(compare(photos, photos + step * photos.flip(3))) for step in (0.05, 0.5))
    assert float(compare(photos, photos)) < 1e-6 < near < far
    assert float(compare(F.interpolate(photos, scale_factor=2.0), photos)) < 1e-3  # of any size
