"""Turns each process's CLOCK_MONOTONIC readings into nanoseconds of the job's time.

Within a host job time *is* the monotonic clock, less its value at time zero: it neither jumps when
NTP steps the wall clock nor bends when NTP slews it, so durations stay what was measured. All
processes of a host share that clock, except those in a time namespace of their own, whose readings
differ by a constant. The pairs (CLOCK_MONOTONIC, CLOCK_REALTIME) that every process writes find
that constant: at one wall-clock instant both monotonic clocks have a reading, their difference is
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SAME_CLOCK_NS = 5_000_000
"""Pairs are read by two calls in a row and NTP slews between them: a difference below this is that,
no namespace.
"""
LARGEST_OFFSET_NS = 1 << 59
"""Monotonic clocks begin at 0 when a host starts: 18 years apart are damaged pairs."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Clock:
    """Job time of one host's processes: `job = monotonic - offset[process] - zero`."""

    zero_ns: int
    offsets: Mapping[int, int] = field(default_factory=dict)
    residual_ns: int = 0

    def job_ns(self, process: int, monotonic_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64 ns since the job's time zero."""
        return monotonic_ns - (self.offsets.get(process, 0) + self.zero_ns)

    def job_ns_of(
        self, processes: npt.NDArray[np.int64], monotonic_ns: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The same for readings of several processes, a process code for each."""
        different, which = np.unique(processes, return_inverse=True)
        offsets = np.array([self.offsets.get(one, 0) for one in different.tolist()], np.int64)
        moved: npt.NDArray[np.int64] = monotonic_ns - (offsets[which.ravel()] + self.zero_ns)
        return moved


def host_clock(zero_ns: int, agent: Sequence[Pair], others: Mapping[int, Sequence[Pair]]) -> Clock:
    """The clock of a host from the agent's pairs and those of its processes (each (monotonic,
    realtime) in ns).

    `residual_ns` is the largest distance of a process's pair from its clock: what the conversion is
    good for.
    """
    offsets: dict[int, int] = {}
    residual_ns = 0
    for process, pairs in others.items():
        if not agent or not pairs:
            continue
        differences = offset_ns(agent, pairs)
        offset = int(np.median(differences))
        if abs(offset) > LARGEST_OFFSET_NS:
            continue
        offset = offset if abs(offset) > SAME_CLOCK_NS else 0
        offsets[process] = offset
        if not stepped(agent):
            residual_ns = max(residual_ns, int(np.abs(differences - offset).max()))
    return Clock(zero_ns, offsets, residual_ns)


def offset_ns(agent: Sequence[Pair], pairs: Sequence[Pair]) -> npt.NDArray[np.int64]:
    """Monotonic reading of a process less the agent's at the same wall-clock instant, one value a
    pair.

    The agent's wall-clock is piecewise linear in its monotonic clock; a process's pair is held
    against the nearest one.
    """
    mono, real = sorted_by_real(agent)
    drift = real - mono
    its_mono, its_real = sorted_by_real(pairs)
    after = np.searchsorted(real, its_real).clip(0, len(real) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(its_real - real[before] <= real[after] - its_real, before, after)
    values: npt.NDArray[np.int64] = its_mono - (its_real - drift[nearest])
    return values


def sorted_by_real(pairs: Sequence[Pair]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the monotonic and the wall-clock readings of pairs, in the order of the latter."""
    both = np.array(pairs, np.int64)
    both = both[np.argsort(both[:, 1], kind="stable")]
    return both[:, 0], both[:, 1]


def stepped(agent: Sequence[Pair]) -> bool:
    """Was the wall clock set (NTP step, resume) while the agent watched?"""
    drift = np.diff([real - mono for mono, real in agent])
    return bool(len(drift) and np.abs(drift).max() > SAME_CLOCK_NS)
