"""Fixtures of a real browser, and of the report of a small run in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.ui.html.report import write_report
from tests.target_processes import until
from tests.ui.browsing import forget_last_page, has_browser, open_browser
from tests.ui.sample_traces import input_bound


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not has_browser():
        pytest.skip("chromium and chromedriver are not installed")
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:
    path = tmp_path / "report.html"
    run = input_bound()
    write_report(run, diagnose_trace(run), path)
    assert path.stat().st_size < 5_000_000
    forget_last_page(browser)
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    open_sections(browser)
    return browser


def open_sections(browser: Any) -> None:
    """Open all sections of a report, and wait until their charts are drawn."""
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    drawn = "return [...document.querySelectorAll('.chart')].every((c) => c.querySelector('svg'))"
    until(lambda: browser.execute_script(drawn))
