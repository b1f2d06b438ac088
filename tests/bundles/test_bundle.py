"""The folder on disk: what goes in comes out, each part alone, and nothing is lost on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gradstyle import tensors
from gradstyle.bundles import Bundle, BundleError, Domain
from gradstyle.bundles import bundle as module
from gradstyle.bundles.build import build
from gradstyle.bundles.checks import fingerprint
from gradstyle.bundles.places import find_bundle, installed
from gradstyle.edits import Edit
from gradstyle.methods import METHODS
from gradstyle.published import names
from gradstyle.tensors import BadTensors, read_tensors, write_tensors
from tests.support import tiny
from tests.support.bundles import bare, full


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full().save(tmp_path_factory.mktemp("bundles") / "all")


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copied"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip(path: Path) -> None:
    """Change one bit of the last value."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


# ---- round trips


def test_what_goes_in_comes_out(saved: Path) -> None:
    ours, again = full(), Bundle.load(saved)
    assert (again.name, again.domain, again.origin, again.licence) == ("all", ours.domain, "a test", "MIT")
    assert (
        list(again)
        == list(ours)
        == ["generator", "encoder", "discriminator", "gradmove", "gradstyle", "styleres", "sdic", "hfgi", "edits"]
    )
    assert again.fingerprint == ours.fingerprint
    assert again.resolution == 32
    assert again.methods == ["gradmove", "gradstyle", "styleres", "sdic", "hfgi", "e4e"]
    assert again.usual_method == "e4e"
    for part in ours:
        assert again.config(part) == ours.config(part)
        state = again.state(part)
        assert set(state) == set(ours.state(part))
        assert all(torch.equal(state[key], value) for key, value in ours.state(part).items()), part
    for name, edit in ours.edits.items():
        found = again.edits[name]
        assert (found.name, found.generator) == (name, ours.fingerprint)
        for mine, theirs in ((edit.w, found.w), (edit.s, found.s)):
            assert (mine is None and theirs is None) or torch.equal(mine, theirs)


@torch.inference_mode()
def test_every_module_runs_as_the_one_that_was_put_in(saved: Path) -> None:
    again, photos = Bundle.load(saved), tiny.photos(1)
    generator, encoder = tiny.generator(), tiny.encoder().eval()
    codes = generator.sample(2)
    assert torch.equal(again.generator()(again.generator().sample(2)), generator(codes))
    assert torch.equal(again.encoder()(photos)[0].w, encoder(photos)[0].w)
    assert torch.equal(again.discriminator()(generator(codes)), tiny.discriminator()(generator(codes)))
    for name in METHODS:
        ours, theirs = METHODS[name](tiny.generator(), tiny.encoder(), tiny.CONFIGS[name]).eval(), again.method(name)
        ours.load_own(tiny.method(name).own_state())
        wanted = ours.render(ours.invert(photos), tiny.an_edit())
        assert torch.equal(theirs.render(theirs.invert(photos), tiny.an_edit()), wanted), name
        assert not any(p.requires_grad for p in theirs.parameters()) and not theirs.training
        assert {t.device.type for t in theirs.state_dict().values()} == {"cpu"}


@torch.inference_mode()
def test_half_precision_is_half_the_size_and_the_same_bundle(saved: Path, tmp_path: Path) -> None:
    half = Bundle.load(full().save(tmp_path / "half", torch.float16))
    whole = Bundle.load(saved)
    sizes = [(folder / "encoder.safetensors").stat().st_size for folder in (tmp_path / "half", saved)]
    assert sizes[0] < 0.6 * sizes[1]
    stored = half.state("encoder")
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    assert half.fingerprint == whole.fingerprint == fingerprint(half.state("generator"))
    assert half.generator().const.dtype == torch.float32  # unless asked otherwise
    assert half.generator(None).const.dtype == torch.float16
    assert half.generator(torch.bfloat16).const.dtype == torch.bfloat16
    codes = whole.generator().sample(2)
    assert tiny.psnr(half.generator()(codes), whole.generator()(codes)) > 50
    assert half.edits["smile"].w.dtype == torch.float32


def test_a_value_too_large_for_half_precision_is_not_made_infinite(tmp_path: Path) -> None:
    bundle = full()
    bundle.state("encoder")["backbone.stem.1.running_var"][0] = 1e6
    with pytest.raises(BundleError, match=r"backbone\.stem\.1\.running_var' holds values up to 1e\+06, too large for"):
        bundle.save(tmp_path / "half", torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """A training that went wrong says so here, and not to whoever opens the bundle."""
    bundle = bare()
    bundle.state("generator")["const"].view(-1)[5] = float("nan")
    with pytest.raises(
        BundleError, match="x is not written: generator holds values that are not finite, in 1 weights: const"
    ):
        bundle.save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_same_content_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    bundle, backwards = full(), Bundle("all", Domain("faces", (4, 3), "ffhq"), origin="a test", licence="MIT")
    for part in reversed(list(bundle)):
        if part != "edits":
            backwards.put_state(part, bundle.config(part), dict(reversed(bundle.state(part).items())))
    backwards.put_edits(dict(reversed(bundle.edits.items())))
    assert contents(backwards.save(tmp_path / "backwards")) == contents(saved)
    assert contents(Bundle.load(saved).save(tmp_path / "again")) == contents(saved)
    assert contents(Bundle.load(saved).save(tmp_path / "copy", torch.float32)) == contents(saved)


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    state = {
        "whole": base, "again": base, "row": base.view(3, 4)[1], "column": base.view(3, 4)[:, 1],
        "wide": base[:1].expand(5), "none": torch.empty(0, 3), "count": torch.tensor(3), "leaf": base.requires_grad_(),
    }  # fmt: skip
    sha256 = write_tensors(tmp_path / "t.safetensors", state, {"a": "b"})
    read, metadata = read_tensors(tmp_path / "t.safetensors", sha256=sha256)
    assert metadata == {"a": "b"}
    assert all(torch.equal(read[key], value) for key, value in state.items())
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_tensors_lie_where_pytorch_would_have_laid_them(tmp_path: Path) -> None:
    """MKL may sum up in another order where memory begins elsewhere, and a saved network gives other digits."""
    state = {f"{count}": torch.arange(count).float() for count in range(1, 80)}
    write_tensors(tmp_path / "t.safetensors", state)
    read, _ = read_tensors(tmp_path / "t.safetensors")
    assert {value.data_ptr() % 64 for value in [*state.values(), *read.values()]} == {0}


def test_a_part_without_weights(tmp_path: Path) -> None:
    """e4e has none of its own, and may be put in all the same."""
    bundle = bare()
    bundle.put("encoder", tiny.encoder())
    bundle.put("e4e", tiny.method("e4e"))
    again = Bundle.load(bundle.save(tmp_path / "x"))
    assert again.state("e4e") == {} and again.method("e4e").name == "e4e"


# ---- lazily, and checked


def test_only_the_part_that_is_asked_for_is_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def noted(path: Path, *rest: Any) -> Any:
        read.append(path.stem)
        return read_tensors(path, *rest)

    monkeypatch.setattr(module, "read_tensors", noted)
    bundle = Bundle.load(saved)
    assert bundle.methods and bundle.config("encoder") and not read
    bundle.generator()
    bundle.generator()
    assert read == ["generator"]
    bundle.method("hfgi")
    bundle.method("e4e")
    assert read == ["generator", "encoder", "hfgi"]
    _ = bundle.edits
    assert read[3:] == ["edits"]


def test_a_part_that_is_damaged_costs_only_itself(copied: Path) -> None:
    flip(copied / "encoder.safetensors")
    bundle = Bundle.load(copied)
    assert bundle.generator() and bundle.edits
    with pytest.raises(BadTensors, match=r"encoder\.safetensors: damaged or replaced; its SHA-256 is \w{64}, expected"):
        bundle.encoder()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_one_value_that_is_not_finite_is_found_anywhere(dtype: torch.dtype, tmp_path: Path) -> None:
    path, places = tmp_path / "t.safetensors", [0, 1, 7, 8, 31, 500, 70_001, 100_000, 100_002]
    for value, place in zip([float("nan"), float("inf"), -float("inf")] * 3, places):
        values = torch.randn(100_003).to(dtype)
        values[place] = value
        write_tensors(path, {"fine": torch.ones(3), "values": values})
        with pytest.raises(BadTensors, match=r"t\.safetensors: 'values' holds values that are not finite"):
            read_tensors(path)
    write_tensors(path, {"values": torch.full((5,), torch.finfo(dtype).max, dtype=dtype)})
    assert read_tensors(path)[0]["values"].isfinite().all()


def test_methods_share_one_generator_and_one_encoder(saved: Path) -> None:
    bundle = Bundle.load(saved)
    methods = [bundle.method(name) for name in METHODS]
    assert {id(m.generator) for m in methods} == {id(bundle.generator())}
    assert {id(m.encoder) for m in methods} == {id(bundle.encoder())}
    assert bundle.method("sdic") is bundle.method("sdic")
    assert bundle.method("sdic", torch.bfloat16).generator is bundle.generator(torch.bfloat16)
    assert bundle.generator(device="meta") is not bundle.generator()
    assert bundle.generator().const.device.type == "cpu"  # one device's modules are not moved to another's


def test_a_new_generator_is_not_left_under_old_methods() -> None:
    bundle = full()
    bundle.put_edits({})
    before = bundle.method("hfgi")
    bundle.put("generator", tiny.generator(seed=3))
    assert bundle.method("hfgi").generator is bundle.generator() is not before.generator
    assert bundle.fingerprint == fingerprint(tiny.generator(seed=3).state_dict())


def test_missing_unknown_and_differing_weights_are_listed_ten_of_each(copied: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(copied)
    state, keys = bundle.state("hfgi"), list(tiny.method("hfgi").own_state())
    shape = list(state[keys[20]].shape)
    for key in keys[:12]:
        del state[key]
    state |= {f"what.{i}": torch.zeros(1) for i in "abcdefghijk"}
    for key in keys[20:33]:
        state[key] = torch.zeros(3, 2)
    bundle.put_state("hfgi", bundle.config("hfgi"), state)
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle.save(tmp_path / "other")).method("hfgi")
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "other" / "hfgi.safetensors"))
    assert f"12 missing: {', '.join(keys[:10])} and 2 more; " in text
    assert f"11 unknown: {', '.join(f'what.{i}' for i in 'abcdefghij')} and 1 more; " in text
    assert f"13 of another shape: {keys[20]} is [3, 2], needed {shape}" in text
    assert text.count("is [3, 2], needed") == 10 and text.endswith(" and 3 more")
    with pytest.raises(BundleError, match="12 missing"):  # as well before it is on the disk
        bundle.method("hfgi")


def test_whole_numbers_where_weights_should_be(copied: Path) -> None:
    bundle = Bundle.load(copied)
    state = bundle.state("generator")
    state["const"] = state["const"].long()
    bundle.put_edits({})
    bundle.put_state("generator", bundle.config("generator"), state)
    with pytest.raises(BundleError, match=r"const is \[1, 32, 4, 4\] of torch\.int64, needed \[1, 32, 4, 4\]$"):
        bundle.generator()


# ---- fingerprints and edits


def published(generator: Any, rename: Any) -> dict[str, Tensor]:
    return {rename(key): value for key, value in generator.state_dict().items()}


def test_a_fingerprint_is_of_the_weights_and_not_of_their_naming_or_precision(tmp_path: Path) -> None:
    generator = tiny.generator()
    ours = fingerprint(generator.state_dict())
    named = {
        "nvidia": published(generator, names.nvidia_generator),
        "rosinality": published(generator, names.rosinality_generator),
    }
    for name, state in named.items():
        torch.save({"g_ema": state} if name == "rosinality" else state, tmp_path / f"{name}.pt")
        assert build(name, [tmp_path / f"{name}.pt"])[0].fingerprint == ours
        torch.save({k: v.half() for k, v in state.items()}, tmp_path / f"{name}-half.pt")
        assert build(name, [tmp_path / f"{name}-half.pt"])[0].fingerprint == ours
    assert fingerprint(generator.half().state_dict()) == ours
    assert fingerprint(tiny.generator(seed=1).state_dict()) != ours
    other = tiny.generator()
    with torch.no_grad():
        other.layers[2].weight[0, 0, 0, 0] += 0.1
    assert fingerprint(other.state_dict()) != ours
    quieter = tiny.generator()
    quieter.layers[2].noise.zero_()
    quieter.mean_w.normal_()
    assert fingerprint(quieter.state_dict()) == ours  # edits mean the same there


def test_edits_of_another_generator_are_refused_with_both_names() -> None:
    bundle = full()
    foreign = fingerprint(tiny.generator(seed=1).state_dict())
    edit = Edit("glasses", torch.zeros(1, 32), generator=foreign)
    with pytest.raises(BundleError, match=f"'glasses' is for generator {foreign}, this one is {bundle.fingerprint}"):
        bundle.put_edits({"glasses": edit})
    assert "smile" in bundle.edits
    with pytest.raises(BundleError, match=f"for generator {bundle.fingerprint}, not for {foreign}: put_edits"):
        bundle.put("generator", tiny.generator(seed=1))
    bundle.put("generator", tiny.generator())  # the same again


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "..\\x", "a,b", "a=1", "smile ", "CON", "com1.x", "x" * 81, "a\nb", "\x1b[2J"]
)
def test_names_that_no_slider_can_have(name: str) -> None:
    with pytest.raises(BundleError, match="an edit's name "):
        bare().put_edits({name: Edit("x", torch.ones(1, 32))})


@pytest.mark.parametrize(
    "edit", [Edit("x", torch.ones(1, 31)), Edit("x", torch.ones(7, 32)), Edit("x", None, torch.ones(9))]
)
def test_an_edit_of_other_shapes_is_refused(edit: Edit) -> None:
    with pytest.raises(BundleError, match=r"edit 'x' holds '[ws]' of \[.*\], needed \["):
        bare().put_edits({"x": edit})


# ---- written whole or not at all


def test_a_failure_in_the_middle_leaves_the_old_bundle(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = contents(copied), tensors.write_tensors

    def full_disk(path: Path, *rest: Any, **named: Any) -> str:
        if path.stem == "sdic":
            path.write_bytes(b"half of i")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, *rest, **named)

    monkeypatch.setattr(module, "write_tensors", full_disk)
    with pytest.raises(OSError, match="No space left"):
        full().save(copied, overwrite=True)
    assert contents(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == ["copied"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size the POSIX way")
def test_the_systems_own_refusal_to_write_more(tmp_path: Path) -> None:
    import resource
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"generator\.safetensors: cannot be written \("):
            bare().save(tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_to_put_the_new_one_in_place_puts_the_old_one_back(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename, refused = contents(copied), Path.rename, []

    def once(self: Path, target: Any) -> Path:
        if Path(target) == copied and not refused:
            refused.append(target)
            raise PermissionError(errno.EACCES, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(PermissionError):
        full().save(copied, torch.float16, overwrite=True)
    assert refused and contents(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == ["copied"]


def test_nothing_is_overwritten_unless_asked(copied: Path) -> None:
    before = contents(copied)
    with pytest.raises(BundleError, match="copied exists: choose another name or overwrite it"):
        full().save(copied)
    assert contents(copied) == before
    small = Bundle("small")
    small.put("generator", tiny.generator(seed=1))
    small.save(copied, overwrite=True)
    assert set(contents(copied)) == {"bundle.json", "generator.safetensors"}


@pytest.mark.parametrize("holds", ["notes.txt", "photo.safetensors"])
def test_a_folder_that_is_no_bundle_is_never_replaced(holds: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / holds).write_text("mine")
    with pytest.raises(
        BundleError, match=rf"mine is no bundle, or not only one, and is not replaced: it holds {holds}"
    ):
        full().save(tmp_path / "mine", overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BundleError, match="is not replaced"):
        full().save(tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == (tmp_path / "mine" / holds).read_text() == "mine"


def test_a_bundle_beside_which_something_lies_is_not_replaced(copied: Path) -> None:
    (copied / "photos").mkdir()
    with pytest.raises(BundleError, match="is not replaced: it holds photos"):
        full().save(copied, overwrite=True)


def test_an_open_bundle_is_saved_over_itself(copied: Path) -> None:
    before, bundle = contents(copied), Bundle.load(copied)
    bundle.save(copied, overwrite=True)
    assert contents(copied) == before
    bundle.save(copied, torch.float16, overwrite=True)
    assert Bundle.load(copied).state("generator")["const"].dtype == torch.float16


def test_a_bundle_without_a_generator_is_not_saved(tmp_path: Path) -> None:
    bundle = Bundle("empty")
    bundle.put("encoder", tiny.encoder())
    with pytest.raises(BundleError, match="'empty' has no generator to save"):
        bundle.save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# ---- names


def test_by_name_under_home(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path))
    monkeypatch.setattr("gradstyle.bundles.places.BUNDLED", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    assert installed() == []
    with pytest.raises(BundleError, match=r"no bundle 'mine', neither .* nor in .*bundles \(installed: none yet\)"):
        Bundle.load("mine")
    (tmp_path / "bundles").mkdir()
    shutil.copytree(saved, tmp_path / "bundles" / "mine")
    shutil.copytree(saved, tmp_path / "bundles" / ".other.abc")  # one that is being written
    (tmp_path / "bundles" / "junk").mkdir()
    assert installed() == ["mine"]
    assert Bundle.load("mine").name == "all"
    with pytest.raises(BundleError, match=r"installed: mine"):
        Bundle.load("other")
    with pytest.raises(BundleError, match="there is no bundle"):
        Bundle.load("bundles/other")
    shutil.copytree(saved, tmp_path / "package" / "ours")  # a name may also be of one that comes with the package
    assert installed() == ["mine", "ours"]
    assert find_bundle("ours") == tmp_path / "package" / "ours"
    shutil.copytree(saved, tmp_path / "bundles" / "ours")  # and the person's own goes before it
    assert find_bundle("ours") == tmp_path / "bundles" / "ours"
    (tmp_path / "folder").mkdir()
    with pytest.raises(BundleError, match=r"folder is not a bundle: it has no bundle\.json"):
        Bundle.load("folder")


# ---- what a bundle does not have


def test_what_is_not_there_is_said() -> None:
    bundle = bare()
    assert bundle.methods == [] and bundle.edits == {}
    with pytest.raises(BundleError, match="'bare' has no encoder; it has generator"):
        bundle.encoder()
    with pytest.raises(BundleError, match="'bare' has no e4e; it has no method"):
        bundle.method("e4e")
    with pytest.raises(BundleError, match="no method 'magic'; methods are gradmove, gradstyle, styleres"):
        bundle.method("magic")
    with pytest.raises(BundleError, match="'brain' is no part that holds weights; those are generator, encoder"):
        bundle.put_state("brain", {}, {})
    bundle.put("hfgi", tiny.method("hfgi"))
    assert bundle.methods == []  # it has no encoder to stand on


def test_codes_that_the_generator_does_not_take(tmp_path: Path) -> None:
    bundle = Bundle("odd")
    bundle.put("generator", tiny.generator())
    config = tiny.ENCODER.__class__(**{**vars(tiny.ENCODER), "codes": 10})
    bundle.put_state("encoder", config, tiny.encoder().state_dict())
    with pytest.raises(BundleError, match=r"its encoder gives codes \[10, 32\], its generator takes \[8, 32\]"):
        bundle.save(tmp_path / "odd")


def test_a_part_of_a_newer_version_and_a_newer_format(copied: Path) -> None:
    manifest = json.loads((copied / "bundle.json").read_text())
    later = {**manifest, "parts": {**manifest["parts"], "hyperstyle": manifest["parts"]["hfgi"]}}
    (copied / "bundle.json").write_text(json.dumps(later))
    with pytest.raises(BundleError, match=r"bundle\.json: unknown part 'hyperstyle'; a newer GradStyle may know it"):
        Bundle.load(copied)
    (copied / "bundle.json").write_text(json.dumps({**manifest, "format": 2, "shape": "new"}))
    with pytest.raises(BundleError, match="format 2, this GradStyle reads format 1: a newer GradStyle wrote it"):
        Bundle.load(copied)


def test_safetensors_own_library_reads_the_parts(saved: Path) -> None:
    state = load_file(saved / "generator.safetensors")
    assert all(torch.equal(state[key], value) for key, value in full().state("generator").items())


def test_a_part_that_safetensors_own_library_wrote(copied: Path) -> None:
    from gradstyle.files import file_sha256

    path = copied / "generator.safetensors"
    save_file(load_file(path), path, {"format": "pt"})
    manifest = json.loads((copied / "bundle.json").read_text())
    manifest["parts"]["generator"]["sha256"] = file_sha256(path)
    (copied / "bundle.json").write_text(json.dumps(manifest))
    assert Bundle.load(copied).generator()
