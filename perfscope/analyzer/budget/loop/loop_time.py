"""How the loop divides into torch's calls, the loader and the rest, and what the rest does.

The division is that of the probe's timed calls; what the rest does is sampled: the thread is
blocked in a system call, or it runs, in operators or outside of them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.compute_shares import compute_shares
from perfscope.analyzer.budget.device_evidence import window_times
from perfscope.analyzer.budget.loop.loop_samples import (
    LoopSamples,
    device_wait_spans,
    loop_samples,
    rows_of_loop,
)
from perfscope.analyzer.budget.loop.native_shares import native_shares
from perfscope.analyzer.budget.loop.sampled_states import NOT_BLOCKED
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, manifest, rows_of_category
from perfscope.traces.intervals import (
    EMPTY,
    Spans,
    inside,
    intersected,
    length_ns,
    merged,
    subtracted,
)
from perfscope.traces.trace import Trace

TORCH_CALLS: Final = ("forward", "backward", "optimizer", "scaler")
TIMED_CALLS: Final = ("checkpoint", "gc", "compilation", "sync")
NATIVE_PART_OF_CALLS: Final = 0.5
"""At least this part of torch's calls runs native code; the rest may be Python of its modules."""
GIL: Final = "gil"
LOCK: Final = "lock"
"""A thread at the end of a parallel operator waits in a lock, too."""


@dataclass(frozen=True)
class OuterParts:
    """Shares of a loop: in torch's calls, outside of them, and outside without being blocked."""

    torch: float
    outside: float
    running: float


@dataclass(frozen=True)
class LoopTime:
    """Shares of the time of one loop, 0 to 1.

    `outside` is the time outside of torch's calls, the loader and other timed calls. Parts of it:
    `blocked` (in system calls, without locks), `locked`, and `operators` (in operators that the
    loop calls itself; None where no window shows them).
    """

    process: int
    loop_s: float
    torch: float
    loader: float
    outside: float
    blocked: float
    locked: float
    operators: float | None
    blocked_in: dict[str, float]
    """`blocked` by the state of the thread."""
    surely_locked: float = 0.0
    """The part of `locked` that cannot be the end of a parallel operator: with one thread all of
    it, else what the operators in a window leave.
    """
    parallel_operators: float = 0.0
    """The largest part of `outside` that operators on several threads can take."""
    for_gil: float = 0.0
    """The part of `outside` that is waits for the GIL."""
    outside_spans: Spans = EMPTY
    """The intervals whose share of the loop is `outside`."""
    on_core: float = 1.0
    """The part in which the thread has a core, of the time in which it is not blocked."""

    @property
    def running(self) -> float:
        """The share in which it is neither in the loader nor blocked outside of torch's calls."""
        return max(1.0 - self.loader - self.blocked - self.locked, 0.0)

    @property
    def running_outside(self) -> float:
        """The share in which the thread runs (or waits for a core) outside of torch's calls."""
        return max(self.outside - self.blocked - self.locked, 0.0)

    @property
    def host_code_at_least(self) -> float:
        """The share in which it runs outside of torch's calls and of operators, at least."""
        return max(self.running_outside - (self.operators or 0.0), 0.0)


def loop_times(trace: Trace) -> dict[int, LoopTime]:
    """Return the division of the loop of each process with samples of it."""
    return {
        process: loop_time(trace, samples) for process, samples in trace.fact(loop_samples).items()
    }


def loop_time(trace: Trace, samples: LoopSamples) -> LoopTime:
    """Return the division of one loop."""
    whole_ns = max(length_ns(samples.spans), 1)
    ranges = rows_of_loop(trace, "ranges", samples)
    torch = intersected(samples.spans, spans_of_calls(rows_of_category(ranges, *TORCH_CALLS)))
    loader = spans_of_calls(rows_of_loop(trace, "loader", samples))
    outside = outside_of_calls(trace, samples)
    outside_share = length_ns(outside) / whole_ns
    states = states_within(trace, samples, outside)
    blocked_in = {
        state: share * outside_share for state, share in states.items() if state not in NOT_BLOCKED
    }
    locked = blocked_in.pop(LOCK, 0.0)
    torch_share = length_ns(torch) / whole_ns
    running = max(outside_share - sum(blocked_in.values()) - locked, 0.0)
    parts = OuterParts(torch_share, outside_share, running)
    native = trace.fact(native_shares).get(samples.process)
    blocked = sum(blocked_in.values())
    parallel = parallel_operators(trace, samples.process, parts)
    loader_share = length_ns(intersected(samples.spans, loader)) / whole_ns
    runnable_s = max(1.0 - loader_share - blocked - locked, 0.01) * whole_ns / 1e9
    return LoopTime(
        process=samples.process,
        loop_s=whole_ns / 1e9,
        torch=torch_share,
        loader=loader_share,
        outside=outside_share,
        blocked=blocked,
        locked=locked,
        surely_locked=max(locked - parallel, 0.0),
        parallel_operators=parallel,
        for_gil=states.get(GIL, 0.0) * outside_share,
        outside_spans=outside,
        operators=operators_outside(trace, samples.process, parts),
        blocked_in=blocked_in,
        on_core=1.0 if native is None else min(native.cpu_s / runnable_s, 1.0),
    )


def outside_of_calls(trace: Trace, samples: LoopSamples) -> Spans:
    """Return the time of the loop outside of torch's calls, the loader and other timed calls."""
    ranges = rows_of_loop(trace, "ranges", samples)
    timed = spans_of_calls(rows_of_category(ranges, *TORCH_CALLS, *TIMED_CALLS))
    loader = spans_of_calls(rows_of_loop(trace, "loader", samples))
    waits = device_wait_spans(trace, samples.process, samples.tid)
    return subtracted(samples.spans, merged(timed, loader, waits))


def operators_outside(trace: Trace, process: int, parts: OuterParts) -> float | None:
    """Return the share of the loop in operators that the loop calls itself, None where unknown.

    It is the smaller one of two estimates: what a window shows (where short pauses between
    operators count as operators), and the time in which the thread runs neither the interpreter nor
    torch's calls.
    """
    window = trace.fact(compute_shares).get(process)
    device = trace.fact(window_times).get(process)
    native = trace.fact(native_shares).get(process)
    estimates = []
    if window is not None:
        estimates.append(window.other_calls * parts.outside)
    if device is not None and device.untimed_calls is not None:
        estimates.append(device.untimed_calls * parts.outside)
    if native is not None:
        not_python = (1.0 - native.interpreter - native.others) * (parts.running + parts.torch)
        estimates.append(max(not_python - NATIVE_PART_OF_CALLS * parts.torch, 0.0))
    return min([*estimates, parts.running]) if estimates else None


def parallel_operators(trace: Trace, process: int, parts: OuterParts) -> float:
    """Return the largest share of the loop that operators on several threads can take.

    Only those outside of torch's calls count.
    """
    torch, window = manifest(trace).torch, trace.fact(compute_shares).get(process)
    if torch is not None and torch.intra_op_threads == 1:
        return 0.0
    return parts.outside if window is None else window.other_calls * parts.outside


def spans_of_calls(rows: pd.DataFrame | None) -> Spans:
    """Return the time that calls cover."""
    begin_ns = column(rows, "ts")
    return merged((begin_ns, begin_ns + column(rows, "dur")))


def states_within(trace: Trace, samples: LoopSamples, spans: Spans) -> dict[str, float]:
    """Return the shares of the thread's states within `spans`.

    Empty with too few samples.
    """
    rows = rows_of_loop(trace, "thread_states", samples)
    if rows is None:
        return {}
    states = rows["state"].astype(str).to_numpy()[inside(spans, column(rows, "ts"))]
    if len(states) < FEWEST_SAMPLES:
        return {}
    names, counts = np.unique(states, return_counts=True)
    return {
        str(name): float(count) / len(states) for name, count in zip(names, counts, strict=True)
    }
