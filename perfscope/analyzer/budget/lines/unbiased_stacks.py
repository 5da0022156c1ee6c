"""The stack samples of a main thread that its line is chosen from."""

from collections.abc import Callable
from functools import cache

import pandas as pd

from perfscope.analyzer.budget.lines.sample_weights import weigh_by_calls
from perfscope.analyzer.budget.observed_budget import main_thread_id, main_thread_stacks
from perfscope.traces.trace import Trace


def unbiased_stacks(trace: Trace, process: int) -> pd.DataFrame:
    """Return the stacks of the main thread that were sampled from outside, else the probe's.

    The probe needs the GIL to take a sample, and gets it more often where the program releases it.
    Their weights agree with the calls that the probe timed.
    """
    return trace.fact(samples_by_process)(process)


def samples_by_process(trace: Trace) -> Callable[[int], pd.DataFrame]:
    """Return the function that finds the samples of a process, once for each."""

    def find(process: int) -> pd.DataFrame:
        tid = main_thread_id(trace, process)
        outside = main_thread_stacks(trace, process, tid, "outside_stacks")
        stacks = outside if len(outside) else main_thread_stacks(trace, process, tid)
        return weigh_by_calls(trace, process, tid, stacks)

    return cache(find)
