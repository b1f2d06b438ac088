"""Reads the data in a pickle. Nothing that a pickle names is imported, and nothing of it is run.

Python's own unpickler calls what it is told to call. This is another interpreter of the same opcodes: it knows
those that checkpoints are made of, makes plain values and the inert ones of `inert.py`, and refuses the rest.

Longer than 300 lines: one opcode after another, all that a pickle can hold.
"""

from __future__ import annotations

import pickletools
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import Refused
from .mapped_bytes import Span
from .pickle_types import GLOBALS, MAX_EXTENT, Global, NumpyArray, NumpyType, Record, Storage, checked_key

MAX_OPCODES = 500_000  # a checkpoint of 300 tensors takes about 10,000
MAX_COPIED = 128 << 20  # bytes, over twice the file's own size
MAX_TEXT = 32 << 20  # bytes of one string
MAX_NAME = 512  # bytes of a line that names a class or function
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001  # torch before 1.6, and every pickled storage

NAMES = {ord(op.code): op.name for op in pickletools.opcodes}
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's modules
HINTS = {
    "dnnlib.tflib": "it is a TensorFlow network: convert it with NVIDIA's legacy.py first",
    "__torch__": "it is a TorchScript program: save its state_dict instead",
}

Persistent = Callable[[object], Any]


@dataclass
class ReadLimit:
    """What one file may cost, pickles inside its pickles included."""

    copied: int
    opcodes: int = MAX_OPCODES

    @classmethod
    def of(cls, span: Span) -> ReadLimit:
        return cls(2 * len(span) + MAX_COPIED)

    def spend(self, size: int) -> None:
        self.copied -= size
        if self.copied < 0:
            raise Refused("it unpacks to far more than its own size")


class Unpickler:
    def __init__(self, span: Span, budget: ReadLimit, persistent: Persistent | None, depth: int = 0) -> None:
        self.span, self.budget, self.persistent, self.depth = span, budget, persistent, depth
        self.at = 0
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The next value; `at` then stands behind it."""
        try:
            while True:
                start, code = self.at, self.take(1)[0]
                self.budget.opcodes -= 1
                if self.budget.opcodes < 0:
                    raise Refused(f"its pickle has more than {MAX_OPCODES:,} opcodes, which no checkpoint needs")
                if code == ord("."):
                    return self.stack.pop()
                if code not in ACTIONS:
                    what = f"uses the opcode {NAMES[code]}" if code in NAMES else f"has the byte {code:#x} at {start}"
                    raise Refused(f"the pickle {what}, which no checkpoint needs; nothing was run")
                ACTIONS[code](self)
        except Refused:
            raise
        except (IndexError, KeyError, TypeError, AttributeError, ValueError, OverflowError, struct.error) as error:
            raise Refused(f"its pickle is damaged at byte {start} ({NAMES.get(code, hex(code))})") from error
        finally:
            self.stack, self.marked, self.memo = [], [], {}

    def take(self, length: int) -> bytes:
        data = self.span.read(self.at, length)
        self.at += length
        return data

    def count(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        head = self.span.read(self.at, min(MAX_NAME, len(self.span) - self.at))
        length = head.index(b"\n")
        self.at += length + 1
        return head[:length].decode()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    # Numbers, text and bytes

    def number(self, form: str) -> None:
        self.push(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def long(self, width: int) -> None:
        length = self.count(width)
        if length > 255:
            raise Refused(f"its pickle holds a whole number of {length:,} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def text(self, width: int) -> None:
        length = self.count(width)
        if length > MAX_TEXT:
            raise Refused(f"its pickle holds a text of {length:,} bytes")
        text = self.take(length).decode("utf-8", "surrogatepass")
        self.budget.spend(sys.getsizeof(text))
        self.push(text)

    def old_text(self, width: int) -> None:
        """Python 2's string: text, or a NumPy array's bytes."""
        data = self.take(min(self.count(width), MAX_TEXT))
        self.budget.spend(len(data))
        self.push(data.decode() if data.isascii() else data)

    def binary(self, width: int) -> None:
        length = self.count(width)
        if width == 1:
            self.push(self.take(length))
        else:
            self.push(self.span.part(self.at, length))
            self.at += length

    # Containers

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def tuple_of(self, length: int) -> None:
        items = [self.stack.pop() for _ in range(length)]
        self.push(tuple(items[::-1]))

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refused(f"its pickle appends to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise Refused(f"its pickle sets items of a {type(self.stack[-1]).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            self.stack[-1][checked_key(key)] = value

    def add(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise Refused(f"its pickle adds members to a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(checked_key(item) for item in items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def dict_of(self, items: list[Any]) -> None:
        self.push({})
        self.set_items(items)

    # Names and what is made of them

    def name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("its pickle names a class by something that is not text")
        full = f"{RENAMED.get(module, module)}.{name}"
        match full:
            case "torch.storage._load_from_bytes" if self.depth == 0:
                self.push(Global(full, self.load_from_bytes))
            case "_codecs.encode" | "builtins.bytes" | "builtins.bytearray":
                self.push(Global(full, self.encode))
            case _ if full in GLOBALS:
                self.push(GLOBALS[full])
            case _ if full.startswith("torch.nn.modules.") and full.isascii() and len(full) < 100:
                self.push(Global(full, lambda: Record(full)))
            case _:
                hint = next((f"; {hint}" for start, hint in HINTS.items() if full.startswith(start)), "")
                asked = f"{module}.{name}"[:100]
                raise Refused(f"the pickle asks for {asked!r}, which no checkpoint needs; nothing was run{hint}")

    def stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(module, name)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or function.make is None or type(arguments) is not tuple:
            shown = function.name if isinstance(function, Global) else type(function).__name__
            raise Refused(f"the pickle calls {shown!r}, which no checkpoint needs; nothing was run")
        self.push(function.make(*arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, NumpyArray | NumpyType):
            target.set_state(state)
        elif isinstance(target, Record) and isinstance(state, dict):
            target.state.update(state)
        elif not isinstance(target, dict):  # a dictionary's attributes, such as a state dict's _metadata, are dropped
            raise Refused(f"the pickle sets the state of a {type(target).__name__}, which no checkpoint needs")

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise Refused("its pickle refers to data outside itself")
        self.push(self.persistent(self.stack.pop()))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def encode(self, text: str | bytes = "", encoding: str = "latin1") -> bytes:
        """How protocol 2 writes bytes."""
        if isinstance(text, bytes):
            return text
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise Refused(f"bytes are written as a {type(text).__name__} in {str(encoding)[:40]!r}, not in latin1")
        self.budget.spend(len(text))
        return text.encode("latin1")

    def load_from_bytes(self, data: object) -> Storage:
        """A storage inside another pickle, in torch's legacy format: read by the same rules, one level deep."""
        if isinstance(data, bytes):
            self.budget.spend(len(data))
            data = Span.of_bytes(data)
        if not isinstance(data, Span):
            raise Refused(f"a tensor's storage is a {type(data).__name__}, not bytes")
        storage = load_stream(data, self.budget, self.depth + 1)
        if not isinstance(storage, Storage):
            raise Refused(f"a tensor's storage holds a {type(storage).__name__}")
        return storage


ACTIONS: dict[int, Callable[[Unpickler], None]] = {
    ord(code): action
    for code, action in {
        "\x80": lambda u: u.take(1),  # PROTO
        "\x95": lambda u: u.take(8),  # FRAME
        "N": lambda u: u.push(None),
        "\x88": lambda u: u.push(True),
        "\x89": lambda u: u.push(False),
        "J": lambda u: u.number("<i"),
        "K": lambda u: u.number("<B"),
        "M": lambda u: u.number("<H"),
        "G": lambda u: u.number(">d"),
        "\x8a": lambda u: u.long(1),
        "\x8b": lambda u: u.long(4),
        "\x8c": lambda u: u.text(1),
        "X": lambda u: u.text(4),
        "\x8d": lambda u: u.text(8),
        "U": lambda u: u.old_text(1),
        "T": lambda u: u.old_text(4),
        "C": lambda u: u.binary(1),
        "B": lambda u: u.binary(4),
        "\x8e": lambda u: u.binary(8),
        "\x96": lambda u: u.binary(8),
        "(": lambda u: u.mark(),
        ")": lambda u: u.push(()),
        "\x85": lambda u: u.tuple_of(1),
        "\x86": lambda u: u.tuple_of(2),
        "\x87": lambda u: u.tuple_of(3),
        "t": lambda u: u.push(tuple(u.since_mark())),
        "]": lambda u: u.push([]),
        "l": lambda u: u.push(u.since_mark()),
        "a": lambda u: u.append([u.stack.pop()]),
        "e": lambda u: u.append(u.since_mark()),
        "}": lambda u: u.push({}),
        "d": lambda u: u.dict_of(u.since_mark()),
        "s": lambda u: u.set_item(),
        "u": lambda u: u.set_items(u.since_mark()),
        "\x8f": lambda u: u.push(set()),
        "\x90": lambda u: u.add(u.since_mark()),
        "\x91": lambda u: u.push({checked_key(item) for item in u.since_mark()}),
        "h": lambda u: u.push(u.memo[u.count(1)]),
        "j": lambda u: u.push(u.memo[u.count(4)]),
        "q": lambda u: u.put(u.count(1)),
        "r": lambda u: u.put(u.count(4)),
        "\x94": lambda u: u.put(len(u.memo)),
        "c": lambda u: u.name(u.line(), u.line()),
        "\x93": lambda u: u.stack_name(),
        "R": lambda u: u.reduce(),
        "\x81": lambda u: u.reduce(),  # NEWOBJ: an object without arguments, which is the same to us
        "b": lambda u: u.build(),
        "Q": lambda u: u.persistent_id(),
    }.items()
}


def load_stream(span: Span, budget: ReadLimit, depth: int = 0) -> Any:
    """A bare pickle, or torch's legacy format: magic number, version, machine, object, storage keys, storages."""
    storages: dict[str, Storage] = {}

    def persistent(reference: object) -> Storage | Global:
        match reference:
            case ("module", Global() as cls, *_):  # a module's class and its source, which stays unread
                return cls
        key, storage = named_storage(reference)
        known = storages.setdefault(key, storage)
        if (known.dtype, known.numel) != (storage.dtype, storage.numel):
            raise Refused(f"the storage {key[:40]!r} is given two sizes")
        return known

    reader = Unpickler(span, budget, persistent, depth)
    tree = reader.load()
    if type(tree) is not int or tree != LEGACY_MAGIC:
        return tree
    version = reader.load()
    if version != LEGACY_VERSION:
        raise Refused(f"it is in version {str(version)[:40]} of torch's legacy format, not {LEGACY_VERSION}")
    machine = reader.load()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("it was written on a big-endian machine")
    tree, keys = reader.load(), reader.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise Refused("its list of storages does not fit its tensors")
    for key in keys:
        storage, count = storages[key], reader.count(8)
        if count != storage.numel:
            raise Refused(f"a storage of {storage.numel:,} values says that it has {count:,}")
        length = count * storage.dtype.itemsize
        storage.place(span.part(reader.at, length))
        reader.at += length
    return tree


def named_storage(reference: object) -> tuple[str, Storage]:
    """What a tensor calls its storage: kind, type, key, device, number of elements, and no view of another."""
    match reference:
        case ("storage", Global(dtype=dtype), str() as key, str(), int() as numel, *view) if (
            dtype is not None and 0 <= numel <= MAX_EXTENT and view in ([], [None])
        ):
            return key, Storage(dtype, numel)
    raise Refused("its pickle refers to data by something that is not a storage")
