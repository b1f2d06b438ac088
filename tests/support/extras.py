"""Installs the package bare, and with each extra alone, each time into a fresh environment, and tries all of it.

    python -m tests.support.extras [EXTRA …]      # the bare package, and these extras; all, if none is named

Modules are imported and verbs asked for their help, as `importing.py` does. Needs a package index; takes minutes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

from tests.support.project import EXTRAS, ROOMS, ROOT

SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "LICENSES", "src")


def built(folder: Path) -> Path:
    """A wheel of what would be published, made where no older build lies."""
    (folder / "source").mkdir()
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / "source" / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, folder / "source"], check=True
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment, which may stand on another one: what that has need not be installed again."""

    def __init__(self, folder: Path, base: Environment | None = None) -> None:
        venv.create(folder, with_pip=True)
        self.python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        self.packages = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        if base is not None:
            (self.packages / "base.pth").write_text(f"{base.packages}\n")

    def run(self, *arguments: str | Path, check: bool = True) -> str:
        done = subprocess.run([self.python, *arguments], stdout=subprocess.PIPE, text=True, check=check)
        return done.stdout

    def faults(self, extra: str) -> Iterator[str]:
        found = json.loads(self.run(ROOT / "tests" / "support" / "importing.py", check=False).splitlines()[-1])
        yield from (f"{line}: {text}" for line, (code, text) in found["said"].items() if code)
        for module, lacks in found["missing"].items():
            if ROOMS.get(module.split(".")[1], extra) == extra:
                yield f"{module} lacks {lacks}"


def main() -> None:
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        wheel = built(Path(folder))
        bare = Environment(Path(folder) / "bare")
        for extra in ("", *(sys.argv[1:] or EXTRAS)):
            environment = Environment(Path(folder) / extra, bare) if extra else bare
            environment.run("-m", "pip", "install", "-q", f"{wheel}[{extra}]" if extra else wheel)
            faults = list(environment.faults(extra))
            print(f"{extra or 'bare'}: {'; '.join(faults) or 'good'}", flush=True)
            failed = failed or bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
