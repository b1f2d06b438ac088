"""Published files come out as the values that were put in; hostile ones cost an error and nothing else."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import random
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gradstyle.pickles.errors import PublishedFileError
from gradstyle.pickles.files import read_file
from gradstyle.pickles.pickle_types import Record
from tests.support.hostile_files import Call, hostile_files, in_zip, tensor
from tests.support.interop import DATA, load_manifest
from tests.support.project import ROOT

MARKER = Path("hostile_marker_of_a_test")
HOSTILE = hostile_files(MARKER)
PYTHONS_OWN = pickle.loads


@pytest.fixture(autouse=True)
def no_other_unpickler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's and torch's own readers of pickles fail the test that meets them."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle was handed to something that executes it")

    for module, name in (
        (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (pickle, "_Unpickler"),
        (torch, "load"), (torch.serialization, "_load"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, never)


@pytest.fixture(params=["zip", "legacy"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def save(value: Any, protocol: int = 2) -> Any:
        path = tmp_path / "checkpoint.pt"
        torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=request.param == "zip")
        return read_file(path)

    return save


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint16,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_out_bit_for_bit(saved: Any, dtype: torch.dtype) -> None:
    # a storage of three bytes first, so that the legacy format's next one lies off every boundary
    value = torch.arange(-6, 6).reshape(3, 4).to(torch.float32).to(dtype)
    out = saved([torch.ones(3, dtype=torch.bool), value])[1]
    assert out.dtype == dtype
    assert torch.equal(out.view(torch.uint8), value.view(torch.uint8))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_checkpoints_hold_beside_tensors(saved: Any, protocol: int) -> None:
    value = {
        "opts": argparse.Namespace(lr=1e-4, name="ffhq", sizes=[256, 512], resume=None),
        "nested": collections.OrderedDict(a=collections.OrderedDict(b=(1, 2.5, True, "x"))),
        "default": collections.defaultdict(list, k=[1]),
        "numbers": (2**70, -5, -(2**40), float("inf"), 0),
        "scalar": np.float32(1.5),
        "count": np.int64(-4),
        "flag": np.bool_(True),
        "array": np.arange(6.0).reshape(2, 3).T,
        "empty": np.zeros((0, 3), dtype=np.float16),
        "big_endian": np.arange(3, dtype=">i4"),
        "members": {1, "a", (2, 3)},
        "frozen": frozenset("ab"),
        "bytes": b"xyz\xff" * 400,
        "few": b"",
        "more": bytearray(b"abc"),
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda:1"),
        "dtype": torch.float16,
        "path": Path("/data/ffhq"),
        "text": "naïve \N{SNOWMAN} \ud800",
    }
    out = saved(value, protocol)
    assert out["opts"] == {"lr": 1e-4, "name": "ffhq", "sizes": [256, 512], "resume": None}
    assert out["nested"] == {"a": {"b": (1, 2.5, True, "x")}}
    assert type(out["nested"]["a"]) is dict
    for key in ("default", "numbers", "scalar", "count", "flag", "members", "frozen", "bytes", "few", "more", "text"):
        assert out[key] == value[key], key
    for key in ("array", "empty", "big_endian"):
        assert isinstance(out[key], np.ndarray)
        assert out[key].dtype == value[key].dtype.newbyteorder("=")
        np.testing.assert_array_equal(out[key], value[key])
        torch.from_numpy(out[key])
    assert type(out["scalar"]) is float
    assert type(out["count"]) is int
    assert out["flag"] is True
    assert (out["size"], out["device"], out["dtype"], out["path"]) == ((2, 3), "cuda:1", "torch.float16", "/data/ffhq")


def test_views_and_sharing_survive(saved: Any) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    value = {
        "base": base, "transposed": base.t(), "column": base[1:, 2], "row": base[2],
        "expanded": torch.ones(1, 3).expand(18, 3), "nothing": torch.empty(0, 5), "scalar": torch.tensor(7),
    }  # fmt: skip
    out = saved(value)
    for key in value:
        assert torch.equal(out[key], value[key]), key
        assert out[key].stride() == value[key].stride() or out[key].numel() < 2
    out["base"][2, 2] = -1
    assert out["transposed"][2, 2] == out["column"][1] == out["row"][2] == -1


def test_a_modules_state_dict_and_the_module_itself(saved: Any) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.PReLU(4))
    module.register_buffer("passing", torch.zeros(2), persistent=False)
    out = saved({"weights": module.state_dict(), "module": module, "parameter": module[0].weight, "kind": nn.ReLU})
    assert list(out["weights"]) == list(module.state_dict())
    assert isinstance(out["module"], Record)
    assert out["module"].name == "torch.nn.modules.container.Sequential"
    assert out["kind"] == "torch.nn.modules.activation.ReLU"
    assert sorted(out["module"].state_dict()) == sorted(module.state_dict())
    for key, weight in module.state_dict().items():
        assert torch.equal(out["weights"][key], weight)
        assert torch.equal(out["module"].state_dict()[key], weight)
    assert torch.equal(out["parameter"], module[0].weight)
    assert type(out["parameter"]) is torch.Tensor


def test_an_optimizers_state(saved: Any) -> None:
    step = {"step": torch.tensor(3.0), "exp_avg": torch.arange(3.0)}
    out = saved({"state": {0: step}, "param_groups": [{"lr": 2e-3, "betas": (0.9, 0.99), "params": [0]}]})
    assert out["param_groups"] == [{"lr": 2e-3, "betas": (0.9, 0.99), "params": [0]}]
    assert torch.equal(out["state"][0]["exp_avg"], step["exp_avg"])


def test_writing_into_a_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.ones(50_000)}, path)
    before = path.read_bytes()
    read_file(path)["w"].zero_()
    assert path.read_bytes() == before
    assert read_file(path)["w"].min() == 1


def test_a_zip_that_someone_packed_again(tmp_path: Path) -> None:
    import zipfile

    torch.save({"w": torch.arange(1000)}, tmp_path / "weights.pt")
    with (
        zipfile.ZipFile(tmp_path / "weights.pt") as old,
        zipfile.ZipFile(tmp_path / "again.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert torch.equal(read_file(tmp_path / "again.pt")["w"], torch.arange(1000))


def test_a_zip64_offset_in_the_directory(tmp_path: Path) -> None:
    """How entries beyond 4 GB are found; here one that lies near."""
    data = bytearray(in_zip(tensor((4,), (1,))))
    entry, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    (offset,) = struct.unpack_from("<I", data, entry + 42)
    struct.pack_into("<H", data, entry + 30, 12)
    struct.pack_into("<I", data, entry + 42, 0xFFFFFFFF)
    struct.pack_into("<I", data, end + 12, end - struct.unpack_from("<I", data, end + 16)[0] + 12)
    (tmp_path / "large.pt").write_bytes(data[:end] + struct.pack("<HHQ", 1, 8, offset) + data[end:])
    assert read_file(tmp_path / "large.pt").tolist() == [0, 0, 0, 0]


def test_a_record_that_is_no_network() -> None:
    for state in ({"_modules": [1]}, {"_parameters": 3}, {"_non_persistent_buffers_set": 7}):
        with pytest.raises(ValueError, match="the Generator stored in the file does not look like a network"):
            Record("Generator", state).state_dict()


def test_nvidias_pickle_gives_every_tensor_its_name() -> None:
    tree = read_file(DATA / "nvidia_tiny.pkl")
    generator, discriminator = tree["G_ema"], tree["D"]
    assert generator.name == "Generator"
    assert generator.state["_init_kwargs"]["synthesis_kwargs"]["conv_clamp"] == 256
    state = generator.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["synthesis.b4.const"] == (32, 4, 4)
    assert shapes["synthesis.b32.conv0.weight"] == (16, 32, 3, 3)
    assert shapes["synthesis.b32.torgb.affine.weight"] == (16, 32)
    assert shapes["mapping.fc1.weight"] == (32, 32)
    assert shapes["mapping.w_avg"] == (32,)
    assert shapes["synthesis.b8.conv1.noise_strength"] == ()
    assert tuple(discriminator.state_dict()["b4.out.weight"].shape) == (1, 32)
    # the larger network of the same code: the same names, of fewer resolutions and mapping layers here
    larger = load_manifest("nvidia_64")
    assert set(state) == {n for n in larger["G_ema"] if "b64" not in n and not n.startswith(("mapping.fc",))} | {
        f"mapping.fc{i}.{part}" for i in (0, 1) for part in ("weight", "bias")
    }
    for name, value in state.items():
        assert torch.isfinite(value).all(), name


@pytest.fixture
def nvidia_classes(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Stand-ins under the names that NVIDIA's code gives its classes, to write pickles that name them."""
    for name in ("dnnlib", "dnnlib.util", "torch_utils", "torch_utils.persistence"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    class EasyDict(dict):  # type: ignore[type-arg]
        pass

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
        raise AssertionError("NVIDIA's code was run")

    for thing, module in ((EasyDict, "dnnlib.util"), (_reconstruct_persistent_obj, "torch_utils.persistence")):
        thing.__module__, thing.__qualname__ = module, thing.__name__
        setattr(sys.modules[module], thing.__name__, thing)
    return EasyDict, _reconstruct_persistent_obj


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_an_old_nvidia_pickle_whose_source_would_leave_a_mark(
    tmp_path: Path, nvidia_classes: tuple[Any, Any], protocol: int
) -> None:
    easy_dict, reconstruct = nvidia_classes
    marker = tmp_path / "marker"
    state = {
        "_init_args": (),
        "_init_kwargs": easy_dict(z_dim=512, mapping_kwargs=easy_dict(num_layers=np.int64(8))),
        "_parameters": collections.OrderedDict(weight=nn.Parameter(torch.arange(6.0).reshape(2, 3))),
        "_buffers": collections.OrderedDict(w_avg=torch.ones(4, dtype=torch.float16), passing=torch.zeros(1)),
        "_non_persistent_buffers_set": {"passing"},
        "_modules": collections.OrderedDict(),
        "ratio": np.float64(0.5),
        "filter": np.arange(4, dtype=np.float32),
    }
    meta = {
        "type": "class", "version": 6, "module_src": f"open({str(marker)!r}, 'w')", "class_name": "Generator",
        "state": state,
    }  # fmt: skip
    data = pickle.dumps({"G_ema": Call(reconstruct, meta), "training_set_kwargs": easy_dict(path="a.zip")}, protocol)
    if protocol < 4:
        data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path = tmp_path / "old.pkl"
    path.write_bytes(data)
    tree = read_file(path)
    generator = tree["G_ema"]
    assert tree["training_set_kwargs"] == {"path": "a.zip"}
    assert generator.state["_init_kwargs"] == {"z_dim": 512, "mapping_kwargs": {"num_layers": 8}}
    assert generator.state["ratio"] == 0.5
    np.testing.assert_array_equal(generator.state["filter"], [0, 1, 2, 3])
    assert {k: v.tolist() for k, v in generator.state_dict().items()} == {
        "weight": [[0, 1, 2], [3, 4, 5]],
        "w_avg": [1, 1, 1, 1],
    }
    assert not marker.exists()


def test_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4))
    np.save(tmp_path / "boundary.npy", values)
    np.testing.assert_array_equal(read_file(tmp_path / "boundary.npy"), values)
    np.save(tmp_path / "swapped.npy", values.T.astype(">f4"))
    np.testing.assert_array_equal(read_file(tmp_path / "swapped.npy"), values.T.astype("f4"))
    torch.from_numpy(read_file(tmp_path / "swapped.npy"))
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "pca.npz", comp=values, mean=values[0], count=np.int64(3))
        out = read_file(tmp_path / "pca.npz")
        np.testing.assert_array_equal(out["comp"], values)
        assert out["count"] == 3
        assert set(out) == {"comp", "mean", "count"}


def test_safetensors(tmp_path: Path) -> None:
    state = {"a": torch.arange(6).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    save_file(state, tmp_path / "weights.bin")  # told apart by content, not by name
    out = read_file(tmp_path / "weights.bin")
    assert all(torch.equal(out[key], value) for key, value in state.items())
    assert len(out) == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_its_cause(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, cause = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PublishedFileError, match=cause) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < len(str(path)) + 400
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_the_hostile_calls_are_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker's absence above means something: Python's own reader leaves one."""
    monkeypatch.chdir(tmp_path)
    PYTHONS_OWN(HOSTILE["system_2.pkl"][0])
    assert MARKER.exists()


def test_hostile_files_together_stay_under_a_gibibyte(tmp_path: Path) -> None:
    for name, (content, _) in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
    refused, before, peak = run_here("hostile_files", str(tmp_path))
    assert refused == len(HOSTILE)
    assert peak < 1024, (before, peak)


def test_a_checkpoint_moved_tensor_by_tensor_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({f"{i}": torch.full((1 << 20,), float(i)) for i in range(20)}, path)  # 80 MB
    before, read, peak = run_here("moving", str(path))
    assert read - before < 20
    assert peak - before < 1.3 * 80


def run_here(module: str, argument: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.support.{module}", argument],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return [int(word) for word in done.stdout.split()]


def test_places_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(PublishedFileError, match=r"missing\.pt: there is no such file"):
        read_file(tmp_path / "missing.pt")
    with pytest.raises(PublishedFileError, match="it is a folder"):
        read_file(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(PublishedFileError, match="not a regular file"):
            read_file(tmp_path / "pipe.pt")


def real_files() -> dict[str, bytes]:
    value = {"w": torch.arange(30.0).reshape(5, 6), "opts": argparse.Namespace(a=np.float32(1)), "a": np.zeros(3)}
    files: dict[str, bytes] = {}
    for name in ("zip", "legacy"):
        out = io.BytesIO()
        torch.save(value, out, _use_new_zipfile_serialization=name == "zip")
        files[f"{name}.pt"] = out.getvalue()
    files["bare.pkl"] = pickle.dumps(value, 4)
    out = io.BytesIO()
    np.savez_compressed(out, a=np.arange(50), b=np.zeros(2))
    files["arrays.npz"] = out.getvalue()
    return files


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "bare.pkl", "arrays.npz"])
def test_damage_anywhere_is_an_error_or_other_values_and_never_a_crash(name: str, tmp_path: Path) -> None:
    good, rng = real_files()[name], random.Random(0)
    path = tmp_path / name
    refused = 0
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(rng.choice((1, 1, 3))):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        path.write_bytes(bad)
        try:
            read_file(path)
        except PublishedFileError:
            refused += 1
    assert refused > 15
    for cut in range(0, len(good), len(good) // 40):
        path.write_bytes(good[:cut])
        with pytest.raises(PublishedFileError):
            read_file(path)


def test_harmless_oddities_are_read(tmp_path: Path) -> None:
    """What looks like an attack and is none."""
    path = tmp_path / "odd.pkl"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")  # the memo's last place
    assert read_file(path) == []
    path.write_bytes(b"\x80\x02cargparse\nNamespace\n)\x81}X\x09\x00\x00\x00__class__K\x01sb.")
    assert read_file(path) == {"__class__": 1}
    path.write_bytes(in_zip(tensor((2, 8), (0, 1))))
    assert read_file(path).shape == (2, 8)
