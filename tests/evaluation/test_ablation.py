"""What is left of a trained GradStyle without its parts is a GradStyle, and its stages add up to the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradstyle.bundles import Bundle
from gradstyle.evaluation.ablation import FULL, ablation, changed, variants
from gradstyle.evaluation.residuals import residuals, walk
from gradstyle.methods.gradstyle import GradStyle
from gradstyle.photos import open_photo
from tests.support import runs, tiny


def full() -> GradStyle:
    method = tiny.method("gradstyle")
    assert isinstance(method, GradStyle)
    return method


@torch.inference_mode()
def test_variants_are_the_whole_without_a_part() -> None:
    method, photo, edit = full(), tiny.photos(2), tiny.an_edit()
    made = variants(method)
    assert list(made) == [
        FULL, "without GAM", "low stage only", "high stage only", "first 2 stages", "μ 5", "μ 15", "μ 60", "μ 100",
    ]  # fmt: skip
    plain = {name: each.render(each.invert(photo)) for name, each in made.items()}
    edited = {name: each.render(each.invert(photo), edit) for name, each in made.items()}
    wanted = walk(method, method.invert(photo), None)
    assert torch.equal(plain[FULL], method.render(method.invert(photo)))
    for name in ("without GAM", "μ 5", "μ 100"):  # they act on edits alone
        assert torch.equal(plain[name], plain[FULL]) and not torch.equal(edited[name], edited[FULL]), name
    assert torch.allclose(plain["low stage only"], wanted[1][0], atol=1e-5)
    assert torch.allclose(plain["first 2 stages"], wanted[2][0], atol=1e-5)
    assert not torch.allclose(plain["high stage only"], plain[FULL], atol=1e-3)
    high = made["high stage only"]
    assert [stage.layer for stage in high.config.stages] == [4]
    own, left = method.own_state(), high.own_state()
    assert all(torch.equal(left[name], own[name.replace("stages.0.", "stages.2.")]) for name in left)
    assert not any("align" in name for name in made["without GAM"].own_state())
    left_out = [each for name, each in made.items() if name != FULL]
    assert not any(each.training or any(p.requires_grad for p in each.parameters()) for each in left_out)


@torch.inference_mode()
def test_a_stage_alone_is_its_fusion_on_the_generators_own_feature() -> None:
    method, photo = full(), tiny.photos(1)
    high, codes = changed(method, stages=[2]), method.encoder(photo)[0]
    stage, generator = method.stages[2], method.generator
    canvas = generator.run(generator.start(codes), codes, to=stage.layer)
    residual = stage.lacking(method.encoder.features(photo), canvas.feature)
    image = generator.run(canvas.replace(stage.fuse(canvas.feature, residual)[0]), codes).image
    assert torch.allclose(high.render(high.invert(photo)), image, atol=1e-5)


@torch.inference_mode()
def test_a_stream_walked_ends_where_the_method_ends() -> None:
    method, photo, edit = full(), tiny.photos(2), tiny.an_edit()
    inversion = method.invert(photo)
    ours, edited = walk(method, inversion, None), walk(method, inversion, edit.apply(inversion.codes))
    assert torch.allclose(ours[-1][0], method.render(inversion), atol=1e-5)
    assert torch.allclose(edited[-1][0], method.render(inversion, edit), atol=1e-5)
    assert torch.allclose(edited[0][0], method.generator(edit.apply(inversion.codes)), atol=1e-5)
    assert ours[1][3] is None and edited[1][3] is not None and float(edited[1][3].min()) > 0
    still = walk(changed(method, with_gam=False), inversion, edit.apply(inversion.codes))
    assert all(float(step[3].max()) == 0 for step in still[1:] if step[3] is not None)


def test_an_ablation_run(bundle: Path, photos: Path, tmp_path: Path, ask: runs.Ask) -> None:
    other = Bundle.load(bundle)
    config = runs.tiny.CONFIGS["gradstyle"]
    import dataclasses

    bare = tiny.method("gradstyle", dataclasses.replace(config, with_grm=False))
    other.put("gradstyle", bare)
    trained = other.save(tmp_path / "no-grm")
    changes = {"edits": ["smile"], "variants": {"without GRM": str(trained)}}
    folder = ablation(ask(photos=3, options=changes))
    record, values = folder.record(), folder.values()
    assert record.methods[0] == FULL and record.methods[-1] == "without GRM" and len(record.methods) == 10
    assert record.conditions == ("", "smile=-2", "smile=+2")
    assert values["full", "", "ssim"] == pytest.approx(values["without GAM", "", "ssim"])
    assert values["full", "smile=+2", "identity"] != values["without GAM", "smile=+2", "identity"]
    assert values["full", "", "l2"] != values["without GRM", "", "l2"]
    assert record.protocol["variants"]["without GRM"]["trained so"]
    assert not record.protocol["variants"]["high stage only"]["trained so"]
    notes = " ".join(folder.summary().notes)
    assert "of their own training: without GRM" in notes and "is not in the table" not in notes
    sheet = open_photo(folder.path / "pictures" / "sheet-2.png").pixels
    assert sheet.shape[1] > 11 * 96 and sheet.shape[0] > 2 * 96  # photo and ten variants, two photos kept
    foreign = Bundle.load(bundle)
    foreign.put_edits({})
    foreign.put("generator", tiny.generator(seed=5))
    elsewhere = foreign.save(tmp_path / "foreign")
    with pytest.raises(ValueError, match="variant 'x' is on generator"):
        ablation(ask("x", options={"variants": {"x": str(elsewhere)}}))


def test_what_cannot_be_left_out_is_said(ask: runs.Ask) -> None:
    asked = ask(photos=2, shown=0, options={"edits": ["smile"]})
    notes = " ".join(ablation(asked).summary().notes)
    assert "Without the GRM is not in the table: what takes its place must be trained" in notes
    assert "without an edit these variants are the full method" in notes


def test_residuals_are_measured_and_drawn(ask: runs.Ask) -> None:
    folder = residuals(ask(photos=3, options={"edit": "smile"}))
    record, values = folder.record(), folder.values()
    stages = [f"stage {k}" for k in range(4)]
    assert record.conditions == (*stages, *(f"{stage}, smile=+2" for stage in stages))
    assert ("gradstyle", "stage 0", "residual") not in values
    for stage in stages[1:]:
        assert min(values["gradstyle", stage, "residual"].values()) > 0
        assert ("gradstyle", stage, "moved") not in values
        assert min(values["gradstyle", f"{stage}, smile=+2", "moved"].values()) > 0
    sheet = open_photo(folder.path / "pictures" / "stages-001.png").pixels
    assert sheet.shape[1] > 8 * 96 and sheet.shape[0] > 2 * 96  # photo, codes, and two of each of three stages
    assert not (folder.path / "pictures" / "stages-002.png").exists()
    with pytest.raises(ValueError, match="has no edit 'hat'"):
        residuals(ask("other", options={"edit": "hat"}))
