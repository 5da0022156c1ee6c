"""Requests to the dashboard from another user, from a page of another site and from a server on
another port: no response contains data of a run.
"""

import re
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from perfscope.errors import UsageError
from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.request_checks import (
    APP_ROUTES,
    PAGE_ROUTES,
    REPORT_ROUTE,
    STATIC_FILES,
)
from perfscope.ui.dashboard.serve import Dashboard
from perfscope.ui.dashboard.sign_in import ENDPOINT
from tests.safety.other_user import needs_root
from tests.target_processes import perfscope
from tests.ui.dashboard_client import AT_ADDRESS, ORIGIN, PORT, DashboardClient
from tests.ui.kineto_files import small_trace

NAME = "secret-run.json"
TIMELINE = ("meta", "tile", "names", "strip", "select", "search", "hit", "event")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    small_trace(made / NAME)
    return made


@pytest.fixture
def known(folder: Path) -> Iterator[DashboardClient]:
    """Return a client that has the cookie."""
    asked = DashboardClient(folder)
    yield asked
    asked.verdicts.close()


@pytest.fixture
def stranger(folder: Path) -> DashboardClient:
    """Return a client without the cookie."""
    return DashboardClient(folder, signed_in=False)


def rules(asked: DashboardClient) -> list[tuple[str, str]]:
    """Return (endpoint, an address) of every route that can be opened; the other routes change
    something.
    """
    filled = {
        "path": "some/page",
        "run": NAME,
        "run_id": NAME,
        "package_name": "dash_html_components",
    }
    filled |= {"fingerprinted_path": "bundle.js", "filename": "x.js"}
    return [
        (rule.endpoint, re.sub(r"<(?:\w+:)?(\w+)>", lambda match: filled[match[1]], rule.rule))
        for rule in asked.app.server.url_map.iter_rules()
        if "GET" in (rule.methods or ())
    ]


def test_without_the_cookie_every_route_gives_only_the_form_or_an_error(
    stranger: DashboardClient,
) -> None:
    seen = {}
    for endpoint, path in [
        *rules(stranger),
        ("/<path:path>", "/x.html"),
        ("/<path:path>", "/page/x"),
    ]:
        answer = stranger.client.get(path, **AT_ADDRESS)
        assert answer.status_code == 401, path
        assert ("<form" in answer.text) == (endpoint in {*APP_ROUTES, REPORT_ROUTE}), path
        assert len(answer.text) < 6000 and NAME.encode() not in answer.data.replace(
            path.encode(), b""
        )
        seen[endpoint] = answer.status_code
    assert {
        REPORT_ROUTE,
        "page-style",
        "page-script",
        *(f"timeline.{name}" for name in TIMELINE),
    } <= set(seen)
    for path in ("/_dash-update-component", "/page/x", "/"):
        assert stranger.client.post(path, json={}, headers=ORIGIN, **AT_ADDRESS).status_code == 401


@pytest.mark.parametrize("given", ["wrong", "", "x" * 100_000, "\udcff\udcfe", "é" * 300, "\x00"])
def test_a_wrong_token_gives_no_access(stranger: DashboardClient, given: str) -> None:
    assert (
        stranger.client.get(
            "/", query_string={"token": given.encode("utf-8", "surrogateescape")}, **AT_ADDRESS
        ).status_code
        == 401
    )
    answer = stranger.client.post(
        "/sign-in/token",
        data={"token": given.encode("utf-8", "surrogateescape")},
        headers=ORIGIN,
        **AT_ADDRESS,
    )
    assert answer.status_code in (401, 413)
    client = stranger.app.server.test_client(use_cookies=False)
    cookie = f"{stranger.access.cookie}={given}".encode("utf-8", "replace").decode("latin-1")
    assert client.get("/", headers={"Cookie": cookie}, **AT_ADDRESS).status_code == 401


def test_the_printed_address_sets_a_cookie_and_loses_the_token(stranger: DashboardClient) -> None:
    token = stranger.access.token
    answer = stranger.client.get(f"/run/x/input?workers=4&token={token}&cost=50", **AT_ADDRESS)
    assert (
        answer.status_code == 302 and answer.headers["Location"] == "/run/x/input?workers=4&cost=50"
    )
    cookie = answer.headers["Set-Cookie"].split("; ")
    assert cookie[0] == f"perfscope-{PORT}={stranger.access.cookie_value(None)}" and {
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
    } == set(cookie[1:])
    assert stranger.client.get("/", **AT_ADDRESS).status_code == 200
    assert token is not None and len(token) >= 40 and token != Access(PORT).token


def test_the_form_leads_to_the_requested_page(stranger: DashboardClient) -> None:
    page = stranger.client.get("/run/x/input?workers=4&token=wrong", **AT_ADDRESS).text
    place = re.findall(r'name="next" value="([^"]*)"', page)
    assert place == ["/run/x/input?workers=4"]
    data = {"token": stranger.access.token, "next": place[0]}
    answer = stranger.client.post("/sign-in/token", data=data, headers=ORIGIN, **AT_ADDRESS)
    assert answer.status_code == 302 and answer.headers["Location"] == place[0]
    assert stranger.client.get("/", **AT_ADDRESS).status_code == 200


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example/",
        "http://evil.example/",
        "\\\\evil.example",
        "/\\evil.example",
        "",
        "?a=b",
        "/%0d%0aX: y",
        "/\r\nX: y",
    ],
)
def test_the_form_cannot_lead_to_another_site(stranger: DashboardClient, place: str) -> None:
    data = {"token": stranger.access.token, "next": place}
    answers = [stranger.client.post("/sign-in/token", data=data, headers=ORIGIN, **AT_ADDRESS)]
    answers.append(
        stranger.client.get(
            place.partition("?")[0] or "/",
            query_string={"token": stranger.access.token},
            **AT_ADDRESS,
        )
    )
    for answer in answers:
        there = answer.headers.get("Location", "/")
        assert re.match(r"/(?![/\\])", there) and "\n" not in there and "X" not in answer.headers


def test_cookies_of_two_dashboards_of_a_host_have_different_names(folder: Path) -> None:
    boards = [Dashboard(folder, port=0) for _ in range(2)]
    try:
        assert (
            len({board.access.cookie for board in boards})
            == len({board.access.token for board in boards})
            == 2
        )
    finally:
        for board in boards:
            board.close()


def test_a_cookie_of_another_port_of_this_host_does_not_prevent_access(
    known: DashboardClient,
) -> None:
    name, value = known.access.cookie, known.access.cookie_value(None)
    header = f"{name}=tossed; {name}={value}"
    client: FlaskClient = known.app.server.test_client(use_cookies=False)
    assert client.get("/", headers={"Cookie": header}, **AT_ADDRESS).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8050",
        "127.0.0.1:80",
        "127.0.0.1.evil.example:8050",
        "localhost",
        "",
        "127.0.0.1:8050,evil",
    ],
)
def test_every_route_refuses_a_foreign_host_name(known: DashboardClient, host: str) -> None:
    for _, path in rules(known):
        assert known.client.get(path, headers={"Host": host}).status_code in (400, 403), path


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "LOCALHOST:8050", "[::1]:8050"])
def test_requests_to_the_names_of_the_dashboard_are_answered(folder: Path, host: str) -> None:
    asked = DashboardClient(folder, Access(PORT, token=None), signed_in=False)
    assert asked.client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:9",
        "null",
        "https://127.0.0.1:8050",
        "",
        "http://127.0.0.1:8050@evil",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_route_refuses_a_page_of_another_site(
    known: DashboardClient, origin: str, method: str
) -> None:
    for _, path in rules(known):
        answer = known.client.open(path, method=method, headers={"Origin": origin}, **AT_ADDRESS)
        assert answer.status_code == 403, path


def test_a_request_that_changes_something_must_name_its_origin(known: DashboardClient) -> None:
    for path in ("/_dash-update-component", "/sign-in/token"):
        assert known.client.post(path, json={}, **AT_ADDRESS).status_code == 403
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND"):
        assert (
            known.client.open("/", method=method, headers=ORIGIN, **AT_ADDRESS).status_code == 405
        )


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_on_another_port_can_open_a_page_but_cannot_load_data(
    known: DashboardClient, site: str
) -> None:
    """A browser calls another port `same-site`, and then sends the cookie."""
    loading = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    framing = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    opening = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for endpoint, path in rules(known):
        assert known.client.get(path, headers=loading, **AT_ADDRESS).status_code == 403
        assert known.client.get(path, headers=framing, **AT_ADDRESS).status_code == 403
        assert (known.client.get(path, headers=opening, **AT_ADDRESS).status_code == 403) == (
            endpoint not in {*APP_ROUTES, REPORT_ROUTE}
        )
    crossed = known.client.get(f"/?token={known.access.token}", headers=opening, **AT_ADDRESS)
    assert (
        crossed.status_code == 200
        and 'content="0;url=/"' in crossed.text
        and str(known.access.token) not in crossed.text
    )


def directives(answer: Any) -> dict[str, str]:
    parts = (
        part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";")
    )
    return {name: value for name, _, value in parts}


def test_the_routes_of_these_tests_exist(known: DashboardClient) -> None:
    assert {*PAGE_ROUTES, *STATIC_FILES, ENDPOINT} <= {
        rule.endpoint for rule in known.app.server.url_map.iter_rules()
    }
    for endpoint, path in rules(known):
        kept = known.client.get(path, **AT_ADDRESS).headers.get("Cache-Control", "") != "no-store"
        assert kept <= (endpoint in STATIC_FILES), path


def test_every_response_has_a_content_security_policy(
    known: DashboardClient, stranger: DashboardClient
) -> None:
    paths = [
        *(path for _, path in rules(known)),
        "/x.html",
        "/page/x",
        "/page/style.css.html",
        "/run/..html",
    ]
    for asked in (known, stranger):
        for path in paths:
            answer = asked.client.get(path, **AT_ADDRESS)
            policy = directives(answer)
            assert policy["frame-ancestors"] == "'none'" and policy["default-src"] in (
                "'none'",
                "'self'",
            ), path
            assert (
                "unsafe" not in policy.get("script-src", "") and policy["base-uri"] == "'none'"
            ), path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] in ("no-referrer", "strict-origin")
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_report_may_run_its_scripts_and_send_no_request(known: DashboardClient) -> None:
    answer = known.client.get(f"/run/{NAME}.html", **AT_ADDRESS)
    policy = directives(answer)
    assert answer.status_code == 200 and "<!doctype html>" in answer.text
    assert policy["default-src"] == "'none'" and "connect-src" not in policy
    assert policy["script-src"].count("'sha256-") == 2 and "'self'" not in policy["script-src"]
    assert "allow-scripts" in policy["sandbox"] and "allow-same-origin" not in policy["sandbox"]


def test_the_token_is_in_no_page(known: DashboardClient) -> None:
    for _, path in rules(known):
        assert str(known.access.token).encode() not in known.client.get(path, **AT_ADDRESS).data


def test_requests_from_other_machines_need_the_token(folder: Path) -> None:
    for address in ("0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.evil.example"):
        with pytest.raises(UsageError, match="--no-token"):
            Access(PORT, address, token=None)
        with pytest.raises(UsageError, match="--no-token"):
            Dashboard(folder, address, port=0, with_token=False)
    assert Access(PORT, "127.0.0.2", token=None).url() == "http://127.0.0.2:8050/"
    assert Access(PORT, "::1", token="t").url("/live") == "http://[::1]:8050/live?token=t"
    assert (
        DashboardClient(folder, Access(PORT, token=None), signed_in=False)
        .client.get("/", **AT_ADDRESS)
        .status_code
        == 200
    )


def test_requests_to_the_names_of_this_machine_are_answered_with_other_machines_allowed(
    folder: Path,
) -> None:
    asked = DashboardClient(folder, Access(PORT, "0.0.0.0"), signed_in=False)
    assert (
        asked.client.get("/", headers={"Host": f"{socket.gethostname()}:{PORT}"}).status_code == 401
    )
    assert (
        asked.client.get(
            "/", headers={"Host": f"{secrets.token_hex(4)}.example:{PORT}"}
        ).status_code
        == 403
    )


ASKING = """
import encodings.idna, http.client, os, pathlib, sys, urllib.error, urllib.request
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for path in sys.argv[2:]:
    try:
        answer = urllib.request.urlopen(sys.argv[1] + path, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    text = answer.read().decode("utf-8", "replace")
    print(answer.status, "name-of-the-run" in text.replace(path, ""))
for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        sys.stdout.buffer.write(process.read_bytes())
    except OSError:
        pass
"""


@needs_root
def test_another_user_of_this_machine_gets_no_data_and_cannot_find_the_token(
    tmp_path: Path,
) -> None:
    small_trace(tmp_path / "name-of-the-run.json")
    command = perfscope("ui", tmp_path, "--port", "0")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            address, _, token = server.stdout.readline().strip().partition("?token=")
            assert len(token) >= 40
            run = "name-of-the-run.json"
            paths = [
                "",
                f"run/{run}/overview",
                f"run/{run}.html",
                "x.html",
                "own/x",
                f"timeline/{run}/meta",
                "_dash-layout",
            ]
            asking = [sys.executable, "-c", ASKING, address, *paths]
            printed = subprocess.run(
                asking, capture_output=True, text=True, timeout=60, check=True, cwd="/"
            ).stdout
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0 and server.stderr.read() == ""
    assert printed.splitlines()[: len(paths)] == ["401 False"] * len(paths)
    assert token not in printed and "perfscope\0ui\0" in printed


def test_the_token_can_be_switched_off_for_this_machine_only(tmp_path: Path) -> None:
    small_trace(tmp_path / "a.json")
    done = subprocess.run(
        perfscope("ui", tmp_path, "--no-token", "--host", "0.0.0.0"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        done.returncode == 2
        and done.stdout == ""
        and done.stderr.count("\n") == 1
        and "--no-token" in done.stderr
    )
    with subprocess.Popen(
        perfscope("ui", tmp_path, "--no-token", "--port", "0"), stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.status == 200 and "Set-Cookie" not in answer.headers
        server.send_signal(signal.SIGINT)


def test_settings_for_another_dash_application_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = DashboardClient(folder)
    for name, value in (("URL_BASE_PATHNAME", "/x/"), ("DEBUG", "1"), ("UI", "1"), ("PROXY", "x")):
        monkeypatch.setenv(f"DASH_{name}", value)
    changed = DashboardClient(folder)
    pages = [asked.text("/") for asked in (usual, changed)]
    for asked in (usual, changed):
        asked.verdicts.close()
    assert pages[0] == pages[1] and "Runs" in pages[0]
