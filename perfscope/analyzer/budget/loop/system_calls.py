"""The function in which a loop waits for system calls that are too short to be sampled as waits.

A thread is seen as blocked only while it sleeps for long. `fsync` on a fast disk, and calls that
open, list or write small files, keep the kernel busy or sleep for a fraction of a millisecond. What
they take is what remains of the time without the machine code of the program, the waits for a core
and the page faults.
"""

from typing import Final

import numpy as np

from perfscope.analyzer.budget.loop.host_functions import HostFunction, host_functions
from perfscope.analyzer.budget.loop.loop_samples import LoopSamples, loop_samples, rows_of_loop
from perfscope.analyzer.budget.loop.loop_time import LoopTime
from perfscope.analyzer.budget.loop.native_shares import kind_of_library
from perfscope.analyzer.run.resources.cumulative_counters import WHOLE, grown_in
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import inside, length_ns
from perfscope.traces.trace import Trace

KERNEL: Final = "[kernel]"
MAIN_PART: Final = 0.5
"""The part of the time outside of PyTorch's calls that system calls take where they are what the
loop does.
"""
FAULT_NS: Final = 2_000
"""CPU time of a page fault that clears a page and reads nothing, in a virtual machine
(docs/measured.md).
"""


def calling_functions(trace: Trace) -> dict[int, HostFunction]:
    """Return, by process, the function whose time is mostly that of system calls."""
    found = {}
    for process, function in trace.fact(host_functions).items():
        part = part_in_system_calls(trace, trace.fact(loop_samples)[process], function.time)
        is_main_part = function.most >= MAIN_PART * function.time.running_outside
        if is_main_part and part is not None and part >= MAIN_PART:
            found[process] = function
    return found


def part_in_system_calls(trace: Trace, samples: LoopSamples, time: LoopTime) -> float | None:
    """Return the part of the loop's time outside of PyTorch's calls that system calls take.

    Waits for locks and for the GIL are not counted. None where the machine code of the thread was
    not sampled, or its waits for a core and the page faults of its process were not recorded.
    """
    rows = rows_of_loop(trace, "native_samples", samples)
    faults = grown_in(trace, "minor_faults", samples.process, WHOLE, samples.spans)
    delay_ns = grown_in(trace, "run_delay_ns", samples.process, samples.tid, samples.spans)
    if rows is None or faults is None or delay_ns is None:
        return None
    rows = rows[inside(time.outside_spans, column(rows, "ts"))]
    outside_ns = length_ns(time.outside_spans)
    if len(rows) < FEWEST_SAMPLES or outside_ns <= 0:
        return None
    weights_ns = rows["weight_ns"].to_numpy(np.float64)
    libraries = rows["library"].astype(str).to_numpy()
    in_program = float(weights_ns[libraries != KERNEL].sum())
    in_torch = np.array([kind_of_library(str(name)) == "torch" for name in libraries], bool)
    whole_ns = time.loop_s * 1e9
    # Threads that share an operator wait for each other; that is not on the CPU either.
    operators_ns = time.parallel_operators * whole_ns - float(weights_ns[in_torch].sum())
    waits_ns = (time.locked + time.for_gil) * whole_ns + delay_ns * time.outside
    calls_ns = outside_ns - in_program - waits_ns - faults * FAULT_NS - max(operators_ns, 0.0)
    return max(calls_ns, 0.0) / outside_ns
