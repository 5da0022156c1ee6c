"""The load of each server during the recording: running and waiting requests, the KV cache, and the
engine's own limits.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.serving.engine_samples import EngineSamples, engine_samples
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

AT_LIMIT: Final = 0.95
"""The part of its limit from which a batch counts as full: between two readings requests finish."""
PLATEAU: Final = 0.9
"""The share of readings that must agree, where the limit is only known from the largest batch."""
FEWEST_WAITING: Final = 3
"""Readings with waiting requests without which no limit is inferred."""


@dataclass(frozen=True)
class ServerLoad:
    """The load of one server; arrays have a value per reading, NaN unknown.

    `limit` is the most requests that the engine runs at once, None unknown; `limit_flag` is the
    option that set it, "" where the engine exports it or only its plateau shows it.
    """

    samples: EngineSamples
    running: Floats
    waiting: Floats
    kv_usage: Floats
    limit: float | None
    limit_flag: str

    @property
    def name(self) -> str:
        """The address of the server."""
        return self.samples.url

    @property
    def is_used(self) -> bool:
        """Whether any request ran, waited or finished."""
        return bool(
            highest(self.running) > 0 or highest(self.waiting) > 0 or (self.samples.finished or 0)
        )

    @property
    def waiting_share(self) -> float:
        """The share of readings in which requests waited."""
        known = self.waiting[np.isfinite(self.waiting)]
        return float((known > 0).mean()) if len(known) else 0.0

    @property
    def queue_share(self) -> float:
        """The share of the time of its requests that they wait, by Little's law.

        At any time `waiting` of `waiting + running` requests wait. Where the engine does not count
        them, it is the share of the latency of the finished requests.
        """
        waiting, running = mean(self.waiting), mean(self.running)
        if waiting is not None and running is not None:
            return waiting / (waiting + running) if waiting + running > 0 else 0.0
        queue_s = self.samples.mean_time(Meaning.QUEUE)
        whole_s = self.samples.mean_time(Meaning.E2E)
        if queue_s is None or not whole_s:
            return 0.0
        return min(max(queue_s / whole_s, 0.0), 1.0)

    @property
    def queue_s(self) -> float | None:
        """The mean time that a request waits, None unknown."""
        measured = self.samples.mean_time(Meaning.QUEUE)
        if measured is not None:
            return measured
        waiting, finished = mean(self.waiting), self.samples.finished
        if waiting is None or not finished:
            return None
        return waiting * self.samples.span_s / finished

    @property
    def is_at_limit(self) -> bool:
        """Whether the batch is full whenever requests wait."""
        when = (self.waiting > 0) & np.isfinite(self.running)
        if self.limit is None or int(when.sum()) < FEWEST_WAITING:
            return False
        return float((self.running[when] >= AT_LIMIT * self.limit).mean()) >= PLATEAU

    @property
    def kv_while_waiting(self) -> float | None:
        """The mean share of the KV cache in use while requests wait, None unknown."""
        when = (self.waiting > 0) & np.isfinite(self.kv_usage)
        return float(self.kv_usage[when].mean()) if when.any() else mean(self.kv_usage)

    @property
    def most_that_fit(self) -> float | None:
        """How many requests like these the KV cache holds, None unknown."""
        running, usage = mean(self.running), mean(self.kv_usage)
        if not running or not usage:
            return None
        return running / usage


def mean(values: Floats) -> float | None:
    """Return the mean of the known values, None without any."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def highest(values: Floats) -> float:
    """Return the highest of the known values, 0 without any."""
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else 0.0


def server_loads(trace: Trace) -> list[ServerLoad]:
    """Return the load of every server of a recording."""
    return [load_of(samples) for samples in trace.fact(engine_samples)]


def load_of(samples: EngineSamples) -> ServerLoad:
    """Return the load of one server."""
    unknown = np.full(samples.readings, math.nan)
    running, waiting, usage = (
        unknown if values is None else values
        for values in map(samples.gauge, (Meaning.RUNNING, Meaning.WAITING, Meaning.KV_USAGE))
    )
    limit, flag = limit_of(samples, running, waiting)
    return ServerLoad(samples, running, waiting, usage, limit, flag)


def limit_of(samples: EngineSamples, running: Floats, waiting: Floats) -> tuple[float | None, str]:
    """Return the most requests that run at once, and the option that sets it."""
    set_limit = samples.number_setting("max-running")
    if set_limit is not None:
        return set_limit, samples.settings["max-running"][0]
    exported = samples.gauge(Meaning.MAX_RUNNING)
    if exported is not None and highest(exported) > 0:
        return highest(exported), ""
    when = (waiting > 0) & np.isfinite(running)
    if int(when.sum()) < FEWEST_WAITING:
        return None, ""
    most = float(running[when].max())
    is_plateau = most > 0 and float((running[when] >= AT_LIMIT * most).mean()) >= PLATEAU
    return (most, "") if is_plateau else (None, "")
