"""Text as HTML: whatever a run is called by, it is text on the page."""

import re
from html import escape as html_escape

CODE = re.compile(r"`([^`]+)`")


def escape(text: str) -> str:
    return html_escape(text, quote=True)


def prose(text: str) -> str:
    """Escaped; what stands between backticks is set as code."""
    return CODE.sub(r"<code>\1</code>", escape(text))


def door(start_ns: int | None, end_ns: int | None, words: str, css: str = "") -> str:
    """A link that opens the timeline on this interval; nothing where there is none."""
    if start_ns is None or end_ns is None:
        return ""
    place = f'data-from="{start_ns / 1e9:.6f}" data-to="{end_ns / 1e9:.6f}"'
    return f'<a href="#section-timeline" class="{css}" {place}>{escape(words)}</a>'
