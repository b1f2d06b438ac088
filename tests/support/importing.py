"""Imports every module of the package and runs command lines, where some packages are not installed.

    python tests/support/importing.py                    # as it is here, each verb's --help; 1 if a verb's fails
    python tests/support/importing.py '{"": [[MODULE, …], [COMMAND LINE, …]], "studio": …}'

For each environment: modules that are to be as good as not installed, and command lines to run. Prints, as JSON and for
each, what the modules lack that cannot be imported, and what every command line ends with and says.
"""

from __future__ import annotations

import importlib
import importlib.abc
import json
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from types import ModuleType
from typing import Any


class Hiding(importlib.abc.MetaPathFinder):
    """Finds what `PathFinder` finds, but for some modules and what is in them."""

    def __init__(self, hidden: Iterable[str]) -> None:
        self.hidden = frozenset(hidden)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if name.partition(".")[0] in self.hidden else PathFinder.find_spec(name, path, target)

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        return PathFinder.find_distributions(context)


def hide(modules: Iterable[str]) -> None:
    """From now on, in place of what was hidden before."""
    finders = (PathFinder if isinstance(finder, Hiding) else finder for finder in sys.meta_path)
    sys.meta_path = [Hiding(modules) if finder is PathFinder else finder for finder in finders]


def missing() -> dict[str, str]:
    """Modules of the package that cannot be imported, and the module that each lacks."""
    import gradstyle

    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(gradstyle.__path__, "gradstyle.", onerror=lambda name: None):
        if module.name == "gradstyle.__main__":
            continue  # it runs the command line
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            found[module.name] = error.name or ""
    return found


def helps() -> Iterator[str]:
    """Command lines that ask each verb, and each group of verbs, for its help."""
    import typer

    from gradstyle.cli import app

    def below(command: object, path: str) -> Iterator[str]:
        yield f"{path}--help"
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, f"{path}{name} ")

    return below(typer.main.get_command(app), "")


def run(line: str) -> tuple[int, str]:
    from typer.testing import CliRunner

    from gradstyle.cli import app

    done = CliRunner().invoke(app, line.split())
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return done.exit_code, repr(done.exception)
    return done.exit_code, done.output


def found(lines: Iterable[str]) -> dict[str, Any]:
    return {"said": {line: run(line) for line in lines}, "missing": missing()}


def without(modules: Iterable[str], lines: Iterable[str]) -> Any:
    """What is found in a child of this process, to which these modules are not there."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        hide(modules)
        with os.fdopen(writing, "w") as pipe:
            json.dump(found(lines), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a child ended with {status}"
    return json.loads(text)


def main() -> None:
    if len(sys.argv) == 1:
        here = found(helps())
        print(json.dumps(here))
        sys.exit(any(code for code, _ in here["said"].values()))
    environments: dict[str, tuple[list[str], list[str]]] = json.loads(sys.argv[1])
    # What takes longest is imported once for all, and nothing comes along that one of them lacks.
    hide({module for modules, _ in environments.values() for module in modules})
    importlib.import_module("torch")
    print(json.dumps({name: without(*each) for name, each in environments.items()}))


if __name__ == "__main__":
    main()
