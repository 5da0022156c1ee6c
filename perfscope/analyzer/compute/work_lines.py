"""The program's line of findings on the work of operators."""

from perfscope.analyzer.budget.lines.finding_lines import line_in_loop, line_outside_torch_calls
from perfscope.analyzer.compute.operators_by_phase import operators_by_phase
from perfscope.analyzer.diagnosis import CodeLocation, Finding
from perfscope.traces.trace import Trace


def line_of_work(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line that calls operators, outside of torch's calls where most work is there."""
    if works_outside_torch_calls(trace, finding.processes[0]):
        return line_outside_torch_calls(trace, finding)
    return line_in_loop(trace, finding)


def works_outside_torch_calls(trace: Trace, process: int) -> bool:
    """Return whether operators outside of forward, backward and optimizer take most of the work."""
    rows = trace.fact(operators_by_phase)
    rows = rows[rows["process"] == process]
    outside_ns = float(rows[rows["phase"] == "other"]["host_self_ns"].sum())
    return outside_ns > 0.5 * float(rows["host_self_ns"].sum()) > 0.0
