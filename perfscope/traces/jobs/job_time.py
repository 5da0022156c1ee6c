"""The job's time: one zero, the wall clock of its first part, and what brings the times of each
part to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfscope.traces.clock_shift import Shift
from perfscope.traces.jobs.alignment import Alignment
from perfscope.traces.jobs.recordings import APART_NS
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class JobTimes:
    """A shift for each part, from its times to the job's; what that adds to the wall clock of its
    host; the job's zero on the first part's wall clock; the parts whose clocks have nothing to do
    with the first's.
    """

    shifts: list[Shift]
    offsets_ns: list[int]
    zero_ns: int
    unrelated: list[int]


def job_times(parts: Sequence[Trace], alignments: Sequence[Alignment]) -> JobTimes:
    """Aligned parts follow the first of their set, sets and the other parts their hosts' wall
    clocks.

    A part without a common collective whose clock is hours off (it counts from the start of its
    host) is laid beside the first from its start on.
    """
    zeros_ns = [part.manifest.zero_realtime_ns for part in parts]
    firsts: dict[int, int] = {}
    shifts, unrelated = [], []
    for number, (part, alignment) in enumerate(zip(parts, alignments, strict=True)):
        first = firsts.setdefault(alignment.set, number) if alignment.set >= 0 else number
        beside_ns = zeros_ns[first] - zeros_ns[0]
        if abs(beside_ns) > APART_NS and alignment.set < 0:
            unrelated.append(number)
            beside_ns = parts[0].span_ns[0] - part.span_ns[0]
        shifts.append(alignment.shift.then(beside_ns))
    starts = [np.array([part.span_ns[0]], np.int64) for part in parts]
    begin_ns = min(int(shift.moved(start)[0]) for shift, start in zip(shifts, starts, strict=True))
    offsets = [
        int(shift.offset_ns(start)[0]) + zeros_ns[0] - zero
        for shift, start, zero in zip(shifts, starts, zeros_ns, strict=True)
    ]
    return JobTimes(
        [shift.then(-begin_ns) for shift in shifts], offsets, zeros_ns[0] + begin_ns, unrelated
    )
