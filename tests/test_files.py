"""Names that every system takes, and locks that no dead process holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gradstyle import files
from gradstyle.files import check_name, locked


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", ".htaccess", "a/b", "..\\x", "x\\..\\y", "C:x", "a:stream", "a*", "a?", 'a"', "a<b", "a|b",
        "a\nb", "a\0b", "\u202egpj", "CON", "con", "NUL.png", "nul .tar.gz", "Com1", "LPT9.safetensors", "com¹", "AUX.",
        "conin$", " a", "a ", "a.", "a..", "é" * 101,
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="an edit's name "):
        check_name(name, "an edit's name")


@pytest.mark.parametrize(
    "name", ["smile", "console", "com", "com10", "nullify", "aux-2", "ffhq 1.0", "lächeln", "微笑", "a.b.png", "-x"]
)
def test_names_that_are_names(name: str) -> None:
    check_name(name, "a name")


def test_one_at_a_time(tmp_path: Path) -> None:
    class Waited(Exception): ...

    def wait() -> None:
        raise Waited

    path = tmp_path / "lock"
    with locked(path, wait):
        with pytest.raises(Waited), locked(path, wait):
            pass
        assert path.exists()
    assert not path.exists()
    with locked(path, wait):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process the POSIX way")
def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    script = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    lock = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert files._acquire(lock) is None
    holder.kill()
    holder.wait(10)
    assert lock.exists()
    with locked(lock, lambda: pytest.fail("a dead process holds it")):
        pass
    assert not lock.exists()
    holder.stdout.close()


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lock = tmp_path / "lock", files._lock

    def after_the_holder_left(file: object) -> bool:
        path.unlink()
        return lock(file)

    monkeypatch.setattr(files, "_lock", after_the_holder_left)
    assert files._acquire(path) is None
    monkeypatch.undo()
    held = files._acquire(path)
    assert held is not None and files._acquire(path) is None
    held.close()
