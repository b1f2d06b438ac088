"""Files that a reader must survive: each a name, its bytes, and the cause that the reader has to give.

Those that try to run something would leave `marker` behind.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.peak_memory import peak

Hostile = Iterator[tuple[str, bytes, str]]

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."  # torch's legacy magic number and version
MACHINE = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.reduced


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    raw = value.to_bytes(20, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def row(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def storage(numel: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """Pushes a persistent storage."""
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + whole(numel) + b"tQ"


def tensor(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, numel: int = 16) -> bytes:
    """Pushes a float tensor over storage 0."""
    rest = whole(offset) + row(size) + row(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(numel) + rest + b"tR"


def in_zip(body: bytes, **entries: bytes) -> bytes:
    """A torch zip checkpoint around a pickle's opcodes, with 16 floats as storage 0."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        archive.writestr("archive/byteorder", b"little")
        for name, data in ({"_0": bytes(64)} | entries).items():
            archive.writestr(f"archive/data/{name.removeprefix('_')}", data)
    return out.getvalue()


def in_legacy(body: bytes, keys: bytes = b"\x80\x02].", data: bytes = b"") -> bytes:
    return MAGIC + MACHINE + b"\x80\x02" + body + b"." + keys + data


def legacy_storage(numel: int = 4, count: int | None = None, pad: bytes = b"") -> bytes:
    """What torch.storage._load_from_bytes is given."""
    keys = b"\x80\x02](" + text("0") + b"e."
    head = in_legacy(pad + storage(numel), keys, struct.pack("<q", numel if count is None else count))
    return head + bytes(4 * numel)


def from_bytes(data: bytes) -> bytes:
    return b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(data)) + data + b"\x85R"


def persistent(state: bytes) -> bytes:
    """A StyleGAN2-ADA object whose state has one value."""
    meta = text("class_name") + text("Generator") + text("state") + b"}" + text("value") + state + b"s"
    return b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(" + meta + b"u\x85R"


def calls(marker: Path) -> Hostile:
    """Everything that a pickle may try to call, from every place where a pickle may be."""
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    payloads = {
        "system": Call(os.system, touch),
        "exec": Call(exec, code),
        "eval": Call(eval, code),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, "", "join"),
        "import": Call(__import__, "os"),
        "popen": Call(os.popen, touch),
        "mkdir": Call(os.mkdir, str(marker)),
        "map": Call(map, exec, [code]),
        "numpy": Call(np.save, str(marker), np.zeros(1)),
        "nested": Call(exec, Call(str, Call(eval, code))),
    }
    for name, payload in payloads.items():
        for protocol in (2, 4):
            data = pickle.dumps({"state": [payload]}, protocol)
            yield f"{name}_{protocol}.pkl", data, r"asks for '\w[\w.]*', which no checkpoint needs; nothing was run"
    system = b"cos\nsystem\n" + text(touch) + b"\x85R"
    cause = "asks for 'os.system', which no checkpoint needs; nothing was run"
    yield "in_zip.pt", in_zip(system), cause
    yield "in_legacy.pt", in_legacy(system), cause
    yield "in_legacy_keys.pt", MAGIC + MACHINE + b"\x80\x02}.\x80\x02" + system + b".", cause
    yield "in_legacy_machine.pt", MAGIC + b"\x80\x02" + system + b".", cause
    yield "in_storage.pkl", b"\x80\x02" + from_bytes(b"\x80\x02" + system + b".") + b".", cause
    yield "in_legacy_storage.pkl", b"\x80\x02" + from_bytes(in_legacy(system)) + b".", cause
    yield "in_state.pkl", b"\x80\x02" + persistent(system) + b".", cause
    yield "in_state_in_zip.pt", in_zip(persistent(system)), cause
    yield "in_namespace.pt", in_zip(b"cargparse\nNamespace\n)\x81}" + text("x") + system + b"sb"), cause
    yield "in_ordered_dict.pt", in_zip(b"ccollections\nOrderedDict\n](" + system + b"e\x85R"), cause
    yield "in_default_factory.pt", in_zip(b"ccollections\ndefaultdict\ncos\nsystem\n\x85R"), cause
    yield "in_hooks.pt", in_zip(tensor((1,), (1,)).replace(b"ccollections\nOrderedDict\n)R", system)), cause
    yield "in_persistent_id.pt", in_zip(system + b"Q"), cause
    yield "in_numpy_class.pt", in_zip(b"cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\n)C\x01b\x87R"), cause
    arrays = io.BytesIO()
    np.save(arrays, np.array([payloads["system"]], dtype=object), allow_pickle=True)
    yield "objects.npy", arrays.getvalue(), "only plain numbers are read"
    arrays = io.BytesIO()
    np.savez(arrays, fine=np.zeros(3), bad=np.array([payloads["exec"]], dtype=object))
    yield "objects.npz", arrays.getvalue(), "only plain numbers are read"
    arguments = text(touch) + b"\x85"
    yield "inst.pkl", b"\x80\x02(" + text(touch) + b"ios\nsystem\n.", "uses the opcode INST"
    yield "obj.pkl", b"\x80\x02(cos\nsystem\n" + text(touch) + b"o.", "'os.system'"
    yield "obj_of_ours.pkl", b"\x80\x02(ccollections\nOrderedDict\no.", "uses the opcode OBJ"
    yield "newobj.pkl", b"\x80\x02cos\nsystem\n" + arguments + b"\x81.", "'os.system'"
    yield "newobj_ex.pkl", b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "uses the opcode NEWOBJ_EX"
    yield "stack_global.pkl", b"\x80\x04\x8c\x02os\x8c\x06system\x93" + arguments + b"R.", "'os.system'"
    dotted = b"\x80\x04\x8c\x0bcollections\x8c\x19OrderedDict.__class__.mro\x93)R."
    yield "dotted.pkl", dotted, "'collections.OrderedDict.__class__.mro'"
    yield "stack_global_of_numbers.pkl", b"\x80\x04K\x01K\x02\x93.", "names a class by something that is not text"
    for code_, name in ((b"\x82\x01", "EXT1"), (b"\x83\x01\x00", "EXT2"), (b"\x84\x01\x00\x00\x00", "EXT4")):
        yield f"{name}.pkl", b"\x80\x02" + code_ + b".", f"uses the opcode {name}"
    yield "persid.pkl", b"\x80\x02P0\n.", "uses the opcode PERSID"
    yield "buffer.pkl", b"\x80\x05\x97.", "uses the opcode NEXT_BUFFER"
    yield "call_text.pkl", b"\x80\x02" + text("os.system") + arguments + b"R.", "calls 'str'"
    yield "call_name.pkl", b"\x80\x02cnumpy\nndarray\n" + arguments + b"R.", "calls 'numpy.ndarray'"
    yield "build_list.pkl", b"\x80\x02]}b.", "sets the state of a list"
    set_state = b"ctorch.nn.modules.module\nModule\n)\x81" + text(touch) + b"b"
    yield "build_module.pkl", b"\x80\x02" + set_state + b".", "sets the state of a Record"
    yield (
        "module_with_arguments.pkl",
        b"\x80\x02ctorch.nn.modules.module\nModule\n" + arguments + b"R.",
        "damaged at byte",
    )
    yield "tensorflow.pkl", b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81.", "TensorFlow network: convert it"
    yield "control.pkl", b"\x80\x02c\x1b[2J\nsystem\n.", r"'\\x1b\[2J.system'"


def bombs() -> Hostile:
    """Small files that ask for much memory, or for much time."""
    huge = struct.pack("<Q", 1 << 62)
    yield "sets.pkl", b"\x80\x04" + b"\x8f" * 600_000, "more than 500,000 opcodes"
    yield "marks.pkl", b"\x80\x04" + b"(" * 600_000, "more than 500,000 opcodes"
    yield "long4.pkl", b"\x80\x02\x8b\xff\xff\xff\x7f.", "whole number of 2,147,483,647 bytes"
    yield "bytes8.pkl", b"\x80\x04\x8e" + huge + b".", "cut short or damaged"
    yield "bytearray8.pkl", b"\x80\x05\x96" + huge + b".", "cut short or damaged"
    yield "text8.pkl", b"\x80\x04\x8d" + huge + b".", "holds a text of"
    yield "text_short.pkl", b"\x80\x02X\xff\xff\x00\x00abc.", "cut short or damaged"
    yield "lists.pkl", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nested more than 64 deep"
    yield "tuples.pkl", b"\x80\x02)" + b"\x85" * 200_000 + b".", "nested more than 64 deep"
    yield "self.pkl", b"\x80\x02]q\x00h\x00a.", "a list in it holds itself"
    yield "self_dict.pkl", b"\x80\x02}q\x00" + text("x") + b"h\x00s.", "a dict in it holds itself"
    laughs = b"]" + b"".join(b"q%c](%se" % (i, b"h%c" % i * 10) for i in range(30))
    yield "laughs.pkl", b"\x80\x02" + laughs + b".", "refers to the same parts over and over"
    doubled = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    yield "tuple_key.pkl", b"\x80\x02}" + doubled + b"Ns.", "uses a tuple as a key"
    yield "tuple_member.pkl", b"\x80\x04\x8f(" + doubled + b"\x90.", "uses a tuple as a key"
    yield (
        "deep_storage.pkl",
        b"\x80\x02" + from_bytes(from_bytes_in(5)) + b".",
        "asks for 'torch.storage._load_from_bytes'",
    )
    eight = b"\x80\x02c_codecs\nencode\nq\x00" + text("x" * (8 << 20)) + text("latin1") + b"\x86q\x01R"
    yield "encode.pkl", eight + b"h\x00h\x01R" * 100 + b".", "unpacks to far more than its own size"
    call = b"\x80\x02ctorch.storage\n_load_from_bytes\nq\x00B"
    start = len(call) + 4 + len(legacy_storage(2 << 20)) - (8 << 20)
    data = legacy_storage(2 << 20, pad=b"N" * ((1 - start) % 8))  # off the boundary: each use is a copy
    loads = call + struct.pack("<I", len(data)) + data + b"\x85q\x01"
    yield "copies.pkl", loads + b"](" + b"h\x00h\x01R" * 100 + b"e.", "unpacks to far more"


def from_bytes_in(depth: int) -> bytes:
    inner = b"\x80\x02]."
    for _ in range(depth):
        inner = b"\x80\x02" + from_bytes(inner) + b"."
    return inner


def damaged() -> Hostile:
    """Pickles and legacy files that end too early, or do not add up."""
    yield "underflow.pkl", b"\x80\x02R.", r"damaged at byte 2 \(REDUCE\)"
    yield "no_mark.pkl", b"\x80\x02t.", "damaged at byte"
    yield "no_memo.pkl", b"\x80\x02h\x07.", "damaged at byte"
    yield "no_stop.pkl", b"\x80\x02]", "cut short or damaged"
    yield "protocol_only.pkl", b"\x80", "cut short or damaged"
    yield "unknown_byte.pkl", b"\x80\x02\xff.", "has the byte 0xff at 2"
    yield "bad_utf8.pkl", b"\x80\x02X\x01\x00\x00\x00\xff.", "damaged at byte"
    yield "odd_items.pkl", b"\x80\x02}(K\x01u.", "sets items of a dict"
    yield "append_to_tuple.pkl", b"\x80\x02)Na.", "appends to a tuple"
    yield "endless_name.pkl", b"\x80\x02c" + b"x" * 5000, "damaged at byte"
    yield "pair.pkl", b"\x80\x02ccollections\nOrderedDict\n](K\x01e\x85R.", "something other than pairs"
    yield "no_meta.pkl", b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n}\x85R.", "no class name"
    yield "version.pt", MAGIC[:-3] + b"\x00\x00." + MACHINE, "version 0 of torch's legacy format"
    big = pickle.dumps({"little_endian": False}, 2)
    yield "big_endian.pt", MAGIC + big + b"\x80\x02}.\x80\x02].", "big-endian"
    yield "legacy_cut.pt", legacy_storage(1000)[:-1], "cut short or damaged"
    yield "legacy_count.pt", legacy_storage(4, count=1 << 40), "says that it has"
    yield "legacy_huge.pt", legacy_storage_lying(1 << 39), "cut short or damaged"
    yield "legacy_no_data.pt", in_legacy(storage(4)), "values are not in the file"
    yield "legacy_unknown_key.pt", in_legacy(b"}", b"\x80\x02](" + text("7") + b"e."), "does not fit its tensors"
    yield "bare_storage.pkl", b"\x80\x02" + storage(4) + b".", "values are not in the file"


def legacy_storage_lying(numel: int) -> bytes:
    return in_legacy(storage(numel), b"\x80\x02](" + text("0") + b"e.", struct.pack("<q", numel))


def tensors() -> Hostile:
    """Tensors that reach beyond their data, or claim more of it than there is."""
    yield "past.pt", in_zip(tensor((17,), (1,))), "reaches past its storage of 16"
    yield "past_stride.pt", in_zip(tensor((4, 4), (5, 1))), "reaches past its storage"
    yield "past_offset.pt", in_zip(tensor((1,), (1,), offset=16)), "reaches past its storage"
    yield "negative_offset.pt", in_zip(tensor((1,), (1,), offset=-1)), "negative or beyond any data"
    yield "negative_stride.pt", in_zip(tensor((2, 2), (-1, 1))), "negative or beyond any data"
    yield "negative_size.pt", in_zip(tensor((-4, -4), (1, 1))), "negative or beyond any data"
    yield "overflow.pt", in_zip(tensor((1 << 32, 1 << 32), (1 << 32, 1))), "reaches past its storage"
    yield "wrap.pt", in_zip(tensor((1 << 63, 2), (2, 1))), "negative or beyond any data"
    yield "expanded.pt", in_zip(tensor((1 << 39,), (0,))), "repeats 16 stored values"
    yield "expanded_many.pt", in_zip(tensor((1024, 1024, 1024), (0, 0, 0))), "repeats 16 stored values"
    yield "empty_huge.pt", in_zip(tensor((0, 1 << 40), (1, 1))), "is empty and yet huge"
    yield "dimensions.pt", in_zip(tensor((1, 1), (1,))), "the dimensions do not agree"
    yield "thousand_dimensions.pt", in_zip(tensor((1,) * 1000, (1,) * 1000)), "the dimensions do not agree"
    yield "storage_lies.pt", in_zip(tensor((1,), (1,), numel=17)), "has only 64 bytes"
    yield "storage_huge.pt", in_zip(tensor((1,), (1,), numel=1 << 39)), "has only 64 bytes"
    yield "storage_negative.pt", in_zip(tensor((1,), (1,), numel=-1)), "not a storage"
    yield "storage_missing.pt", in_zip(tensor((1,), (1,)).replace(text("0"), text("9"))), "holds no 'archive/data/9'"
    yield "storage_outside.pt", in_zip(tensor((1,), (1,)).replace(text("0"), text("../data.pkl"))), "holds no"
    two = b"](" + tensor((1,), (1,), numel=8) + tensor((1,), (1,), numel=16) + b"e"
    yield "storage_two_sizes.pt", in_zip(two), "is given two sizes"
    sizes = tensor((1,), (1,)).replace(row((1,)), b"G?\xf0\x00\x00\x00\x00\x00\x00\x85")
    yield "float_size.pt", in_zip(sizes), "not a tuple of whole numbers"
    no_storage = b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)) N}tR".replace(b" ", b"")
    yield "no_storage.pt", in_zip(no_storage), "other than a storage"
    yield "parameter_of_list.pt", in_zip(b"ctorch._utils\n_rebuild_parameter\n(]\x88}tR"), "made of a list"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    kind = (
        b"cnumpy\ndtype\n"
        + text("%s")
        + b"\x89\x88\x87R(K\x03"
        + text("<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    state = b"(K\x01%s" + kind.replace(text("%s"), text("f8")) + b"\x89C\x08" + bytes(8) + b"tb"
    yield "array_huge.pt", in_zip(array + state % row((1 << 40,))), "values has 8 bytes"
    yield "array_negative.pt", in_zip(array + state % row((-1, -1))), "cannot be"
    yield "array_empty.pt", in_zip(array), "named but not in the file"
    yield "object_type.pt", in_zip(kind.replace(text("%s"), text("O8"))), "only plain numbers"
    yield "endless_type.pt", in_zip(kind.replace(text("%s"), text("f4," * 10_000))), "only plain numbers"


def zips() -> Hostile:
    """Zip files that lie."""
    good = in_zip(tensor((4, 4), (4, 1)))
    for cut in (10, 100, len(good) // 2, len(good) - 30, len(good) - 1):
        yield f"cut_{cut}.pt", good[:cut], "cut short"
    yield "wrong_directory.pt", patched_end(good, 16, "<I", 5), "does not end where it should"
    yield "many_entries.pt", patched_end(good, 10, "<H", 60_000), "directory is damaged|cut short or damaged"
    yield "few_entries.pt", patched_end(good, 10, "<H", 1), "holds more than it counts"
    yield "prefixed.pt", good[:4] + bytes(100) + good[4:], "does not end where it should"
    yield "encrypted.pt", patched(good, 8, "<H", 1), "is encrypted"
    yield "method.pt", patched(good, 10, "<H", 12), "packed with method 12"
    yield "stored_lies.pt", patched(good, 24, "<I", 1 << 30), "says 1,073,741,824 bytes|would unpack"
    yield "past_end.pt", patched(patched(good, 24, "<I", 1 << 20), 20, "<I", 1 << 20), "cut short or damaged"
    yield "header_elsewhere.pt", patched(good, 42, "<I", 7), "does not start where"
    yield "header_outside.pt", patched(good, 42, "<I", 1 << 30), "cut short or damaged"
    yield "zip64_missing.pt", patched(good, 42, "<I", 0xFFFFFFFF), "ZIP64 field is missing"
    yield "renamed.pt", good.replace(b"archive/data/0", b"archive/data/1", 1), "called something else"
    yield "twice.npz", zip_of({"a.npy": b"x", "b.npy": b"x"}).replace(b"b.npy", b"a.npy"), "holds 'a.npy' twice"
    for i, name in enumerate(("../evil", "/etc/evil", "a\\..\\evil", "archive/../../evil")):
        yield f"path_{i}.zip", zip_of({name: b"x"}), "points outside the archive"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        with archive.open("archive/data/0", "w") as entry:
            for _ in range(64):
                entry.write(bytes(1 << 20))
    bomb = out.getvalue()
    yield "ratio.pt", bomb, "would unpack"
    yield "hidden_ratio.pt", declared(bomb, 5000), "does not unpack to the 5,000 bytes"
    yield "many_bombs.npz", many_bombs(), "would unpack to"
    yield "overlap.pt", overlapping(), "overlaps what follows"
    yield "quine.npz", same_data_again(), "called something else"
    yield "other.zip", zip_of({"readme.txt": b"hello"}), "neither a torch checkpoint"
    yield "nothing.zip", zip_of({}), "neither a torch checkpoint"
    script = zip_of({"m/data.pkl": b"\x80\x02}.", "m/constants.pkl": b"\x80\x02)."})
    yield "script.pt", script, "TorchScript"
    yield "big.pt", in_zip(b"}").replace(b"little", b"bigend"), "big-endian"


def zip_of(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def patched(data: bytes, offset: int, form: str, value: int) -> bytes:
    """The last entry of the central directory with a field changed."""
    at = data.rindex(b"PK\x01\x02") + offset
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def patched_end(data: bytes, offset: int, form: str, value: int) -> bytes:
    at = data.rindex(b"PK\x05\x06") + offset
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def declared(bomb: bytes, size: int) -> bytes:
    """The bomb, with a data.pkl that asks for the storage and a directory that plays it down."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(bytes(64 << 20)) + packed.flush()
    good = in_zip(tensor((1,), (1,), numel=1), _0=data)
    at = good.rindex(b"PK\x01\x02")
    fields = bytearray(good)
    struct.pack_into("<H", fields, at + 10, 8)
    struct.pack_into("<I", fields, at + 24, size)
    return bytes(fields)


def many_bombs() -> bytes:
    """Each entry is under the ratio's threshold; together they are 640 MB."""
    array = io.BytesIO()
    np.save(array, np.zeros((15 << 20) - 128, dtype=np.uint8))
    packed = zlib.compressobj(1, zlib.DEFLATED, -15)
    data = packed.compress(array.getvalue()) + packed.flush()
    good = bytearray(zip_of({f"{i}.npy": data for i in range(40)}))
    at = -1
    while (at := good.find(b"PK\x01\x02", at + 1)) >= 0:
        struct.pack_into("<H", good, at + 10, 8)
        struct.pack_into("<I", good, at + 24, len(array.getvalue()))
    return bytes(good)


def overlapping() -> bytes:
    """One entry's data is the other entry, header and all."""
    inner = b"PK\x03\x04" + struct.pack("<5H3I2H", 20, 0, 0, 0, 0, 0, 8, 8, 14, 0) + b"archive/data/1" + bytes(8)
    outer = bytearray(in_zip(tensor((1,), (1,), numel=1), _0=inner, _1=bytes(8)))
    at = outer.rindex(b"PK\x01\x02")
    struct.pack_into("<I", outer, at + 42, outer.index(inner))
    return bytes(outer)


def same_data_again() -> bytes:
    """Two entries of the directory lead to one place."""
    data = bytearray(zip_of({"a.npy": b"x" * 50, "b.npy": b"y" * 50}))
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 42, 0)
    return bytes(data)


def npy(header: str, data: bytes = bytes(64), version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + data


def arrays() -> Hostile:
    """NumPy and safetensors files whose headers lie."""
    form = "{'descr': %s, 'fortran_order': False, 'shape': %s, }\n"
    yield "huge.npy", npy(form % ("'<f8'", f"({1 << 40},)")), "promises"
    yield "overflow.npy", npy(form % ("'<f8'", f"({1 << 32}, {1 << 32})")), "promises"
    yield "negative.npy", npy(form % ("'<f8'", "(-1, -8)")), "cannot be"
    yield "short.npy", npy(form % ("'<f8'", "(9,)")), "promises 72 bytes"
    yield "long.npy", npy(form % ("'<f8'", "(7,)")), "promises 56 bytes"
    yield "fields.npy", npy(form % ("[('a', '<f8')]", "(8,)")), "only plain numbers"
    yield "zero_wide.npy", npy(form % ("'|S0'", f"({1 << 39},)")), "only plain numbers"
    yield "code.npy", npy("__import__('os').system('true')\n"), "header cannot be read"
    yield "parentheses.npy", npy("(" * 9000), "header cannot be read"
    yield "header_length.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "header cannot be read"
    yield "version.npy", npy(form % ("'<f8'", "(8,)"), version=b"\x09\x00"), "header cannot be read"
    yield "magic_only.npy", b"\x93NUMPY", "header cannot be read"

    def safetensors(header: str, length: int | None = None, data: bytes = bytes(16)) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header.encode() + data

    entry = '{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [%s]}}'
    yield "length.safetensors", safetensors("{}", length=1 << 40), "header says 1,099,511,627,776 bytes"
    yield "past.safetensors", safetensors(entry % ("1000", "0, 4000")), "cannot be read"
    yield "shape.safetensors", safetensors(entry % ("1000", "0, 16")), "cannot be read"
    yield "overflow.safetensors", safetensors(entry % (f"{1 << 62}, 16", "0, 16")), "cannot be read"
    yield "json.safetensors", safetensors('{"a": '), "cannot be read"


def others() -> Hostile:
    yield "empty.pt", b"", "the file is empty"
    yield "page.pkl", b"<!DOCTYPE html><html>Google Drive - Virus scan warning", "it is a web page"
    yield "pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"
    yield "packed.pkl", b"\x1f\x8b\x08\x00" + bytes(20), "gzip"
    yield "noise.pt", b"\x07\x01\x02\x03", "no checkpoint format"
    yield "text_protocol.pkl", b"cos\nsystem\n(S'true'\ntR.", "no checkpoint format"


def hostile_files(marker: Path) -> dict[str, tuple[bytes, str]]:
    """File name -> content, and what the error has to say."""
    files: dict[str, tuple[bytes, str]] = {}
    for group in (calls(marker), bombs(), damaged(), tensors(), zips(), arrays(), others()):
        for name, content, cause in group:
            assert name not in files, name
            files[name] = content, cause
    return files


def main(folder: Path) -> None:
    """Reads every file of a folder and prints how far memory has grown at its peak, in MB."""
    from gradstyle.pickles.errors import PublishedFileError
    from gradstyle.pickles.files import read_file

    before = peak()
    refused = 0
    for path in sorted(folder.iterdir()):
        try:
            read_file(path)
        except PublishedFileError:
            refused += 1
    print(refused, before, peak())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
