"""Recordings of a loop whose calls have stacks: samples and CPU time follow from the calls."""

from typing import Any

import numpy as np

from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop

MAIN = "<module> (./train.py:60);main (./train.py:50)"
MODULE = "_call_impl (torch/nn/modules/module.py:1790)"


class StackedLoop(Loop):
    """A loop that knows which stack each of its calls had, and how much of it was on a core."""

    def __init__(self) -> None:
        super().__init__()
        self.stacks: list[tuple[int, str]] = []
        self.cpu: list[tuple[int, float, float]] = [(0, 0.0, 0.0)]

    def run(
        self,
        ms: float,
        line: str,
        *,
        category: str | None = None,
        cpu: float = 1.0,
        queued: float = 0.0,
        **more: Any,
    ) -> "StackedLoop":
        """Add a call of this line, of a category of ranges or of none.

        `cpu` is the share of it on a core, `queued` that in which it waits for a core.
        """
        self.stacks.append((self.at, f"{MAIN};{line}" if line else MAIN))
        if category is None:
            self.idle(ms)
        else:
            self.call(category, ms, **more)
        _, on_core, delayed = self.cpu[-1]
        wall = ms * MS
        self.cpu.append((self.at, on_core + cpu * wall, delayed + queued * wall))
        return self

    def train(self, *, forward_ms: float = 2.0, slower: float = 1.0) -> "StackedLoop":
        """Add forward, backward and the optimizer, all of them `slower` times as long."""
        layer = f"{MODULE};forward (./train.py:20)"
        self.run(forward_ms * slower, layer, category="forward", object=1, value=1)
        self.run(3 * slower, "backward (torch/_tensor.py:1)", category="backward")
        return self.run(slower, "step (torch/optim/adam.py:1)", category="optimizer", object=1)

    def recording(self, *, every_ms: float = 7.0, **more: Any) -> Trace:
        """Return the trace with samples from outside and the counters of the thread."""
        sampled = np.arange(0, self.at, round(every_ms * MS))
        which = np.searchsorted([at for at, _ in self.stacks], sampled, side="right") - 1
        thread = {"process": self.process, "tid": self.tid}
        stacks = [
            {**thread, "ts": int(at), "weight_ns": MS, "stack": self.stacks[number][1]}
            for at, number in zip(sampled, which, strict=True)
        ]
        at, on_core, delayed = (np.array(values) for values in zip(*self.cpu, strict=True))
        counters = [
            {**thread, "ts": int(instant), "name": name, "value": float(value)}
            for name, series in (("cpu_ns", on_core), ("run_delay_ns", delayed))
            for instant, value in (
                (now, np.interp(now, at, series)) for now in range(0, self.at, 20 * MS)
            )
        ]
        counters += [
            {**thread, "tid": -1, "ts": int(instant), "name": "rss_bytes", "value": 1e9}
            for instant in range(0, self.at, 200 * MS)
        ]
        return self.trace(outside_stacks=stacks, counters=counters, **more)
