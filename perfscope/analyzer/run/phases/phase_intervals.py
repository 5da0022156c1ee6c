"""The phases of a whole recording: which intervals of a process belong to which phase."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.hangs.hung_job import still_job
from perfscope.analyzer.run.loops.steps import STEADY, steps
from perfscope.analyzer.run.phases.sampled_phases import are_rollouts, sampled_phases
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category, table
from perfscope.traces.intervals import (
    EMPTY,
    Ints,
    Spans,
    intersected,
    labeled_intervals,
    length_ns,
    merged,
    single_interval,
    subtracted,
)
from perfscope.traces.trace import Trace

NOT_RECORDED: Final = "not-recorded"
NO_PROGRESS: Final = "no-progress"
COMPILATION: Final = "compilation"
CHECKPOINT: Final = "checkpoint"
VALIDATION: Final = "validation"
LOGGING: Final = "logging"
DATA_SETUP: Final = "data-setup"
WAITING_FOR_RANKS: Final = "waiting-for-ranks"
START_UP: Final = "start-up"
WARM_UP: Final = "warm-up"
STEPS: Final = "steps"
IDLE: Final = "idle"
OTHER: Final = "other"

PHASES: Final = (
    NOT_RECORDED,
    NO_PROGRESS,
    COMPILATION,
    CHECKPOINT,
    VALIDATION,
    LOGGING,
    DATA_SETUP,
    WAITING_FOR_RANKS,
    START_UP,
    WARM_UP,
    STEPS,
    IDLE,
    OTHER,
)
"""Every phase in order of precedence: an instant in several of them belongs to the first."""

PROBE_TABLES = ("loader", "ranges", "stacks")
"""Tables that the probe fills: before their first row it was not yet in the process."""
STARTED_WITH_RECORDING_NS = 1_000_000_000
"""A process that started at most this long before the recording was recorded from its start."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class PhaseSpans:
    """The disjoint intervals of each phase of one process, ns, and the span that they fill.

    `spans` has only phases that occur.
    """

    process: int
    begin_ns: int
    end_ns: int
    spans: dict[str, Spans] = field(default_factory=dict)

    def of(self, phase: str) -> Spans:
        """Return the intervals of one phase."""
        return self.spans.get(phase, EMPTY)

    def duration_ns(self, phase: str) -> int:
        """Return the time in one phase."""
        return length_ns(self.of(phase))


@dataclass(frozen=True)
class ProcessRows:
    """What was recorded of one process, and of the thread whose loop is timed."""

    loader: pd.DataFrame | None
    ranges: pd.DataFrame | None
    steps: pd.DataFrame
    tid: int
    window: tuple[int, int]
    """The recorded span, ns."""
    probed_ns: int
    """The first instant at which the probe was in the process."""
    from_start: bool
    """Whether the process was recorded from its start."""

    def of_thread(self, frame: pd.DataFrame | None) -> pd.DataFrame | None:
        """Return the rows of the thread whose loop is timed; all rows where it is unknown."""
        if frame is None or self.tid < 0:
            return frame
        return frame[frame["tid"] == self.tid]


def phase_spans(trace: Trace, process: int) -> PhaseSpans:
    """Return the intervals of every phase of one process in a recording of perfscope."""
    return trace.fact(phases_by_process)(process)


def phases_by_process(trace: Trace) -> Callable[[int], PhaseSpans]:
    """Return the function that finds the phases of a process, once for each."""
    return cache(partial(find_phases, trace))


def find_phases(trace: Trace, process: int) -> PhaseSpans:
    """Return the intervals of every phase of one process."""
    begin_ns, end_ns = recorded_span_ns(trace)
    rows = process_rows(trace, process)
    found = known_phases(rows)
    if are_rollouts(trace, process, rows.tid, found[VALIDATION]):
        found[STEPS] = merged(found[STEPS], found.pop(VALIDATION))
    sampled = sampled_phases(trace, process, rows.tid, found)
    found[DATA_SETUP] = merged(found[DATA_SETUP], between_epochs(rows))
    unseen = found.get(NOT_RECORDED, EMPTY)
    found[NOT_RECORDED] = subtracted(unseen, merged(*sampled.values()))
    found |= without_progress(trace)
    found = {phase: merged(found.get(phase, EMPTY), sampled.get(phase, EMPTY)) for phase in PHASES}
    window = single_interval(begin_ns, end_ns)
    kinds = [intersected(found.get(phase, EMPTY), window) for phase in PHASES[:-1]]
    starts, ends, label = labeled_intervals([*kinds, window])
    spans = {
        phase: merged((starts[label == number], ends[label == number]))
        for number, phase in enumerate(PHASES)
        if (label == number).any()
    }
    return PhaseSpans(process, begin_ns, end_ns, spans)


def process_rows(trace: Trace, process: int) -> ProcessRows:
    """Return the rows of one process that its phases are derived from."""
    every_step = trace.fact(steps)
    steps_of_process = every_step[every_step["process"] == process]
    loader, ranges = rows_of(trace, "loader", process), rows_of(trace, "ranges", process)
    firsts = [column(rows_of(trace, name, process), "ts") for name in PROBE_TABLES]
    begin_ns, end_ns = recorded_span_ns(trace)
    return ProcessRows(
        loader=loader,
        ranges=ranges,
        steps=steps_of_process,
        tid=loop_thread(trace, process, steps_of_process),
        window=(begin_ns, end_ns),
        probed_ns=min((int(ts[0]) for ts in firsts if len(ts)), default=begin_ns),
        from_start=is_recorded_from_start(trace, process),
    )


def loop_thread(trace: Trace, process: int, steps_of_process: pd.DataFrame) -> int:
    """Return the thread whose loop is timed, else the main thread, -1 where neither is known."""
    if len(steps_of_process) and (steps_of_process["tid"] >= 0).any():
        return int(steps_of_process["tid"].mode().iloc[0])
    threads = table(trace, "threads")
    if threads is None:
        return -1
    mains = threads[(threads["process"] == process) & threads["main"]]
    return int(mains["tid"].iloc[0]) if len(mains) else -1


def is_recorded_from_start(trace: Trace, process: int) -> bool:
    """Return whether the recording began before the process did, or with it."""
    processes = table(trace, "processes")
    if processes is None or trace.has_profiled_work or not trace.manifests:
        return False
    ticks = column(processes[processes["process"] == process], "start_ticks")
    zero_ns = trace.manifests[0].zero_monotonic_ns
    if not len(ticks) or ticks[0] < 0 or not zero_ns:
        return False
    started_ns = int(ticks[0]) * 1_000_000_000 // TICKS_PER_S
    return started_ns >= zero_ns - STARTED_WITH_RECORDING_NS


def known_phases(rows: ProcessRows) -> dict[str, Spans]:
    """Return the phases that timed calls show; they may overlap.

    What happens inside a step that is not warm-up belongs to the steps.
    """
    steady = spans_of_steps(rows.steps[rows.steps["phase"].isin(STEADY)])
    batches = spans_of_steps(rows.steps[rows.steps["phase"] == "eval"])
    validation = merged(batches, after_validation(rows, batches))
    steady = subtracted(subtracted(steady, validation), between_epochs(rows))
    outside = {
        COMPILATION: timed_calls(rows, "compilation"),
        CHECKPOINT: timed_calls(rows, "checkpoint"),
        DATA_SETUP: iterator_starts(rows),
        WARM_UP: spans_of_steps(rows.steps[rows.steps["phase"] == "warmup"]),
    }
    found = {phase: subtracted(spans, steady) for phase, spans in outside.items()}
    found[VALIDATION] = validation
    not_steps = merged(validation, between_epochs(rows))
    found[STEPS] = merged(steady, subtracted(partial_steps(rows), not_steps))
    found.update(before_probe(rows))
    return found


def without_progress(trace: Trace) -> dict[str, Spans]:
    """Return the time in which nothing in the job moved: it hung, or was a server without work."""
    still = trace.fact(still_job)
    if still is None:
        return {}
    phase = IDLE if still.hang is None else NO_PROGRESS
    return {phase: single_interval(still.job.begin_ns, still.job.end_ns)}


def spans_of_steps(frame: pd.DataFrame) -> Spans:
    """Return the time of these steps, with the evaluations inside them."""
    begin_ns = column(frame, "ts")
    return merged((begin_ns, begin_ns + column(frame, "dur") + column(frame, "cut")))


def timed_calls(rows: ProcessRows, category: str) -> Spans:
    """Return the calls of one category on the thread of the loop."""
    return spans_of_rows(rows_of_category(rows.of_thread(rows.ranges), category))


def iterator_starts(rows: ProcessRows) -> Spans:
    """Return the time in which the thread of the loop creates iterators of data loaders."""
    loader = rows.of_thread(rows.loader)
    return EMPTY if loader is None else spans_of_rows(loader[loader["kind"] == "start"])


def after_validation(rows: ProcessRows, batches: Spans) -> Spans:
    """Return the time from the last batch of a validation pass to the next request of a batch.

    The program computes metrics there; a step would begin with it. Empty without a loader.
    """
    loader = rows.of_thread(rows.loader)
    requests = np.empty(0, np.int64) if loader is None else column(loader, "ts")
    if not len(requests) or not len(batches[0]):
        return EMPTY
    work, _ = training_calls(rows)
    ends_ns = batches[1]
    resumed = np.searchsorted(requests, ends_ns)
    known = resumed < len(requests)
    ends_ns, until_ns = ends_ns[known], requests[resumed[known]]
    is_quiet = np.searchsorted(work, ends_ns) == np.searchsorted(work, until_ns)
    return merged((ends_ns[is_quiet], until_ns[is_quiet]))


def between_epochs(rows: ProcessRows) -> Spans:
    """Return the time from the end of an iterator until the next of the same loader is made.

    It is in no steady step, also where a step begins with it.
    """
    loader = rows.of_thread(rows.loader)
    if loader is None or not len(loader):
        return EMPTY
    loader = loader.sort_values(["loader", "ts"], kind="stable")
    begin_ns, code = column(loader, "ts"), column(loader, "loader")
    end_ns = begin_ns + column(loader, "dur")
    follows = (column(loader, "end")[:-1] == 1) & (loader["kind"].to_numpy()[1:] == "start")
    follows &= code[1:] == code[:-1]
    work, _ = training_calls(rows)
    follows &= np.searchsorted(work, end_ns[:-1]) == np.searchsorted(work, begin_ns[1:])
    return merged((end_ns[:-1][follows], end_ns[1:][follows]))


def spans_of_rows(frame: pd.DataFrame | None) -> Spans:
    """Return the time that these rows cover."""
    begin_ns = column(frame, "ts")
    return merged((begin_ns, begin_ns + column(frame, "dur")))


def before_probe(rows: ProcessRows) -> dict[str, Spans]:
    """Return the time before the probe was in the process, and before its first timed call.

    The beginning of a process is its start-up; a process that ran before was not recorded then,
    except by samples from outside.
    """
    begin_ns, _ = rows.window
    if not rows.from_start:
        return {NOT_RECORDED: single_interval(begin_ns, rows.probed_ns)}
    calls = [column(frame, "ts") for frame in (rows.loader, rows.ranges)]
    first_ns = min((int(ts[0]) for ts in calls if len(ts)), default=begin_ns)
    return {START_UP: single_interval(begin_ns, first_ns)}


def partial_steps(rows: ProcessRows) -> Spans:
    """Return the parts of steps that the ends of the recording cut off.

    They reach to the first or last call of training, and are at least as long as a usual step.
    """
    trained = rows.steps[rows.steps["phase"] != "eval"]
    begin_ns, end_ns = rows.window
    work_begin, work_end = calls_of_training(rows)
    if not len(trained):
        return merged(single_interval(min(work_begin, default=0), max(work_end, default=0)))
    first_ns = int(trained["ts"].iloc[0])
    last_ns = int((trained["ts"] + trained["dur"] + trained["cut"]).iloc[-1])
    usual_ns = int(trained["dur"].median())
    earlier, later = work_begin[work_begin < first_ns], work_end[work_end > last_ns]
    leading_ns = min([first_ns - usual_ns, *earlier[:1]])
    trailing_ns = max([last_ns + usual_ns, *later[-1:]])
    leading = single_interval(max(leading_ns, rows.probed_ns, begin_ns), first_ns)
    trailing = single_interval(last_ns, min(trailing_ns, end_ns))
    return merged(leading, trailing)


def calls_of_training(rows: ProcessRows) -> tuple[Ints, Ints]:
    """Return begin and end of the calls that a training step consists of, each in order of time.

    They are requests of batches, calls of modules in training mode, backward and the optimizer.
    """
    begin_ns, end_ns = training_calls(rows)
    loader = rows.of_thread(rows.loader)
    forward = rows_of_category(rows.of_thread(rows.ranges), "forward")
    requests = None if loader is None else loader[loader["kind"] == "next"]
    training = None if forward is None else forward[column(forward, "value") != 0]
    begins, ends = [begin_ns], [end_ns]
    for frame in (requests, training):
        begins.append(column(frame, "ts"))
        ends.append(column(frame, "ts") + column(frame, "dur"))
    return np.sort(np.concatenate(begins)), np.sort(np.concatenate(ends))


def training_calls(rows: ProcessRows) -> tuple[Ints, Ints]:
    """Return begin and end of the calls that only training makes, in order of time."""
    calls = rows_of_category(rows.of_thread(rows.ranges), "backward", "optimizer", "scaler")
    begin_ns = np.sort(column(calls, "ts"))
    return begin_ns, np.sort(column(calls, "ts") + column(calls, "dur"))
