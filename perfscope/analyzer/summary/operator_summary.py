"""The operators of the diagnosis: of each phase those that take the most, of the rank whose budget
is shown.
"""

from collections.abc import Mapping
from typing import Any

from perfscope.analyzer.compute.operators_by_phase import operators_by_phase
from perfscope.analyzer.diagnosis import Operator
from perfscope.traces.trace import Trace

OF_EACH_PHASE = 25


def operator_summary(trace: Trace, rank: int | None) -> list[Operator]:
    """The first OF_EACH_PHASE of each phase, most time first; none without windows."""
    frame = trace.fact(operators_by_phase)
    own = frame if rank is None else frame[frame["rank"] == rank]
    own = own if len(own) else frame
    on_device = bool(len(own)) and bool(own["device_ns"].sum())
    whole = float(own["device_ns" if on_device else "host_self_ns"].sum()) if len(own) else 0.0
    shown = own.groupby("phase", sort=False).head(OF_EACH_PHASE) if len(own) else own
    return [operator(row, whole, on_device) for row in shown.to_dict("records")]


def operator(row: Mapping[Any, Any], whole_ns: float, on_device: bool) -> Operator:
    """One row as it is printed."""
    count = int(row["count"])
    taken = row["device_ns"] if on_device else row["host_self_ns"]
    return Operator(
        process=int(row["process"]),
        phase=str(row["phase"]),
        name=str(row["name"]),
        shapes=str(row["shapes"]),
        count=count,
        host_ms=round(row["host_ns"] / count / 1e6, 6),
        host_self_ms=round(row["host_self_ns"] / count / 1e6, 6),
        device_ms=round(row["device_ns"] / count / 1e6, 6) if on_device else None,
        share=round(float(taken) / whole_ns, 6) if whole_ns else 0.0,
    )
