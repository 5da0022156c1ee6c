"""Traces of one GPU, made row by row: operators, launches with the kernels they start, and calls
that wait. Times in us.
"""

from typing import Any

from perfscope.traces.trace import Trace
from tests.build import trace

US = 1_000
MAIN_TID, STREAM = 100, 7


class Gpu:
    """Rows of one process with one device; `started` adds a launch and its kernel."""

    def __init__(self, process: int = 0, device: int = 0) -> None:
        self.process, self.device = process, device
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, at: float, dur: float, **columns: Any) -> "Gpu":
        """Add a row to a table."""
        row = {"process": self.process, "ts": round(at * US), "dur": round(dur * US), **columns}
        self.rows.setdefault(table, []).append(row)
        return self

    def op(self, at: float, dur: float, name: str = "aten::mm", **columns: Any) -> "Gpu":
        return self.add("ops", at, dur, **{"tid": MAIN_TID, "name": name, **columns})

    def span(
        self, at: float, dur: float, category: str, name: str = "", tid: int = MAIN_TID
    ) -> "Gpu":
        return self.add("ranges", at, dur, tid=tid, category=category, name=name or category)

    def sync(self, at: float, dur: float, tid: int = MAIN_TID) -> "Gpu":
        return self.add("launches", at, dur, tid=tid, name="cudaStreamSynchronize", kind="sync")

    def started(
        self,
        call: float,
        at: float,
        dur: float,
        name: str = "gemm",
        *,
        tid: int = MAIN_TID,
        call_dur: float = 5,
        **kernel: Any,
    ) -> "Gpu":
        """Add a kernel that runs for `dur` from `at`, launched by a call at `call`."""
        kind = "communication" if name.startswith("nccl") else "compute"
        self.add(
            "launches",
            call,
            call_dur,
            tid=tid,
            name="cudaLaunchKernel",
            kind=kernel.pop("call_kind", "kernel"),
        )
        place = {"device": self.device, "stream": STREAM, "launch": len(self.rows["launches"]) - 1}
        return self.add("kernels", at, dur, **{**place, "name": name, "kind": kind, **kernel})

    def copied(
        self, call: float, at: float, dur: float, direction: str = "h2d", *, call_dur: float = 5
    ) -> "Gpu":
        """Add a copy that runs for `dur` from `at`, launched by a call at `call`."""
        self.add("launches", call, call_dur, tid=MAIN_TID, name="cudaMemcpyAsync", kind="copy")
        launch = len(self.rows["launches"]) - 1
        return self.add(
            "copies", at, dur, device=self.device, stream=STREAM, direction=direction, launch=launch
        )

    def trace(self, **others: Any) -> Trace:
        return trace(**self.rows, **others)
