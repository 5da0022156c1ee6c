"""The operators of the diagnosis: those of each phase that take most time, of the rank whose budget
is shown.
"""

from collections.abc import Mapping
from typing import Any

from perfscope.analyzer.compute.operators_by_phase import operators_by_phase
from perfscope.analyzer.diagnosis import Operator
from perfscope.traces.trace import Trace

MOST_PER_PHASE = 25


def operator_summary(trace: Trace, rank: int | None) -> list[Operator]:
    """Return the operators of each phase with most time; none without windows."""
    frame = trace.fact(operators_by_phase)
    of_rank = frame if rank is None else frame[frame["rank"] == rank]
    rows = of_rank if len(of_rank) else frame
    if not len(rows):
        return []
    on_device = bool(rows["device_ns"].sum())
    whole_ns = float(rows["device_ns" if on_device else "host_self_ns"].sum())
    shown = rows.groupby("phase", sort=False).head(MOST_PER_PHASE)
    return [operator_of_row(row, whole_ns, on_device) for row in shown.to_dict("records")]


def operator_of_row(row: Mapping[Any, Any], whole_ns: float, on_device: bool) -> Operator:
    """Return one operator; its share is of `whole_ns`."""
    count = int(row["count"])
    taken_ns = row["device_ns"] if on_device else row["host_self_ns"]
    return Operator(
        process=int(row["process"]),
        phase=str(row["phase"]),
        name=str(row["name"]),
        shapes=str(row["shapes"]),
        count=count,
        host_ms=round(row["host_ns"] / count / 1e6, 6),
        host_self_ms=round(row["host_self_ns"] / count / 1e6, 6),
        device_ms=round(row["device_ns"] / count / 1e6, 6) if on_device else None,
        share=round(float(taken_ns) / whole_ns, 6) if whole_ns else 0.0,
    )
