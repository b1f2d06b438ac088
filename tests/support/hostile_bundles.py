"""Bundles that a reader must survive: each a good one with something done to it, and the cause that the error gives."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gradstyle.files import file_sha256

Spoil = Callable[[Path], None]
Hostile = Iterator[tuple[str, Spoil, str]]


def manifest(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Change what `bundle.json` says; what `change` returns, if anything, is written instead."""

    def spoil(folder: Path) -> None:
        path = folder / "bundle.json"
        values = json.loads(path.read_text())
        changed = change(values)
        path.write_text(json.dumps(values if changed is None else changed))

    return spoil


def put(where: str, value: Any) -> Spoil:
    """Set a value of `bundle.json`, such as `parts.encoder.config.units`."""

    def change(values: dict[str, Any]) -> None:
        *path, last = where.split(".")
        for name in path:
            values = values[name]
        values[last] = value

    return manifest(change)


def text(content: str | bytes) -> Spoil:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "bundle.json").write_bytes(data) and None


def part(name: str, content: Callable[[bytes], bytes]) -> Spoil:
    """Change a part's file, and the digest that goes with it."""

    def spoil(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        path.write_bytes(content(path.read_bytes()))
        put(f"parts.{name}.sha256", file_sha256(path))(folder)

    return spoil


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        state = load_file(path)
        change(state)
        save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
        put(f"parts.{name}.sha256", file_sha256(path))(folder)

    return spoil


def header(change: Callable[[dict[str, Any]], str | None]) -> Callable[[bytes], bytes]:
    """Rewrite a safetensors file's header; what `change` returns, if anything, is the header's text."""

    def rewritten(data: bytes) -> bytes:
        (length,) = struct.unpack_from("<Q", data)
        values = json.loads(data[8 : 8 + length])
        head = (change(values) or json.dumps(values)).encode()
        return struct.pack("<Q", len(head)) + head + data[8 + length :]

    return rewritten


def grown(name: str, key: str, count: int) -> Spoil:
    """One tensor more, of `count` floats that take no room on the disk."""

    def spoil(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        data = path.read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        values = json.loads(data[8 : 8 + length])
        end = len(data) - 8 - length
        values[key] = {"dtype": "F32", "shape": [count], "data_offsets": [end, end + 4 * count]}
        head = json.dumps(values).encode()
        path.write_bytes(struct.pack("<Q", len(head)) + head + data[8 + length :])
        os.truncate(path, 8 + len(head) + end + 4 * count)

    return spoil


def linked(folder: Path) -> None:
    path = folder / "encoder.safetensors"
    path.rename(folder.parent / "elsewhere.safetensors")
    path.symlink_to(folder.parent / "elsewhere.safetensors")


def twice(values: dict[str, Any]) -> str:
    *_, name = values
    return json.dumps(values)[:-1] + f", {json.dumps(name)}: {json.dumps(values[name])}}}"


def places() -> Hostile:
    """Files that are somewhere else."""
    for i, name in enumerate(
        ["../all/generator.safetensors", "/etc/hostname", "a/b.safetensors", "..\\x.safetensors", "C:x.safetensors",
         "x\0.safetensors", ".safetensors", "..safetensors", "", "bundle.json", "x.safetensors\n", "ｘ.safetensors"]
    ):  # fmt: skip
        yield f"file_{i}", put("parts.encoder.file", name), "parts.encoder: file is the name of a .safetensors file"
    yield "link", linked, "part 'encoder' is missing its file encoder.safetensors"
    yield "gone", lambda folder: (folder / "encoder.safetensors").unlink(), "part 'encoder' is missing its file"
    if hasattr(os, "mkfifo"):

        def pipe(folder: Path) -> None:
            (folder / "encoder.safetensors").unlink()
            os.mkfifo(folder / "encoder.safetensors")

        yield "pipe", pipe, "part 'encoder' is missing its file"
    swapped = put("parts.encoder.file", "generator.safetensors")
    yield "swapped", swapped, "the weights do not fit what bundle.json says"


def texts() -> Hostile:
    """Manifests that are no manifests."""
    yield "empty", text(""), "Expecting value"
    yield "html", text("<html>"), "Expecting value"
    yield "latin", text(b"\xff\xfe{}"), "can't decode"
    yield "cut", manifest_cut, "line"
    yield "list", text("[]"), "format None, this GradStyle reads format 1"
    yield "null", text("null"), "format None"
    yield "deep", text('{"format": ' + "[" * 200_000 + "]" * 200_000 + "}"), "nested too deep"
    yield "deep_dict", text('{"a":' * 200_000), "nested too deep"
    yield "digits", text('{"format": 1' + "0" * 5000 + "}"), "digits|format 1000"
    yield "large", lambda folder: os.truncate(folder / "bundle.json", 20 << 20), "larger than 16 MB"
    for i, constant in enumerate(("NaN", "Infinity", "-Infinity")):
        yield f"constant_{i}", text(f'{{"format": 1, "resolution": {constant}}}'), f"{constant} is not a number"
    yield "twice", text('{"format": 1, "name": "a", "name": "b"}'), "'name' is there twice"
    yield "format_text", put("format", "1"), "format 1, this GradStyle reads format 1"
    yield "format_true", put("format", True), "format: expected int, got True"
    yield "format_huge", put("format", 10**30), "a newer GradStyle wrote it"


def manifest_cut(folder: Path) -> None:
    path = folder / "bundle.json"
    path.write_text(path.read_text()[:200])


def values() -> Hostile:
    """Values of the wrong kind."""
    yield "no_parts", put("parts", {}), "no part 'generator'"
    yield "unknown", put("colour", "red"), "unknown 'colour'; known are format, name"
    yield "unknown_in_config", put("parts.encoder.config.__class__", "x"), "encoder.config: unknown '__class__'"
    yield "missing", manifest(lambda v: v.pop("name") and None), "'name' is missing"
    for i, (where, value, cause) in enumerate(
        [
            ("parts", [], "bundle.parts: expected named values"),
            ("parts.encoder", "x", "parts.encoder: expected named values"),
            ("parts.encoder.config", [1], "config: expected named values"),
            ("parts.encoder.sha256", 5, "sha256: expected str, got 5"),
            ("parts.encoder.sha256", "A" * 64, "sha256 is 64 hexadecimal digits"),
            ("parts.encoder.sha256", "0" * 64, "damaged or replaced"),
            ("resolution", "32", "resolution: expected int"),
            ("resolution", 64, "a bundle of 64 px whose generator has 32 px"),
            ("name", None, "name: expected str"),
            ("name", "a\x1b[2Jb", "name is a line of text"),
            ("licence", "x" * 5000, "licence is a line of text"),
            ("origin", "a\nb", "origin is a line of text"),
            ("domain", "faces", "domain: expected named values"),
            ("domain.aspect", [1], "aspect: expected 2 values"),
            ("domain.aspect", [0, 1], "aspect is two numbers from 1 to 1000"),
            ("domain.aspect", [10**9, 1], "aspect is two numbers from 1 to 1000"),
            ("domain.crop", "rm -rf", "crop: expected one of 'ffhq', 'celeba', 'none'"),
        ]
    ):
        yield f"value_{i}", put(where, value), cause


def shapes() -> Hostile:
    """Networks that would take all memory, or all time."""
    config = "parts.{}.config.{}".format
    billion, million = 10**9, 10**6
    for i, (name, field, value, cause) in enumerate(
        [
            ("encoder", "units", [billion] * 4, "config.units.0 is 1000000000, more than any network's"),
            ("encoder", "units", [million] * 4, "units and widths are four numbers each"),
            ("encoder", "units", [1] * 100_000, "config.units holds 100,000 values"),
            ("encoder", "widths", [8, 16, 32, 1.5], r"widths\[3\]: expected int, got 1.5"),
            ("encoder", "codes", million, "codes must be from 1 to 18"),
            ("encoder", "input_size", million, "input_size must be from 16 to 2048"),
            ("encoder", "head_width", million, "of another shape"),
            ("encoder", "w_dim", 33, r"its encoder gives codes \[8, 33\]"),
            ("generator", "channel_max", billion, "config.channel_max is 1000000000"),
            ("generator", "channel_base", 16, "channel_base 16 leaves no channel"),
            ("generator", "mapping_layers", billion, "config.mapping_layers is 1000000000"),
            ("generator", "mapping_layers", million, "mapping_layers must be from 0"),
            ("generator", "mapping_layers", -1, "mapping_layers must be from 0"),
            ("generator", "z_dim", 0, "z_dim must be from 1"),
            ("generator", "resolution", 3, "resolution must be a power of two"),
            ("generator", "activation_clamp", 10**400, "config.activation_clamp is"),
            ("discriminator", "group", 0, "group must be at least 1"),
            ("discriminator", "channel_max", 1, "of another shape|missing"),
            ("gradstyle", "residual_units", million, "more layers than any network"),
            ("gradstyle", "residual_width", million, "of another shape"),
            ("gradstyle", "stages", [{"layer": i, "tap": "c1"} for i in range(900)], "gradstyle"),
            ("gradstyle", "stages", [{"layer": 1, "tap": "__class__"}], r"stages\[0\].tap: expected one of"),
            ("gradmove", "residual_units", million, "more layers than any network"),
            ("gradmove", "match_width", million, "of another shape"),
            ("gradmove", "reach", million, "reach must be from 1 to 16"),
            ("styleres", "extraction_units", million, "more layers than any network"),
            ("styleres", "tap", "__class__", "styleres"),
            ("styleres", "layer", million, "styleres"),
            ("hfgi", "units", million, "more layers than any network"),
            ("hfgi", "aligner_widths", [4] * 999, "hfgi"),
            ("sdic", "head_units", million, "sdic"),
            ("sdic", "planes", million, "sdic"),
            ("sdic", "map_widths", [1] * 999, "sdic"),
        ]
    ):
        yield f"shape_{i}", put(config(name, field), value), cause


def weights() -> Hostile:
    """Files of tensors that lie, or hold what no network has."""
    yield "flipped", lambda f: flip(f / "sdic.safetensors"), r"sdic\.safetensors: damaged or replaced; its SHA-256"
    yield "truncated", part("encoder", lambda data: data[:-1]), r"encoder\.safetensors: not a readable safetensors"
    yield "nothing", part("encoder", lambda data: b""), "not a readable safetensors"
    yield "pickle", part("encoder", lambda data: b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."), "but a pickle"
    yield "length", part("encoder", lambda data: struct.pack("<Q", 1 << 60) + data[8:]), "header would take 1,152,921,"
    long = struct.pack("<Q", 9 << 20) + b"{" + b" " * (9 << 20)
    yield "long_header", part("encoder", lambda data: long), "header would take 9,437,184"
    many = ", ".join(f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(100_000))
    yield "many", part("encoder", header(lambda _: f"{{{many}}}")), "not a readable safetensors|100000 unknown"
    key = "backbone.stem.0.weight"
    shape = header(lambda v: v[key].update(shape=[1 << 40, 3, 3, 3]))
    yield "huge_shape", part("encoder", shape), "not a readable safetensors"
    overflow = header(lambda v: v[key].update(shape=[1 << 62, 4, 3, 3]))
    yield "overflow", part("encoder", overflow), "not a readable safetensors"
    offsets = header(lambda v: v[key].update(data_offsets=[0, 1 << 50]))
    yield "offsets", part("encoder", offsets), "not a readable safetensors"
    over = header(lambda v: v[key].update(data_offsets=[0, v[key]["data_offsets"][1] - v[key]["data_offsets"][0]]))
    yield "overlap", part("encoder", over), "not a readable safetensors"
    yield "named_twice", part("encoder", header(twice)), "its header names something twice"
    kind = header(
        lambda v: v[key].update(dtype="F8_E4M3", shape=[4 * n for n in v[key]["shape"][:1]] + v[key]["shape"][1:])
    )
    yield "kind", part("encoder", kind), "is of type F8_E4M3, which no bundle uses"
    for value in ("nan", "inf"):
        spoil = tensors("encoder", lambda s, value=value: s[key].view(-1)[3].fill_(float(value)))
        yield value, spoil, f"'{key}' holds values that are not finite"
    yield "integers", tensors("encoder", lambda s: s.update({key: s[key].int()})), r"of torch\.int32, needed \["
    yield "complex", tensors("encoder", lambda s: s.update({key: s[key].to(torch.complex64)})), "C64, which no bundle"
    yield (
        "other",
        tensors("hfgi", lambda s: s.update({"generator.const": torch.zeros(1)})),
        "1 unknown: generator.const",
    )
    yield "sparse", grown("encoder", "more", 4 << 30), "1 unknown: more"  # 16 GB
    yield "sparse_edits", grown("edits", "more/w", 4 << 30), r"edit 'more' holds 'w' of \[4294967296\]"


def edits() -> Hostile:
    """Edits that would move something else."""
    for i, (key, value, cause) in enumerate(
        [
            ("bald/w", torch.zeros(7, 32), r"edit 'bald' holds 'w' of \[7, 32\], needed \[1, 32\] or \[8, 32\]"),
            ("bald/w", torch.zeros(32), r"holds 'w' of \[32\], needed"),
            ("bald/w", torch.zeros(0, 32), r"holds 'w' of \[0, 32\]"),
            ("bald/s", torch.zeros(5), r"holds 's' of \[5\], needed \[\d+\]"),
            ("bald/w", torch.zeros(1, 32, dtype=torch.int64), "holds 'w' of"),
            ("bald/w", torch.full((1, 32), float("nan")), "'bald/w' holds values that are not finite"),
            ("bald/x", torch.zeros(1, 32), "holds 'x' of .*, needed no such thing"),
            ("bald", torch.zeros(1, 32), "an edit's name is"),
            ("/w", torch.zeros(1, 32), "an edit's name is"),
            ("../../x/w", torch.zeros(1, 32), r"an edit's name is .*, got '\.\./\.\./x'"),
            ("a=1,b=2/w", torch.zeros(1, 32), "an edit's name is"),
            ("\x1b[2J/w", torch.zeros(1, 32), r"an edit's name is .*, got '\\x1b\[2J'"),
            ("x" * 100_000 + "/w", torch.zeros(1, 32), "an edit's name is"),
        ]
    ):
        yield f"edit_{i}", tensors("edits", lambda s, key=key, value=value: s.update({key: value})), cause


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def hostile_bundles() -> dict[str, tuple[Spoil, str]]:
    """Name -> what is done to a good bundle, and what the error has to say."""
    found: dict[str, tuple[Spoil, str]] = {}
    for group in (places(), texts(), values(), shapes(), weights(), edits()):
        for name, spoil, cause in group:
            assert name not in found, name
            found[name] = spoil, cause
    return found


def use(path: Path) -> None:
    """Open everything that is in a bundle, or in a checkpoint."""
    from gradstyle.bundles import Bundle
    from gradstyle.published import open_published

    if path.is_file():
        open_published(path)
        return
    bundle = Bundle.load(path)
    _ = bundle.edits
    bundle.discriminator()
    for method in bundle.methods:
        bundle.method(method)


def main(folder: Path) -> None:
    """Opens all that lies in a folder; prints how much was refused, and memory before and at its peak, in MB."""
    from tests.support.peak_memory import peak

    before, refused = peak(), 0
    for path in sorted(folder.iterdir()):
        try:
            use(path)
        except ValueError:
            refused += 1
    print(refused, before, peak())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
