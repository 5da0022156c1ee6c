"""What a page gets to lay itself out: one run, read and diagnosed, and what the address asks
for.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.cards import graphs
from perfscope.ui.dashboard.components import components
from perfscope.ui.dashboard.library import Opened
from perfscope.ui.html.report import block
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Table, table_card


@dataclass(frozen=True)
class View:
    """`base` is the address of the run, `query` what stands behind the question mark."""

    base: str
    opened: Opened
    query: dict[str, str]

    @classmethod
    def of(cls, opened: Opened, search: str | None) -> "View":
        asked = {name: values[-1] for name, values in parse_qs((search or "").lstrip("?")).items()}
        return cls(f"/run/{opened.found.id}", opened, asked)

    @property
    def trace(self) -> Trace:
        return self.opened.trace

    @property
    def diagnosis(self) -> Diagnosis:
        return self.opened.diagnosis

    @property
    def rank(self) -> int:
        """The rank that the verdict speaks of."""
        return self.diagnosis.budget_rank if self.diagnosis.budget_rank is not None else 0

    def shown(self, markup: str, sections: list[Section] | None = None) -> list[Any]:
        """Markup of the report as components, the charts of `sections` where it has places for
        them.
        """
        return components(markup, self.base, graphs(sections or []))

    def evidence(self, parts: list[Section | Table]) -> list[Any]:
        """Charts and tables in their order, a card each; says so where nothing is to be told."""
        markup = "".join(table_card(one) if isinstance(one, Table) else block(one) for one in parts)
        if not markup:
            markup = (
                '<section class="card"><p class="muted">The recording holds nothing to tell'
                " here.</p></section>"
            )
        return self.shown(markup, [one for one in parts if isinstance(one, Section)])

    def cards(self, sections: list[Section]) -> list[Any]:
        """A card a section, as in the report."""
        if not sections:
            return []
        return self.shown(f'<div class="charts">{"".join(map(block, sections))}</div>', sections)
