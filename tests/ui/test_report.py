"""The HTML report in a real browser, from a file, offline."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.engine import diagnose
from perfscope.ui.report import write_report
from tests.build import trace
from tests.running import until
from tests.ui.runs import input_bound

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
FLAGS += "--disable-component-update --disable-sync --window-size=1280,1600"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver here")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or ""))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:
    path = tmp_path / "report.html"
    run = input_bound()
    write_report(run, diagnose(run), path)
    assert path.stat().st_size < 5_000_000
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    return browser


def test_it_draws_every_chart_without_an_error_and_asks_nobody(page: Any) -> None:
    charts = page.execute_script(
        "return [...document.querySelectorAll('.chart')].map(c => [c.id, c.querySelectorAll('svg').length])"
    )
    assert {name for name, _ in charts} >= {
        "budget",
        "steps",
        "workers",
        "stacks-main",
        "stacks-loader-worker",
        "cpu",
        "memory",
    }
    assert all(drawings > 0 for _, drawings in charts)
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_hostile_name_is_text(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('script').length") == 5
    assert "alert(1)" in page.execute_script("return document.getElementById('figures').textContent")


def test_dark_mode_repaints(page: Any) -> None:
    colour = "return getComputedStyle(document.body.parentElement).backgroundColor"
    fill = "return document.getElementById('budget').data[0].marker.color"
    before = page.execute_script(colour), page.execute_script(fill)
    page.execute_script("document.getElementById('theme').click()")
    until(lambda: page.execute_script(fill) != before[1])
    assert page.execute_script(colour) != before[0]


def test_evidence_opens_the_timeline_where_it_is(page: Any) -> None:
    links = page.execute_script("return document.querySelectorAll('a[data-from]').length")
    assert links > 0
    page.execute_script("document.querySelector('a[data-from]').click()")
    until(lambda: page.execute_script("return (document.getElementById('workers').layout.shapes || []).length") == 1)


def test_a_run_with_nothing_in_it_still_makes_a_page(tmp_path: Path) -> None:
    empty = trace()
    write_report(empty, diagnose(empty), tmp_path / "empty.html")
    text = (tmp_path / "empty.html").read_text("utf-8")
    assert "Not measured, and why" in text and 'class="chart"' not in text
