"""The code that runs in periodic slow steps and not in the others, and what it is known to be."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import critical_rank
from perfscope.analyzer.budget.observed_budget import main_thread_stacks
from perfscope.analyzer.diagnosis import CodeLocation
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.phases.evaluating_calls import MAKES_DATA
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, rows_of, uses_device
from perfscope.analyzer.slow_steps.line_contrast import (
    LineContrast,
    StepGroup,
    counts_by_frame,
    line_contrasts,
    locate_line,
    rows_with_exact_times,
)
from perfscope.analyzer.slow_steps.slow_step_period import SlowSteps, periodic_slow_steps_of
from perfscope.analyzer.slow_steps.step_series import OPTIMIZER, step_series
from perfscope.traces.frames import parse_frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

WORKS: Final = ("running", "gil", "file", "disk", "lock")
"""States of a thread that works, or waits for its own files; in the others it waits for somebody
else, which is a finding of its own. A lock may be the end of torch's parallel region.
"""
PROFILER: Final = re.compile(r"torch/(?:autograd/)?profiler")
"""Files of torch's profiler, whose time is a finding of its own."""
FEWEST_IN_SLOW_STEPS: Final = 5
"""Samples of a line in slow steps, at exact instants, below which it may be there by chance."""
LOOKS_AT_MODEL: Final = re.compile(
    r"(^|_)(valid\w*|val|eval\w*|test|log\w*|plot\w*|draw\w*|visual\w*|generate\w*|estimate\w*"
    r"|metrics?|report\w*|summar\w*|callback|hook|check\w*|monitor\w*|inspect\w*|preview\w*)(_|$)"
)
"""Names of functions that look at the model between steps."""


@dataclass(frozen=True)
class SlowStepCode:
    """Periodic slow steps, and the line that makes them slow."""

    slow: SlowSteps
    line: LineContrast
    where: CodeLocation | None
    """None with too few samples to name the line."""


def slow_step_code(trace: Trace, limits: Limits) -> SlowStepCode | None:
    """Return the periodic slow steps of the critical process, None where none are certain."""
    process = critical_rank(trace, limits)
    series = None if process is None else step_series(trace, process)
    slow = None if series is None else periodic_slow_steps_of(series, limits)
    if slow is None or slow.share < limits.recoverable_share or accumulates(slow):
        return None
    if waits_for_others(trace, slow, limits) or may_wait_for_device(trace, slow, limits):
        return None
    code = responsible_code(trace, slow, limits)
    if code is None:
        return None
    stacks = stacks_in_slow_steps(trace, slow)
    if is_in_profiler(stacks, limits) or makes_data(stacks, slow, limits):
        return None
    return code


def accumulates(slow: SlowSteps) -> bool:
    """Return whether only the slow steps update the weights: the others accumulate gradients."""
    updates = slow.series.parts[OPTIMIZER] > 0
    return bool(updates[slow.is_slow].any()) and not updates[~slow.is_slow].any()


def waits_for_others(trace: Trace, slow: SlowSteps, limits: Limits) -> bool:
    """Return whether the thread mostly sleeps or waits in the slow steps."""
    states = rows_of(trace, "thread_states", slow.series.process)
    if states is None:
        return False
    spans = slow.series.spans_where(slow.is_slow)
    of_thread = states[column(states, "tid") == slow.series.tid]
    within = of_thread[inside(spans, column(of_thread, "ts"))]
    if not len(within):
        return False
    working = float(within["state"].isin(WORKS).mean())
    return working < limits.main_cause_share


def may_wait_for_device(trace: Trace, slow: SlowSteps, limits: Limits) -> bool:
    """Return whether the slow steps may only wait for work that the others left to a device.

    A program that reads a result every so many steps waits there for all of them.
    """
    if not uses_device(trace):
        return False
    native = rows_of(trace, "native_samples", slow.series.process)
    if native is None:
        return True
    spans = slow.series.spans_where(slow.is_slow)
    of_thread = native[column(native, "tid") == slow.series.tid]
    within = of_thread[inside(spans, column(of_thread, "ts"))]
    if len(within) < FEWEST_SAMPLES:
        return True
    is_driver = within["library"].astype(str).str.contains(r"libcuda|libamdhip|libhsa|\[kernel\]")
    return float(is_driver.mean()) >= limits.waits_for_device


def responsible_code(trace: Trace, slow: SlowSteps, limits: Limits) -> SlowStepCode | None:
    """Return the innermost line that is in the slow steps only and explains half of their excess.

    None where no line is. With few samples of it, it has no place.
    """
    series, is_slow = slow.series, slow.is_slow
    lasted = series.end_ns - series.begin_ns
    less = StepGroup(series.spans_where(~is_slow), float(lasted[~is_slow].mean()))
    more = StepGroup(series.spans_where(is_slow), float(lasted[is_slow].mean()))
    least_ns = limits.main_cause_share * float(slow.excess_ns.mean())
    unnamed = None
    for sampled in sample_sources(trace, slow):
        every = counts_by_frame(
            sampled.every[inside(series.spans, column(sampled.every, "ts"))]["stack"]
        )
        found = [
            line
            for line in line_contrasts(sampled.exact, less, more)
            if line.difference_ns >= least_ns
            and line.is_certain
            and line.more_samples >= FEWEST_IN_SLOW_STEPS
            and line.less_ns / less.step_ns < limits.seldom_called * line.more_ns / more.step_ns
        ]
        named = [line for line in found if every[line.frame].samples >= FEWEST_SAMPLES]
        line = max(named or found, key=lambda line: (line.depth, line.difference_ns), default=None)
        if line is None:
            continue
        if named:
            where = locate_line(line, sampled.every, series.process, series.spans)
            return SlowStepCode(slow, line, where)
        unnamed = unnamed or SlowStepCode(slow, line, None)
    return unnamed


@dataclass(frozen=True)
class ThreadSamples:
    """Stack samples of a thread: all, and those that were taken at the instant that they have."""

    every: pd.DataFrame
    exact: pd.DataFrame


def sample_sources(trace: Trace, slow: SlowSteps) -> list[ThreadSamples]:
    """Return the samples from outside, which have no bias, and all samples."""
    process, tid = slow.series.process, slow.series.tid
    outside = main_thread_stacks(trace, process, tid, "outside_stacks")
    probe = main_thread_stacks(trace, process, tid)
    if not len(outside):
        return [ThreadSamples(probe, probe)] if len(probe) else []
    exact = rows_with_exact_times(outside)
    both = ThreadSamples(pd.concat([outside, probe]), pd.concat([exact, probe]))
    return [ThreadSamples(outside, exact), both]


def stacks_in_slow_steps(trace: Trace, slow: SlowSteps) -> "pd.Series[str]":
    """Return the stacks of all samples in the slow steps whose instants are exact."""
    samples = sample_sources(trace, slow)[-1].exact
    spans = slow.series.spans_where(slow.is_slow)
    return samples[inside(spans, column(samples, "ts"))]["stack"].astype(str)


def is_in_profiler(stacks: "pd.Series[str]", limits: Limits) -> bool:
    """Return whether torch's profiler makes the slow steps slow."""
    return float(stacks.str.contains(PROFILER).mean()) >= limits.main_cause_share


def makes_data(stacks: "pd.Series[str]", slow: SlowSteps, limits: Limits) -> bool:
    """Return whether the slow steps make the data of the next steps, as rollouts do.

    They are named so, or call the model many times and are not named like an evaluation.
    """
    names = {
        frame.function.rpartition(".")[2]
        for stack in stacks.unique()
        for frame in map(parse_frame, stack.split(";"))
        if frame.is_of_program
    }
    if any(MAKES_DATA.search(name) for name in names):
        return True
    calls = slow.series.forward_calls
    more_calls = float(calls[slow.is_slow].mean() - np.median(calls[~slow.is_slow]))
    looks = any(LOOKS_AT_MODEL.search(name) for name in names)
    return more_calls >= limits.many_model_calls and not looks
