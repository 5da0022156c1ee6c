"""The allocator holds much more device memory than tensors use: free blocks that fit no tensor.

What it means
    Blocks of many different sizes leave holes. PyTorch keeps them, cannot use them for larger
    tensors, and allocates more: the run ends out of memory although memory is free.

How it is detected
    At the instant at which tensors use most, the allocator holds at least twice that (TraceML's
    ratio) and at least 1 GiB more. Needs memory events (`profile_memory=True`).

What to do
    `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`; pad or bucket input lengths so that sizes
    repeat.

When it is wrong
    Memory that an earlier, larger phase used (loading, compiling, an evaluation) is held too, and
    free for the next phase: then nothing is fragmented. The trace does not distinguish the two.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.memory.memory_use import NO_MEMORY_EVENT, memory_peaks
from perfscope.analyzer.number_text import digits, megabytes, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

ID = "fragmentation"
EXPAND_SEGMENTS = Advice(
    id="grow-memory-segments",
    text="let segments of memory grow in place",
    precondition="holds-more-than-used",
    holds_when="The allocator holds at least twice the memory that tensors use.",
)
REPEAT_SIZES = Advice(
    id="repeat-tensor-sizes",
    text="make tensor sizes repeat: pad or bucket inputs by length",
    precondition="allocation-sizes-vary",
    holds_when="Allocations of several different sizes were recorded on the device.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs memory events of a device."""
    return None if len(trace.fact(memory_peaks)) else NO_MEMORY_EVENT


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the device on which most memory is held and not used; it loses no time yet."""
    peaks = trace.fact(memory_peaks)
    spare = peaks["held_at_use"] - peaks["used_bytes"]
    holds_more = peaks["held_at_use"] >= limits.held_to_used * peaks["used_bytes"]
    is_fragmented = holds_more & (spare >= limits.spare_bytes)
    if not is_fragmented.any():
        return None
    row = peaks.iloc[int(np.argmax(np.where(is_fragmented, spare, -1)))]
    held, used = float(row["held_at_use"]), float(row["used_bytes"])
    ratio = digits(held / max(used, 1.0))
    return Finding(
        id=ID,
        cause=None,
        severity="info",
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=f"Fragmentation: the allocator holds {ratio} times the memory that tensors use",
        explanation=f"When tensors use most ({megabytes(used)}), it holds {megabytes(held)}.",
        caveat="A device with more memory would only hide it.",
        evidence=[
            Evidence(
                text=f"{megabytes(held - used)} held and not used at the peak of use",
                value=round((held - used) / 1e9, 3),
                unit="GB",
                start_ns=int(row["used_ts"]),
                end_ns=int(row["used_ts"]),
                process=int(row["process"]),
                lane="memory",
                device=int(row["device"]),
            )
        ],
        actions=fewer_holes(trace, row, f"it holds {ratio} times the memory that tensors use"),
        processes=[int(row["process"])],
        devices=[int(row["device"])],
        scope="run",
    )


def fewer_holes(trace: Trace, row: "pd.Series[int]", held: str) -> list[Action]:
    """Return the changes that reduce fragmentation on the device of this row."""
    sizes, allocations = allocation_sizes(trace, int(row["process"]), int(row["device"]))
    return [
        *EXPAND_SEGMENTS.given(
            True, held, snippet="PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
        ),
        *REPEAT_SIZES.given(
            sizes > 1, f"{sizes} sizes in {plural(float(allocations), 'allocation')}"
        ),
    ]


def allocation_sizes(trace: Trace, process: int, device: int) -> tuple[int, int]:
    """Return how many different sizes were allocated on a device, and how many allocations."""
    events = table(trace, "memory")
    of_device = (column(events, "process") == process) & (column(events, "device") == device)
    allocated = column(events, "bytes")[of_device]
    allocated = allocated[allocated > 0]
    return len(np.unique(allocated)), len(allocated)


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("memory",),
    advice=(EXPAND_SEGMENTS, REPEAT_SIZES),
    color="device-compute",
)
