"""Use of a real browser that tests and `make screens` share."""

import shutil
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1600",
)
INNER_TEXT = "return document.querySelector(arguments[0])?.innerText ?? ''"


def has_browser() -> bool:
    """Return whether chromium and its driver are installed."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


def open_browser(*more_flags: str) -> Any:
    """Return a driver of a headless browser that logs its console and its requests."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, *more_flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver") or "")
    return webdriver.Chrome(options=options, service=service)


def use_color_scheme(browser: Any, scheme: str) -> None:
    """Make pages that are loaded from now on prefer `light` or `dark`."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def shown_text(browser: Any, selector: str) -> str:
    """Return the visible text of the first element that matches a CSS selector, "" without one.

    It is one call: an element that is found first and read later could be replaced in between.
    """
    return str(browser.execute_script(INNER_TEXT, selector))


def forget_last_page(browser: Any) -> None:
    """Leave the page of an earlier test and drop the logs.

    Its server is closed, and requests that the page still makes fail.
    """
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
