"""A studio's folder: no fuller than it may be, and of those that were killed nothing is left."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradstyle.studio.disk import PREFIX, Disk, DiskFull


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path


def test_all_files_count_wherever_they_lie() -> None:
    disk = Disk(1000)
    (disk.place() / "upload.jpg").write_bytes(bytes(300))
    (disk.visitors / "ada").mkdir(parents=True)
    (disk.visitors / "ada" / "photo").write_bytes(bytes(300))
    assert disk.used == 600
    with pytest.raises(DiskFull, match="the studio's disk is full"):
        disk.take(401)
    with disk.room(400), pytest.raises(DiskFull):
        disk.take(1)
    disk.take(400)  # nothing was written there, so that it is free again
    disk.close()


def test_many_at_once_are_promised_no_more_than_there_is() -> None:
    disk = Disk(1000)

    def taken(_: int) -> int:
        try:
            disk.take(300)
        except DiskFull:
            return 0
        return 1

    with ThreadPoolExecutor(8) as people:
        assert sum(people.map(taken, range(32))) == 3
    disk.close()


def test_what_a_killed_studio_left_is_removed_and_what_lives_stays(temp: Path) -> None:
    program = (
        "import runpy, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "disk = runpy.run_path(sys.argv[2])['Disk'](1000); (disk.place() / 'me.jpg').write_bytes(b'x')\n"
        "print(disk.folder, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(temp), inspect.getfile(Disk)]
    alive, killed = (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    try:
        folders = [Path(str(each.stdout and each.stdout.readline()).strip()) for each in (alive, killed)]
        (temp / f"{PREFIX}of-another-kind").mkdir()  # without a lock: not known to be dead
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert all(folder.is_dir() for folder in folders)
        disk = Disk(1000)
        assert [folder.is_dir() for folder in folders] == [True, False] and (temp / f"{PREFIX}of-another-kind").is_dir()
        assert list(folders[0].rglob("me.jpg"))
        disk.close()
        disk.close()
    finally:
        alive.kill()
        alive.communicate()
        killed.communicate()
    Disk(1000).close()
    assert [path.name for path in temp.iterdir()] == [f"{PREFIX}of-another-kind"]


def test_a_lock_that_leads_elsewhere_is_not_followed(temp: Path) -> None:
    (temp / f"{PREFIX}x").mkdir()
    (temp / "mine").touch()
    (temp / f"{PREFIX}x.lock").symlink_to(temp / "mine")
    Disk(1000).close()
    assert (temp / f"{PREFIX}x").is_dir() and (temp / "mine").is_file()
