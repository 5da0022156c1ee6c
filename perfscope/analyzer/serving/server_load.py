"""The load of each server during the recording: running and waiting requests, the KV cache, and the
engine's own limits.
"""

import math
from dataclasses import dataclass, replace
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
FULL_ON_AVERAGE: Final = 0.85
"""The mean part of its limit from which a batch counts as full, if requests wait: a place is free
for a step between two requests.
"""
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
    def mean_running(self) -> float | None:
        """The mean number of running requests, None unknown.

        vLLM sets its gauge at the end of a step, when requests that have finished are gone and
        those that take their places have not begun: it can be far too low with short requests. The
        time that finished requests ran, per second, is not.
        """
        gauge, ran_s = mean(self.running), ran_seconds(self.samples)
        if ran_s is None or self.samples.span_s <= 0.0:
            return gauge
        return max(gauge or 0.0, ran_s / self.samples.span_s)

    @property
    def waited_per_s(self) -> float | None:
        """How long finished requests waited, in seconds per second, None unknown.

        By Little's law it is the mean number of waiting requests.
        """
        waited_s, span_s = self.samples.growth(Meaning.QUEUE), self.samples.span_s
        return None if waited_s is None or span_s <= 0.0 else waited_s / span_s

    @property
    def mean_waiting(self) -> float | None:
        """The mean number of waiting requests, None unknown.

        A gauge shows the instants at which the engine sets it: Triton sets it when a request ends.
        """
        gauge, waited = mean(self.waiting), self.waited_per_s
        return gauge if waited is None else max(gauge or 0.0, waited)

    @property
    def misses_waiting(self) -> bool:
        """Whether the gauge shows less than half of the requests that wait."""
        gauge, waited = mean(self.waiting), self.waited_per_s
        return gauge is None or (waited is not None and gauge < 0.5 * waited)

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
        waiting, running = self.mean_waiting, self.mean_running
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
        waiting, finished = self.mean_waiting, self.samples.finished
        if waiting is None or not finished:
            return None
        return waiting * self.samples.span_s / finished

    @property
    def is_at_limit(self) -> bool:
        """Whether the batch is full whenever requests wait, or on average."""
        when = (self.waiting > 0) & np.isfinite(self.running)
        if self.limit is None or int(when.sum()) < FEWEST_WAITING:
            return False
        is_usual = (self.mean_running or 0.0) >= FULL_ON_AVERAGE * self.limit
        return is_usual or is_plateau(self.running[when], self.limit)

    @property
    def kv_while_waiting(self) -> float | None:
        """The mean share of the KV cache in use while requests wait, None unknown."""
        when = (self.waiting > 0) & np.isfinite(self.kv_usage)
        return float(self.kv_usage[when].mean()) if when.any() else mean(self.kv_usage)

    @property
    def most_that_fit(self) -> float | None:
        """How many requests like these the KV cache holds, None unknown."""
        running, usage = self.mean_running, mean(self.kv_usage)
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
    load = ServerLoad(samples, running, waiting, usage, None, "")
    limit, flag = limit_of(load)
    return replace(load, limit=limit, limit_flag=flag)


def limit_of(load: ServerLoad) -> tuple[float | None, str]:
    """Return the most requests that run at once, and the option that sets it."""
    samples = load.samples
    set_limit = samples.number_setting("max-running")
    if set_limit is not None:
        return set_limit, samples.settings["max-running"][0]
    exported = samples.gauge(Meaning.MAX_RUNNING)
    if exported is not None and highest(exported) > 0:
        return highest(exported), ""
    when = (load.waiting > 0) & np.isfinite(load.running)
    if int(when.sum()) < FEWEST_WAITING:
        return None, ""
    most = highest(load.running)
    is_usual = (load.mean_running or 0.0) >= FULL_ON_AVERAGE * most
    if most > 0 and (is_usual or is_plateau(load.running[when], most)):
        return most, ""
    return None, ""


def is_plateau(running: Floats, limit: float) -> bool:
    """Return whether the batch is at its limit in most readings."""
    return float((running >= AT_LIMIT * limit).mean()) >= PLATEAU


def ran_seconds(samples: EngineSamples) -> float | None:
    """Return for how long the finished requests ran, in seconds, None unknown."""
    whole_s = samples.growth(Meaning.SERVICE)
    if whole_s is not None and samples.histogram(Meaning.SERVICE) is not None:
        return whole_s
    parts_s = [samples.growth(meaning) for meaning in (Meaning.PREFILL, Meaning.DECODE)]
    known = [seconds for seconds in parts_s if seconds is not None]
    return sum(known) if len(known) == len(parts_s) else None
