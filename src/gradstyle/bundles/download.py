"""Fetches a published file over http(s): it resumes, checks, and is bounded in time and size.

The bytes so far lie in `NAME.part`, and `NAME.part.json` says which file behind the address they are of; the
name itself appears only once the file is whole and fits what was expected of it.

Longer than 300 lines: every protection against a hostile or failing host is beside the others.
By hand, as gdown and huggingface_hub move the bytes themselves, without these limits of time, size and digest.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from ssl import SSLCertVerificationError
from typing import IO, TypeAlias, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request

from ..files import file_sha256, locked
from .http import Clock, DownloadError, Late, opener

Progress: TypeAlias = Callable[[int, int | None], None]  # bytes on the disk, bytes in all where known

_BLOCK = 1 << 18
_LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the host asks for
_LONGEST = 6 * 3600.0  # seconds in all, in which 1.4 GB come at 64 kB/s; what has come by then is kept
_LARGEST = 4 << 30  # bytes; the largest files of this field are half of that
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class OtherFile(DownloadError):
    """Says that a file is not the one that was expected."""


class _Cut(Exception):
    """Says that an attempt failed in a way that may pass; `restart`: the bytes so far are of no use."""

    def __init__(self, reason: str, *, wait: float = 0.0, restart: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.restart = wait, restart


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    attempts: int = 5,
    timeout: float = 30.0,
    longest: float = _LONGEST,
    largest: int = _LARGEST,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Downloads the file behind `url` (http, https, or `gdrive:ID`) to `target`, and returns `target`.

    A target that is there and fits is returned without asking the host. `sha256` may be the whole digest or
    its first digits, 8 or more (what torchvision puts into file names). `attempts` are counted in a row
    without a new byte; a host has `timeout` seconds for each piece and for the whole head of its answer, and
    `longest` for everything. Ctrl-C keeps the part, as a cut connection does: the next call goes on from there.
    """
    source = _Source.of(url)
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, got {attempts}")
    expected = _Expected(_digits(sha256) if sha256 else None, size, largest)
    report = progress or (lambda received, total: None)
    part = _Part(target)

    def wait() -> None:
        report(part.size, None)
        sleep(0.1)

    if _is_there(target, expected, report):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(_lock_of(target), wait):
            if _is_there(target, expected, report):
                return target
            clock = Clock(timeout, time.monotonic() + longest)
            try:
                _Transfer(source, part, expected, report, clock).run(attempts, sleep)
            except Late:
                raise DownloadError(
                    f"{source.host} did not deliver {target.name} within {longest:,.0f} s; {part.kept()}"
                ) from None
            if problem := expected.problem(part.path):
                part.remove()
                raise OtherFile(
                    f"{target.name} from {source.host} {problem}: it was deleted. Pull again; if it stays so, the "
                    "file has changed at its source, and only its authors can tell whether the new one is theirs"
                )
            part.path.replace(target)
            part.remove()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {part.kept()}") from None
    return target


def unpack(archive: Path, member: str) -> Path:
    """The file called `member` of a zip, beside it; the archive itself where it holds no such file."""
    if not zipfile.is_zipfile(archive):
        return archive
    target = archive.with_name(member)
    try:
        with zipfile.ZipFile(archive) as opened, locked(_lock_of(target), lambda: time.sleep(0.1)):
            found = next((each for each in opened.infolist() if PurePosixPath(each.filename).name == member), None)
            if found is None:
                return archive
            if not target.exists():
                _ask_for_space(archive.parent, found.file_size)
                with opened.open(found) as packed:
                    _copy(packed, target)
            elif (target.stat().st_size, _crc(target)) != (found.file_size, found.CRC):
                raise DownloadError(f"{target} differs from what {archive} holds: move it away and pull again")
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DownloadError(f"{archive} is damaged ({error}): delete it and pull again") from error
    except RuntimeError as error:  # encrypted, or packed in a way that this Python does not know
        raise DownloadError(f"{archive} cannot be unpacked here ({error}): unpack it by hand") from error
    return target


@dataclass(frozen=True)
class _Expected:
    sha256: str | None  # or its first digits
    size: int | None
    largest: int

    @property
    def is_known(self) -> bool:
        """Whether a size or digest, not the host's word alone, shows that a file is whole."""
        return self.sha256 is not None or self.size is not None

    def problem(self, path: Path) -> str | None:
        """Says what is wrong with the file, by size and digest."""
        if not path.is_file():
            return "is not a file"
        found = path.stat().st_size
        if self.size is not None and found != self.size:
            return f"is {found} bytes long, expected {self.size}"
        if self.sha256 and not (hexadecimal := file_sha256(path)).startswith(self.sha256):
            return f"has SHA-256 {hexadecimal}, expected {self.sha256}"
        return None


def _lock_of(target: Path) -> Path:
    return target.with_name(target.name + ".lock")


def _is_there(target: Path, expected: _Expected, report: Progress) -> bool:
    if not target.exists():
        return False
    if problem := expected.problem(target):
        raise OtherFile(f"{target} is there but {problem}: move it away and pull again")
    report(target.stat().st_size, target.stat().st_size)
    return True


@dataclass(frozen=True)
class _Source:
    address: str
    page: str  # what a person opens in a browser

    @classmethod
    def of(cls, url: str) -> _Source:
        scheme, _, rest = url.partition(":")
        if scheme == "gdrive":
            if not re.fullmatch(r"[\w-]{10,}", rest, re.ASCII):
                raise ValueError(f"not the id of a file on Google Drive: {rest!r}")
            # The address that the "too large to scan" page's form leads to.
            return cls(
                f"https://drive.usercontent.google.com/download?id={rest}&export=download&confirm=t",
                f"https://drive.google.com/file/d/{rest}/view",
            )
        if scheme.lower() not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"cannot fetch {url!r}: give an http or https address, or gdrive:ID")
        return cls(url, url)

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    def by_hand(self) -> str:
        return f"Open {self.page} in a browser, save the file, then run: gradstyle bundle import FILE"


@dataclass(frozen=True)
class _Origin:
    """Says which file a part belongs to, as far as the host tells."""

    url: str
    etag: str | None
    last_modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """Gives the value of If-Range: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def same_file(self, other: _Origin) -> bool:
        pairs = zip(asdict(self).values(), asdict(other).values())
        return all(mine == theirs for mine, theirs in pairs if mine is not None and theirs is not None)


class _Part:
    """Holds the bytes so far, and beside them which file they are of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self.notes = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def origin(self) -> _Origin | None:
        try:
            return _Origin(**json.loads(self.notes.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, origin: _Origin) -> None:
        self.path.write_bytes(b"")  # first: old bytes must never lie beside new notes
        self.notes.write_text(json.dumps(asdict(origin)), "utf-8")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def kept(self) -> str:
        if not self.size:
            return "nothing has come yet"
        return f"{_amount(self.size)} are kept in {self.path}: pull again to go on from there"


@dataclass(frozen=True)
class _Transfer:
    """Moves bytes from the host into the part, over as many connections as it takes."""

    source: _Source
    part: _Part
    expected: _Expected
    report: Progress
    clock: Clock

    def run(self, attempts: int, sleep: Callable[[float], None]) -> None:
        failures, furthest = 0, self.part.size
        while True:
            try:
                self.attempt()
                return
            except _Cut as cut:
                if cut.restart:
                    self.part.remove()
                if not self.clock.left:
                    raise Late from cut
                if self.part.size > furthest:
                    failures, furthest = 0, self.part.size
                failures += 1
                if failures >= attempts:
                    raise DownloadError(
                        f"{self.source.host} did not deliver {self.part.path.stem}: {cut} "
                        f"(attempts in a row: {failures}); {self.part.kept()}"
                    ) from cut
                sleep(min(max(2.0 ** (failures - 1), cut.wait), _LONGEST_WAIT, self.clock.left))

    def attempt(self) -> None:
        have, before = self.part.size, self.part.origin()
        if before and before.url == self.source.address and have == before.total:
            self.report(have, have)  # all there: only the check and the name were missing
            return
        wanted = self.range(have, before)
        with _ask(self.source, wanted, self.clock) as response:
            start, now = _answer(self.source, response)
            block = _read(response)
            if _is_page(response, block):
                raise DownloadError(
                    f"{self.source.host} answered with a page instead of the file (the download quota is used up, "
                    f"or a sign-in is needed). {self.source.by_hand()}"
                )
            if response.status == 206:
                if not wanted or start != have or before is None or not self.goes_on(before, now):
                    raise _Cut("it sent another part than was asked for", restart=True)
                now = replace(now, total=before.total if now.total is None else now.total)
            if not block and not now.total:
                raise _Cut("its answer was empty")
            size, largest = self.expected.size, self.expected.largest
            if size is not None and now.total is not None and now.total != size:
                self.part.remove()
                raise DownloadError(f"{self.source.host} offers {now.total} bytes, expected {size}: another file")
            if now.total is not None and now.total > largest:
                raise DownloadError(f"{self.source.host} offers {now.total:,} bytes, more than the {largest:,} allowed")
            if now.total is None and not response.chunked and not self.expected.is_known:
                raise DownloadError(
                    f"{self.source.host} does not say how long the file is, and nothing is known to check it by, so "
                    f"that a cut one would pass for whole: give its SHA-256 (--sha256). {self.source.by_hand()}"
                )
            if start == 0:
                self.part.begin(now)
            if now.total is not None:
                _ask_for_space(self.part.path.parent, now.total - start)
            self.append(start, now.total, block, response)

    def range(self, have: int, before: _Origin | None) -> dict[str, str]:
        """Gives the Range header to resume with; none where a changed file would go unnoticed."""
        if not have or before is None or before.url != self.source.address:
            return {}
        if before.validator:
            return {"Range": f"bytes={have}-", "If-Range": before.validator}
        return {"Range": f"bytes={have}-"} if self.expected.sha256 and before.total else {}

    def goes_on(self, before: _Origin, now: _Origin) -> bool:
        """Whether an answer continues the part; without a digest, only if the host names it the same file."""
        named = self.expected.sha256 or before.validator == now.validator
        return bool(named) and before.same_file(now)

    def append(self, received: int, total: int | None, block: bytes, response: HTTPResponse) -> None:
        limit = self.expected.size if total is None else total
        most = self.expected.largest if limit is None else limit
        self.report(received, limit)
        try:
            with self.part.path.open("ab", buffering=0) as file:
                while block:
                    if received + len(block) > most:
                        self.part.remove()
                        why = "expected" if most == limit else "allowed"
                        raise DownloadError(f"{self.source.host} sends more than the {most} bytes {why}: not kept")
                    _write(file, block)
                    received += len(block)
                    self.report(received, limit)
                    if received == total:  # as declared: do not wait for the host to close
                        break
                    block = _read(response)
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _FULL:
                raise
            need = None if limit is None else limit - self.part.size
            raise DownloadError(f"{_space(self.part.path.parent, need)}; {self.part.kept()}") from error
        if limit is not None and received < limit:
            raise _Cut(f"the connection was cut at {_amount(received)} of {_amount(limit)}")
        if limit is None:
            self.report(received, received)


def _ask(source: _Source, wanted: dict[str, str], clock: Clock) -> HTTPResponse:
    headers = {"User-Agent": "gradstyle", "Accept": "*/*", "Accept-Encoding": "identity", **wanted}
    try:
        return cast(HTTPResponse, opener(clock).open(Request(source.address, headers=headers), timeout=clock.piece))
    except HTTPError as error:
        error.close()
        raise _refusal(source, error) from None
    except DownloadError:
        raise
    except (HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, SSLCertVerificationError):
            raise DownloadError(f"{source.host} does not prove who it is: {reason.verify_message}") from error
        raise _Cut(_reason(reason)) from error


def _refusal(source: _Source, error: HTTPError) -> Exception:
    if error.code in _PASSING:
        after = error.headers.get("Retry-After", "")
        return _Cut(f"it answered {error.code}", wait=float(after) if after.isdecimal() else 0.0)
    if error.code == 416:
        return _Cut("the file is shorter than the part of it that is here", restart=True)
    if 300 <= error.code < 400:
        if urlsplit(error.url).scheme not in ("http", "https"):
            return DownloadError(f"{source.host} redirects to {error.url}: only http and https are followed")
        return DownloadError(f"{source.host} redirects in a circle. {source.by_hand()}")
    why = {
        401: "a sign-in is needed",
        403: "a sign-in is needed, or the download quota is used up",
        404: "there is no such file any more",
        410: "the file was taken away",
    }.get(error.code, error.reason)
    return DownloadError(f"{source.host} answered {error.code} ({why}). {source.by_hand()}")


def _answer(source: _Source, response: HTTPResponse) -> tuple[int, _Origin]:
    """Reads where in the file an answer's body starts, and which file it is."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if response.status not in (200, 206) or encoding != "identity":
        raise DownloadError(f"{source.host} answered {response.status}, encoded as {encoding}. {source.by_hand()}")
    start, total = 0, _number(response.headers.get("Content-Length"))
    if response.status == 206:
        length = total
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""), re.ASCII)
        first, last, total = (_number(number) for number in span.groups()) if span else (None, None, None)
        fits = first is not None and last is not None and length in (None, last - first + 1)
        start = first if first is not None and fits else -1
    return start, _Origin(source.address, response.headers.get("ETag"), response.headers.get("Last-Modified"), total)


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK)
    except (HTTPException, OSError) as error:
        raise _Cut(_reason(error)) from error


def _is_page(response: HTTPResponse, first: bytes) -> bool:
    kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
    start = first[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return kind in ("text/html", "application/xhtml+xml") or start.startswith((b"<!doctype html", b"<html"))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 20 else None


def _write(file: IO[bytes], block: bytes) -> None:
    """Writes all bytes: near the end of the disk a write may take only some, and the next one then fails."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]


def _copy(packed: IO[bytes], target: Path) -> None:
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        part.replace(target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DownloadError(_space(target.parent, None)) from error
        raise


def _digits(sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(f"not a SHA-256: {sha256!r}; give its 64 hexadecimal digits, or the first 8 or more")
    return sha256.lower()


def _crc(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def _ask_for_space(folder: Path, need: int) -> None:
    if need > shutil.disk_usage(folder).free:
        raise DownloadError(_space(folder, need))


def _space(folder: Path, need: int | None) -> str:
    more = "more is" if need is None else f"{_amount(need)} are"
    return f"{folder} has {_amount(shutil.disk_usage(folder).free)} free and {more} needed: make room there"


def _amount(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "it stopped answering"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
