"""Converts readings of CLOCK_MONOTONIC of each process to job time, in nanoseconds.

On one host, job time is the monotonic clock less its value at time zero. NTP does not step it, so
durations stay as they were measured. All processes of a host share the clock, except for those in
their own time namespace, whose readings differ by a constant. Every process writes pairs of
(CLOCK_MONOTONIC, CLOCK_REALTIME), from which that constant is computed: it is the difference of the
two monotonic clocks at the same wall-clock instant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SAME_CLOCK_NS = 5_000_000
"""A pair is read with two calls, and NTP slews the wall clock. A smaller difference comes from that
and not from a time namespace.
"""
LARGEST_OFFSET_NS = 1 << 59
"""18 years. Monotonic clocks begin at 0 when a host starts, so a pair with a larger offset is
damaged.
"""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Clock:
    """The clock of one host: `job = monotonic - offsets[process] - zero`."""

    zero_ns: int
    offsets: Mapping[int, int] = field(default_factory=dict)
    residual_ns: int = 0

    def job_ns(self, process: int, monotonic_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return readings of one process in job time."""
        return monotonic_ns - (self.offsets.get(process, 0) + self.zero_ns)

    def job_ns_of(
        self, processes: npt.NDArray[np.int64], monotonic_ns: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Return readings of several processes in job time. `processes` has the process code of
        each reading.
        """
        different, place = np.unique(processes, return_inverse=True)
        offsets = [self.offsets.get(process, 0) for process in different.tolist()]
        offset_of_reading = np.array(offsets, np.int64)[place.ravel()]
        job_ns: npt.NDArray[np.int64] = monotonic_ns - (offset_of_reading + self.zero_ns)
        return job_ns


def host_clock(zero_ns: int, agent: Sequence[Pair], others: Mapping[int, Sequence[Pair]]) -> Clock:
    """Return the clock of a host from the pairs (monotonic, realtime) of the agent and of the other
    processes, in nanoseconds.

    `residual_ns` is the largest difference between a pair and the clock: the error of the
    conversion.
    """
    offsets: dict[int, int] = {}
    residual_ns = 0
    for process, pairs in others.items():
        if not agent or not pairs:
            continue
        differences = offsets_of_pairs(agent, pairs)
        offset = int(np.median(differences))
        if abs(offset) > LARGEST_OFFSET_NS:
            continue
        offset = offset if abs(offset) > SAME_CLOCK_NS else 0
        offsets[process] = offset
        if not was_stepped(agent):
            residual_ns = max(residual_ns, int(np.abs(differences - offset).max()))
    return Clock(zero_ns, offsets, residual_ns)


def offsets_of_pairs(agent: Sequence[Pair], pairs: Sequence[Pair]) -> npt.NDArray[np.int64]:
    """Return for each pair of a process its monotonic reading less that of the agent at the same
    wall-clock instant, computed from the nearest pair of the agent.
    """
    agent_mono, agent_real = sorted_by_real(agent)
    mono, real = sorted_by_real(pairs)
    after = np.searchsorted(agent_real, real).clip(0, len(agent_real) - 1)
    before = (after - 1).clip(0)
    is_before_nearer = real - agent_real[before] <= agent_real[after] - real
    nearest = np.where(is_before_nearer, before, after)
    agent_mono_then = real - (agent_real - agent_mono)[nearest]
    offsets: npt.NDArray[np.int64] = mono - agent_mono_then
    return offsets


def sorted_by_real(pairs: Sequence[Pair]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the monotonic and the wall-clock readings of pairs, sorted by the wall clock."""
    both = np.array(pairs, np.int64)
    both = both[np.argsort(both[:, 1], kind="stable")]
    return both[:, 0], both[:, 1]


def was_stepped(agent: Sequence[Pair]) -> bool:
    """Return whether the wall clock was stepped (by NTP or after suspend) during the recording."""
    changes = np.diff([real - mono for mono, real in agent])
    return bool(len(changes) and np.abs(changes).max() > SAME_CLOCK_NS)
