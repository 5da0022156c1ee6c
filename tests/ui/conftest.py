"""A real browser, and the report of a small run open in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.diagnose import diagnose
from perfscope.ui.html.report import write_report
from tests.running import until
from tests.ui.browsing import forget_last_page
from tests.ui.runs import input_bound

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking "
)
FLAGS += "--disable-component-update --disable-sync --window-size=1280,1600"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver here")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or "")
    )
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:
    path = tmp_path / "report.html"
    run = input_bound()
    write_report(run, diagnose(run), path)
    assert path.stat().st_size < 5_000_000
    forget_last_page(browser)
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    return browser
