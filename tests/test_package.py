"""What holds for the package as a whole: who imports whom, what is never called, what is shipped."""

from __future__ import annotations

import ast
import fnmatch
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradstyle

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "gradstyle"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Each may import those below it, and those beside it as long as that is no circle.
FLOORS = [
    {"stylegan2", "tensors", "draws", "files", "motion"},
    {"encoder", "losses", "edits"},
    {"methods", "photos", "directions", "bundles"},
    {"editor", "training", "evaluation"},
    {"cli", "studio"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Upwards, but only inside the functions that read a file.
ON_DEMAND = {("losses", "bundles")}


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


def arrows() -> Iterator[tuple[str, str, str, bool]]:
    """From, to, where, and whether at once: all imports from one room to another."""
    for path in SOURCES:
        if path.parent == PACKAGE and path.stem == "__init__":
            continue  # it gives names, and imports their rooms when asked
        for module, node, at_once in imports(path):
            parts = module.split(".")
            if parts[0] == "gradstyle" and len(parts) > 1 and parts[1] not in (room(path), "__version__"):
                yield room(path), parts[1], f"{path.relative_to(ROOT)}:{node.lineno}", at_once


def test_every_room_has_its_floor() -> None:
    found = {room(path) for path in SOURCES} - {"__init__"}
    assert found <= set(FLOOR), f"say in FLOORS where {found - set(FLOOR)} stands"


def test_arrows_run_downward() -> None:
    upward = [
        f"{where}: {here} imports {there}"
        for here, there, where, at_once in arrows()
        if FLOOR[here] < FLOOR[there] and (at_once or (here, there) not in ON_DEMAND)
    ]
    assert not upward


def test_rooms_of_one_floor_do_not_go_in_circles() -> None:
    found = {(here, there) for here, there, _, _ in arrows() if FLOOR[here] == FLOOR[there]}
    reached = set(found)
    while more := {(a, d) for a, b in reached for c, d in found if b == c} - reached:
        reached |= more
    assert not {here for here, there in reached if here == there}


def test_the_generator_imports_nothing_of_ours_but_its_random_numbers() -> None:
    alone = {"stylegan2": {"draws"}, "draws": set(), "files": set(), "tensors": {"files"}}
    assert not [where for here, there, where, _ in arrows() if here in alone and there not in alone[here]]


def test_nothing_that_runs_what_it_reads_is_ever_called() -> None:
    modules = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml"}
    calls = {"torch.load", "torch.hub", "np.load", "numpy.load", "os.system", "os.popen"}
    names = {"eval", "exec", "compile", "__import__"}
    found: list[str] = []
    for path in SOURCES:
        for module, node, _ in imports(path):
            if module.split(".")[0] in modules:
                found.append(f"{path.name}:{node.lineno} imports {module}")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in calls:
                found.append(f"{path.name}:{node.lineno} names {ast.unparse(node)}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                found.append(f"{path.name}:{node.lineno} calls {node.func.id}")
    assert not found


def test_no_paths_of_one_persons_machine() -> None:
    personal = re.compile("/" + "(work|root|Users)/[a-z]")
    files = [*SOURCES, *ROOT.glob("*.*"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.py"), ROOT / "Makefile"]
    found = [str(path) for path in files if path.is_file() and personal.search(path.read_text("utf-8"))]
    assert not found


def test_all_that_is_not_code_is_shipped() -> None:
    (line,) = re.findall(
        r"\[tool\.setuptools\.package-data\]\ngradstyle = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S
    )
    patterns = re.findall(r'"(.+?)"', line)
    others = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert PACKAGE / "py.typed" in others
    for path in others:
        name = path.relative_to(PACKAGE).as_posix()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), f"{name} is in no package-data pattern"


def test_the_version_is_one() -> None:
    assert f'\nversion = "{gradstyle.__version__}"\n' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("program", "never"),
    [
        ("import gradstyle", "torch numpy PIL safetensors rich typer"),
        ("import gradstyle; [getattr(gradstyle, name) for name in gradstyle.__all__]", "rich typer"),
        ("import gradstyle.cli", "torch numpy PIL"),
    ],
    ids=["the package", "all its names", "the command line"],
)
def test_imports_stay_light(program: str, never: str) -> None:
    heavy = {"sklearn", "matplotlib", "gradio", "accelerate", "tensorboard", "torchvision", "sympy", *never.split()}
    code = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.slow
def test_asking_for_a_bundle_needs_no_heavy_import(tmp_path: Path) -> None:
    """Building a network on the meta device may import sympy, which takes seconds."""
    code = (
        "import sys; sys.path.insert(0, 'tests'); import tiny; from gradstyle.bundles import Bundle\n"
        "from gradstyle.methods import METHODS\n"
        "bundle = Bundle('x'); bundle.put('generator', tiny.generator()); bundle.put('encoder', tiny.encoder())\n"
        "for name in METHODS: bundle.put(name, tiny.method(name))\n"
        f"again = Bundle.load(bundle.save({str(tmp_path / 'x')!r}))\n"
        "for name in again.methods: again.method(name)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"sympy", "torch._dynamo"} & set(done.stdout.split())
