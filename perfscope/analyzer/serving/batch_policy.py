"""How a server's own batching makes batches: how long it waits for them to fill, and their largest
size. Both are inferred from the times of requests and model calls.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.serving.request_model_calls import ServedRequests
from perfscope.traces.intervals import Ints

FEWEST_BATCHES: Final = 20
LEAST_WAITS: Final = 3
"""The third of the shortest waits for an idle model is what handing a request over takes at least:
it belongs to a request that arrived when its batch was about to begin.
"""
SAME_WINDOW: Final = 0.25
"""A wait for a batch to fill ends by a time limit where it is the same for most batches: half of
them are within this part of the median.
"""
SHORTEST_WINDOW_NS: Final = 2_000_000
"""Handing requests over to a thread takes up to a millisecond, in which further requests may join
the batch: a shorter time limit looks the same.
"""
SAME_LIMIT: Final = 0.9
"""The share of batches that are as large as the largest, of those that leave requests waiting."""
FEWEST_FULL: Final = 10
LARGEST: Final = 0.99
"""The quantile of the sizes that counts as the largest: the answer of a call that comes late is
counted for the next one.
"""


@dataclass(frozen=True)
class BatchPolicy:
    """How batches are made.

    `window_ns` is how long a batch waits for more requests after its first, 0 where it does not;
    `largest` the limit on its requests, None where none is seen. `hand_overs_ns` are the times from
    a complete batch to its model call, one per call with requests.
    """

    window_ns: float
    largest: int | None
    hand_overs_ns: Floats
    mean_size: float


def batch_policy(served: ServedRequests) -> BatchPolicy | None:
    """Return how batches are made, None with too few of them."""
    sizes = served.batch_sizes
    with_requests = np.flatnonzero(sizes > 0)
    if len(with_requests) < FEWEST_BATCHES:
        return None
    largest = size_limit(served, sizes, with_requests)
    is_full = sizes[with_requests] >= (largest or np.inf)
    waits_ns = fill_times_ns(served, with_requests)
    window_ns = fill_window_ns(served, waits_ns[~is_full])
    hand_overs_ns = np.maximum(waits_ns - np.where(is_full, 0.0, window_ns), 0.0)
    return BatchPolicy(
        window_ns=window_ns,
        largest=largest,
        hand_overs_ns=hand_overs_ns,
        mean_size=float(sizes[with_requests].mean()),
    )


def least_hand_over_ns(served: ServedRequests) -> float:
    """Return what handing a request over to the model takes at least."""
    return float(np.sort(served.batching_ns)[:LEAST_WAITS].max())


def first_arrivals_ns(served: ServedRequests) -> Ints:
    """Return the first arrival of each call's requests; the largest int64 for a call without."""
    first = np.full(len(served.calls.begin_ns), np.iinfo(np.int64).max)
    np.minimum.at(first, served.first_call, served.arrival_ns)
    return first


def fill_times_ns(served: ServedRequests, calls: Ints) -> Floats:
    """Return how long these calls begin after they could: their first request was there, and the
    call before had ended.
    """
    first = first_arrivals_ns(served)[calls]
    ended = np.concatenate(([0], np.maximum.accumulate(served.calls.end_ns)[:-1]))[calls]
    return (served.calls.begin_ns[calls] - np.maximum(first, ended)).astype(np.float64)


def fill_window_ns(served: ServedRequests, waits_ns: Floats) -> float:
    """Return how long batches wait for more requests, 0.0 where no time limit shows.

    `waits_ns` are the fill times of batches that are not full: others do not wait to the end.
    """
    if len(waits_ns) < FEWEST_BATCHES:
        return 0.0
    least, low, median, high = np.quantile(waits_ns, [0.05, 0.25, 0.5, 0.75])
    window = float(least) - least_hand_over_ns(served)
    is_same = high - low <= 2.0 * SAME_WINDOW * median
    is_window = is_same and window >= max(SAME_WINDOW * median, SHORTEST_WINDOW_NS)
    return window if is_window else 0.0


def size_limit(served: ServedRequests, sizes: Ints, with_requests: Ints) -> int | None:
    """Return the largest size of a batch, where requests wait although they could be in it.

    A batch leaves requests waiting where one that arrived before its call is in a later one.
    """
    starts = served.calls.begin_ns[with_requests]
    ready = np.sort(served.arrival_ns) + least_hand_over_ns(served)
    arrived = np.searchsorted(ready, starts, side="right")
    served_before = np.cumsum(sizes[with_requests])
    left = with_requests[arrived > served_before]
    largest = int(np.quantile(sizes[with_requests], LARGEST, method="lower"))
    if len(left) < FEWEST_FULL or (sizes[left] >= largest).mean() < SAME_LIMIT:
        return None
    return largest
