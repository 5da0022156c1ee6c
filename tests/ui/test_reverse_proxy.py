"""The dashboard behind a reverse proxy that serves it under a path: in a real browser, and request
by request.
"""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from perfscope.errors import UsageError
from perfscope.ui.dashboard.reverse_proxy import callback_values, normalized_base_path
from perfscope.ui.dashboard.serve import Dashboard
from tests.target_processes import until
from tests.ui.kineto_files import small_trace
from tests.ui.test_dashboard_in_browser import faults, settled

BASE = "/team/perfscope"
OWN_HEADERS = ("connection", "transfer-encoding", "server", "date")


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Dashboard]:
    small_trace(tmp_path / "gpu.json")
    made = Dashboard(tmp_path, port=0, base_path=f"{BASE}/")
    yield made
    made.close()


class Proxy(ThreadingHTTPServer):
    """A reverse proxy; `strips`: whether it removes the path before it passes a request on."""

    def __init__(self, port: int, strips: bool) -> None:
        super().__init__(("127.0.0.1", 0), PassOn)
        self.target_port, self.strips = port, strips
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class PassOn(BaseHTTPRequestHandler):
    """Forward a request with its Host header, as most proxies do."""

    def do_GET(self) -> None:
        server: Any = self.server
        path = self.path.removeprefix(BASE) if server.strips else self.path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", server.target_port, timeout=30)
        connection.request(self.command, path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "passed on"])
def test_every_link_and_file_is_found_under_the_path(
    browser: Any, dashboard: Dashboard, strips: bool
) -> None:
    proxy = Proxy(dashboard.access.port, strips)
    try:
        browser.get("about:blank")
        browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
        faults(browser)
        browser.get(f"{proxy.address}{BASE}/?token={dashboard.access.token}")
        settled(browser)
        assert browser.current_url == f"{proxy.address}{BASE}/"
        browser.find_element("link text", "gpu.json").click()
        until(lambda: browser.find_elements("css selector", "#page h1"))
        settled(browser)
        assert urlsplit(browser.current_url).path.startswith(f"{BASE}/run/")
        for link in browser.find_elements("css selector", "#nav a"):
            assert urlsplit(link.get_attribute("href")).path.startswith(f"{BASE}/")
        timeline = browser.find_element("css selector", '#links a[href$="/timeline"]')
        timeline.click()
        until(lambda: browser.find_elements("css selector", "[data-timeline]"))
        settled(browser)
        browser.refresh()
        settled(browser)
        assert faults(browser) == []
        browser.find_element("css selector", "body").send_keys("g")
        until(lambda: browser.current_url == f"{proxy.address}{BASE}/")
    finally:
        proxy.shutdown()
        proxy.server_close()


def ask(dashboard: Dashboard, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.access.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=named)
    answer = connection.getresponse()
    answer.read()
    return answer


def test_the_token_is_needed_and_the_cookie_belongs_to_the_path(dashboard: Dashboard) -> None:
    public = {"Host": "proxy.example"}
    assert ask(dashboard, f"{BASE}/", **public).status == 401
    signed_in = ask(dashboard, f"{BASE}/?token={dashboard.access.token}", **public)
    assert signed_in.status == 302 and signed_in.headers["Location"] == f"{BASE}/"
    cookie = signed_in.headers["Set-Cookie"]
    assert f"Path={BASE}/" in cookie and "SameSite=Strict" in cookie
    known = {**public, "Cookie": cookie.split(";")[0]}
    assert ask(dashboard, f"{BASE}/", **known).status == 200
    # A proxy may also remove the path.
    assert ask(dashboard, "/", **known).status == 200


def test_a_page_of_another_site_is_refused(dashboard: Dashboard) -> None:
    signed_in = ask(dashboard, f"{BASE}/?token={dashboard.access.token}", Host="proxy.example")
    cookie = signed_in.headers["Set-Cookie"].split(";")[0]
    foreign = {"Host": "proxy.example", "Origin": "https://evil.example", "Cookie": cookie}
    assert ask(dashboard, f"{BASE}/_dash-layout", **foreign).status == 403
    of_proxy = foreign | {"Origin": "https://proxy.example"}
    assert ask(dashboard, f"{BASE}/_dash-layout", **of_proxy).status == 200


def test_the_printed_address_has_the_path(dashboard: Dashboard) -> None:
    assert urlsplit(dashboard.url).path == f"{BASE}/"


@pytest.mark.parametrize(
    "given", ["perfscope", "/a b", "//x", "/a?b", "/a/../\n", "/../x", "/a/./b", "http://x/"]
)
def test_an_invalid_base_path_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="--base-path"):
        normalized_base_path(given)


def test_behind_a_proxy_a_token_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--no-token"):
        Dashboard(tmp_path, port=0, with_token=False, base_path="/x")


def test_addresses_are_found_in_a_request_of_any_depth() -> None:
    nested: object = {"property": "pathname", "value": f"{BASE}/run/1"}
    for _ in range(5000):  # deeper than Python calls may nest; some of its JSON parsers accept it
        nested = [{"value": nested}]
    found = list(callback_values(nested))
    assert len(found) == 5001 and found[-1]["value"] == f"{BASE}/run/1"
