"""Writes down a training loop call by call, as the probe would: each call moves the clock,
`trace()` gives the Trace.
"""

from typing import Any

from perfscope.traces.trace import Trace
from tests import build

MS = 1_000_000


class Loop:
    """Rows of `loader`, `ranges`, `fetches` and the like of one process; times in milliseconds."""

    def __init__(self, process: int = 0, tid: int = 100) -> None:
        self.process, self.tid = process, tid
        self.at = 0
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, ms: float, **columns: Any) -> "Loop":
        """One row now, and the clock behind it."""
        dur = round(ms * MS)
        row = {"process": self.process, "tid": self.tid, "ts": self.at, "dur": dur, **columns}
        self.tables.setdefault(table, []).append(row)
        self.at += dur
        return self

    def idle(self, ms: float) -> "Loop":
        """Code that nothing times."""
        self.at += round(ms * MS)
        return self

    def next(
        self, ms: float = 1, *, iterator: int = 1, loader: int = 1, workers: int = 2, **more: Any
    ) -> "Loop":
        """The loop asks for a batch."""
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
        """The loop asks, and the iterator is exhausted."""
        return self.next(ms, iterator=iterator, loader=loader, end=1)

    def start(
        self, ms: float = 1, *, iterator: int = 1, loader: int = 1, workers: int = 2
    ) -> "Loop":
        """An iterator is built."""
        return self.add(
            "loader", ms, kind="start", iterator=iterator, loader=loader, workers=workers
        )

    def call(self, category: str, ms: float, **columns: Any) -> "Loop":
        """A timed range."""
        return self.add("ranges", ms, category=category, name=category, **columns)

    def forward(self, ms: float = 2, *, module: int = 1, training: int = 1) -> "Loop":
        """A top-level module call."""
        return self.call("forward", ms, object=module, value=training)

    def backward(self, ms: float = 3) -> "Loop":
        """A backward pass."""
        return self.call("backward", ms)

    def optimizer(self, ms: float = 1, *, code: int = 1) -> "Loop":
        """An optimizer step."""
        return self.call("optimizer", ms, object=code)

    def work(self) -> "Loop":
        """Forward 2, backward 3, optimizer 1."""
        return self.forward().backward().optimizer()

    def sampled(
        self, table: str, every_ms: float, tid: int | None = None, **columns: Any
    ) -> "Loop":
        """Sample rows from time zero to now."""
        rows = self.tables.setdefault(table, [])
        for at in range(0, self.at, round(every_ms * MS)):
            rows.append({"process": self.process, "tid": tid or self.tid, "ts": at, **columns})
        return self

    def trace(
        self, *, manifest: dict[str, Any] | None = None, **more: list[dict[str, Any]]
    ) -> Trace:
        """What was written down, and further tables."""
        return build.trace(manifest=manifest, **{**self.tables, **more})
