"""A discrete-event replay of a server's own batching: what other settings would make of the
recorded requests.

The recorded arrivals are served again by one model, with another window or another largest batch.
A batch of b requests takes a + c*b, fitted to the recorded calls, times the ratio to that fit of
the recorded call that is nearest in time: moments in which the machine was slow stay slow. The
replay of the recorded settings must reproduce what was measured: without the p50 nothing is
predicted, without the p99 only that is not.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from perfscope.analyzer.bootstrap import Floats, interval, resampled_means, resampled_quantiles
from perfscope.analyzer.diagnosis import Prediction, Speedup
from perfscope.analyzer.serving.batch_policy import BatchPolicy
from perfscope.analyzer.serving.served_requests import Bools, ServedRequests
from perfscope.traces.intervals import Ints

MOST_REPLAYED: Final = 50_000
"""Requests of the recording that are replayed, the first ones: a replay takes 10 us for each."""
FEWEST_SIZES: Final = 2
FEWEST_OF_SIZE: Final = 3
MOST_ERRORS: Final = {0.5: 0.15, 0.99: 0.25}
"""How far a quantile in a replay of the recorded settings may be from what was measured."""
LEAST_MARGIN: Final = 0.05
"""No prediction is more certain than this share: the machine is another one at another time."""
FARTHEST_SIZE: Final = 2.0
"""A batch may be predicted to be so many times larger than the largest that was recorded: beyond
the caches a request takes longer than the fit says.
"""
LATENCIES: Final = (("e2e_p50_ms", 0.5), ("e2e_p99_ms", 0.99))


@dataclass(frozen=True)
class StepTime:
    """The time of a model call by its number of requests: `base_ns + per_request_ns * size`.

    `begin_ns` and `ratios` are the recorded calls, in order, and their times over this. `largest`
    is the largest size that was recorded.
    """

    base_ns: float
    per_request_ns: float
    begin_ns: Floats
    ratios: Floats
    largest: int

    def of_size(self, size: int) -> float:
        """Return the usual time of a batch, in nanoseconds."""
        return self.base_ns + self.per_request_ns * size


@dataclass(frozen=True)
class ReplaySettings:
    """How batches are made: the wait for more requests, and the largest batch (None: no limit)."""

    window_ns: float
    largest: int | None


@dataclass(frozen=True)
class Replayed:
    """Latencies of the requests in a replay, in ms, the requests per second that it finished, and
    the largest batch.
    """

    e2e_ms: Floats
    per_second: float
    largest: int

    def quantile(self, share: float) -> float:
        """Return a quantile of the latency, in milliseconds."""
        return float(np.quantile(self.e2e_ms, share))


@dataclass(frozen=True)
class BatchReplay:
    """The recorded requests, ready to be served again, in the order of their arrival.

    `hand_overs_ns` has the recorded time from a complete batch to its call for each call of `step`;
    `after_ns` the time from the end of the call to the answer for each request. Latencies are those
    of the requests in `is_counted`, outside of profiling windows; `measured_ms` are the recorded
    ones. Until `backlog_until_ns` the model served requests that came before the recording.
    """

    arrival_ns: Ints
    hand_overs_ns: Floats
    after_ns: Ints
    step: StepTime
    settings: ReplaySettings
    measured_ms: Floats
    is_counted: Bools
    backlog_until_ns: float

    def with_settings(self, settings: ReplaySettings, free_ns: float = 0.0) -> Replayed:
        """Serve the requests again with these settings, by a model that is free from `free_ns`."""
        ready = self.arrival_ns.astype(np.float64)
        ends = np.empty(len(ready))
        place = largest = 0
        most = len(ready) if settings.largest is None else settings.largest
        while place < len(ready):
            taken_ns = max(ready[place], free_ns)
            close_ns = taken_ns + settings.window_ns
            last = place + int(np.searchsorted(ready[place : place + most], close_ns, "right"))
            if last - place >= most:
                close_ns = max(taken_ns, ready[last - 1])
            near = min(
                int(np.searchsorted(self.step.begin_ns, close_ns)), len(self.step.ratios) - 1
            )
            took_ns = self.step.of_size(last - place) * self.step.ratios[near]
            free_ns = close_ns + self.hand_overs_ns[near] + took_ns
            ends[place:last] = free_ns
            largest, place = max(largest, last - place), last
        span_s = max(float(ends[-1] - ready[0]) / 1e9, 1e-9)
        e2e_ns = (ends - ready + self.after_ns)[self.is_counted]
        return Replayed(e2e_ns / 1e6, len(ready) / span_s, largest)

    @cached_property
    def recorded(self) -> Replayed:
        """The replay of the recorded settings, which begins with the recorded backlog."""
        return self.with_settings(self.settings, self.backlog_until_ns)

    def error(self, share: float) -> float:
        """Return how far a quantile of that replay is from what was measured, as a share."""
        return self.recorded.quantile(share) / float(np.quantile(self.measured_ms, share)) - 1.0

    def reproduces(self, share: float) -> bool:
        """Return whether that quantile is close to what was measured."""
        return abs(self.error(share)) <= MOST_ERRORS[share]


def batch_replay(served: ServedRequests, policy: BatchPolicy) -> BatchReplay | None:
    """Return the requests of a process, ready to be served again; None where the time of a call by
    its size is not known, or where several calls run at once.
    """
    step = step_time(served)
    if step is None or has_calls_at_once(served):
        return None
    order = np.argsort(served.arrival_ns, kind="stable")[:MOST_REPLAYED]
    is_counted = ~served.is_distorted[order]
    return BatchReplay(
        arrival_ns=served.arrival_ns[order],
        hand_overs_ns=policy.hand_overs_ns,
        after_ns=served.after_ns[order],
        step=step,
        settings=ReplaySettings(policy.window_ns, policy.largest),
        measured_ms=(served.end_ns - served.arrival_ns)[order][is_counted] / 1e6,
        is_counted=is_counted,
        backlog_until_ns=backlog_until_ns(served, policy),
    )


def backlog_until_ns(served: ServedRequests, policy: BatchPolicy) -> float:
    """Return until when the model served requests that arrived before the recorded ones."""
    hand_over_ns = float(np.median(policy.hand_overs_ns))
    return float(served.service_begin_ns.min()) - hand_over_ns - policy.window_ns


def has_calls_at_once(served: ServedRequests) -> bool:
    """Return whether calls of the model overlap."""
    return len(served.calls.union[0]) < 0.99 * len(served.calls.begin_ns)


def step_time(served: ServedRequests) -> StepTime | None:
    """Return the time of a call by its size: a line through the medians of each size, weighted by
    how often it occurs; None with fewer than two sizes.
    """
    sizes = served.batch_sizes
    known = np.flatnonzero(sizes > 0)
    took_ns = (served.calls.end_ns - served.calls.begin_ns)[known].astype(np.float64)
    of_call = sizes[known]
    different, counts = np.unique(of_call, return_counts=True)
    different, counts = different[counts >= FEWEST_OF_SIZE], counts[counts >= FEWEST_OF_SIZE]
    if len(different) < FEWEST_SIZES:
        return None
    medians = np.array([np.median(took_ns[of_call == size]) for size in different])
    slope, base = np.polyfit(different, medians, 1, w=np.sqrt(counts))
    if base <= 0.0 or slope < 0.0:
        base, slope = max(float(base), 0.0), float(np.median(took_ns / of_call))
    begin_ns = served.calls.begin_ns[known].astype(np.float64)
    fitted = StepTime(float(base), float(slope), begin_ns, took_ns, int(of_call.max()))
    usual_ns = np.array([fitted.of_size(int(size)) for size in of_call])
    return replace(fitted, ratios=took_ns / usual_ns)


def predicted(replay: BatchReplay, settings: ReplaySettings) -> list[Prediction]:
    """Return the latencies and the rate with other settings, those that a replay of the recorded
    settings reproduces; nothing without the median, or where batches would be far larger than any
    that was recorded.

    The bounds are the 95 % interval of the quantile, widened by the error of the replay of the
    recorded settings.
    """
    replayed = replay.with_settings(settings)
    is_too_large = replayed.largest > FARTHEST_SIZE * replay.step.largest
    if not replay.reproduces(0.5) or is_too_large:
        return []
    drawn = resampled_quantiles(
        replayed.e2e_ms, np.ones(len(replayed.e2e_ms)), [share for _, share in LATENCIES]
    )
    found = []
    for place, (metric, share) in enumerate(LATENCIES):
        if not replay.reproduces(share):
            continue
        margin = max(abs(replay.error(share)), LEAST_MARGIN)
        low, high = interval(drawn[1:, place], 0.95)
        before = float(np.quantile(replay.measured_ms, share))
        found.append(prediction(metric, before, (low, replayed.quantile(share), high), margin))
    rate = replayed.per_second
    rates = (rate, rate, rate)
    return [*found, prediction("requests_per_s", replay.recorded.per_second, rates, LEAST_MARGIN)]


def replayed_speedup(replay: BatchReplay, settings: ReplaySettings) -> Speedup | None:
    """Return by how much the mean latency falls with other settings, None where nothing is
    predicted.
    """
    if not predicted(replay, settings):
        return None
    recorded, margin = float(replay.measured_ms.mean()), max(abs(replay.error(0.5)), LEAST_MARGIN)
    e2e_ms = replay.with_settings(settings).e2e_ms
    low, high = interval(resampled_means(e2e_ms.reshape(-1, 1))[:, 0], 0.95)
    return Speedup(
        low=round(recorded / (high * (1.0 + margin)), 3),
        likely=round(recorded / float(e2e_ms.mean()), 3),
        high=round(recorded / (low * (1.0 - margin)), 3),
    )


def prediction(
    metric: str, before: float, values: tuple[float, float, float], margin: float
) -> Prediction:
    """Return a prediction from its low, likely and high value; `margin` widens it by a share."""
    low, likely, high = values
    return Prediction(
        metric=metric,
        before=round(before, 4),
        low=round(min(low, likely) * (1.0 - margin), 4),
        likely=round(likely, 4),
        high=round(max(high, likely) * (1.0 + margin), 4),
    )
