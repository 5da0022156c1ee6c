"""Calls in the loop that wait for the device or empty its cache of memory, from stack samples."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.analyzer.budget.observed_budget import main_thread_id, main_thread_stacks
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.analyzer.run.phases.phase_intervals import STEPS, phase_spans
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.table_access import column
from perfscope.traces.frames import Frame, parse_frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

CALLS: Final = {
    "empty_cache": re.compile(r"(empty_cache) \(torch/(cuda|xpu|accelerator|mps)/"),
    "synchronize": re.compile(r"(synchronize) \(torch/(cuda|xpu|accelerator|mps)/"),
}
"""The innermost frame of a sample in such a call."""


@dataclass(frozen=True)
class DeviceCalls:
    """One such call, at the line of the program that has most samples in it."""

    name: str
    samples: int
    share: float
    """Of the samples in steps: the time that the thread spends in the call."""
    low: float
    high: float
    idle_share: float
    """Share of the time in which the device runs nothing: all that the call can cost."""
    path: list[Frame]
    """The program's own frame, then that of a package that makes the call, if one does."""

    @property
    def cost_share(self) -> float:
        """The most that the call can cost: the device works meanwhile, where it has work."""
        return min(self.share, self.idle_share)


def device_calls(trace: Trace, process: int) -> DeviceCalls | None:
    """Return the call with most samples, None with too few, or where the device is not observed."""
    idle_share = idle_share_of_device(trace, process)
    tid = main_thread_id(trace, process)
    stacks = main_thread_stacks(trace, process, tid, "outside_stacks")
    if idle_share is None or not len(stacks):
        return None
    stacks = stacks[inside(phase_spans(trace, process).of(STEPS), column(stacks, "ts"))]
    counts: dict[tuple[str, tuple[Frame, ...]], int] = {}
    for text, samples in stacks["stack"].astype(str).value_counts().items():
        found = call_in_stack(str(text))
        if found is not None:
            counts[found] = counts.get(found, 0) + int(samples)
    if not counts:
        return None
    name, path = max(counts, key=lambda key: counts[key])
    samples, sampled = counts[name, path], len(stacks)
    if samples < FEWEST_SAMPLES:
        return None
    share = samples / sampled
    low, high = share_interval(share, sampled)
    return DeviceCalls(name, samples, share, low, high, idle_share, list(path))


def call_in_stack(stack: str) -> tuple[str, tuple[Frame, ...]] | None:
    """Return the call that a stack is in, and who makes it; None where torch itself does."""
    labels = stack.split(";")
    for name, pattern in CALLS.items():
        at = next((at for at, label in enumerate(labels) if pattern.match(label)), None)
        if at is None or at == 0:
            continue
        callers = [parse_frame(label) for label in labels[:at]]
        of_program = [frame for frame in callers if frame.is_of_program]
        if callers[-1].is_of_torch or not of_program:
            return None
        return name, tuple(dict.fromkeys((of_program[-1], callers[-1])))
    return None


def idle_share_of_device(trace: Trace, process: int) -> float | None:
    """Return the share of the steps in which no device of the process runs a kernel."""
    uses = [use for use in trace.fact(device_use) if process in use.processes or not use.certain]
    busy = [use.means["kernel_time_share"] for use in uses if "kernel_time_share" in use.means]
    return float(np.clip(1.0 - max(busy), 0.0, 1.0)) if busy else None
