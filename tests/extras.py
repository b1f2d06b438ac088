"""Installs the package bare, and with each extra alone, each time into a fresh environment, and tries all of it.

    python tests/extras.py [EXTRA …]      # "" is the bare package

Modules are imported and verbs asked for their help, as `importing.py` does. Needs a package index; takes minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from test_declared import EXTRAS, ROOMS, ROOT


def wrong(extra: str) -> list[str]:
    """What fails where one extra alone is installed."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        package = f"{ROOT}[{extra}]" if extra else str(ROOT)
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
        done = subprocess.run([python, ROOT / "tests" / "importing.py"], capture_output=True, text=True, cwd=folder)
        if not done.stdout:
            return [done.stderr]
        found = json.loads(done.stdout.splitlines()[-1])
    said = [f"{line}: {text}" for line, (code, text) in found["said"].items() if code]
    lacking = [
        f"{module} lacks {lacks}"
        for module, lacks in found["missing"].items()
        if ROOMS.get(module.split(".")[1], extra) == extra
    ]
    return said + lacking


def main() -> None:
    failed = False
    for extra in sys.argv[1:] or ("", *EXTRAS):
        faults = wrong(extra)
        print(f"{extra or 'bare'}: {'; '.join(faults) or 'good'}", flush=True)
        failed = failed or bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
