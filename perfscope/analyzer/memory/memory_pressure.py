"""The device's memory is nearly full.

What it means
    The next longer sequence or larger batch ends in an out-of-memory error, and before that the
    allocator starts giving blocks back and asking for them again, which stalls steps.

How it is detected
    The most that PyTorch's allocator held at once is at least 92 % of the device's memory (TraceML;
    TensorBoard's plugin says 90 %): from memory events (`profile_memory=True`). While attached the
    driver says how much of a device is in use, by all processes on it and the driver itself.

What to do
    Activation checkpointing, a smaller micro-batch with gradient accumulation, sharding the
    optimizer's state.

When it is wrong
    Memory set aside on purpose (a server's cache of keys and values takes what it is allowed to) is
    full by design.
"""

import numpy as np

from perfscope.analyzer.counters.device_finding import called, evidence, finding
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.memory.device_memory import fullest_memory
from perfscope.analyzer.memory.memory_use import memory_peaks
from perfscope.analyzer.number_text import megabytes, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

ID = "memory-pressure"

ACTIONS = (
    Action(
        "recompute activations in place of keeping them",
        "torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)",
    ),
    Action(
        "or smaller micro-batches with gradient accumulation; or shard the optimizer's state (FSDP,"
        " ZeRO)"
    ),
)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs what the allocator held on a device of known size, or the driver's figure."""
    if trace.fact(fullest_memory) is not None:
        return None
    if table(trace, "memory") is None:
        return f"memory: {trace.why_absent('memory')}"
    peaks = trace.fact(memory_peaks)
    if not len(peaks):
        return "no memory event of a device is in the trace"
    return (
        None
        if (peaks["memory_bytes"] > 0).any()
        else "how much memory the device has is not in the trace"
    )


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The fullest device, when it is nearly full; it loses no time yet."""
    return _of_allocator(trace, limits) or _of_driver(trace, limits)


def _of_driver(trace: Trace, limits: Limits) -> Finding | None:
    """By the driver's figure for the device."""
    most = trace.fact(fullest_memory)
    if most is None or most.share < limits.full_memory:
        return None
    use, used, whole = most.use, float(most.used_bytes), float(most.use.facts.memory_bytes)
    return finding(
        use,
        ID,
        0.0,
        limits,
        warns=True,
        message=Message(
            f"Memory pressure: {percent(most.share)} of the memory of {called(use, trace)} is"
            " in use",
            f"{megabytes(used)} of {megabytes(whole)} are in use. A longer input may fail.",
            "No time is lost; do not increase the batch size.",
        ),
        evidence=[
            evidence(
                use, "device memory in use, by all processes", used / 1e9, "GB", (most.ts, most.ts)
            )
        ],
        actions=list(ACTIONS),
    )


def _of_allocator(trace: Trace, limits: Limits) -> Finding | None:
    """By what PyTorch's allocator held."""
    peaks = trace.fact(memory_peaks)
    known = peaks[peaks["memory_bytes"] > 0]
    if not len(known):
        return None
    full = (known["reserved_bytes"] / known["memory_bytes"]).to_numpy(np.float64)
    at = int(np.argmax(full))
    if full[at] < limits.full_memory:
        return None
    row = known.iloc[at]
    held, whole = float(row["reserved_bytes"]), float(row["memory_bytes"])
    return Finding(
        id=ID,
        cause=None,
        severity="warning",
        rank=int(row["rank"]),
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=f"Memory pressure: the allocator holds {percent(full[at])} of the device's memory",
        explanation=(
            f"At its peak it holds {megabytes(held)} of {megabytes(whole)}. A longer input may"
            " fail."
        ),
        caveat="No time is lost; do not increase the batch size.",
        evidence=[
            Evidence(
                text=(
                    f"peak: {megabytes(held)} held, {megabytes(float(row['allocated_bytes']))} of"
                    " it in use"
                ),
                value=round(held / 1e9, 3),
                unit="GB",
                start_ns=int(row["ts"]),
                end_ns=int(row["ts"]),
                rank=int(row["rank"]),
                process=int(row["process"]),
                lane="memory",
                device=int(row["device"]),
            )
        ],
        actions=list(ACTIONS),
    )


RULE = Rule(ID, not_applicable, detect)
