"""Charts of horizontal bars as plain markup, for pages that do not load Plotly."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfscope.ui.html.markup import escape
from perfscope.ui.theme import texture


@dataclass(frozen=True)
class BarRow:
    """A row: its label, its bar, the value next to it, and a mark on the axis.

    `begin`, `end` and `mark` are shares of the axis, 0 to 1. A `dot` is drawn in place of the end.
    """

    label: str
    text: str
    category: str
    end: float
    begin: float = 0.0
    mark: float | None = None
    dot: float | None = None
    tooltip: str = ""


def bar_rows(rows: Sequence[BarRow]) -> str:
    """Return the table of the rows."""
    body = "".join(map(bar_row, rows))
    return f'<table class="bar-rows"><tbody>{body}</tbody></table>'


def bar_row(row: BarRow) -> str:
    """Return a row of the table; its tooltip has all that is known."""
    css = f"filled {texture(row.category)}" if row.dot is None else "range"
    width = max(row.end - row.begin, 0.0)
    inside = f'<div class="{css}" style="left:{percent_of(row.begin)};width:{percent_of(width)}">'
    inside += "</div>"
    if row.dot is not None:
        inside += f'<div class="dot" style="left:{percent_of(row.dot)}"></div>'
    if row.mark is not None:
        inside += f'<div class="mark" style="left:{percent_of(row.mark)}"></div>'
    tooltip = escape(row.tooltip or f"{row.label}: {row.text}")
    return (
        f'<tr title="{tooltip}"><th>{escape(row.label)}</th>'
        f'<td><div class="track" style="--c:var(--{row.category})">{inside}</div></td>'
        f"<td>{escape(row.text)}</td></tr>"
    )


def percent_of(share: float) -> str:
    """Return a share of the axis as CSS."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
