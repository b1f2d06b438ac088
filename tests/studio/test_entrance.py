"""Who may come in: by the name the studio is called, by the page that calls it, and with a password."""

from __future__ import annotations

from typing import Any

import pytest

from gradstyle.studio.entrance import MOST_WRONG, MOST_WRONG_OF_ALL, WRONG_FOR, Logins, Names, Refused


def scope(path: str = "/", client: str = "127.0.0.1", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": path, "headers": raw, "client": (client, 50000)}


def status(names: Names, **headers: str) -> int:
    try:
        names.check(scope(**headers))
    except Refused as refused:
        assert "--allow-host" in refused.message or "elsewhere" in refused.message
        return refused.status
    return 200


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST.", "[::1]:7860", "192.168.1.7", ""])
def test_an_address_and_this_machines_names_are_the_studios(host: str) -> None:
    assert status(Names(), host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.io", "a b"]
)
def test_another_name_is_refused_unless_it_is_given(host: str) -> None:
    assert status(Names(), host=host) == 403
    assert status(Names(["*"]), host=host) == 200
    assert status(Names(any_name=True), host=host) == 200
    assert status(Names(["other.example"], any_name=True), host=host) == 403  # who names some means no others


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("127.0.0.1:7860", "http://127.0.0.1:7860", 200),
        ("localhost:7860", "http://localhost:7860", 200),
        ("localhost", "http://localhost", 200),
        ("localhost:80", "http://localhost", 200),
        ("127.0.0.1:7860", "https://evil.example", 403),
        ("127.0.0.1:7860", "http://127.0.0.1:3000", 403),
        ("127.0.0.1:7860", "http://localhost:7860", 403),
        ("127.0.0.1:7860", "null", 403),
        ("127.0.0.1:7860", "", 403),
        ("127.0.0.1:7860", "http://[", 403),
        ("127.0.0.1:7860", "file://", 403),
    ],
)
def test_a_page_from_elsewhere_may_not_call(host: str, origin: str, expected: int) -> None:
    assert status(Names(), host=host, origin=origin) == expected
    assert status(Names(any_name=True), host=host, origin=origin) == expected  # on no studio
    assert status(Names(["*"]), host=host, origin=origin) == expected


def test_a_request_without_an_origin_from_elsewhere_is_a_link_or_none() -> None:
    assert status(Names(), host="localhost", sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
    assert status(Names(), host="localhost", sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200
    assert status(Names(), host="localhost", sec_fetch_site="same-origin", sec_fetch_mode="no-cors") == 200


def test_behind_a_proxy_its_name_is_given_or_passed_on() -> None:
    page = "https://studio.example.org"
    assert status(Names(), host="127.0.0.1:7860", origin=page) == 403
    assert status(Names(["studio.example.org"]), host="127.0.0.1:7860", origin=page) == 200
    assert status(Names(["Studio.Example.org"]), host="studio.example.org", origin=page) == 200
    assert status(Names(), host="127.0.0.1:7860", origin=page, x_forwarded_host="studio.example.org") == 200
    assert status(Names(["studio.example.org"]), host="127.0.0.1:7860", origin="https://evil.example") == 403


def logins(clock: list[float]) -> Logins:
    return Logins(True, lambda cookies: cookies.get("token") == "right", lambda: clock[0])


def test_without_a_login_there_is_the_login_page_and_nothing_else() -> None:
    doors = logins([0.0])
    for path in ("/", "/login", "/health", "/assets/index.js", "/static/img/logo.svg", "/theme.css"):
        doors.check(scope(path))
    closed = [
        "config",
        "heartbeat/x",
        "cancel",
        "reset",
        "openapi.json",
        "queue/data",
        "upload",
        "run/predict",
        "token",
    ]
    for path in ("/config", "/assets/../config", "/info", "//config", *(f"/gradio_api/{name}" for name in closed)):
        with pytest.raises(Refused, match="log in") as refused:
            doors.check(scope(path))
        assert refused.value.status == 401
        doors.check(scope(path, cookie="token=right"))
        Logins(False, lambda cookies: False).check(scope(path))


def test_who_gave_many_wrong_passwords_waits_and_others_do_not() -> None:
    clock = [0.0]
    doors = logins(clock)
    for _ in range(MOST_WRONG):
        doors.begin(scope(client="10.0.0.1"))
    with pytest.raises(Refused, match="too many wrong passwords: try again in 301 seconds") as refused:
        doors.begin(scope(client="10.0.0.1"))
    assert refused.value.status == 429 and refused.value.headers == {"Retry-After": "301"}
    doors.begin(scope(client="10.0.0.2"))
    clock[0] = WRONG_FOR + 1
    doors.begin(scope(client="10.0.0.1"))


def test_a_right_password_does_not_count() -> None:
    doors = logins([0.0])
    for _ in range(3 * MOST_WRONG):
        doors.right(doors.begin(scope()))


def test_a_network_of_addresses_is_one_guesser_and_many_guessers_are_held_too() -> None:
    doors = logins([0.0])
    for number in range(MOST_WRONG):
        doors.begin(scope(client=f"2001:db8::{number:x}"))
    with pytest.raises(Refused):
        doors.begin(scope(client="2001:db8::ffff"))
    for number in range(MOST_WRONG_OF_ALL - MOST_WRONG):
        doors.begin(scope(client=f"10.0.{number // 250}.{number % 250}"))
    with pytest.raises(Refused):
        doors.begin(scope(client="192.0.2.1"))
