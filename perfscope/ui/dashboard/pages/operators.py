"""The operators and kernels that take the time, and how close they are to the hardware's limits."""

from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.roof_sections import roof_sections
from perfscope.ui.html.trace_sections import device_work_sections, host_work_sections

NEEDS_A_TRACE = (
    "no operators or kernels were recorded; traces of the PyTorch profiler and of Nsight Systems"
    " have them"
)


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no operators to show."""
    has_work = any(trace.has(name) for name in ("ops", "kernels"))
    return None if has_work else NEEDS_A_TRACE


def layout(view: View) -> list[Any]:
    """Return device work, rooflines, then operators and ranges."""
    parts = [device_work_sections, roof_sections, host_work_sections]
    return view.evidence([section for part in parts for section in part(view.trace, view.rank)])


PAGE = Page("operators", "Operators & kernels", not_applicable, layout)
