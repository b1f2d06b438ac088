"""Decides who may come in: by the host name, by the calling page's origin, and by password."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

ANY = "*"
MOST_WRONG = 10  # logins from one address that may fail
MOST_WRONG_OF_ALL = 300  # and from all of them
WRONG_FOR = 300.0  # seconds for which they count
# What the page that asks for the password needs, and what says that the server is there.
WITHOUT_LOGIN = ("/", "/login", "/logout", "/health", "/theme.css", "/favicon.ico", "/robots.txt")
FOLDERS_WITHOUT_LOGIN = ("/assets/", "/static/", "/svelte/")


class Refused(Exception):
    """Is the answer to a request that is refused."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Names:
    """Holds the names under which the studio may be reached, and the origins whose pages may call it.

    A page from elsewhere can lead its own name to this machine, and would then be one with the studio; it can do so
    with no address and with no name that this machine has. `any_name` takes every name, for studios that anyone may
    use under whatever name they have; a page from elsewhere may call none.
    """

    def __init__(self, names: Collection[str] = (), any_name: bool = False) -> None:
        self.given = {name.lower() for name in names}
        self.known = {"localhost", socket.gethostname().lower(), *self.given}
        self.any_name = (any_name and not names) or ANY in names

    def check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        called, origin = headers.get("host", ""), headers.get("origin")
        host = _host(called)
        if not (self.any_name or host in self.known or _is_address(host) or not host):
            raise Refused(403, f"this studio is not called {host[:80]!r}: --allow-host says which names it has")
        if origin is not None:
            page, port = _parts(origin)
            called_too = headers.get("x-forwarded-host", "")  # which no page can add
            if _host(page) not in self.given and not {page, page + port} & {called.lower(), called_too.lower()} - {""}:
                raise Refused(403, f"pages of {origin[:80]!r} may not call this studio: --allow-host names its hosts")
        elif headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise Refused(403, "pages from elsewhere may not call this studio")


class Logins:
    """Lets only visitors with the right password in; after too many wrong ones an address has to wait."""

    def __init__(
        self, needed: bool, is_known: Callable[[Mapping[str, str]], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.needed, self.is_known, self.clock = needed, is_known, clock
        self._wrong: deque[tuple[float, str]] = deque()

    def check(self, scope: Scope) -> None:
        path = scope["path"]
        if not self.needed or path.rstrip("/") in ("", *WITHOUT_LOGIN) or _is_plain(path):
            return
        if not self.is_known(HTTPConnection(scope).cookies):
            raise Refused(401, "a password is needed: log in first")

    def begin(self, scope: Scope) -> tuple[float, str]:
        """A login counts as wrong until `right` says otherwise, so that many at once are no more than many."""
        now, address = self.clock(), _address(scope)
        while self._wrong and now - self._wrong[0][0] > WRONG_FOR:
            self._wrong.popleft()
        own = [when for when, who in self._wrong if who == address]
        if len(own) >= MOST_WRONG or len(self._wrong) >= MOST_WRONG_OF_ALL:
            wait = round((own or [when for when, _ in self._wrong])[0] + WRONG_FOR - now) + 1
            raise Refused(429, f"too many wrong passwords: try again in {wait} seconds", {"Retry-After": str(wait)})
        self._wrong.append((now, address))
        return self._wrong[-1]

    def right(self, login: tuple[float, str]) -> None:
        if login in self._wrong:
            self._wrong.remove(login)


def _is_plain(path: str) -> bool:
    return path.startswith(FOLDERS_WITHOUT_LOGIN) and ".." not in path


def _host(authority: str) -> str:
    """The name or address in `name:port`, `1.2.3.4:port` or `[::1]:port`."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.partition(":")[0].rstrip(".").lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _parts(origin: str) -> tuple[str, str]:
    """A page's `name:port`, for another port may be another's, and the port that is left out as usual."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return "", ""
    return parts.netloc, {"http": ":80", "https": ":443"}.get(parts.scheme, "")


def _address(scope: Scope) -> str:
    """Gives the client's address; of IPv6 the network, which is one household's."""
    host = (scope.get("client") or ("", 0))[0]
    if not _is_address(host) or ":" not in host:
        return str(host)
    return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
