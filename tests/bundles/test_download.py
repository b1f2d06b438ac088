"""Downloads against a real server on this machine that misbehaves on purpose."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request

import pytest

from gradstyle.bundles import download
from gradstyle.bundles.download import OtherFile, fetch, unpack
from gradstyle.bundles.http import Clock, DownloadError, Redirects
from gradstyle.files import file_sha256
from tests.support.unreliable_host import BODY, SHA, Exchange, Site, running


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as site:
        yield site


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights.pt"


class Naps(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def files(target: Path) -> set[str]:
    return {each.name for each in target.parent.iterdir()}


def leave_part(
    target: Path, url: str, body: bytes, *, etag: str | None = '"one"', total: int | None = len(BODY)
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name("weights.pt.part").write_bytes(body)
    notes = {"url": url, "etag": etag, "last_modified": None, "total": total}
    target.with_name("weights.pt.part.json").write_text(json.dumps(notes))


# What goes well


@pytest.mark.parametrize("declare", [-1, None], ids=["declared length", "until the host hangs up"])
def test_plain(site: Site, target: Path, declare: int | None) -> None:
    site.answer = lambda exchange: exchange.reply(BODY, declare=declare)
    seen: list[tuple[int, int | None]] = []
    assert fetch(site.url, target, sha256=SHA, progress=lambda *now: seen.append(now)) == target
    assert target.read_bytes() == BODY
    assert files(target) == {"weights.pt"}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[0][0] == 0 and seen[-1] == (len(BODY), len(BODY)) and len(seen) > 2


def test_chunked_answer(site: Site, target: Path) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.protocol_version = "HTTP/1.1"
        exchange.reply(b"", declare=None, Transfer_Encoding="chunked", Connection="close")
        for start in range(0, len(BODY), 100_000):
            piece = BODY[start : start + 100_000]
            exchange.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        exchange.wfile.write(b"0\r\n\r\n")
        exchange.close_connection = True

    site.answer = answer
    assert fetch(site.url, target).read_bytes() == BODY


def test_a_good_target_is_not_asked_for_again(site: Site, target: Path) -> None:
    fetch(site.url, target)
    before = target.stat().st_mtime_ns
    seen: list[tuple[int, int | None]] = []
    fetch(site.url, target, sha256=SHA, size=len(BODY), progress=lambda *now: seen.append(now))
    assert len(site.asked) == 1 and target.stat().st_mtime_ns == before
    assert seen == [(len(BODY), len(BODY))]


def test_another_target_is_not_overwritten(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"weights.pt is there but has SHA-256 .*move it away"):
        fetch(site.url, target, sha256=SHA)
    assert target.read_bytes() == b"mine" and not site.asked


def test_the_first_digits_of_a_digest_are_enough(site: Site, target: Path) -> None:
    assert file_sha256(fetch(site.url, target, sha256=SHA[:8].upper())) == SHA


def test_redirects_are_followed_with_the_range(site: Site, target: Path) -> None:
    site.serve()
    served = site.answer

    def answer(exchange: Exchange) -> None:
        if exchange.path == "/weights.pt":
            return exchange.reply(b"", status=302, Location="/elsewhere")
        return served(exchange)

    site.answer = answer
    leave_part(target, site.url, BODY[:1000])
    assert fetch(site.url, target).read_bytes() == BODY
    assert site.asked[-1]["Range"] == "bytes=1000-"


# Cut connections


@pytest.mark.parametrize(
    ("etag", "headers"),
    [('"one"', {}), (None, {"Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"})],
    ids=["etag", "last-modified"],
)
def test_a_cut_download_goes_on_where_it_was(
    site: Site, target: Path, etag: str | None, headers: dict[str, str]
) -> None:
    site.serve(cut=(300_000, 400_000), etag=etag, **headers)
    naps, seen = Naps(), []
    fetch(site.url, target, sha256=SHA, size=len(BODY), sleep=naps, progress=lambda *now: seen.append(now))
    assert target.read_bytes() == BODY and files(target) == {"weights.pt"}
    assert [asked.get("Range") for asked in site.asked] == [None, "bytes=300000-", "bytes=700000-"]
    assert [asked["If-Range"] for asked in site.asked[1:]] == [etag or headers["Last-Modified"]] * 2
    assert naps == [1.0, 1.0]  # each attempt brought something: no growing wait
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (len(BODY), len(BODY))


def test_a_cut_chunked_download_is_not_taken_for_whole(site: Site, target: Path) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.protocol_version = "HTTP/1.1"
        exchange.reply(b"", declare=None, Transfer_Encoding="chunked", Connection="close")
        exchange.wfile.write(b"%x\r\n%b" % (len(BODY), BODY[:5000]))
        exchange.close_connection = True

    site.answer = answer
    with pytest.raises(DownloadError, match="did not deliver"):
        fetch(site.url, target, attempts=2, sleep=Naps())
    assert not target.exists()


def test_a_later_call_resumes(site: Site, target: Path) -> None:
    site.serve(cut=(300_000,))
    with pytest.raises(DownloadError, match=r"cut at 300.0 kB of 1.0 MB .*300.0 kB are kept in .*pull again"):
        fetch(site.url, target, attempts=1)
    assert not target.exists()
    site.serve()
    assert fetch(site.url, target, attempts=1).read_bytes() == BODY
    assert site.asked[1]["Range"] == "bytes=300000-"


def test_gives_up_after_attempts_without_a_byte(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(BODY, send=0)
    naps = Naps()
    with pytest.raises(DownloadError, match=r"attempts in a row: 4\); nothing has come yet"):
        fetch(site.url, target, attempts=4, sleep=naps)
    assert len(site.asked) == 4 and naps == [1.0, 2.0, 4.0]


def test_a_host_that_ignores_ranges_and_cuts_is_given_up(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(BODY, send=1000, ETag='"one"')
    with pytest.raises(DownloadError, match="attempts in a row: 3"):
        fetch(site.url, target, attempts=3, sleep=Naps())
    assert len(site.asked) == 3  # each got as far as the first and no further


def test_a_host_that_ignores_ranges_starts_over(site: Site, target: Path) -> None:
    leave_part(target, site.url, b"x" * 1000)
    site.answer = lambda exchange: exchange.reply(BODY, ETag='"one"')
    assert fetch(site.url, target).read_bytes() == BODY
    assert site.asked[0]["Range"] == "bytes=1000-"


def test_a_changed_file_starts_over(site: Site, target: Path) -> None:
    leave_part(target, site.url, b"x" * 1000, etag='"old"')
    site.serve(etag='"new"')
    assert fetch(site.url, target).read_bytes() == BODY
    assert site.asked[0]["If-Range"] == '"old"' and len(site.asked) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}", "ETag": '"one"'},
        {"Content_Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}", "ETag": '"two"'},
        {"Content_Range": f"bytes 1000-{len(BODY)}/{len(BODY) + 1}", "ETag": '"one"'},
        {"Content_Range": f"bytes 1000-{len(BODY) - 9}/{len(BODY)}", "ETag": '"one"'},
        {"Content_Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"},
        {"ETag": '"one"'},
    ],
    ids=["another start", "another etag", "another length", "another end", "no etag", "no range"],
)
def test_a_part_of_something_else_is_not_joined(site: Site, target: Path, wrong: dict[str, str]) -> None:
    """A host that answers 206 whatever was asked: the part is dropped and the file asked for whole."""
    leave_part(target, site.url, b"x" * 1000)

    def answer(exchange: Exchange) -> None:
        if "Range" in exchange.headers:
            return exchange.reply(BODY[1000:], status=206, **wrong)
        return exchange.reply(BODY)

    site.answer = answer
    assert fetch(site.url, target, sleep=Naps()).read_bytes() == BODY
    assert "Range" not in site.asked[1]


def test_a_host_that_tells_no_length_with_a_range(site: Site, target: Path) -> None:
    leave_part(target, site.url, BODY[:1000])
    span = f"bytes 1000-{len(BODY) - 1}/*"
    cuts = iter([5000])
    site.answer = lambda exchange: exchange.reply(
        BODY[int(exchange.headers["Range"][6:-1]) :],
        status=206,
        declare=None,
        send=next(cuts, None),
        Content_Range=span.replace("1000", exchange.headers["Range"][6:-1]),
    )
    assert fetch(site.url, target, sha256=SHA, sleep=Naps()).read_bytes() == BODY
    assert [asked["Range"] for asked in site.asked] == ["bytes=1000-", "bytes=6000-"]


def test_a_part_longer_than_the_file_starts_over(site: Site, target: Path) -> None:
    leave_part(target, site.url, b"x" * (len(BODY) + 5), total=len(BODY) + 9)
    site.serve()
    assert fetch(site.url, target, sleep=Naps()).read_bytes() == BODY


@pytest.mark.parametrize("notes", ["", "{}", '{"url": 1}', "[]"], ids=["empty", "object", "half", "list"])
def test_a_part_without_readable_notes_starts_over(site: Site, target: Path, notes: str) -> None:
    leave_part(target, site.url, b"x" * 1000)
    target.with_name("weights.pt.part.json").write_text(notes)
    site.serve()
    assert fetch(site.url, target).read_bytes() == BODY
    assert "Range" not in site.asked[0]


def test_a_part_of_another_address_starts_over(site: Site, target: Path) -> None:
    leave_part(target, "http://127.0.0.1/other.pt", b"x" * 1000)
    site.serve()
    assert fetch(site.url, target).read_bytes() == BODY
    assert "Range" not in site.asked[0]


@pytest.mark.parametrize(
    ("etag", "sha256", "resumes"), [(None, None, False), ('W/"weak"', None, False), (None, SHA, True)]
)
def test_without_a_validator_only_a_digest_lets_it_resume(
    site: Site, target: Path, etag: str | None, sha256: str | None, resumes: bool
) -> None:
    leave_part(target, site.url, BODY[:1000], etag=etag)
    site.serve(etag=etag)
    assert fetch(site.url, target, sha256=sha256).read_bytes() == BODY
    assert ("Range" in site.asked[0]) is resumes


def test_a_whole_part_needs_no_host(site: Site, target: Path) -> None:
    leave_part(target, site.url, BODY)
    assert fetch(site.url, target, sha256=SHA).read_bytes() == BODY
    assert not site.asked and files(target) == {"weights.pt"}


def test_ctrl_c_keeps_the_part_and_says_so(site: Site, target: Path) -> None:
    site.serve()

    def interrupt(received: int, total: int | None) -> None:
        if received > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"stopped; .* kept in .*weights.pt.part: pull again"):
        fetch(site.url, target, progress=interrupt)
    assert files(target) == {"weights.pt.part", "weights.pt.part.json"}
    part = target.with_name("weights.pt.part").read_bytes()
    assert len(part) > 200_000 and BODY.startswith(part)
    assert fetch(site.url, target).read_bytes() == BODY
    assert site.asked[1]["Range"] == f"bytes={len(part)}-"


# What is not what was expected


def test_a_wrong_digest_is_not_kept(site: Site, target: Path) -> None:
    with pytest.raises(OtherFile, match=f"has SHA-256 {SHA}, expected {'0' * 64}: it was deleted"):
        fetch(site.url, target, sha256="0" * 64)
    assert files(target) == set()


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1])
def test_a_wrong_declared_length_is_stopped_at_once(site: Site, target: Path, size: int) -> None:
    seen: list[int] = []
    with pytest.raises(DownloadError, match=f"offers {len(BODY)} bytes, expected {size}"):
        fetch(site.url, target, size=size, progress=lambda received, total: seen.append(received))
    assert not seen and files(target) == set()


def test_more_than_expected_is_stopped(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(BODY, declare=None)
    with pytest.raises(DownloadError, match="sends more than the 500000 bytes expected"):
        fetch(site.url, target, size=500_000)
    assert files(target) == set()


def test_more_than_declared_is_not_read(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(BODY + b"more", declare=len(BODY))
    assert fetch(site.url, target, size=len(BODY)).read_bytes() == BODY


def test_the_host_need_not_hang_up(site: Site, target: Path) -> None:
    done = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.reply(BODY)
        exchange.wfile.flush()
        done.wait(5)

    site.answer = answer
    assert fetch(site.url, target, attempts=1, timeout=1).read_bytes() == BODY
    done.set()


def test_less_than_expected_without_a_length_is_a_cut(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(BODY, declare=None)
    with pytest.raises(DownloadError, match=r"cut at 1.0 MB of 2.0 MB"):
        fetch(site.url, target, size=2_000_000, attempts=2, sleep=Naps())
    assert not target.exists()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<p>Quota exceeded</p>", "text/html; charset=utf-8"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", "application/octet-stream"),
    ],
    ids=["by type", "by content"],
)
def test_a_page_is_not_a_file(site: Site, target: Path, body: bytes, kind: str) -> None:
    leave_part(target, site.url, BODY[:1000])
    site.answer = lambda exchange: exchange.reply(body, Content_Type=kind)
    with pytest.raises(DownloadError, match=r"a page instead of the file .*gradstyle bundle import FILE"):
        fetch(site.url, target)
    assert target.with_name("weights.pt.part").read_bytes() == BODY[:1000]  # for when the host is itself again
    assert not target.exists()


def test_a_compressed_answer_is_refused(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(BODY, Content_Encoding="gzip")
    with pytest.raises(DownloadError, match="encoded as gzip"):
        fetch(site.url, target)


@pytest.mark.parametrize(
    ("status", "says"), [(404, "no such file"), (403, "sign-in .* quota"), (401, "sign-in"), (410, "taken away")]
)
def test_a_refusal_is_final(site: Site, target: Path, status: int, says: str) -> None:
    site.answer = lambda exchange: exchange.reply(b"", status=status)
    naps = Naps()
    with pytest.raises(DownloadError, match=rf"answered {status} \(.*{says}.*gradstyle bundle import FILE") as caught:
        fetch(site.url, target, sleep=naps)
    assert len(site.asked) == 1 and not naps and "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_failure_is_tried_again(site: Site, target: Path, status: int) -> None:
    site.answer = lambda exchange: exchange.reply(b"", status=status)
    with pytest.raises(DownloadError, match=rf"it answered {status} \(attempts in a row: 3\)"):
        fetch(site.url, target, attempts=3, sleep=Naps())
    assert len(site.asked) == 3

    answers = iter([lambda exchange: exchange.reply(b"", status=status, Retry_After="7")])
    site.answer = lambda exchange: next(answers, lambda exchange: exchange.reply(BODY))(exchange)
    naps = Naps()
    assert fetch(site.url, target, sleep=naps).read_bytes() == BODY
    assert naps == [7.0]


def test_nobody_there(target: Path, site: Site) -> None:
    site.server_close()
    with pytest.raises(DownloadError, match=r"did not deliver weights.pt: Connection refused"):
        fetch(site.url, target, attempts=2, sleep=Naps())


def test_a_silent_host_is_given_up(site: Site, target: Path) -> None:
    done = threading.Event()
    site.answer = lambda exchange: done.wait(5)
    with pytest.raises(DownloadError, match="it stopped answering"):
        fetch(site.url, target, attempts=1, timeout=0.05)
    done.set()


def drip(first: bytes) -> Callable[[Exchange], None]:
    """A host that sends a byte at a time and never ends: so fast that no single read takes long."""

    def answer(exchange: Exchange) -> None:
        with suppress(OSError):
            exchange.wfile.write(first)
            for _ in range(1000):
                exchange.wfile.write(b"x")
                time.sleep(0.01)

    return answer


def test_a_head_that_drips_is_given_up(site: Site, target: Path) -> None:
    site.answer = drip(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    with pytest.raises(DownloadError, match="it stopped answering"):
        fetch(site.url, target, attempts=1, timeout=0.1)
    assert files(target) == set()


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n", r"within 0 s; \d+ bytes are kept in .*: pull again"),
        (b"HTTP/1.0 302 Found\r\nLocation: /weights.pt\r\n\r\n", "redirects in a circle"),
        (b"HTTP/1.0 200 OK\r\nX-Slow: ", "within 0 s; nothing has come yet"),
    ],
    ids=["body", "redirect", "head"],
)
def test_all_of_it_has_an_end(site: Site, target: Path, head: bytes, says: str) -> None:
    """Each byte in good time, and yet not for ever."""
    site.answer = drip(head)
    with pytest.raises(DownloadError, match=says):
        fetch(site.url, target, longest=0.2, sleep=Naps())
    assert not target.exists()


def test_an_empty_answer_is_no_file(site: Site, target: Path) -> None:
    for declare in (0, None):
        site.answer = lambda exchange, declare=declare: exchange.reply(b"", declare=declare)
        with pytest.raises(DownloadError, match="its answer was empty"):
            fetch(site.url, target, attempts=2, sleep=Naps())
        assert files(target) == set()


def test_without_a_length_and_a_digest_nothing_is_whole(site: Site, target: Path) -> None:
    """The host hangs up: at the end, or in the middle."""
    site.answer = lambda exchange: exchange.reply(BODY, declare=None, send=1000)
    with pytest.raises(DownloadError, match=r"does not say how long the file is.* give its SHA-256"):
        fetch(site.url, target, sleep=Naps())
    assert files(target) == set()


def test_nothing_larger_than_any_file_of_this_field(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(BODY)
    with pytest.raises(DownloadError, match=r"offers 1,048,576 bytes, more than the 500,000 allowed"):
        fetch(site.url, target, largest=500_000)

    def endless(exchange: Exchange) -> None:
        exchange.protocol_version = "HTTP/1.1"
        exchange.reply(b"", declare=None, Transfer_Encoding="chunked", Connection="close")
        with suppress(OSError):
            for _ in range(100):
                exchange.wfile.write(b"%x\r\n%b\r\n" % (len(BODY), BODY))

    site.answer = endless
    with pytest.raises(DownloadError, match="sends more than the 5000000 bytes allowed: not kept"):
        fetch(site.url, target, largest=5_000_000)
    assert files(target) == set()


def test_a_length_of_thousands_of_digits_is_none(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(b"", status=503, Retry_After="9" * 5000)
    with pytest.raises(DownloadError, match="answered 503"):
        fetch(site.url, target, attempts=2, sleep=Naps())
    site.answer = lambda exchange: exchange.reply(BODY, declare=int("9" * 4000))
    with pytest.raises(DownloadError, match="does not say how long"):
        fetch(site.url, target, sleep=Naps())


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_redirects_lead_to_the_web_only(site: Site, target: Path, location: str) -> None:
    site.answer = lambda exchange: exchange.reply(b"", status=302, Location=location)
    with pytest.raises(DownloadError, match="redirects to"):
        fetch(site.url, target)
    assert files(target) == set()


def test_a_circle_of_redirects(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(b"", status=302, Location=exchange.path)
    with pytest.raises(DownloadError, match="in a circle"):
        fetch(site.url, target)
    assert len(site.asked) < 20


def test_no_way_down_from_https_to_http() -> None:
    asked = Request("https://example.org/a")
    with pytest.raises(DownloadError, match="not followed from https"):
        Redirects().redirect_request(asked, None, 302, "", {}, "http://example.org/a")


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://host/x", "weights.pt", "http://", "gdrive:", "gdrive:../x"]
)
def test_only_addresses_on_the_web(url: str, target: Path) -> None:
    with pytest.raises(ValueError, match=r"fetch|Google Drive"):
        fetch(url, target)


@pytest.mark.parametrize("sha256", ["abc", "z" * 64, SHA + "0"])
def test_what_is_no_digest(sha256: str, target: Path) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        fetch("http://127.0.0.1/x", target, sha256=sha256)


def test_google_drive_is_asked_past_its_warning(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.answer = lambda exchange: exchange.reply(b"<html>Quota exceeded", Content_Type="text/html")
    asked: list[str] = []
    open_url = download._ask

    def ask(source: download._Source, wanted: dict[str, str], clock: Clock) -> object:
        asked.append(source.address)
        return open_url(download._Source(site.url, source.page), wanted, clock)

    monkeypatch.setattr(download, "_ask", ask)
    with pytest.raises(DownloadError, match=r"Open https://drive.google.com/file/d/1cUv_reLE6k-04/view in a browser"):
        fetch("gdrive:1cUv_reLE6k-04", target)
    assert asked == ["https://drive.usercontent.google.com/download?id=1cUv_reLE6k-04&export=download&confirm=t"]


# The disk


class Disk(NamedTuple):
    total: int
    used: int
    free: int


def test_too_little_space_is_seen_before_the_download(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_part(target, site.url, BODY[:48_576])
    site.serve()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**9, 10**9 - 999_999, 999_999))
    seen: list[int] = []
    with pytest.raises(DownloadError, match=r"has 1000.0 kB free and 1.0 MB are needed: make room"):
        fetch(site.url, target, progress=lambda received, total: seen.append(received))
    assert not seen and not target.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**9, 0, 1_000_000))  # just what is missing
    assert fetch(site.url, target).read_bytes() == BODY


def test_a_disk_that_fills_up_midway(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serve()
    write, room = download._write, 300_000

    def full(file: object, block: bytes) -> None:
        nonlocal room
        write(file, block[:room])
        room -= len(block)
        if room < 0:
            room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_write", full)
    with pytest.raises(DownloadError, match=r"free and 748.6 kB are needed: make room there; 300.0 kB are kept in"):
        fetch(site.url, target)
    assert files(target) == {"weights.pt.part", "weights.pt.part.json"}
    monkeypatch.undo()
    assert fetch(site.url, target).read_bytes() == BODY
    assert site.asked[1]["Range"] == "bytes=300000-"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_device_that_is_full(site: Site, target: Path) -> None:
    """The system's own answer, not an imitation of it."""
    target.parent.mkdir()
    target.with_name("weights.pt.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="make room there"):
        fetch(site.url, target)
    assert not target.exists()


def test_short_writes_are_completed() -> None:
    class Stingy(list[bytes]):
        def write(self, block: memoryview) -> int:
            self.append(bytes(block[:3]))
            return len(self[-1])

    pieces = Stingy()
    download._write(pieces, b"abcdefgh")
    assert b"".join(pieces) == b"abcdefgh"


# Two at once


def test_two_pulls_share_one_download(site: Site, target: Path) -> None:
    site.serve()
    served, first_is_on = site.answer, threading.Event()

    def slowly(exchange: Exchange) -> None:
        first_is_on.set()
        time.sleep(0.1)
        served(exchange)

    site.answer = slowly
    got: list[Path] = []

    def pull() -> None:
        got.append(fetch(site.url, target, sha256=SHA, sleep=lambda seconds: time.sleep(0.01)))

    threads = [threading.Thread(target=pull) for _ in range(3)]
    for thread in threads:
        thread.start()
        first_is_on.wait(5)
    for thread in threads:
        thread.join(10)
    assert got == [target] * 3 and len(site.asked) == 1
    assert target.read_bytes() == BODY and files(target) == {"weights.pt"}


def test_the_lock_is_given_back_after_a_failure(site: Site, target: Path) -> None:
    site.answer = lambda exchange: exchange.reply(b"", status=404)
    with pytest.raises(DownloadError):
        fetch(site.url, target)
    site.serve()
    assert fetch(site.url, target).read_bytes() == BODY


# Zips


def test_unpack(tmp_path: Path) -> None:
    archive = tmp_path / "styleres.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("folder/weights.pth", BODY)
    path = unpack(archive, "weights.pth")
    assert path == tmp_path / "weights.pth" and path.read_bytes() == BODY
    before = path.stat().st_mtime_ns
    assert unpack(archive, "weights.pth") == path and path.stat().st_mtime_ns == before
    path.write_bytes(b"x" + BODY[1:])
    with pytest.raises(DownloadError, match="differs from what"):
        unpack(archive, "weights.pth")


def test_unpack_leaves_other_files_alone(tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.zip", tmp_path / "other.zip"
    plain.write_bytes(BODY)
    with zipfile.ZipFile(other, "w") as packed:
        packed.writestr("archive/data.pkl", b"as torch writes them")
    assert unpack(plain, "weights.pth") == plain
    assert unpack(other, "weights.pth") == other


def test_unpack_of_a_damaged_zip(tmp_path: Path) -> None:
    archive = tmp_path / "damaged.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("weights.pth", BODY)
    damaged = bytearray(archive.read_bytes())
    damaged[5000] ^= 1
    archive.write_bytes(damaged)
    with pytest.raises(DownloadError, match="damaged"):
        unpack(archive, "weights.pth")
    assert [each.name for each in tmp_path.iterdir()] == ["damaged.zip"]
