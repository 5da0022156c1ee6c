"""The devices over time, with the job's steps behind them: load, power, clocks, memory, links, and
how they are wired.
"""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.devices import devices
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Table

PATH, TITLE = "devices", "Devices"


def not_applicable(trace: Trace) -> str | None:
    return None if trace.has("device_counters") else trace.why_absent("device_counters")


def layout(view: View) -> list[Any]:
    parts = devices(view.trace)
    tables = [one for one in parts if isinstance(one, Table)]
    return [
        *view.evidence([*tables]),
        *view.cards([one for one in parts if isinstance(one, Section)]),
    ]


def register(app: Dash, library: Library) -> None:
    """Nothing moves here by itself."""
