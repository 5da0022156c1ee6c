"""The input of a page's layout: a run, its diagnosis, and the query of the address."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.summary.rank_view import shown_ranks
from perfscope.analyzer.verdict.rank_trace import trace_of_rank
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.address_query import query_of
from perfscope.ui.dashboard.components import components
from perfscope.ui.dashboard.figure_cards import graphs
from perfscope.ui.dashboard.grid import SEARCHED_FROM, grid_card
from perfscope.ui.dashboard.open_runs import Opened
from perfscope.ui.html.report import block, plain_block
from perfscope.ui.html.sections import PlainChart, Section
from perfscope.ui.html.tables import Table, table_card

RANK = "rank"
MOST_RANK_DIGITS = 9
ALL_RANKS = '<p class="note all-ranks">All ranks are shown until one is chosen above.</p>'
NO_DATA_CARD = (
    '<section class="card"><p class="muted">This recording has no data for this page.</p></section>'
)


@dataclass(frozen=True)
class View:
    """A run at the address `base`; `query` has the parameters after the question mark."""

    base: str
    opened: Opened
    query: dict[str, str]

    @classmethod
    def of(cls, opened: Opened, search: str | None) -> "View":
        """Return the view of a run at an address with the query `search`."""
        return cls(f"/run/{opened.found.id}", opened, query_of(search))

    @property
    def trace(self) -> Trace:
        """The run."""
        return self.opened.trace

    @property
    def diagnosis(self) -> Diagnosis:
        """The diagnosis of the run."""
        return self.opened.diagnosis

    @property
    def ranks(self) -> list[int]:
        """The ranks that can be chosen; one or none where there is nothing to choose."""
        return shown_ranks(self.diagnosis)

    @property
    def chosen_rank(self) -> int | None:
        """The rank that the address names, None for that of the verdict."""
        text = self.query.get(RANK, "")
        rank = int(text) if text.isdecimal() and len(text) <= MOST_RANK_DIGITS else None
        return rank if rank in self.ranks else None

    @property
    def rank(self) -> int:
        """The rank that is shown: the chosen one, else that of the verdict."""
        if self.chosen_rank is not None:
            return self.chosen_rank
        return self.diagnosis.budget_rank if self.diagnosis.budget_rank is not None else 0

    @property
    def shown_trace(self) -> Trace:
        """The recording of the chosen rank; the whole run without one."""
        if self.chosen_rank is None:
            return self.trace
        return trace_of_rank(self.trace, self.chosen_rank)

    def all_ranks_note(self) -> list[Any]:
        """Return the line above charts of all ranks; nothing where one is chosen, or the only."""
        if len(self.ranks) < 2 or self.chosen_rank is not None:
            return []
        return self.shown(ALL_RANKS)

    def address(self, page: str, **more: str) -> str:
        """Return the address of a page of the run; it keeps the chosen rank."""
        rank = {} if self.chosen_rank is None else {RANK: str(self.chosen_rank)}
        query = urlencode({**more, **rank})
        return f"{self.base}/{page}" + (f"?{query}" if query else "")

    def shown(self, markup: str, sections: list[Section] | None = None) -> list[Any]:
        """Return markup of the report as components, with the charts of `sections` in it."""
        return components(markup, self.address("timeline"), graphs(sections or []))

    def evidence(self, parts: Sequence[Section | PlainChart | Table]) -> list[Any]:
        """Return charts and tables in their order, a card each."""
        return [card for part in parts for card in self.card(part)] or self.shown(NO_DATA_CARD)

    def card(self, part: Section | PlainChart | Table) -> list[Any]:
        """Return the card of a chart or a table.

        A table of long cells is not a grid, nor is a short one whose rows have no details: the
        script of the grids is not needed for it.
        """
        if isinstance(part, PlainChart):
            return self.shown(plain_block(part))
        if isinstance(part, Section):
            return self.shown(block(part), [part])
        is_short = len(part.rows) < SEARCHED_FROM and not part.details
        if part.wraps or is_short:
            return self.shown(table_card(part))
        return [grid_card(part, self.query)]

    def cards(self, sections: list[Section]) -> list[Any]:
        """Return a card per chart, as in the report."""
        if not sections:
            return []
        return self.shown(f'<div class="charts">{"".join(map(block, sections))}</div>', sections)
