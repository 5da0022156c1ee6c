"""Sign-in in a real browser: by the printed address, by the form, and from a page of another site;
and the sandbox of a report.
"""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from perfscope.ui.dashboard.serve import Dashboard
from tests.target_processes import until
from tests.ui.browsing import shown_text
from tests.ui.conftest import open_sections
from tests.ui.dashboard_client import address
from tests.ui.kineto_files import small_trace
from tests.ui.recorded import recorded_run
from tests.ui.test_dashboard_in_browser import PICTURES, faults, settled

NAME = "gpu.json"
RUN = "train.perfscope"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Dashboard]:
    small_trace(tmp_path / NAME)
    made = Dashboard(tmp_path, port=0)
    yield made
    made.close()


@pytest.fixture
def fresh(browser: Any) -> Any:
    """Return a browser without the cookie of a dashboard."""
    browser.get("about:blank")
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    faults(browser)
    return browser


def form(browser: Any) -> Any:
    return browser.find_element("css selector", "form input[name=token]")


def test_the_printed_address_signs_in_and_no_token_remains_in_the_page(
    fresh: Any, board: Dashboard
) -> None:
    fresh.get(board.url)
    settled(fresh)
    assert fresh.current_url == address(board, "/")
    assert str(board.access.token) not in fresh.page_source
    assert fresh.execute_script("return [document.cookie, document.referrer]") == ["", ""]
    cookie = fresh.get_cookie(board.access.cookie)
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["path"] == "/"
    fresh.find_element("link text", NAME).click()
    until(lambda: fresh.find_elements("css selector", "#page h1"))
    settled(fresh)
    fresh.refresh()
    settled(fresh)
    assert fresh.find_elements("css selector", "#page h1") and faults(fresh) == []


def test_the_form_signs_in_and_leads_to_the_requested_page(fresh: Any, board: Dashboard) -> None:
    place = address(board, f"/run/{NAME}/operators?x=1")
    fresh.get(place)
    form(fresh).send_keys("wrong")
    fresh.find_element("css selector", "form button").click()
    until(lambda: shown_text(fresh, "[role=alert]") != "")
    assert "#page" not in fresh.page_source
    save_screenshots(fresh)
    form(fresh).send_keys(str(board.access.token))
    fresh.find_element("css selector", "form button").click()
    until(lambda: fresh.current_url == place)
    settled(fresh)
    assert fresh.find_elements("id", "section-top-kernels")
    expected = (place, address(board, "/sign-in/token"))
    others = [fault for fault in faults(fresh) if fault not in expected]
    assert [fault for fault in others if "401" not in fault] == []


def save_screenshots(browser: Any) -> None:
    """Save pictures of the form, light and dark, if PERFSCOPE_PICTURES is set."""
    if PICTURES is None:
        return
    PICTURES.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.save_screenshot(str(PICTURES / f"token-{scheme}.png"))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


class Foreign(BaseHTTPRequestHandler):
    """A server with a page of another site, which links to the dashboard and attacks it."""

    def __init__(self, page: str, *rest: Any) -> None:
        self.page = page
        super().__init__(*rest)

    def do_GET(self) -> None:
        body = self.page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Print nothing."""


@pytest.fixture
def foreign(board: Dashboard) -> Iterator[str]:
    page = f"""<a id="link" href="{board.url}">open</a><div id="log">waiting</div>
        <script>function log(what) {{ document.getElementById("log").textContent += " " + what }}
        fetch("{address(board, "/_dash-layout")}", {{ credentials: "include" }})
          .then((answer) => log("read " + answer.status), () => log("fetch refused"))</script>
        <script src="{address(board, "/page/script.js")}"
          onload="log('script ran')" onerror="log('script refused')"></script>"""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Foreign, page))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{{}}:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["another site", "another port"])
def test_a_foreign_page_can_link_to_the_dashboard_and_read_nothing(
    fresh: Any, board: Dashboard, foreign: str, host: str
) -> None:
    for signed_in in (False, True):
        if signed_in:
            fresh.get(board.url)
            settled(fresh)
        fresh.get(foreign.format(host))
        until(lambda: {"fetch", "script"} <= set(shown_text(fresh, "#log").split()))
        log = fresh.find_element("id", "log").text
        assert "fetch refused" in log and "script refused" in log
    fresh.execute_cdp_cmd("Network.clearBrowserCookies", {})
    fresh.find_element("id", "link").click()
    until(lambda: fresh.current_url == address(board, "/"))
    settled(fresh)
    assert fresh.find_elements("link text", NAME)


def test_a_report_can_be_saved_and_works_within_its_sandbox(
    fresh: Any, board: Dashboard, tmp_path: Path
) -> None:
    recorded_run(tmp_path / RUN)  # its report has charts of Plotly
    fresh.get(board.url)
    settled(fresh)
    folder = tmp_path / "saved"
    folder.mkdir()
    fresh.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
    )
    fresh.get(address(board, f"/run/{RUN}/overview"))
    settled(fresh)
    fresh.find_element("link text", "Save as HTML").click()
    until(lambda: (folder / f"{RUN}.html").is_file())
    assert "<!doctype html>" in (folder / f"{RUN}.html").read_text("utf-8")
    fresh.get(address(board, f"/run/{RUN}.html"))
    until(lambda: fresh.execute_script("return document.documentElement.dataset.drawn") == "yes")
    assert fresh.execute_script("return self.origin") == "null"
    open_sections(fresh)
    for button in ("#theme", "button[data-picture=png]"):
        fresh.execute_script("document.querySelector(arguments[0]).click()", button)
    until(lambda: list(folder.glob("*.png")))
    assert faults(fresh) == []
