"""Recordings of training loops, made call by call: each call moves the clock, `trace()` returns the
Trace.
"""

from typing import Any

from perfscope.traces.trace import Trace
from tests import build

MS = 1_000_000
SECOND_RANK = {
    **build.MAIN,
    "process": 1,
    "pid": 101,
    "ns_pid": 101,
    "rank": 1,
    "local_rank": 1,
}
"""The row of the process of rank 1, on the host of `build.MAIN`."""


class Loop:
    """Rows of `loader`, `ranges`, `fetches` and the like of one process; times in milliseconds."""

    def __init__(self, process: int = 0, tid: int = 100) -> None:
        self.process, self.tid = process, tid
        self.at = 0
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, ms: float, **columns: Any) -> "Loop":
        """Add a row at the current time, and move the clock to its end."""
        dur = round(ms * MS)
        row = {"process": self.process, "tid": self.tid, "ts": self.at, "dur": dur, **columns}
        self.tables.setdefault(table, []).append(row)
        self.at += dur
        return self

    def idle(self, ms: float) -> "Loop":
        """Add code that nothing times."""
        self.at += round(ms * MS)
        return self

    def next(
        self, ms: float = 1, *, iterator: int = 1, loader: int = 1, workers: int = 2, **more: Any
    ) -> "Loop":
        """Add a request for a batch."""
        columns = {
            "kind": "next",
            "iterator": iterator,
            "loader": loader,
            "workers": workers,
            "end": 0,
            **more,
        }
        return self.add("loader", ms, **columns)

    def end(self, ms: float = 1, *, iterator: int = 1, loader: int = 1) -> "Loop":
        """Add a request for a batch that finds the iterator exhausted."""
        return self.next(ms, iterator=iterator, loader=loader, end=1)

    def start(
        self, ms: float = 1, *, iterator: int = 1, loader: int = 1, workers: int = 2
    ) -> "Loop":
        """Add the start of an iterator."""
        return self.add(
            "loader", ms, kind="start", iterator=iterator, loader=loader, workers=workers
        )

    def call(self, category: str, ms: float, **columns: Any) -> "Loop":
        """Add a timed range."""
        return self.add("ranges", ms, category=category, name=category, **columns)

    def forward(self, ms: float = 2, *, module: int = 1, training: int = 1) -> "Loop":
        """Add a call of a top-level module."""
        return self.call("forward", ms, object=module, value=training)

    def backward(self, ms: float = 3) -> "Loop":
        """Add a backward pass."""
        return self.call("backward", ms)

    def optimizer(self, ms: float = 1, *, code: int = 1) -> "Loop":
        """Add an optimizer step."""
        return self.call("optimizer", ms, object=code)

    def work(self) -> "Loop":
        """Add 2 ms of forward, 3 of backward and 1 of the optimizer."""
        return self.forward().backward().optimizer()

    def sampled(
        self, table: str, every_ms: float, tid: int | None = None, **columns: Any
    ) -> "Loop":
        """Add a sample every `every_ms`, from time zero to now."""
        rows = self.tables.setdefault(table, [])
        for at in range(0, self.at, round(every_ms * MS)):
            rows.append({"process": self.process, "tid": tid or self.tid, "ts": at, **columns})
        return self

    def trace(
        self, *, manifest: dict[str, Any] | None = None, **more: list[dict[str, Any]]
    ) -> Trace:
        """Return the Trace of these calls and of further tables."""
        return build.trace(manifest=manifest, **{**self.tables, **more})


def trace_of_two_ranks(first: Loop, second: Loop, **more: Any) -> Trace:
    """Return the Trace of two ranks on one host, from a loop of process 0 and one of process 1."""
    tables = {name: first.tables[name] + second.tables[name] for name in first.tables}
    return build.trace(**{"processes": [build.MAIN, SECOND_RANK], **tables, **more})
