from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gradstyle.bundles import catalog
from gradstyle.bundles.catalog import CATALOG, CatalogEntry, find, names, pull
from gradstyle.bundles.download import _Source
from gradstyle.bundles.http import DownloadError
from gradstyle.files import cache_folder
from tests.support.unreliable_host import BODY, SHA, Site, running

DOCS = Path(__file__).parents[2] / "docs" / "published-weights.md"


@pytest.mark.parametrize("entry", CATALOG, ids=names())
def test_entries_hold_together(entry: CatalogEntry) -> None:
    source = _Source.of(entry.url)
    assert urlsplit(source.address).scheme == "https" and urlsplit(entry.source).scheme == "https"
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert entry.file == Path(entry.file).name and entry.title and entry.licence
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert all(find(other).kind != "directions" for other in entry.needs)
    if entry.kind in ("generator", "encoder and generator", "method"):
        assert entry.resolution in (256, 512, 1024)
    if digits := re.search(r"-([0-9a-f]{8})\.pth$", entry.url):  # torchvision writes a digest's start into the name
        assert entry.sha256 is not None and entry.sha256.startswith(digits[1])
    with pytest.raises(FrozenInstanceError):
        entry.name = "other"


def test_nothing_is_listed_twice() -> None:
    for values in (names(), [each.url for each in CATALOG], [each.file for each in CATALOG]):
        assert len(set(values)) == len(values)


def test_everything_needed_to_use_the_methods_is_there() -> None:
    assert {"e4e-ffhq", "e4e-cars", "styleres-ffhq", "hfgi-ffhq", "sdic-ffhq", "stylegan2-ffhq-1024"} <= set(names())
    assert find("lpips-alex").needs == ("alexnet",) and find("ganspace-cars").needs == ("e4e-cars",)


def test_find() -> None:
    assert find("e4e-ffhq").domain == "ffhq"
    assert find(" E4E-FFHQ ") is find("e4e-ffhq")


@pytest.mark.parametrize(("wrong", "near"), [("e4e-fhq", "e4e-ffhq"), ("stylres", "styleres-ffhq"), ("vgg", "vgg16")])
def test_a_miss_names_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"called '{wrong}'; did you mean .*\b{near}\b"):
        find(wrong)


def test_a_wide_miss_names_them_all() -> None:
    with pytest.raises(ValueError) as caught:
        find("???")
    assert all(name in str(caught.value) for name in names())


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("GRADSTYLE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gradstyle"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gradstyle"
    monkeypatch.setenv("GRADSTYLE_HOME", "~/weights")
    assert cache_folder() == tmp_path / "weights"


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as site:
        yield site


@pytest.fixture
def entry(site: Site) -> CatalogEntry:
    return CatalogEntry(
        name="tiny",
        title="a tiny one",
        kind="generator",
        domain="faces",
        url=site.url,
        file="tiny.pt",
        licence="none",
        source="https://example.org/tiny",
        size=len(BODY),
        sha256=SHA,
    )


def test_pull_keeps_files_at_home(
    site: Site,
    entry: CatalogEntry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("GRADSTYLE_HOME", str(tmp_path))
    monkeypatch.setattr(catalog, "CATALOG", (entry,))
    seen: list[tuple[int, int | None]] = []
    assert pull("tiny", progress=lambda *now: seen.append(now)) == tmp_path / "downloads" / "tiny.pt"
    assert seen[-1] == (len(BODY), len(BODY))
    assert pull(entry) == tmp_path / "downloads" / "tiny.pt" and len(site.asked) == 1
    assert pull(entry, folder=tmp_path / "here") == tmp_path / "here" / "tiny.pt"


def test_pull_checks_what_the_entry_says(entry: CatalogEntry, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"expected 3: another file \(tiny is from https://example.org/tiny\)"):
        pull(replace(entry, size=3), folder=tmp_path)
    with pytest.raises(DownloadError, match=f"has SHA-256 {SHA}"):
        pull(replace(entry, sha256="0" * 64), folder=tmp_path)


def test_a_digest_of_ones_own_stands_in_for_the_entrys(entry: CatalogEntry, tmp_path: Path) -> None:
    old = replace(entry, size=3, sha256="0" * 64)
    assert pull(old, folder=tmp_path, sha256=SHA).read_bytes() == BODY
    with pytest.raises(DownloadError, match="has SHA-256"):
        pull(entry, folder=tmp_path / "other", sha256="1" * 64)


def test_without_a_published_digest_the_first_download_is_the_measure(
    site: Site, entry: CatalogEntry, tmp_path: Path
) -> None:
    entry, said = replace(entry, size=None, sha256=None), list[str]()
    file, pin = tmp_path / "tiny.pt", tmp_path / "tiny.pt.sha256"
    assert pull(entry, folder=tmp_path, tell=said.append) == file
    assert pin.read_text() == f"{SHA}  tiny.pt\n" and SHA in said[0] and f"kept in {pin}" in said[0]
    pull(entry, folder=tmp_path, tell=said.append)
    assert "the file of the first download" in said[1] and len(site.asked) == 1

    file.write_bytes(b"x" + BODY[1:])  # changed here
    with pytest.raises(DownloadError, match=rf"has SHA-256 .*expected {SHA}.*first download's, kept in .*delete it"):
        pull(entry, folder=tmp_path)
    file.unlink()
    site.serve(b"x" + BODY[1:])  # changed there
    with pytest.raises(DownloadError, match=rf"expected {SHA}: it was deleted.*first download's"):
        pull(entry, folder=tmp_path)
    assert not file.exists()
    site.answer = lambda exchange: exchange.reply(b"", status=404)
    with pytest.raises(DownloadError) as caught:
        pull(entry, folder=tmp_path)
    assert "first download" not in str(caught.value)

    other = b"x" + BODY[1:]
    site.serve(other)
    mine = hashlib.sha256(other).hexdigest()
    pull(entry, folder=tmp_path, sha256=mine, tell=said.append)  # one's own stands in, and is the measure from now on
    assert pin.read_text().startswith(mine) and "yours" in said[2]
    assert pull(entry, folder=tmp_path) == file
    pin.write_text("?")
    with pytest.raises(DownloadError, match="holds no SHA-256: delete it"):
        pull(entry, folder=tmp_path)


def test_what_a_published_digest_covers_is_not_pinned(entry: CatalogEntry, tmp_path: Path) -> None:
    said: list[str] = []
    pull(entry, folder=tmp_path, tell=said.append)
    assert not said and [path.name for path in tmp_path.iterdir()] == ["tiny.pt"]


def test_pull_unpacks_what_was_zipped(site: Site, entry: CatalogEntry, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as packed:
        packed.writestr("tiny.pth", BODY)
    zipped = (tmp_path / "made.zip").read_bytes()
    site.serve(zipped)
    entry = replace(
        entry, file="tiny.zip", member="tiny.pth", size=len(zipped), sha256=hashlib.sha256(zipped).hexdigest()
    )
    path = pull(entry, folder=tmp_path / "here")
    assert path == tmp_path / "here" / "tiny.pth" and path.read_bytes() == BODY
    assert pull(entry, folder=tmp_path / "here") == path and len(site.asked) == 1


def test_the_docs_hold_the_table() -> None:
    """If this fails: the table in docs/published-weights.md is what `catalog.table()` gives."""
    rows = [line for line in DOCS.read_text("utf-8").splitlines(keepends=True) if line.startswith("|")]
    assert "".join(rows) == catalog.table()
    assert len(rows) == len(CATALOG) + 2
    assert all(row.count("|") == rows[0].count("|") for row in rows)
