"""The program's line that a finding names: the one with the most stack samples of the finding."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.loop.loop_samples import IN_TORCH_CALL
from perfscope.analyzer.budget.observed_budget import FETCH_FILE, LOADER_FILE, SAVERS
from perfscope.analyzer.compute.operators_by_phase import operators_by_phase
from perfscope.analyzer.compute.padding_waste import ID as PADDING_WASTE
from perfscope.analyzer.compute.runs_by_phase import is_in_phase, phase_of_runs
from perfscope.analyzer.diagnosis import CodeLocation, Finding, Interval
from perfscope.analyzer.host.validation_time import ID as VALIDATION_TIME
from perfscope.analyzer.run.phases.phase_intervals import STEPS, VALIDATION, phase_spans
from perfscope.analyzer.run.phases.sampled_phases import LIBRARY_FRAMES
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.stacks.torch_frames import MODULE_CALL
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.analyzer.summary.code_costs import unbiased_stacks
from perfscope.traces.frames import Frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

WORKER_CAUSES = ("too-few-workers", "decode-bound", "storage-bound", "collate-bound")
"""Causes of input-bound whose time goes by in the loader's workers."""


MAKES_BATCHES = re.compile(r"pad|collat|tokeni|make_batch|to_batch", re.IGNORECASE)
WORK_LIMITS = ("memory-bound", "compute-bound")
"""Findings on the work of operators."""


ALSO_ELSEWHERE = 0.1
CLEARLY_RARER = 2.0
"""The caller of a line is named instead, where the line has this share of other samples or more,
and the caller a share that is so many times smaller.
"""
FEWEST_TO_COMPARE = 5
"""Samples of the probe in each phase. In five of five here and none there, a line is clear."""


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


def locate(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the program's own line in which the time of a finding goes by, None where unknown."""
    if trace.has_profiled_work or not finding.processes:
        return None
    process = finding.processes[0]
    if finding.id == "input-bound" and finding.cause in WORKER_CAUSES:
        return worker_samples(trace, process).hottest_line(is_in_fetch)
    if finding.id == VALIDATION_TIME:
        samples = samples_in_phase(trace, process, VALIDATION)
        elsewhere = lines_in_steps(trace, process)
        if elsewhere:
            return replace(samples, elsewhere=elsewhere).hottest_line(is_any)
        return samples.call_of_most(is_any) or samples.hottest_line(is_any)
    if finding.id == PADDING_WASTE:
        made = where_batches_are_made(trace, process)
        if made is not None:
            return made
    is_of_finding = SAMPLES_OF.get(f"{finding.id}/{finding.cause}", SAMPLES_OF.get(finding.id))
    if is_of_finding is None:
        return None
    if finding.id in WORK_LIMITS and works_outside_torch_calls(trace, process):
        is_of_finding = is_outside_torch_calls
    if finding.id == "memory-bound":
        phase = phase_of_runs(trace, process)
        place = None
        if phase is not None:
            is_of_phase = partial(is_in_phase, phase=phase)
            place = samples_in_phase(trace, process, STEPS).hottest_line(is_of_phase)
        if place is not None:
            return place
    if finding.scope == "run":
        return samples_of_run(trace, process).hottest_line(is_of_finding)
    return samples_in_phase(trace, process, STEPS).hottest_line(is_of_finding)


def where_batches_are_made(trace: Trace, process: int) -> CodeLocation | None:
    """Return the line of the function that pads or collates, in the loop or in workers."""
    in_loop = samples_in_phase(trace, process, STEPS).hottest_line(is_making_batches)
    return in_loop or worker_samples(trace, process).hottest_line(is_making_batches)


def lines_in_steps(trace: Trace, process: int) -> dict[Frame, float]:
    """Return the share of each line in samples of steps, by that in samples of validation.

    The samples are those of the probe, whose times are exact; empty with too few of them.
    """
    stacks = rows_of(trace, "stacks", process)
    if stacks is None:
        return {}
    phases, ts = phase_spans(trace, process), column(stacks, "ts")
    within = [stacks[inside(phases.of(phase), ts)] for phase in (VALIDATION, STEPS)]
    if min(len(rows) for rows in within) < FEWEST_TO_COMPARE:
        return {}
    validation, steps = (shares_of_lines(rows) for rows in within)
    return {line: steps.get(line, 0.0) / share for line, share in validation.items()}


def shares_of_lines(rows: pd.DataFrame) -> dict[Frame, float]:
    """Return the share of the samples that each line of the program has, with its callees."""
    shares: dict[Frame, float] = {}
    for text, count in rows["stack"].astype(str).value_counts().items():
        for frame in set(program_frames(str(text))):
            shares[frame] = shares.get(frame, 0.0) + count / len(rows)
    return shares


def works_outside_torch_calls(trace: Trace, process: int) -> bool:
    """Return whether operators outside of forward, backward and optimizer take most of the work."""
    rows = trace.fact(operators_by_phase)
    rows = rows[rows["process"] == process]
    outside_ns = float(rows[rows["phase"] == "other"]["host_self_ns"].sum())
    return outside_ns > 0.5 * float(rows["host_self_ns"].sum()) > 0.0


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


def is_outside_torch_calls(stack: str) -> bool:
    """Return whether the thread is outside of torch's calls, the loader and checkpoints."""
    return is_in_loop(stack) and IN_TORCH_CALL.search(stack) is None


def is_any(stack: str) -> bool:
    """Return True: all samples of the phase belong to the finding."""
    return True


def is_making_batches(stack: str) -> bool:
    """Return whether the program's innermost function has the name of one that makes batches."""
    frames = program_frames(stack)
    return bool(frames) and MAKES_BATCHES.search(frames[-1].function) is not None


def is_in_fetch(stack: str) -> bool:
    """Return whether a worker makes a batch."""
    return FETCH_FILE in stack


def is_in_loader(stack: str) -> bool:
    """Return whether the thread is in torch's data loader."""
    return LOADER_FILE in stack


def is_in_checkpoint(stack: str) -> bool:
    """Return whether the thread writes a checkpoint."""
    return SAVERS.search(stack) is not None


def is_in_compilation(stack: str) -> bool:
    """Return whether the thread compiles something, for a call of compiled code."""
    return LIBRARY_FRAMES["compilation"].search(stack) is not None


def is_in_loop(stack: str) -> bool:
    """Return whether the thread neither loads data nor writes a checkpoint."""
    return not is_in_loader(stack) and not is_in_checkpoint(stack)


SAMPLES_OF: dict[str, Callable[[str], bool]] = {
    "input-bound": is_in_loader,
    "input-bound/unknown-loader": is_in_loop,
    "checkpoint-stall": is_in_checkpoint,
    "launch-bound": is_in_loop,
    "compute-bound": is_in_loop,
    "memory-bound": is_in_loop,
    "reduced-precision-unused": is_in_loop,
    "recompilation": is_in_compilation,
    "thread-count": is_in_loop,
    "padding-waste": is_in_loop,
}
"""Which samples of the main thread belong to a finding, by `id/cause` or id."""
