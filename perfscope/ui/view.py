"""What a page gets to lay itself out: one run, read and diagnosed, and what the address asks for."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.trace import Trace
from perfscope.ui.cards import graphs
from perfscope.ui.components import components
from perfscope.ui.library import Opened
from perfscope.ui.report import block
from perfscope.ui.sections import Section


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

    def interval_s(self) -> tuple[float, float] | None:
        """The stretch of time that the address points at; None without one, or with one that is no stretch."""
        try:
            begin, end = float(self.query["from"]), float(self.query["to"])
        except (KeyError, ValueError):
            return None
        return (begin, end) if abs(begin) < abs(end) < 1e12 and begin < end else None

    def shown(self, markup: str, sections: list[Section] | None = None) -> list[Any]:
        """Markup of the report as components, the charts of `sections` where it has places for them."""
        return components(markup, self.base, graphs(sections or []))

    def cards(self, sections: list[Section]) -> list[Any]:
        """A card a section, as in the report."""
        if not sections:
            return []
        return self.shown(f'<div class="charts">{"".join(map(block, sections))}</div>', sections)
