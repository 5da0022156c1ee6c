"""What more or fewer requests per second would make of the latency: the recorded requests, closer
together or farther apart, are served again by the replay of the server's batches.

It assumes requests that arrive whether or not earlier ones were answered, and that the rest of the
server keeps up with the model.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from perfscope.analyzer.bootstrap import Floats, interval, resampled_quantiles
from perfscope.analyzer.request_figures import Latency, LoadPoint, Percentiles
from perfscope.analyzer.serving.batch_replay import (
    FARTHEST_SIZE,
    LEAST_MARGIN,
    MOST_ERRORS,
    BatchReplay,
    Replayed,
)
from perfscope.analyzer.serving.batching_finding_parts import batched_servers
from perfscope.traces.trace import Trace

FACTORS: Final = (0.5, 0.75, 1.25, 1.5, 2.0)
"""Rates over the recorded one. Farther away the recorded batches say little."""
STEADY: Final = 0.9
"""The part of the highest rate above which no latency is predicted: the queue then grows for as
long as the load lasts, or nearly.
"""
REPLAY: Final = "replay"
"""The `source` of a latency that was predicted."""
QUANTILES: Final = (0.5, 0.9, 0.99)


def load_points(trace: Trace, process: int) -> list[LoadPoint]:
    """Return the predicted latencies of a process's requests at other rates, the lowest first; none
    where they are not known.
    """
    replay = replay_of(trace, process)
    if replay is None:
        return []
    recorded_per_s, highest_per_s = rate_of(replay), highest_rate(replay)
    most_per_s = np.inf if highest_per_s is None else STEADY * highest_per_s
    points = (point_at(replay, factor, recorded_per_s) for factor in FACTORS)
    return [point for point in points if point is not None and point.requests_per_s <= most_per_s]


def highest_rate_per_s(trace: Trace, process: int) -> float | None:
    """Return the most requests per second that the model of a process can answer, None unknown."""
    replay = replay_of(trace, process)
    highest_per_s = None if replay is None else highest_rate(replay)
    return None if highest_per_s is None else round(highest_per_s, 3)


def replay_of(trace: Trace, process: int) -> BatchReplay | None:
    """Return the replay of a process's requests, None without one that reproduces their median."""
    servers = trace.fact(batched_servers)
    server = next((each for each in servers if each.served.log.process == process), None)
    replay = None if server is None else server.replay
    return replay if replay is not None and replay.reproduces(0.5) else None


def highest_rate(replay: BatchReplay) -> float | None:
    """Return the requests per second of full batches, one after the other; None where batches have
    no largest size, or one that is far from any that was recorded.
    """
    largest = replay.settings.largest
    if largest is None or largest > FARTHEST_SIZE * replay.step.largest:
        return None
    slower = float(np.mean(replay.step.ratios))
    batch_ns = float(np.median(replay.hand_overs_ns)) + slower * replay.step.of_size(largest)
    return largest / batch_ns * 1e9


def rate_of(replay: BatchReplay) -> float:
    """Return the recorded requests per second, by their arrivals."""
    span_ns = float(replay.arrival_ns[-1] - replay.arrival_ns[0])
    return (len(replay.arrival_ns) - 1) / max(span_ns, 1.0) * 1e9


def point_at(replay: BatchReplay, factor: float, recorded_per_s: float) -> LoadPoint | None:
    """Return the latencies at a multiple of the recorded rate; None where batches would be far
    larger than any that was recorded.
    """
    replayed = at_rate(replay, factor).recorded
    if replayed.largest > FARTHEST_SIZE * replay.step.largest:
        return None
    return LoadPoint(
        factor, round(factor * recorded_per_s, 3), predicted_percentiles(replay, replayed)
    )


def at_rate(replay: BatchReplay, factor: float) -> BatchReplay:
    """Return the replay with requests that arrive `factor` times as fast. A moment in which the
    machine was slow is slow for the same requests.
    """
    first_ns = float(replay.arrival_ns[0])

    def moved(at_ns: Floats) -> Floats:
        scaled: Floats = first_ns + (at_ns - first_ns) / factor
        return scaled

    return replace(
        replay,
        arrival_ns=moved(replay.arrival_ns.astype(np.float64)).astype(np.int64),
        step=replace(replay.step, begin_ns=moved(replay.step.begin_ns)),
    )


def predicted_percentiles(replay: BatchReplay, replayed: Replayed) -> Percentiles:
    """Return the latencies of a replay. Their bounds are a 95 % interval, widened by the error of
    the replay of the recorded rate; a value that this does not reproduce is null.
    """
    values = resampled_quantiles(replayed.e2e_ms, np.ones(len(replayed.e2e_ms)), QUANTILES)
    found = []
    for place, share in enumerate(QUANTILES):
        error = abs(replay.error(share))
        margin = max(error, LEAST_MARGIN)
        if error > MOST_ERRORS.get(share, MOST_ERRORS[0.99]):
            found.append(Latency(None, None, None, REPLAY))
            continue
        likely = float(values[0, place])
        low, high = interval(values[1:, place], 0.95)
        low, high = min(low, likely) * (1.0 - margin), max(high, likely) * (1.0 + margin)
        found.append(Latency(round(likely, 4), round(low, 4), round(high, 4), REPLAY))
    return Percentiles(*found)
