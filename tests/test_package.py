"""What holds for the package as a whole: who imports whom, what is never called, what is shipped."""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradstyle
from tests.support.project import PACKAGE, ROOT, SOURCES, imports, parsed, room

# Each may import those below it, and those beside it as long as that is no circle.
FLOORS = [
    {
        "version",
        "config",
        "progress",
        "images",
        "files",
        "tensors",
        "rng",
        "motion",
        "blueprint",
        "pickles",
        "stylegan2",
    },
    {"encoder", "losses", "edits"},
    {"methods", "photos", "published", "bundles", "metrics", "directions", "video"},
    {"editor", "training", "evaluation", "report"},
    {"cli", "studio"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def arrows() -> Iterator[tuple[str, str, str, bool]]:
    """From, to, where, and whether at once: all imports from one room to another."""
    for path in SOURCES:
        if path.parent == PACKAGE and path.stem == "__init__":
            continue  # it gives names, and imports their rooms when asked
        for module, node, at_once in imports(path):
            parts = module.split(".")
            if parts[0] == "gradstyle" and len(parts) > 1 and parts[1] != room(path):
                yield room(path), parts[1], f"{path.relative_to(ROOT)}:{node.lineno}", at_once


def test_every_room_has_its_floor() -> None:
    found = {room(path) for path in SOURCES} - {"__init__"}
    assert found <= set(FLOOR), f"say in FLOORS where {found - set(FLOOR)} stands"


def test_arrows_run_downward() -> None:
    upward = [
        f"{where}: {here} imports {there}" for here, there, where, at_once in arrows() if FLOOR[here] < FLOOR[there]
    ]
    assert not upward


def test_rooms_of_one_floor_do_not_go_in_circles() -> None:
    found = {(here, there) for here, there, _, _ in arrows() if FLOOR[here] == FLOOR[there]}
    reached = set(found)
    while more := {(a, d) for a, b in reached for c, d in found if b == c} - reached:
        reached |= more
    assert not {here for here, there in reached if here == there}


def test_no_circles_inside_rooms() -> None:
    """File by file, imports inside functions too. What a package's own name gives comes from its `__init__`."""
    names = {module_of(path): path for path in SOURCES}
    wanted = {
        (here, there)
        for here, path in names.items()
        for module, node, _ in imports(path)
        for there in targets(module, node, names)
        if there != here
    }
    left = set(names)
    while free := left - ({a for a, b in wanted if b in left} & {b for a, b in wanted if a in left}):
        left -= free  # what imports nothing of what is left, or is imported by nothing of it, is in no circle
    circles = sorted((here, there) for here, there in wanted if {here, there} <= left)
    assert not circles, circles


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def targets(module: str, node: ast.stmt, names: dict[str, Path]) -> set[str]:
    """The files that an import reads: the modules that it names, else the one that it takes names from."""
    inner = {f"{module}.{name.name}" for name in node.names} if isinstance(node, ast.ImportFrom) else set()
    return (inner & set(names)) or ({module} & set(names))


def test_long_files_are_few_and_say_why() -> None:
    long = [path for path in SOURCES if path.read_text("utf-8").count("\n") > 300]
    assert len(long) <= 10
    for path in long:
        assert "Longer than 300 lines: " in str(ast.get_docstring(parsed(path))), path


def test_the_generator_imports_nothing_of_ours_but_its_random_numbers() -> None:
    alone = {"stylegan2": {"rng"}, "rng": set(), "files": set(), "tensors": {"files"}, "images": set()}
    assert not [where for here, there, where, _ in arrows() if here in alone and there not in alone[here]]


@pytest.mark.parametrize(
    ("looked_for", "proof"),
    {
        "equation 9 of the paper": "eq. 8-9",
        "where a photo is cut": "def align(",
        "where a slider's range is decided": "def _plausible(",
        "what a snapshot holds": "def collect(",
        "where the studio refuses an upload": "async def _upload(",
        "how a table is rendered": "def markdown(",
    }.items(),
)
def test_the_six_walks_of_contributing(looked_for: str, proof: str) -> None:
    (walk,) = re.findall(rf"\| {re.escape(looked_for)} \| (.+) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    room, file = re.findall(r"`(.+?)`", walk)
    assert proof in (PACKAGE / room / file).read_text("utf-8")


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
        "import sys; from tests.support import tiny; from gradstyle.bundles import Bundle\n"
        "from gradstyle.methods import METHODS\n"
        "bundle = Bundle('x'); bundle.put('generator', tiny.generator()); bundle.put('encoder', tiny.encoder())\n"
        "for name in METHODS: bundle.put(name, tiny.method(name))\n"
        f"again = Bundle.load(bundle.save({str(tmp_path / 'x')!r}))\n"
        "for name in again.methods: again.method(name)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"sympy", "torch._dynamo"} & set(done.stdout.split())
