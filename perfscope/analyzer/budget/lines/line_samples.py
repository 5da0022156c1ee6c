"""Stack samples of one or more threads, and the program's line that has most of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.lines.unbiased_stacks import unbiased_stacks
from perfscope.analyzer.diagnosis import CodeLocation, Interval
from perfscope.analyzer.run.phases.phase_intervals import phase_spans
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.stacks.torch_frames import MODULE_CALL
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.frames import Frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

ALSO_ELSEWHERE = 0.1
CLEARLY_RARER = 2.0
"""The caller of a line is named instead, where the line has this share of other samples or more,
and the caller a share that is so many times smaller.
"""


class LineTime(NamedTuple):
    """The time of a line in ns, and its number of samples."""

    weight_ns: int
    samples: int


@dataclass(frozen=True)
class Samples:
    """Stack samples of one or more threads, rows of the table `stacks`."""

    process: int
    rows: pd.DataFrame
    elsewhere: dict[Frame, float] = field(default_factory=dict)
    """The share of a line in other samples, with which these are compared, by that in these."""

    def hottest_line(self, is_of_finding: Callable[[str], bool]) -> CodeLocation | None:
        """Return the program's line with the most time in the samples that belong to a finding.

        Where no line has FEWEST_SAMPLES, as in a large model, the innermost call above it that half
        of the finding's time is below. The share is that of all samples. None with fewer than
        FEWEST_SAMPLES.
        """
        lines = self.by_line(is_of_finding)
        line = max(lines, key=lambda frame: lines[frame].weight_ns, default=None)
        if line is None or lines[line].samples < FEWEST_SAMPLES:
            return self.call_of_most(is_of_finding)
        return self.location(line, lines[line])

    def call_of_most(self, is_of_finding: Callable[[str], bool]) -> CodeLocation | None:
        """Return the innermost call above the model that half of the finding's time is below."""
        line, time = self.common_line(is_of_finding)
        return None if time.samples < FEWEST_SAMPLES else self.location(line, time)

    def location(self, line: Frame, time: LineTime) -> CodeLocation:
        """Return a line with its share of all samples."""
        share = min(time.weight_ns / float(self.rows["weight_ns"].sum()), 1.0)
        low, high = share_interval(share, len(self.rows))
        file = line.file.removeprefix("./")
        interval = Interval(low, share, high)
        return CodeLocation(line.function, file, line.line, None, self.process, interval)

    def common_line(self, is_of_finding: Callable[[str], bool]) -> tuple[Frame, LineTime]:
        """Return the innermost call above the model with half of the time, and that time."""
        paths = [
            (path, LineTime(int(weight_ns), samples))
            for text, weight_ns, samples in self.times_of_stacks()
            if is_of_finding(text) and (path := program_frames(text.partition(MODULE_CALL)[0]))
        ]
        whole_ns = sum(time.weight_ns for _, time in paths)
        frame, best, depth = Frame("", "", 0), LineTime(0, 0), 0
        while paths:
            below: dict[Frame, list[tuple[tuple[Frame, ...], LineTime]]] = {}
            for path, time in paths:
                if len(path) > depth:
                    below.setdefault(path[depth], []).append((path, time))
            sums = {
                call: LineTime(*map(sum, zip(*(time for _, time in rows), strict=True)))
                for call, rows in below.items()
            }
            call = max(sums, key=lambda call: sums[call].weight_ns, default=None)
            if call is None or 2 * sums[call].weight_ns < whole_ns:
                break
            frame, best, depth, paths = call, sums[call], depth + 1, below[call]
        return frame, best

    def times_of_stacks(self) -> Iterator[tuple[str, float, int]]:
        """Yield each stack with its time (ns) and its number of samples."""
        if len(self.rows):
            by_stack = self.rows.groupby(self.rows["stack"].astype(str))["weight_ns"]
            for text, weight_ns, samples in by_stack.agg(["sum", "size"]).itertuples():
                yield str(text), float(weight_ns), int(samples)

    def by_line(self, is_of_finding: Callable[[str], bool]) -> dict[Frame, LineTime]:
        """Return the samples that belong to a finding by the program's innermost line."""
        lines: dict[Frame, LineTime] = {}
        for text, weight_ns, samples in self.times_of_stacks():
            frames = program_frames(text) if is_of_finding(text) else ()
            if frames:
                line = self.particular_line(frames)
                before = lines.get(line, LineTime(0, 0))
                added = LineTime(before.weight_ns + int(weight_ns), before.samples + int(samples))
                lines[line] = added
        return lines

    def particular_line(self, frames: tuple[Frame, ...]) -> Frame:
        """Return the innermost line, or its caller where the line is in other samples as often.

        The caller must be much rarer there: a model is called in training and in validation.
        """
        chosen = frames[-1]
        for caller in reversed(frames[:-1]):
            share, of_caller = self.elsewhere.get(chosen, 0.0), self.elsewhere.get(caller, 1.0)
            if share >= ALSO_ELSEWHERE and CLEARLY_RARER * of_caller <= share:
                chosen = caller
        return chosen


def samples_in_phase(trace: Trace, process: int, phase: str) -> Samples:
    """Return the samples of the main thread of a process inside one of its phases."""
    stacks = unbiased_stacks(trace, process)
    if len(stacks):
        stacks = stacks[inside(phase_spans(trace, process).of(phase), column(stacks, "ts"))]
    return Samples(process, stacks)


def samples_of_run(trace: Trace, process: int) -> Samples:
    """Return all samples of the main thread of a process."""
    return Samples(process, unbiased_stacks(trace, process))


def hottest_line_between(
    trace: Trace, process: int, begin_ns: int, end_ns: int
) -> CodeLocation | None:
    """Return the program's line with the most samples of the main thread in an interval."""
    if trace.has_profiled_work:
        return None
    stacks = unbiased_stacks(trace, process)
    ts = column(stacks, "ts") if len(stacks) else np.empty(0, np.int64)
    rows = stacks[(ts >= begin_ns) & (ts < end_ns)]
    return Samples(process, rows).hottest_line(is_any)


def worker_samples(trace: Trace, process: int) -> Samples:
    """Return the samples of all loader workers, as one thread of the first of them."""
    processes, stacks = table(trace, "processes"), table(trace, "stacks")
    if processes is None or stacks is None:
        return Samples(process, pd.DataFrame())
    workers = processes[processes["role"] == "loader-worker"]["process"]
    rows = stacks[stacks["process"].isin(workers)]
    first = int(rows["process"].iloc[0]) if len(rows) else process
    return Samples(first, rows)


def is_any(stack: str) -> bool:
    """Return True: all samples of the phase belong to the finding."""
    return True
