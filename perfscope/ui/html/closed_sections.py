"""The evidence of a report: closed sections, each with an anchor, and the list of contents."""

from dataclasses import dataclass

from perfscope.ui.html.markup import escape
from perfscope.ui.html.sections import PlainChart, Section
from perfscope.ui.html.tables import Table, table_body

PRINTED = frozenset(("lines", "kernels", "operators", "ranges", "communication", "devices"))
"""The tables that are printed although they are closed."""
ContentsEntry = tuple[str, str]
"""The id of a section and its title."""


@dataclass(frozen=True)
class ClosedSection:
    """A section of the evidence: its title is always shown, its body when it is opened."""

    id: str
    title: str
    summary: str
    body: str
    is_table: bool = False

    @property
    def markup(self) -> str:
        """The section as HTML."""
        css = "card evidence table" if self.is_table else "card evidence"
        css += " printed" if self.id in PRINTED else ""
        return (
            f'<details class="{css}" id="section-{self.id}"><summary><h2>{escape(self.title)}'
            f"</h2><small>{escape(self.summary)}</small></summary>{self.body}</details>"
        )


def closed_chart(section: Section, chart: str, buttons: str) -> ClosedSection:
    """Return the closed section of a chart, which is drawn when it is opened."""
    body = f'<p class="section-tools">{buttons}</p>{chart}'
    return ClosedSection(section.id, section.title, "chart", body)


def closed_plain_chart(chart: PlainChart) -> ClosedSection:
    """Return the closed section of a chart that is markup."""
    body = plain_chart_body(chart)
    return ClosedSection(chart.id, chart.title, "chart", body)


def plain_chart_body(chart: PlainChart) -> str:
    """Return the note and the markup of a chart."""
    label = escape(f"{chart.title}. {chart.note}")
    return (
        f'<p class="note">{escape(chart.note)}</p>'
        f'<div class="plain-chart" role="group" aria-label="{label}">{chart.markup}</div>'
    )


def closed_table(table: Table) -> ClosedSection:
    """Return the closed section of a table."""
    rows = len(table.rows)
    summary = f"{rows:,} {'row' if rows == 1 else 'rows'}"
    return ClosedSection(table.id, table.title, summary, table_body(table), is_table=True)


def contents_list(entries: list[ContentsEntry]) -> str:
    """Return the list of contents, a link for each section."""
    links = "".join(
        f'<li><a href="#{section_id}">{escape(title)}</a></li>' for section_id, title in entries
    )
    return f'<nav class="contents" aria-label="Contents"><ol>{links}</ol></nav>'
