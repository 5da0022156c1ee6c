"""The time of a job: one time zero on the wall clock of its first part, and the shift from each
part's time to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfscope.traces.clock_offset import Shift
from perfscope.traces.jobs.alignment import Alignment
from perfscope.traces.jobs.recordings import LONGEST_GAP_NS
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class JobTimes:
    """How the times of the parts become times of the job."""

    shifts: list[Shift]
    """For each part, what to add to its times."""
    offsets_ns: list[int]
    """For each part, what its shift adds to the wall clock of its host."""
    zero_ns: int
    """The job's time zero, on the wall clock of the first part."""
    unrelated: list[int]
    """Parts whose clocks cannot be related to that of the first."""


def job_times(parts: Sequence[Trace], alignments: Sequence[Alignment]) -> JobTimes:
    """Return the times of a job.

    A part that shares collectives follows the first part of its set. Sets, and the other parts,
    follow the wall clocks of their hosts. A part without a common collective whose wall clock is
    hours off (it counts from the start of its host) is shown from the start of the first part on.
    """
    zeros_ns = [part.manifest.zero_realtime_ns for part in parts]
    first_of_set: dict[int, int] = {}
    shifts, unrelated = [], []
    for number, (part, alignment) in enumerate(zip(parts, alignments, strict=True)):
        is_aligned = alignment.set >= 0
        first = first_of_set.setdefault(alignment.set, number) if is_aligned else number
        wall_clock_ns = zeros_ns[first] - zeros_ns[0]
        if abs(wall_clock_ns) > LONGEST_GAP_NS and not is_aligned:
            unrelated.append(number)
            wall_clock_ns = parts[0].span_ns[0] - part.span_ns[0]
        shifts.append(alignment.shift.then(wall_clock_ns))
    starts = [np.array([part.span_ns[0]], np.int64) for part in parts]
    begin_ns = min(int(shift.moved(start)[0]) for shift, start in zip(shifts, starts, strict=True))
    offsets_ns = [
        int(shift.offset_ns(start)[0]) + zeros_ns[0] - zero_ns
        for shift, start, zero_ns in zip(shifts, starts, zeros_ns, strict=True)
    ]
    from_begin = [shift.then(-begin_ns) for shift in shifts]
    return JobTimes(from_begin, offsets_ns, zeros_ns[0] + begin_ns, unrelated)
