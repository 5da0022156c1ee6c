"""HTML text. Whatever a run is called, its names reach the page as text, never as markup."""

import re
from html import escape as html_escape

from perfscope.traces.shown_text import shown_text

CODE = re.compile(r"`([^`]+)`")
UNIT = re.compile(r"(\d) (?=(?:%|ms|s|µs|[kMGT]?B|GHz|W)(?![\w]))")


def escape(text: str) -> str:
    """Return text that is safe between tags and in attributes, and cannot change how the text
    around it is shown.
    """
    return html_escape(shown_text(text), quote=True)


def prose(text: str) -> str:
    """Return escaped text, with what is between backticks set as code."""
    return CODE.sub(r"<code>\1</code>", with_kept_units(escape(text)))


def with_kept_units(text: str) -> str:
    """Return a text in which no line ends between a number and its unit."""
    return UNIT.sub("\\1\N{NO-BREAK SPACE}", text)


def paragraphs(texts: list[str]) -> str:
    """Return a paragraph per text."""
    return "".join(f"<p>{prose(text)}</p>" for text in texts)


def card(title: str, content: str, section_id: str = "") -> str:
    """Return a card with a title; `title` and `content` are markup."""
    place = f' id="{section_id}"' if section_id else ""
    return f'<section class="card"{place}><h2>{title}</h2>{content}</section>'


def timeline_place(start_ns: int, end_ns: int) -> str:
    """Return the attributes of a link that opens the timeline on an interval."""
    return f'data-from="{start_ns / 1e9:.6f}" data-to="{end_ns / 1e9:.6f}"'


def timeline_link(start_ns: int | None, end_ns: int | None, words: str, css: str = "") -> str:
    """Return a link that opens the timeline on this interval; nothing where there is none."""
    if start_ns is None or end_ns is None:
        return ""
    place = timeline_place(start_ns, end_ns)
    return f'<a href="#section-timeline" class="{css}" {place}>{escape(words)}</a>'
