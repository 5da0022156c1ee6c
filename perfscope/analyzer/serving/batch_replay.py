"""A discrete-event replay of a server's own batching: what other settings would make of the
recorded requests.

The recorded arrivals are served again by one model, with another window or another largest batch.
A batch of b requests takes a + c*b, fitted to the recorded calls, times the ratio to that fit of
the recorded call that is nearest in time: moments in which the machine was slow stay slow. The
replay of the recorded settings must reproduce what was measured: without the p50 nothing is
predicted, without the p99 only that is not.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from perfscope.analyzer.bootstrap import Floats, interval, resampled_means, resampled_quantiles
from perfscope.analyzer.diagnosis import Prediction, Speedup
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.serving.batch_policy import BatchPolicy
from perfscope.analyzer.serving.request_model_calls import Bools, ServedRequests
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
class Line:
    """A time by the number of requests in a batch: `base_ns + per_request_ns * size`."""

    base_ns: float
    per_request_ns: float

    def at(self, sizes: Floats) -> Floats:
        """Return the times of batches, in nanoseconds."""
        return self.base_ns + self.per_request_ns * sizes


@dataclass(frozen=True)
class StepTime:
    """The time of a model call by its number of requests.

    `begin_ns` and `ratios` are the recorded calls, in order, and their times over `line`. `largest`
    is the largest size that was recorded.
    """

    line: Line
    begin_ns: Floats
    ratios: Floats
    largest: int

    def of_size(self, size: int) -> float:
        """Return the usual time of a batch, in nanoseconds."""
        return self.line.base_ns + self.line.per_request_ns * size


@dataclass(frozen=True)
class ReplaySettings:
    """How batches are made: the wait for more requests, and the largest batch (None: no limit).

    `replicas` take the requests in turn, each with a model of its own that is as fast.
    """

    window_ns: float
    largest: int | None
    replicas: int = 1


@dataclass(frozen=True)
class WithoutWindow:
    """What a server that waits for batches to fill hides of one that does not.

    `hand_over`: 0 is the least recorded time from a complete batch to its call, 1 the recorded
    ones, which contain the delay of a timer. `saving`: the part of a call that is saved because the
    core does not sleep before it.
    """

    hand_over: float
    saving: float


AS_RECORDED: Final = WithoutWindow(hand_over=1.0, saving=0.0)


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

    `hand_overs_ns` has the recorded time from a complete batch to its call for each call of `step`.
    `after_ratios` are the times from the end of the call to the answer of each request, over
    `after_by_size` for the size of its batch. Latencies are those of the requests in `is_counted`,
    outside of profiling windows; `measured_ms` are the recorded ones. Until `backlog_until_ns` the
    model served requests that came before the recording.
    """

    arrival_ns: Ints
    hand_overs_ns: Floats
    after_ratios: Floats
    after_by_size: Line
    step: StepTime
    settings: ReplaySettings
    measured_ms: Floats
    is_counted: Bools
    backlog_until_ns: float
    on_cpu: bool

    def with_settings(
        self,
        settings: ReplaySettings,
        assumption: WithoutWindow = AS_RECORDED,
        free_ns: float = 0.0,
    ) -> Replayed:
        """Serve the requests again with these settings, by a model that is free from `free_ns`."""
        ready = self.arrival_ns.astype(np.float64)
        ends, sizes = np.empty(len(ready)), np.empty(len(ready))
        for first in range(settings.replicas):
            of_replica = slice(first, None, settings.replicas)
            ends[of_replica], sizes[of_replica] = self.served_by_one(
                ready[of_replica], settings, assumption, free_ns
            )
        span_s = max(float(ends.max() - ready[0]) / 1e9, 1e-9)
        after_ns = self.after_ratios * self.after_by_size.at(sizes)
        e2e_ns = (ends - ready + after_ns)[self.is_counted]
        return Replayed(e2e_ns / 1e6, len(ready) / span_s, int(sizes.max()))

    def served_by_one(
        self, ready: Floats, settings: ReplaySettings, assumption: WithoutWindow, free_ns: float
    ) -> tuple[Floats, Floats]:
        """Return when the batch of each request ends in one model, in ns, and its size."""
        ends, sizes = np.empty(len(ready)), np.empty(len(ready))
        least_ns = float(self.hand_overs_ns.min())
        hand_overs_ns = least_ns + assumption.hand_over * (self.hand_overs_ns - least_ns)
        place = 0
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
            free_ns = close_ns + hand_overs_ns[near] + (1.0 - assumption.saving) * took_ns
            ends[place:last], sizes[place:last] = free_ns, last - place
            place = last
        return ends, sizes

    @cached_property
    def recorded(self) -> Replayed:
        """The replay of the recorded settings, which begins with the recorded backlog."""
        return self.with_settings(self.settings, free_ns=self.backlog_until_ns)

    def assumptions(self, settings: ReplaySettings) -> tuple[WithoutWindow, ...]:
        """Return what is assumed of other settings: for the lowest, likely and highest latency."""
        if settings.window_ns >= self.settings.window_ns:
            return AS_RECORDED, AS_RECORDED, AS_RECORDED
        saving = LIMITS.warm_core_saving if self.on_cpu else 0.0
        most_saving = LIMITS.most_warm_core_saving if self.on_cpu else 0.0
        return WithoutWindow(0.0, most_saving), WithoutWindow(0.5, saving), AS_RECORDED

    def error(self, share: float) -> float:
        """Return how far a quantile of that replay is from what was measured, as a share."""
        return self.recorded.quantile(share) / float(np.quantile(self.measured_ms, share)) - 1.0

    def reproduces(self, share: float) -> bool:
        """Return whether that quantile is close to what was measured."""
        return abs(self.error(share)) <= MOST_ERRORS[share]


def batch_replay(
    served: ServedRequests, policy: BatchPolicy, *, on_cpu: bool
) -> BatchReplay | None:
    """Return the requests of a process, ready to be served again; None where the time of a call by
    its size is not known, or where several calls run at once.
    """
    step = step_time(served)
    if step is None or has_calls_at_once(served):
        return None
    order = np.argsort(served.arrival_ns, kind="stable")[:MOST_REPLAYED]
    is_counted = ~served.is_distorted[order]
    after_ns = np.maximum(served.after_ns, 1).astype(np.float64)
    sizes = served.batch_sizes[served.call].astype(np.float64)
    after_by_size = line_through_medians(sizes, after_ns) or Line(float(np.median(after_ns)), 0.0)
    return BatchReplay(
        arrival_ns=served.arrival_ns[order],
        hand_overs_ns=policy.hand_overs_ns,
        after_ratios=after_ns[order] / after_by_size.at(sizes)[order],
        after_by_size=after_by_size,
        step=step,
        settings=ReplaySettings(policy.window_ns, policy.largest),
        measured_ms=(served.end_ns - served.arrival_ns)[order][is_counted] / 1e6,
        is_counted=is_counted,
        backlog_until_ns=backlog_until_ns(served, policy),
        on_cpu=on_cpu,
    )


def backlog_until_ns(served: ServedRequests, policy: BatchPolicy) -> float:
    """Return until when the model served requests that arrived before the recorded ones."""
    hand_over_ns = float(np.median(policy.hand_overs_ns))
    return float(served.service_begin_ns.min()) - hand_over_ns - policy.window_ns


def has_calls_at_once(served: ServedRequests) -> bool:
    """Return whether calls of the model overlap."""
    return len(served.calls.union[0]) < 0.99 * len(served.calls.begin_ns)


def step_time(served: ServedRequests) -> StepTime | None:
    """Return the time of a call by its size; None with fewer than two sizes, unless every call is
    for one request.
    """
    sizes = served.batch_sizes
    known = np.flatnonzero(sizes > 0)
    took_ns = (served.calls.end_ns - served.calls.begin_ns)[known].astype(np.float64)
    of_call = sizes[known].astype(np.float64)
    line = line_through_medians(of_call, took_ns)
    if line is None and len(of_call) >= FEWEST_OF_SIZE and (of_call == 1).all():
        line = Line(float(np.median(took_ns)), 0.0)
    if line is None:
        return None
    begin_ns = served.calls.begin_ns[known].astype(np.float64)
    return StepTime(line, begin_ns, took_ns / line.at(of_call), int(of_call.max()))


def line_through_medians(sizes: Floats, times_ns: Floats) -> Line | None:
    """Return a line through the medians of each size, weighted by how often it occurs; None with
    fewer than two sizes. A line that falls becomes level, one that begins below zero begins there.
    """
    different, counts = np.unique(sizes, return_counts=True)
    different, counts = different[counts >= FEWEST_OF_SIZE], counts[counts >= FEWEST_OF_SIZE]
    if len(different) < FEWEST_SIZES:
        return None
    medians = np.array([np.median(times_ns[sizes == size]) for size in different])
    slope, base = (float(value) for value in np.polyfit(different, medians, 1, w=np.sqrt(counts)))
    if slope < 0.0:
        return Line(float(np.median(times_ns)), 0.0)
    return Line(base, slope) if base > 0.0 else Line(0.0, float(np.median(times_ns / sizes)))


@dataclass(frozen=True)
class ReplayedChange:
    """What other settings make of the recorded requests, under the most favorable, the likely and
    the least favorable assumption.
    """

    replay: BatchReplay
    lowest: Replayed
    likely: Replayed
    highest: Replayed

    def predictions(self) -> list[Prediction]:
        """Return the latencies that a replay of the recorded settings reproduces, and the rate.

        The bounds are the ends of the 95 % intervals of the quantile under the most and the least
        favorable assumption, widened by the error of the replay of the recorded settings.
        """
        cases = (self.lowest, self.likely, self.highest)
        shares = [share for _, share in LATENCIES]
        lowest, likely, highest = (
            resampled_quantiles(case.e2e_ms, np.ones(len(case.e2e_ms)), shares) for case in cases
        )
        found = []
        for place, (metric, share) in enumerate(LATENCIES):
            if not self.replay.reproduces(share):
                continue
            margin = max(abs(self.replay.error(share)), LEAST_MARGIN)
            low, high = interval(lowest[1:, place], 0.95)[0], interval(highest[1:, place], 0.95)[1]
            before = float(np.quantile(self.replay.measured_ms, share))
            found.append(prediction(metric, before, (low, float(likely[0, place]), high), margin))
        rates = [case.per_second for case in cases]
        bounds, before = (min(rates), rates[1], max(rates)), self.replay.recorded.per_second
        return [*found, prediction("requests_per_s", before, bounds, LEAST_MARGIN)]

    def speedup(self) -> Speedup:
        """Return by how much the mean latency falls."""
        margin = max(abs(self.replay.error(0.5)), LEAST_MARGIN)
        recorded_ms = float(self.replay.measured_ms.mean())
        low_ms = mean_interval(self.lowest.e2e_ms)[0] * (1.0 - margin)
        high_ms = mean_interval(self.highest.e2e_ms)[1] * (1.0 + margin)
        return Speedup(
            low=round(recorded_ms / high_ms, 3),
            likely=round(recorded_ms / float(self.likely.e2e_ms.mean()), 3),
            high=round(recorded_ms / low_ms, 3),
        )


def replayed_change(replay: BatchReplay | None, settings: ReplaySettings) -> ReplayedChange | None:
    """Return the recorded requests with other settings; None where nothing can be predicted: the
    median of the recorded settings is not reproduced, or batches would be far larger than any that
    was recorded.
    """
    if replay is None or not replay.reproduces(0.5):
        return None
    lowest, likely, highest = (
        replay.with_settings(settings, assumption) for assumption in replay.assumptions(settings)
    )
    if likely.largest > FARTHEST_SIZE * replay.step.largest:
        return None
    return ReplayedChange(replay, lowest, likely, highest)


def mean_interval(values: Floats) -> tuple[float, float]:
    """Return the 95 % interval of a mean."""
    return interval(resampled_means(values.reshape(-1, 1))[:, 0], 0.95)


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
