"""The devices over time, on a background of the job's steps: load, power, clocks, memory, links."""

from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.devices import devices
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Table


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no device counters to show."""
    return None if trace.has("device_counters") else trace.why_absent("device_counters")


def layout(view: View) -> list[Any]:
    """Return the table of devices, then their charts."""
    parts = devices(view.trace, view.chosen_rank)
    tables: list[Section | Table] = [part for part in parts if isinstance(part, Table)]
    charts = [part for part in parts if isinstance(part, Section)]
    return [*view.all_ranks_note(), *view.evidence(tables), *view.cards(charts)]


PAGE = Page("devices", "Devices", not_applicable, layout)
