"""A simulated server with its own batching: requests and model calls as the probe records them.

It shares no code with the replay of the analyzer: it steps through events one by one.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice

import numpy as np

from perfscope.traces.trace import Trace
from tests.build import Rows, trace
from tests.serving.requests_trace import MS

EVENT_LOOP, MODEL_THREAD = 1, 2


@dataclass(frozen=True)
class SimulatedServer:
    """Times are in milliseconds; a batch of b requests takes `base + per_request * b`."""

    rate_per_s: float
    window: float = 0.0
    largest: int = 1000
    base: float = 5.0
    per_request: float = 0.5
    hand_over: float = 0.3
    after: float = 0.4
    preparation: float = 0.0
    """Work on each request before it is queued, while the model may be idle."""
    noise: float = 0.03
    newest_first: bool = False
    count: int = 3000
    seed: int = 0

    def serve(self) -> tuple[Rows, Rows]:
        """Return the rows of `requests` and `ranges`."""
        rng = np.random.default_rng(self.seed)
        arrivals = np.cumsum(rng.exponential(1e3 / self.rate_per_s, self.count))
        times = np.random.default_rng(self.seed + 1)
        waiting = deque(enumerate(arrivals))
        requests: Rows = []
        calls: Rows = []
        free = 0.0
        while waiting:
            first_ready = waiting[0][1] + self.preparation
            closes = max(first_ready, free) + self.window
            batch: list[tuple[int, float]] = []
            while waiting and len(batch) < self.largest:
                if waiting[0][1] + self.preparation > closes:
                    break
                batch.append(self.take(waiting, closes))
            if len(batch) == self.largest:
                closes = max(free, batch[-1][1] + self.preparation, first_ready)
            begins = closes + self.hand_over
            took = (self.base + self.per_request * len(batch)) * times.normal(1.0, self.noise)
            free = begins + took
            calls.append(call_row(begins, took))
            for number, arrival in batch:
                requests.append(handled_row(number, arrival, free + self.after))
        return requests, calls

    def take(self, waiting: "deque[tuple[int, float]]", closes: float) -> tuple[int, float]:
        """Take the next request out of those that wait when a batch closes."""
        if not self.newest_first:
            return waiting.popleft()
        place = sum(1 for _, arrival in islice(waiting, 200) if arrival <= closes) - 1
        newest = waiting[place]
        del waiting[place]
        return newest

    def trace(self, **tables: Rows) -> Trace:
        """Return the recording of the server."""
        requests, calls = self.serve()
        return trace(requests=requests, ranges=calls, **tables)

    def latencies_ms(self) -> np.ndarray:
        """Return the true latencies."""
        return np.array([row["dur"] / MS for row in self.serve()[0]])


def call_row(begins: float, took: float) -> dict[str, object]:
    """Return a call of the model."""
    times = {"ts": int(begins * MS), "dur": int(took * MS)}
    return {"tid": MODEL_THREAD, "category": "forward", "name": "Scorer", "value": 0, **times}


def handled_row(number: int, arrival: float, end: float) -> dict[str, object]:
    """Return a request that a handler answered."""
    times = {"ts": int(arrival * MS), "dur": int((end - arrival) * MS)}
    named = {"source": "handler", "state": "complete", "number": number}
    return {"tid": EVENT_LOOP, "end_tid": EVENT_LOOP, **named, **times}
