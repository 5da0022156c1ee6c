"""Which operators and kernels the time goes to."""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.roof_sections import roof_sections
from perfscope.ui.html.trace_sections import device_work, host_work

PATH, TITLE = "operators", "Operators & kernels"


def not_applicable(trace: Trace) -> str | None:
    if any(trace.has(name) for name in ("ops", "kernels")):
        return None
    return (
        "no operators and kernels were recorded: a trace of the PyTorch profiler or Nsight Systems"
        " has them"
    )


def layout(view: View) -> list[Any]:
    parts = [device_work, roof_sections, host_work]
    return view.evidence([one for part in parts for one in part(view.trace, view.rank)])


def register(app: Dash, library: Library) -> None:
    """The browser sorts and saves by itself."""
