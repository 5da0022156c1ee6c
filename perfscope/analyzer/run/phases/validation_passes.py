"""The validation passes of a training process, and the training between them."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.phases.phase_intervals import (
    NOT_RECORDED,
    STEPS,
    VALIDATION,
    WARM_UP,
    phase_spans,
)
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.traces.intervals import (
    Ints,
    Spans,
    inside,
    intersected,
    length_ns,
    merged,
    single_interval,
)
from perfscope.traces.trace import Trace

SAME_PASS_STEPS = 1
"""Validation is one pass where fewer training steps than this are between its parts."""
NS_PER_S = 1e9


@dataclass(frozen=True)
class ValidationPasses:
    """The validation of one process in a recording; times in ns.

    `recorded_ns` is the recorded time, `validation_ns` the part of it in validation. `passes` are
    the intervals of the passes; those at the ends of the recording may be parts.
    """

    process: int
    tid: int
    recorded_ns: int
    validation_ns: int
    passes: Spans
    validation: Spans
    steps: int
    """Training steps in the recording."""
    steps_between: float | None
    """Training steps from the start of a pass to that of the next, None with a single start."""
    cycle_ns: float
    """The time from the start of a pass to that of the next; all recorded time without a next."""
    validation_per_cycle_ns: float
    cycles: int
    """Recorded times from the start of a pass to that of the next."""

    @property
    def count(self) -> int:
        """The number of passes, with those that the ends of the recording cut off."""
        return len(self.passes[0])

    @property
    def share(self) -> float:
        """The share of the recorded time."""
        return self.validation_ns / max(self.recorded_ns, 1)

    @property
    def cycle_share(self) -> float:
        """The share of whole cycles, which does not depend on where the recording began."""
        return self.validation_per_cycle_ns / max(self.cycle_ns, 1.0)


def validation_passes(trace: Trace, process: int) -> ValidationPasses | None:
    """Return the validation passes of a process that also trains, None where there are none."""
    phases = phase_spans(trace, process)
    validation = phases.of(VALIDATION)
    rows = trace.fact(steps)
    rows = rows[(rows["process"] == process) & (rows["phase"] != "eval")]
    trains = length_ns(phases.of(STEPS)) + length_ns(phases.of(WARM_UP)) > 0
    if not len(validation[0]) or not trains:
        return None
    ends_ns = np.sort(column(rows, "ts") + column(rows, "dur") + column(rows, "cut"))
    passes = joined_passes(validation, np.searchsorted(ends_ns, validation[0], side="right"))
    begin_ns, end_ns = recorded_span_ns(trace)
    recorded_ns = end_ns - begin_ns - phases.duration_ns(NOT_RECORDED)
    starts = passes[0][passes[0] > begin_ns + phases.duration_ns(NOT_RECORDED)]
    cycles = max(len(starts) - 1, 0)
    steps_between: float | None = None
    cycle_ns, per_cycle_ns = float(recorded_ns), float(length_ns(validation))
    if cycles:
        cycle_ns = float(starts[-1] - starts[0]) / cycles
        whole = intersected(validation, single_interval(int(starts[0]), int(starts[-1])))
        per_cycle_ns = length_ns(whole) / cycles
        between = np.searchsorted(ends_ns, starts[-1], "right") - np.searchsorted(
            ends_ns, starts[0], "right"
        )
        steps_between = float(between) / cycles
    return ValidationPasses(
        process=process,
        tid=int(rows["tid"].mode().iloc[0]) if len(rows) else -1,
        recorded_ns=recorded_ns,
        validation_ns=length_ns(validation),
        passes=passes,
        validation=validation,
        steps=len(rows),
        steps_between=steps_between,
        cycle_ns=cycle_ns,
        validation_per_cycle_ns=per_cycle_ns,
        cycles=cycles,
    )


def joined_passes(validation: Spans, steps_before: Ints) -> Spans:
    """Return the intervals of passes: parts without a training step between them are one."""
    starts, ends = validation
    first = np.concatenate(([True], np.diff(steps_before) >= SAME_PASS_STEPS))
    final = np.concatenate((first[1:], [True]))
    return starts[first], ends[final]


@dataclass(frozen=True)
class ValidationLoading:
    """The loading of validation batches in the training process itself."""

    wait_ns: int
    """The waits for these batches."""
    batches: int
    iterators: int
    """How often the validation loaders were iterated over: workers start again each time."""
    fetch_ns: float | None
    """The mean time to load a batch, None where no fetch was recorded."""
    cpu_share: float
    """The share of the loading that the CPU needs, 1 where it is unknown."""


def validation_loading(trace: Trace, passes: ValidationPasses) -> ValidationLoading | None:
    """Return what loading without workers takes in validation, None where workers load."""
    loader = rows_of(trace, "loader", passes.process)
    if loader is None:
        return None
    is_wait = (loader["kind"] == "next") & (column(loader, "end") != 1)
    loader = loader[is_wait & (loader["tid"] == passes.tid)]
    loader = loader[inside(passes.validation, column(loader, "ts"))]
    if not len(loader) or (column(loader, "workers") != 0).any():
        return None
    waits = merged((column(loader, "ts"), column(loader, "ts") + column(loader, "dur")))
    fetches = rows_of(trace, "fetches", passes.process)
    fetch_ns, cpu_share = None, 1.0
    if fetches is not None:
        fetches = fetches[inside(waits, column(fetches, "ts"))]
        whole_ns = float(column(fetches, "dur").sum())
        if whole_ns > 0.0:
            fetch_ns = whole_ns / len(fetches)
            cpu_share = min(float(column(fetches, "cpu_ns").sum()) / whole_ns, 1.0)
    iterators = len(np.unique(column(loader, "iterator")))
    return ValidationLoading(length_ns(waits), len(loader), iterators, fetch_ns, cpu_share)
