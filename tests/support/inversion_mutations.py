"""Saved inversions with something changed: a bit, a name, a shape, a value, what holds what."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from typing import Any

from safetensors.torch import load

from gradstyle.methods import inversion

ODD: tuple[Any, ...] = (
    None, True, -1, 3, 10**400, 1.5, float("nan"), "", "x", "constant", "../x", "\ud800", [], {}, [[]],
    {"tensor": "codes.w"}, {"class": "Codes", "fields": {}}, {"tuple": None}, {"value": 1}, {"value": []},
)  # fmt: skip


def mutations(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """What was done to a saved file, and the file; every second one names the SHA-256 that fits it."""
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        change = chance.choice((_tree, _tree, _tree, _text, _metadata, _header, _header, _byte, _cut))
        changed = change(data, chance)
        sealed = number % 2 == 0
        yield f"{change.__name__} {number}{' sealed' * sealed}", _sealed(changed) if sealed else changed


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _joined(header: Any, values: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def _sealed(data: bytes) -> bytes:
    """As one who knows how the checksum is made would leave it; what cannot be read at all stays."""
    try:
        header, values = _split(data)
        metadata = header["__metadata__"]
        metadata["sha256"] = inversion._digest(metadata["inversion"], load(data))
        return _joined(header, values)
    except Exception:
        return data


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every place in nested lists and dictionaries: what holds it, and under which key."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *_nodes(value[key]))]


def _tree(data: bytes, chance: random.Random) -> bytes:
    header, values = _split(data)
    tree = json.loads(header["__metadata__"]["inversion"])
    for _ in range(chance.choice((1, 1, 2))):
        holder, key = chance.choice(_nodes(tree))
        kind = chance.choice(("odd", "odd", "copy", "gone", "renamed", "deep"))
        if kind == "copy":
            other, place = chance.choice(_nodes(tree))
            holder[key] = json.loads(json.dumps(other[place]))
        elif kind == "gone":
            del holder[key]
        elif kind == "renamed" and isinstance(holder, dict):
            holder[chance.choice(("x", "class", "fields", "canvas", "codes.w.0", f"{key}.x"))] = holder.pop(key)
        else:
            holder[key] = chance.choice(ODD)
        if not _nodes(tree):
            break
    text = json.dumps(tree)
    if chance.random() < 0.1:
        text = text.replace(":", ":" + "[" * 5000, 1) + "]" * 5000
    header["__metadata__"]["inversion"] = text
    return _joined(header, values)


def _text(data: bytes, chance: random.Random) -> bytes:
    header, values = _split(data)
    text = header["__metadata__"]["inversion"]
    place = chance.randrange(len(text))
    header["__metadata__"]["inversion"] = (
        text[:place] + chance.choice(("", "{", '"', "0", "]", "null")) + text[place + 1 :]
    )
    return _joined(header, values)


def _metadata(data: bytes, chance: random.Random) -> bytes:
    header, values = _split(data)
    metadata = header["__metadata__"]
    key = chance.choice((*metadata, "format"))
    texts = ("", "null", "[]", "{}", "1", '"x"', '{"class": []}', '{"class": "Codes", "fields": []}', "[" * 9000, "NaN")
    metadata[key] = chance.choice(texts)
    if chance.random() < 0.3:
        del metadata[key]
    return _joined(header, values)


def _header(data: bytes, chance: random.Random) -> bytes:
    header, values = _split(data)
    name = chance.choice([key for key in header if key != "__metadata__"])
    entry, kind = header[name], chance.choice(("shape", "shape", "name", "dtype", "place", "swap"))
    if kind == "shape":
        shape = entry["shape"]
        entry["shape"] = chance.choice(
            (shape[::-1], [1, *shape], shape[1:], [], [1 << 40, *shape], [*shape[1:], shape[0]])
        )
    elif kind == "name":
        header[chance.choice(("x", "codes", "codes.w", "canvas.rgb", "codes.s", f"{name}.0", ""))] = header.pop(name)
    elif kind == "dtype":
        entry["dtype"] = chance.choice(("I32", "BF16", "F64", "U32", "C64", "x"))
    elif kind == "place":
        entry["data_offsets"] = chance.choice(([0, 0], [1, 0], [0, 1 << 50], entry["data_offsets"][::-1]))
    else:
        other = chance.choice([key for key in header if key != "__metadata__"])
        header[name], header[other] = header[other], header[name]
    return _joined(header, values)


def _byte(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) if chance.random() < 0.5 else min(len(data), 900))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]
