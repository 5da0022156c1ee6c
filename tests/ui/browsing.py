"""Use of the browser that many tests share."""

from typing import Any

INNER_TEXT = "return document.querySelector(arguments[0])?.innerText ?? ''"


def shown_text(browser: Any, selector: str) -> str:
    """The visible text of the first element that fits a CSS selector, "" where there is none.

    In one call: an element that is found first and read then could be replaced between the two.
    """
    return str(browser.execute_script(INNER_TEXT, selector))


def forget_last_page(browser: Any) -> None:
    """Leave the page of an earlier test and drop the logs: its server is gone, and what it still
    asks for fails.
    """
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
