"""Reads which edits are wanted: their names, what they change, and the group of their slider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..bundles.bundle import HAIR
from ..metrics.pose import POSE


@dataclass(frozen=True)
class Wish:
    """Names an edit that is wanted, and the attribute that it raises or lowers."""

    name: str
    attribute: str
    reverse: bool = False

    @classmethod
    def parse(cls, text: str) -> Wish:
        """ "smile=Smiling", "age=-Young", or "yaw" for yaw=yaw."""
        name, _, attribute = (part.strip() for part in text.partition("="))
        attribute = attribute or name
        wish = cls(name, attribute.removeprefix("-"), attribute.startswith("-"))
        if not wish.name or not wish.attribute:
            raise ValueError(f"an edit is NAME=ATTRIBUTE or NAME=-ATTRIBUTE, such as age=-Young, got {text!r}")
        return wish


def wishes(wanted: Mapping[str, str] | Sequence[str]) -> list[Wish]:
    texts = [f"{name}={attribute}" for name, attribute in wanted.items()] if isinstance(wanted, Mapping) else wanted
    found = [Wish.parse(text) for text in texts]
    names = [wish.name for wish in found]
    if not found or len(set(names)) < len(names):
        raise ValueError(f"each edit is asked for once, and at least one is: got {', '.join(names) or 'none'}")
    return found


def group_of(attribute: str) -> str:
    """Gives the heading under which a slider stands."""
    name = attribute.lower()
    if name in POSE:
        return "pose"
    for group, words in {
        HAIR: ("blond", "black_hair", "brown_hair", "gray_hair"),
        "hair": ("hair", "bald", "bangs"),
        "beard": ("beard", "goatee", "mustache", "sideburns", "shadow"),
        "things": ("glasses", "hat", "earrings", "necklace", "necktie", "lipstick", "makeup"),
    }.items():
        if any(word in name for word in words):
            return group
    return "face"
