"""The project as files: its sources, what they import, what pyproject.toml declares."""

from __future__ import annotations

import ast
import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


PACKAGE = ROOT / "src" / "gradstyle"


SOURCES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[tuple[str, ast.stmt, bool]]:
    """Modules that a file imports, absolute, and whether that happens when it is itself imported."""
    package, tree = ("gradstyle", *path.relative_to(PACKAGE).parts[:-1]), parsed(path)
    late = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node, id(node) not in late
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            for name in node.names:
                yield module if node.module else f"{module}.{name.name}", node, id(node) not in late


tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


EXTRAS = [name for name in PROJECT["optional-dependencies"] if name not in ("all", "dev")]


ROOMS = {"training": "train", "studio": "studio"}  # rooms that may import what only their extra brings at once
