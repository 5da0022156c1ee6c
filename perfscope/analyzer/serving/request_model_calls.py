"""How the requests of a process were served: the model call of each, and its wait for that call.

A server with its own batching calls the model once per batch. The call of a request is the last one
that begins after its arrival and ends before its answer; where each request has a thread of its
own, its calls are those of that thread. This holds only where a request needs one call: a model
that is called once per output token is left out, because it is not known which of the calls worked
on which request.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.run.serving_processes import GENERATE
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.serving.request_log import RequestLog, request_logs
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

SERVING_CALLS: Final = 0.9
"""The share of calls that must end with an answer, and of answers that must have a call."""
FEWEST_SERVED: Final = 20
SAME_BATCH: Final = 1.5
"""How much larger than the number of its answers the batch of a call may be: padded batches."""
NO_CALL: Final = -1
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ModelCalls:
    """The calls of the model in a process, in the order of their beginning."""

    begin_ns: Ints
    end_ns: Ints
    tid: Ints

    def busy_ns(self, begin_ns: Ints, end_ns: Ints) -> Ints:
        """Return for how long of each interval any call runs."""
        return self.busy_until(end_ns) - self.busy_until(begin_ns)

    def busy_until(self, at_ns: Ints) -> Ints:
        """Return for how long calls ran before each instant."""
        begins, ends = self.union
        before = np.concatenate(([0], np.cumsum(ends - begins)))
        place = np.searchsorted(begins, at_ns, side="right")
        last = np.maximum(place - 1, 0)
        inside = np.where(place > 0, np.minimum(at_ns, ends[last]) - begins[last], 0)
        return np.where(place > 0, before[last] + inside, 0)

    @cached_property
    def union(self) -> tuple[Ints, Ints]:
        """The intervals in which any call runs: beginnings and ends."""
        reached = np.maximum.accumulate(self.end_ns)
        is_first = np.concatenate(([True], self.begin_ns[1:] > reached[:-1]))
        first = np.flatnonzero(is_first)
        last = np.concatenate((first[1:] - 1, [len(self.begin_ns) - 1]))
        return self.begin_ns[first], reached[last]


@dataclass(frozen=True)
class ServedRequests:
    """The requests of a process with the model call of each; arrays have a value per request.

    `call` is its position in `calls`, `first_call` the first one of a request that has several.
    """

    log: RequestLog
    calls: ModelCalls
    arrival_ns: Ints
    end_ns: Ints
    call: Ints
    first_call: Ints
    is_distorted: Bools

    @property
    def service_begin_ns(self) -> Ints:
        """When the model began to work on each request."""
        return self.calls.begin_ns[self.first_call]

    @property
    def service_end_ns(self) -> Ints:
        """When the model was done with each request."""
        return self.calls.end_ns[self.call]

    @cached_property
    def queue_ns(self) -> Ints:
        """The wait of each request while the model works on others."""
        return self.calls.busy_ns(self.arrival_ns, self.service_begin_ns)

    @cached_property
    def batching_ns(self) -> Ints:
        """The wait of each request while the model is idle."""
        return self.service_begin_ns - self.arrival_ns - self.queue_ns

    @property
    def model_ns(self) -> Ints:
        """The time that the model works on each request, with the gaps between its calls."""
        return self.service_end_ns - self.service_begin_ns

    @property
    def after_ns(self) -> Ints:
        """The time of each request after the model."""
        return self.end_ns - self.service_end_ns

    @cached_property
    def passed_over_ns(self) -> Ints:
        """The part of the wait after the model took other requests instead: from the first call
        that begins after the arrival to its own; 0 where that is its own.
        """
        following = np.searchsorted(self.calls.begin_ns, self.arrival_ns, side="left")
        following = np.minimum(following, self.first_call)
        return self.service_begin_ns - self.calls.begin_ns[following]

    @cached_property
    def batch_sizes(self) -> Ints:
        """The requests of each call; calls with none or with an unknown number have 0."""
        return np.bincount(self.call, minlength=len(self.calls.begin_ns))

    def mean_ns(self, part: Ints) -> float:
        """Return the mean of a part of each request, over those that the profiling window did not
        slow down; over all where there is no other.
        """
        counted = part if self.is_distorted.all() else part[~self.is_distorted]
        return float(counted.mean())

    @property
    def busy_share(self) -> float:
        """The share of the time in which the model computes."""
        begins, ends = self.calls.union
        whole_ns = int(self.end_ns.max() - self.arrival_ns.min())
        return min(float((ends - begins).sum()) / max(whole_ns, 1), 1.0)


def served_requests(trace: Trace) -> list[ServedRequests]:
    """Return how the requests of each process were served, where that is known."""
    logs = [log for log in trace.fact(request_logs) if log.source != GENERATE]
    served = (served_by_log(trace, log) for log in logs)
    return [each for each in served if each is not None]


def served_by_log(trace: Trace, log: RequestLog) -> ServedRequests | None:
    """Return how the requests of a process were served.

    None where it calls no model, where requests need several calls, or with too few requests.
    """
    calls = model_calls(trace, log.process)
    if calls is None or len(log.undistorted) < FEWEST_SERVED:
        return None
    by_thread = served_in_own_threads(log, calls)
    if by_thread is not None:
        return by_thread
    arrival_ns, end_ns = log.arrivals_ns, log.arrivals_ns + log.durations_ns
    call = last_calls(calls, arrival_ns, end_ns)
    served = chosen_requests(log, calls, call != NO_CALL, call)
    if (call != NO_CALL).mean() < SERVING_CALLS or not is_one_call_each(trace, served):
        return None
    return served


def model_calls(trace: Trace, process: int) -> ModelCalls | None:
    """Return the calls of outermost modules in a process, None without any."""
    rows = rows_of_category(rows_of(trace, "ranges", process), "forward")
    if rows is None or not len(rows):
        return None
    begin_ns = column(rows, "ts")
    return ModelCalls(begin_ns, begin_ns + column(rows, "dur"), column(rows, "tid"))


def chosen_requests(
    log: RequestLog, calls: ModelCalls, is_chosen: Bools, call: Ints, first: Ints | None = None
) -> ServedRequests:
    """Return some of the requests of a log; `call` and `first` have a value for each of all."""
    arrival_ns, dur_ns = log.arrivals_ns[is_chosen], log.durations_ns[is_chosen]
    first_call = (call if first is None else first)[is_chosen]
    distorted = log.is_distorted[is_chosen]
    return ServedRequests(
        log, calls, arrival_ns, arrival_ns + dur_ns, call[is_chosen], first_call, distorted
    )


def last_calls(calls: ModelCalls, arrival_ns: Ints, end_ns: Ints) -> Ints:
    """Return for each request the last call that ends before it, NO_CALL if that began before its
    arrival.
    """
    order = np.argsort(calls.end_ns, kind="stable")
    place = np.searchsorted(calls.end_ns[order], end_ns, side="right") - 1
    last = order[np.maximum(place, 0)]
    is_own = (place >= 0) & (calls.begin_ns[last] >= arrival_ns)
    return np.where(is_own, last, NO_CALL)


def is_one_call_each(trace: Trace, served: ServedRequests) -> bool:
    """Return whether each request needs one call: nearly every call ends with an answer, no request
    reports a token before its call, and a batch has as many rows as requests.
    """
    if not len(served.call):
        return False
    sizes = served.batch_sizes[int(served.call.min()) : int(served.call.max()) + 1]
    if (sizes > 0).mean() < SERVING_CALLS:
        return False
    first_ns = column(served.log.complete, "first_token_ns")
    first_ns = first_ns[np.isin(served.log.arrivals_ns, served.arrival_ns)]
    if len(first_ns) == len(served.call):
        early = (first_ns >= 0) & (served.arrival_ns + first_ns < served.service_begin_ns)
        if early.mean() > 1.0 - SERVING_CALLS:
            return False
    rows = rows_per_request(trace, served)
    return rows is None or rows <= SAME_BATCH


def rows_per_request(trace: Trace, served: ServedRequests) -> float | None:
    """Return the number of rows in a batch per request that its call answers.

    It is the median over the batches that were examined, None without any.
    """
    padding = rows_of(trace, "padding", served.log.process)
    if padding is None:
        return None
    looked_ns, rows = column(padding, "ts"), column(padding, "rows")
    at = np.searchsorted(served.calls.begin_ns, looked_ns, side="left")
    known = at < len(served.calls.begin_ns)
    sizes = served.batch_sizes[at[known]]
    ratios = rows[known][sizes > 0] / sizes[sizes > 0]
    return float(np.median(ratios)) if len(ratios) else None


def served_in_own_threads(log: RequestLog, calls: ModelCalls) -> ServedRequests | None:
    """Return the requests where each calls the model itself, on the thread that handles it.

    None where that is not so for most of them, or where requests of a thread overlap: these are
    tasks of an event loop.
    """
    arrival_ns, end_ns = log.arrivals_ns, log.arrivals_ns + log.durations_ns
    tid, end_tid = column(log.complete, "tid"), column(log.complete, "end_tid")
    call, first = np.full(len(tid), NO_CALL), np.full(len(tid), NO_CALL)
    for thread in np.unique(tid):
        rows = np.flatnonzero(tid == thread)
        if (arrival_ns[rows][1:] < end_ns[rows][:-1]).any():
            return None
        of_thread = np.flatnonzero(calls.tid == thread)
        begins = np.searchsorted(calls.begin_ns[of_thread], arrival_ns[rows], side="left")
        ends = np.searchsorted(calls.end_ns[of_thread], end_ns[rows], side="right") - 1
        has_call = (ends >= begins) & (end_tid[rows] == thread)
        call[rows[has_call]] = of_thread[ends[has_call]]
        first[rows[has_call]] = of_thread[begins[has_call]]
    if (call != NO_CALL).mean() < SERVING_CALLS:
        return None
    return chosen_requests(log, calls, call != NO_CALL, call, first)


def request_frame(served: ServedRequests) -> pd.DataFrame:
    """Return the parts of each undistorted request in milliseconds; they sum to its whole time."""
    parts: dict[str, Floats] = {
        "queue": served.queue_ns / 1e6,
        "batching": served.batching_ns / 1e6,
        "model": served.model_ns / 1e6,
        "after": served.after_ns / 1e6,
    }
    return pd.DataFrame(parts)[~served.is_distorted]
