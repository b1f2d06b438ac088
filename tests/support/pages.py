"""What a page of HTML says, parsed strictly."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "link", "br", "hr"}


class Tree(HTMLParser):
    """Parses strictly: every tag is closed where it was opened; keeps tags, texts and the tables' cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.rows: list[list[dict[str, str]]] = []  # attributes of cells
        self.tables: list[tuple[dict[str, str], list[list[dict[str, str]]]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        assert len(named) == len(attributes), (tag, attributes)
        self.tags.append((tag, named))
        if tag == "div" and "figures" in named.get("class", ""):
            self.tables.append((named, []))
        if tag == "tr" and self.tables:
            self.tables[-1][1].append([])
        if tag in ("td", "th") and self.tables:
            self.tables[-1][1][-1].append({**named, "text": ""})
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))
        if {"td", "th"} & set(self.open) and "table" in self.open and self.tables:
            self.tables[-1][1][-1][-1]["text"] += f"{data} "

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    def said(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]
