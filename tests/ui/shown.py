"""What a page shows, read in one call: an element that was found before could be replaced before it is read."""

from typing import Any

INNER_TEXT = "return document.querySelector(arguments[0])?.innerText ?? ''"


def shown_text(browser: Any, selector: str) -> str:
    """The visible text of the first element that fits a CSS selector, "" where there is none."""
    return str(browser.execute_script(INNER_TEXT, selector))
