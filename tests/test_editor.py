"""An editor on a tiny bundle: invert once, render many, and say what is wrong."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gradstyle
from gradstyle import editor as module
from gradstyle.bundles import Bundle, BundleError, Domain, Slider
from gradstyle.editor import Editor, device_of, load, parse_edits
from gradstyle.edits import Edit
from gradstyle.methods import METHODS
from gradstyle.photos import Face, Paste, Photo, to_image
from gradstyle.photos.portraits import astronaut
from gradstyle.tensors import write_tensors
from tests.support import tiny
from tests.support.bundles import bundle, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(methods=("styleres", "hfgi")).save(tmp_path_factory.mktemp("editor") / "tiny")


@pytest.fixture
def edited() -> Editor:
    return Editor(bundle(), device="cpu")


# ---- edits, however they are given


def test_edits_may_be_values_names_or_text(edited: Editor) -> None:
    inversion = edited.invert(picture())
    smile, pose = edited.edits["smile"], edited.edits["pose"]
    wanted = edited.render(inversion, 2 * smile - pose)
    plain = edited.render(inversion)
    assert not torch.allclose(wanted, plain, atol=0.05)
    for same in ([2 * smile, -pose], {"smile": 2, "pose": -1.0}, "smile=2, pose=-1", " pose = -1,smile=1,smile=1 "):
        torch.testing.assert_close(edited.render(inversion, same), wanted)
    for nothing in ((), [], {}, "", " ", {"smile": 0}, "smile=0", 0 * smile, [smile, -smile]):
        assert torch.equal(edited.render(inversion, nothing), plain)
    moved = edited.render(inversion, {"age": 1})  # an offset of S too
    only_w = edited.render(inversion, Edit("age", edited.edits["age"].w))
    assert not torch.allclose(moved, only_w, atol=0.01)


def test_an_unknown_edit_suggests_the_nearest(edited: Editor) -> None:
    with pytest.raises(ValueError, match=r"bundle 'tiny' has no edit 'smil'; did you mean smile\?"):
        edited.find({"smil": 1})
    with pytest.raises(ValueError, match="no edit 'Frisur'; it has smile, pose, age"):
        edited.render(edited.invert(picture()), "Frisur=2")
    edited.bundle.put_edits({})
    with pytest.raises(ValueError, match="it has none"):
        Editor(edited.bundle, device="cpu").find("smile=1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("smile", "NAME=AMOUNT, such as smile=2, got 'smile'"),
        ("smile=", "got 'smile='"),
        ("smile=2,", "got ''"),
        ("smile=two", "got 'smile=two'"),
        ("smile=1=2", "got 'smile=1=2'"),
        ("smile=nan", "the amount of an edit is a number, got 'smile=nan'"),
        ("pose=1, smile=-inf", "got 'smile=-inf'"),
    ],
)
def test_text_that_is_no_edit(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_edits(text)


def test_a_wrong_name_costs_no_inversion(edited: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Editor, "invert", None)
    with pytest.raises(ValueError, match="did you mean"):
        edited.edit(picture(), "smlie=1")


FAILED = (
    r"^age has no slider: it ages no one; it is not steady; --beyond \(editor\.beyond = True\) goes there all the same$"
)


def test_an_edit_that_was_found_wanting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = bundle()
    report = {"reasons": ["it ages no one", "it is not steady"]}
    made.put_edits(made.edits, {"smile": Slider(-1, 2)}, {"age": report})
    edited = Editor(Bundle.load(made.save(tmp_path / "tiny")), device="cpu")
    inversion, photo, age = edited.invert(picture()), picture(), edited.edits["age"]
    aged = edited.render(inversion, 2 * age)  # a value says itself how far it goes
    assert not edited.find("smile=1, age=0")[1] and len(edited.find({"pose": 1})) == 1  # of pose there is no report
    with monkeypatch.context() as patched:
        patched.setattr(Editor, "invert", None)
        for door in (edited.find, lambda e: edited.edit(photo, e), lambda e: edited.draw(photo, e)):
            with pytest.raises(ValueError, match=FAILED):
                door({"smile": 1, "age": 2})
        with pytest.raises(ValueError, match=FAILED):
            edited.edit_video("in.mp4", tmp_path / "out.mp4", "age=-1")
    for door in (edited.render, lambda i, e: edited.render_each(i, [(), e])):
        with pytest.raises(ValueError, match=FAILED):
            door(inversion, "age=0.1")
    edited.beyond = True
    assert torch.equal(edited.render(inversion, "age=2"), aged)


@pytest.mark.parametrize("report", [{}, {"reasons": []}, {"reasons": "none"}, {"reasons": None}])
def test_a_report_may_give_no_reason(report: dict[str, Any]) -> None:
    made = bundle()
    made.put_edits(made.edits, {}, {"age": report})
    with pytest.raises(ValueError, match=r"^age has no slider: nobody says why; --beyond "):
        Editor(made, device="cpu").find("age=1")


def test_another_generators_edit_is_refused_with_both_names(edited: Editor) -> None:
    foreign = Edit("glasses", torch.ones(1, 32), generator="0123456789abcdef")
    with pytest.raises(
        ValueError, match=f"'glasses' is for generator 0123456789abcdef, this one is {edited.bundle.fingerprint}"
    ):
        edited.render(edited.invert(picture()), foreign)


# ---- photos


def test_a_photo_is_edited_in_one_go(edited: Editor) -> None:
    photo = picture()
    out = edited.edit(photo, "smile=1", how=Paste(detail="crop"))
    inversion = edited.invert(to_image(photo, side=64))
    wanted = edited.render(inversion, {"smile": 1})[0]
    drawn = edited.draw(photo, "smile=1")
    assert drawn.size == (32, 32) and out.size == photo.size
    assert np.abs(drawn.pixels - ((wanted + 1) * 127.5).round().permute(1, 2, 0).numpy()).mean() <= 2
    assert not np.array_equal(out.pixels, photo.pixels)
    assert out.edited == drawn.edited == "smile=+1 (e4e, tiny)"


def test_zero_edits_give_the_photo_back_and_cost_nothing(edited: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Editor, "invert", None)
    photo = picture()
    for nothing in ("", "smile=0", {"smile": 0, "age": 0.0}, [0 * edited.edits["smile"]], "smile=1, smile=-1"):
        assert edited.edit(photo, nothing) is photo


def test_an_edit_of_which_nothing_is_seen_is_warned_of(edited: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, none = picture(), "smile=1e-6, pose=-1e-6"
    with pytest.warns(gradstyle.EditWarning) as warned:
        edited.edit(photo, none)
    assert str(warned[0].message) == "smile +1e-06, pose -1e-06 change next to nothing in this photo"
    assert len(warned) == 1 and warned[0].filename == __file__  # whoever asked for it
    lines: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edited.edit(photo, 1e-6 * edited.edits["smile"], tell=lines.append)
        assert lines == ["1e-06 * smile changes next to nothing in this photo"]
        monkeypatch.setattr(Editor, "carry", lambda *given: None)
        assert edited.edit(photo, "smile=1", tell=lines.append).pixels is photo.pixels
        assert lines[1:] == ["smile +1 changes next to nothing in this photo"]
        monkeypatch.undo()
        for nothing_to_tell in ("smile=1", "smile=0", ""):
            edited.edit(photo, nothing_to_tell)
        edited.edit(photo, none, how=Paste())


def test_of_several_faces_it_is_said_which(monkeypatch: pytest.MonkeyPatch) -> None:
    faces, lines = Editor(bundle(Domain("faces", crop="celeba")), device="cpu"), list[str]()
    monkeypatch.setattr(Photo, "faces", [_face(60, 40, 30), _face(20, 40, 20)])  # largest first
    faces.edit(picture(), "smile=1e-6", "all", tell=lines.append)
    assert [line[:23] for line in lines] == ["face 2: smile +1e-06 ch", "face 1: smile +1e-06 ch"]
    faces.edit(picture(), "smile=1e-6", 1, tell=lines.append)
    assert lines[2].startswith("smile +1e-06 changes")


def test_a_face_that_an_edit_takes_away_is_warned_of() -> None:
    editor = load(device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        editor.edit(astronaut(), {"smile": 1})
    editor.beyond = True
    with pytest.warns(gradstyle.EditWarning) as warned:
        editor.edit(astronaut(), {"beard": 20})
    assert [str(w.message) for w in warned] == ["after beard +20 no face is found where it was: try a smaller amount"]


def test_cars_come_back_without_their_bars() -> None:
    cars = Editor(bundle(Domain("cars", (4, 3))), device="cpu")
    assert cars.draw(picture(96, 72), "smile=1").size == (32, 24)
    assert cars.edit(picture(96, 72), "smile=1").size == (96, 72)


def test_faces_that_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = Editor(bundle(Domain("faces", crop="celeba")), device="cpu")
    monkeypatch.setattr(Photo, "faces", [])
    with pytest.raises(ValueError, match=r"no face is found in it; if it is cut .* say --aligned"):
        faces.edit(picture(), "smile=1")
    assert faces.edit(picture(), "smile=1", aligned=True).size == (80, 80)
    found = [_face(60, 40, 30), _face(20, 40, 20), _face(40, 40, 10)]  # largest first
    monkeypatch.setattr(Photo, "faces", found)
    assert [c.face for c in faces.crops(picture())] == found[:1]
    assert [c.face for c in faces.crops(picture(), "all")] == found
    assert [faces.crops(picture(), n)[0].face for n in (1, 2, 3)] == [found[1], found[2], found[0]]
    for wrong in (0, 4, "some"):
        with pytest.raises(ValueError, match=r"a face is largest, all or a number, got .*3 from left to right"):
            faces.crops(picture(), wrong)  # type: ignore[arg-type]


def _face(x: float, y: float, side: float) -> Face:
    points = np.array([[x, y]]) + side * (np.random.default_rng(0).random((68, 2)) - 0.5)
    points[36:42] += (-side, -side)
    points[42:48] += (side, -side)
    return Face((x - side, y - side, x + side, y + side), points, 1.0)


def test_a_batch_is_what_its_photos_are_alone(edited: Editor) -> None:
    photos = torch.cat([to_image(picture(seed=i), side=64) for i in range(3)])
    together = edited.render(edited.invert(photos), "smile=1.5")
    assert list(together.shape) == [3, 3, 32, 32]
    for i in range(3):
        alone = edited.render(edited.invert(photos[i]), "smile=1.5")  # one photo without a batch axis
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ["e4e", "styleres", "hfgi"])
def test_many_edits_at_once_are_each_alone(folder: Path, method: str) -> None:
    edited = load(folder, method, "cpu")
    inversion = edited.invert(torch.cat([to_image(picture(seed=i), side=64) for i in range(2)]))
    wanted = ["smile=2", "", {"pose": -1, "smile": 1}, edited.edits["age"], [], {"smile": 0}]
    each = edited.render_each(inversion, wanted)
    assert list(each.shape) == [12, 3, 32, 32]
    for i, entry in enumerate(wanted):
        torch.testing.assert_close(each[2 * i : 2 * i + 2], edited.render(inversion, entry), rtol=0, atol=1e-4)
    assert list(edited.render_each(inversion, []).shape) == [0, 3, 32, 32]


def test_pictures_are_in_range_and_carry_no_graph(edited: Editor) -> None:
    image = edited.render(edited.invert(picture()), {"smile": 50})
    assert image.abs().max() <= 1 and not image.requires_grad


@pytest.mark.parametrize("wrong", [torch.zeros(1, 4, 64, 64), torch.zeros(1, 3, 64, 60), torch.zeros(64, 64)])
def test_wrong_photos_are_named(edited: Editor, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"photos are square RGB, \[N, 3, side, side\] in \[-1, 1\], got \["):
        edited.invert(wrong)


# ---- inversions on the disk


@pytest.mark.parametrize("method", ["e4e", "styleres"])
def test_an_inversion_is_kept_for_later(folder: Path, method: str, tmp_path: Path) -> None:
    edited = load(folder, method, "cpu")
    inversion = edited.invert(picture())
    inversion.save(tmp_path / "me.safetensors")
    later = load(folder, method, "cpu")
    again = later.load_inversion(str(tmp_path / "me.safetensors"))
    assert torch.equal(later.render(again, "smile=1"), edited.render(inversion, "smile=1"))


def test_an_inversion_of_another_method_or_none_at_all(folder: Path, tmp_path: Path) -> None:
    e4e, styleres = load(folder, "e4e", "cpu"), load(folder, "styleres", "cpu")
    inversion = styleres.invert(picture())
    inversion.save(tmp_path / "me.safetensors")
    with pytest.raises(ValueError, match=r"safetensors is not .*: it holds a StyleResInversion, not a E4EInversion"):
        e4e.load_inversion(tmp_path / "me.safetensors")
    with pytest.raises(ValueError, match="renders a E4EInversion, got a StyleResInversion: invert the photo with e4e"):
        e4e.render(inversion)
    write_tensors(tmp_path / "weights.safetensors", {"w": torch.ones(2)})
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a saved inversion"):
        e4e.load_inversion(tmp_path / "weights.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.safetensors"):
        e4e.load_inversion(tmp_path / "text.safetensors")
    with pytest.raises((ValueError, OSError), match=r"none\.safetensors"):
        e4e.load_inversion(tmp_path / "none.safetensors")


# ---- bundles, methods, precision, devices


def test_without_an_encoder_there_is_nothing_to_edit() -> None:
    bare = Bundle("bare")
    bare.put("generator", tiny.generator())
    with pytest.raises(BundleError, match="bundle 'bare' cannot edit photos: it has no encoder"):
        Editor(bare)


def test_the_codes_alone_edit_unless_another_method_is_asked_for(folder: Path) -> None:
    assert load(folder, device="cpu").method == "e4e"
    assert load(Bundle.load(folder), "hfgi", "cpu").method == "hfgi"
    assert load(folder, device="cpu").resolution == 32
    with pytest.raises(BundleError, match="bundle 'tiny' has no gradstyle; it has styleres, hfgi, e4e"):
        load(folder, "gradstyle")
    with pytest.raises(BundleError, match="there is no method 'magic'"):
        load(folder, "magic")


def test_the_names_that_the_package_gives(folder: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "me.png")
    edited = gradstyle.load(folder, device="cpu")
    inversion = edited.invert(gradstyle.open_photo(tmp_path / "me.png"))
    gradstyle.save_image(edited.render(inversion, {"smile": 2}), tmp_path / "smile.png")
    assert gradstyle.open_photo(tmp_path / "smile.png").size == (32, 32)
    assert {name: getattr(gradstyle, name) for name in gradstyle.__all__}.keys() == set(gradstyle.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gradstyle.nothing


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_is_close(method: str) -> None:
    made = bundle(methods=(method,))
    inversions = [Editor(made, method, "cpu", dtype).invert(picture()) for dtype in (torch.float32, torch.bfloat16)]
    whole, half = Editor(made, method, "cpu"), Editor(made, method, "cpu", torch.bfloat16)
    assert half._method.generator.const.dtype == torch.bfloat16
    images = [each.render(inversion, "smile=0.5") for each, inversion in zip((whole, half), inversions)]
    assert images[1].dtype == torch.float32
    assert tiny.psnr(images[1], images[0]) > 20  # nets of noise: the codes themselves move
    plain = whole.render(inversions[0])
    assert (images[1] - images[0]).abs().mean() < 0.3 * (plain - images[0]).abs().mean()


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_of(None) == device_of("cpu") == device_of(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(ValueError, match="there is no device 'cuda' here; cpu"):
        load(folder, device="cuda")
    with pytest.raises(ValueError, match="there is no device 'mps' here"):
        device_of("mps")
    with pytest.raises(ValueError, match=r"device is cpu, cuda, cuda:1 … or mps, got 'gpu'"):
        device_of("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of(None) == torch.device("cuda") and device_of("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="there is no device 'cuda:2' here; cuda, cpu"):
        device_of("cuda:2")


def test_weights_are_read_to_the_device(folder: Path) -> None:
    edited = Editor(Bundle.load(folder), "styleres", "meta")
    assert {p.device.type for p in edited._method.parameters()} == {"meta"}
    assert edited.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_as_on_the_cpu(folder: Path, tmp_path: Path) -> None:
    for method in ("e4e", "styleres", "hfgi"):
        here, there = load(folder, method, "cpu"), load(folder, method, "cuda")
        images = [each.render(each.invert(picture()), "smile=1, age=0.5").cpu() for each in (here, there)]
        assert tiny.far(images[1], images[0]) < 1e-2, method
        there.invert(picture()).save(tmp_path / "me.safetensors")
        assert here.load_inversion(tmp_path / "me.safetensors").codes.w.device.type == "cpu"


def test_load_takes_the_bundle_that_comes_with_the_package_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module.Bundle, "load", lambda name: asked.append(name) or bundle())
    assert load(device="cpu").method == "e4e" and asked == ["faces"]
