"""What the package imports is declared: for all, or in the extra that the room which imports it stands on."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gradstyle.cli.app import BROUGHT_BY
from tests.support.importing import helps
from tests.support.project import EXTRAS, PROJECT, ROOMS, ROOT, SOURCES, imports, parsed, room

CALLED = {"PIL": "pillow", "sklearn": "scikit-learn", "open_clip": "open-clip-torch"}
OWN = {"gradstyle", *sys.stdlib_module_names}


def requirements(extra: str = "") -> list[Requirement]:
    """What pyproject.toml asks for: always, or by an extra, and by the extras that it holds."""
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    found: list[Requirement] = []
    for line in listed:
        one = Requirement(line)
        found += [each for inner in one.extras for each in requirements(inner)] if one.name == "gradstyle" else [one]
    return found


def names(extra: str = "") -> set[str]:
    return {canonicalize_name(one.name) for one in requirements(extra)}


def with_all_they_need(wanted: list[Requirement]) -> set[str]:
    """Names of packages that are installed with these, as far as they are here."""
    found: set[str] = set()
    while wanted:
        one = wanted.pop()
        key = f"{canonicalize_name(one.name)}[{','.join(sorted(one.extras))}]"
        if key in found:
            continue
        found.add(key)
        try:
            needs = importlib.metadata.requires(one.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in needs:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in one.extras or {""}):
                wanted.append(need)
    return {key.partition("[")[0] for key in found}


def hidden(extra: str) -> list[str]:
    """Modules that are here and would not be, were the package installed with this extra alone."""
    there = with_all_they_need(requirements() + (requirements(extra) if extra else []))
    allowed, every = set(OWN), set[str]()
    for package in importlib.metadata.distributions():
        code = [file for file in package.files or () if file.suffix in (".py", ".so", ".pyd")]
        modules = {file.parts[0].partition(".")[0] for file in code}
        every |= modules
        if canonicalize_name(package.name) in there:
            allowed |= modules
    return sorted(module for module in every - allowed if module.isidentifier())


def foreign() -> Iterator[tuple[str, Path, ast.stmt, bool]]:
    """Every import of somebody else's module: its first name, where, and whether that happens at once."""
    for path in SOURCES:
        for module, node, at_once in imports(path):
            if (first := module.partition(".")[0]) not in OWN:
                yield first, path, node, at_once


def where(path: Path, node: ast.stmt) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_import_is_declared() -> None:
    bare, every = names(), {extra: names(extra) for extra in EXTRAS}
    wrong = []
    for module, path, node, at_once in foreign():
        package = canonicalize_name(CALLED.get(module, module))
        if package in bare:
            continue
        if not any(package in brought for brought in every.values()):
            wrong.append(f"{where(path, node)}: {module} is declared nowhere")
        elif at_once and package not in every.get(ROOMS.get(room(path), ""), ()):
            wrong.append(f"{where(path, node)}: {module} is not installed with what {room(path)} asks for")
    assert not wrong


def test_everything_declared_is_imported() -> None:
    imported = {canonicalize_name(CALLED.get(module, module)) for module, *_ in foreign()}
    named = {*re.findall(r'find_spec\("(\w+)"\)', "".join(path.read_text("utf-8") for path in SOURCES))}
    known = imported | {canonicalize_name(module) for module in named}
    assert {name for extra in ("", *EXTRAS) for name in names(extra)} <= known


def test_what_an_import_lacks_is_said_by_the_code_around_it_or_by_the_command_line() -> None:
    always = with_all_they_need(requirements())
    guarded = {
        id(inner)
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Try) and "ImportError" in "".join(ast.unparse(each) for each in node.handlers)
        for inner in ast.walk(node)
    }
    wrong = [
        f"{where(path, node)}: {module}"
        for module, path, node, _ in foreign()
        if canonicalize_name(CALLED.get(module, module)) not in always | names()
        and id(node) not in guarded
        and module not in BROUGHT_BY
        and room(path) != "studio"  # its server, which is guarded, imports all of it first
    ]
    assert not wrong
    for module, extra in BROUGHT_BY.items():
        assert canonicalize_name(module) in names(extra), module


# ---- licences


def test_the_licences_page_knows_every_package_that_is_asked_for() -> None:
    page = (ROOT / "docs" / "licences.md").read_text("utf-8").lower()
    for extra in EXTRAS:
        assert f"\n| `{extra}` |" in page
    for name in {name for extra in ("", *EXTRAS) for name in names(extra)}:
        assert re.search(rf"\b{name.replace('-', '[-_]')}\b", page), f"{name} is not in docs/licences.md"


def test_the_package_says_that_its_weights_are_not_under_the_codes_licence() -> None:
    (listed,) = (ROOT / "LICENSES").iterdir()
    assert listed.stem in PROJECT["license"].split(" AND ") and "LICENSES/*.txt" in PROJECT["license-files"]
    for file in (ROOT / "src" / "gradstyle" / "bundles" / "bundled").glob("*/bundle.json"):
        assert json.loads(file.read_text("utf-8"))["licence"].startswith("non-commercial")


# ---- with one extra alone


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    (folder / "me.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(16))
    return folder


def needs(place: Path) -> dict[str, str]:
    """Command lines, and the extra that each asks for where there is none."""
    return {
        f"edit {place}/me.heic --edit smile=1": "heic",
        f"video {place}/me.mp4 {place}/out.mp4 --edit smile=1": "video",
        "studio": "studio",
        "directions words grin --from face --to smile": "words",
        f"train generator {place} --recipe faces-32 --out {place}/run": "train",
        f"train plot {place}": "train",
    }


@pytest.fixture(scope="module")
def alone(place: Path) -> dict[str, dict[str, Any]]:
    """What `importing.py` finds where the package is installed with one extra, or none."""
    asked = {extra: (hidden(extra), [] if extra else [*helps(), *needs(place)]) for extra in ("", *EXTRAS)}
    command = [sys.executable, str(ROOT / "tests" / "support" / "importing.py"), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_an_extra_is_enough_for_its_room_and_none_for_all_others(extra: str, alone: dict[str, dict[str, Any]]) -> None:
    for module, lacks in alone[extra]["missing"].items():
        assert ROOMS.get(module.split(".")[1], extra) != extra, f"{module} lacks {lacks}, and has all it asks for"


@pytest.mark.slow
def test_without_extras_each_verb_has_its_help_and_says_in_one_line_what_it_lacks(
    place: Path, alone: dict[str, dict[str, Any]]
) -> None:
    said, lacking = alone[""]["said"], needs(place)
    for line in helps():
        code, text = said[line]
        assert code == 0 and "Usage" in text, (line, text)
    for line, extra in lacking.items():
        code, text = said[line]
        assert code == 1 and text.startswith("error: ") and text.count("\n") == 1, (line, text)
        assert re.search(rf"pip install [\"']gradstyle\[{extra}\]", text), (line, text)
    assert {path.name for path in place.iterdir()} == {"me.heic"}
