"""The device's memory is nearly full.

What it means
    The next longer sequence or larger batch ends in an out-of-memory error. Before that the
    allocator starts to free blocks and to allocate them again, which stalls steps.

How it is detected
    The most that PyTorch's allocator held at once is at least 92 % of the device's memory (TraceML;
    TensorBoard's plugin uses 90 %): from memory events (`profile_memory=True`). While attached the
    driver reports how much of a device is in use, by all processes on it and the driver itself.

What to do
    Activation checkpointing, a smaller micro-batch with gradient accumulation, sharding the
    optimizer's state.

When it is wrong
    Memory that is reserved on purpose (a server's KV cache uses all that it is allowed to) is full
    by design.
"""

import numpy as np

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.memory.device_memory import fullest_memory
from perfscope.analyzer.memory.memory_use import NO_MEMORY_EVENT, memory_peaks
from perfscope.analyzer.number_text import megabytes, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import table
from perfscope.analyzer.run.training_evidence import training_evidence
from perfscope.traces.trace import Trace

ID = "memory-pressure"
NO_MEMORY_SIZE = Unmet("not-in-this-format", "how much memory the device has is not in the trace")
CAVEAT = "No time is lost; do not increase the batch size."
RECOMPUTE_ACTIVATIONS = Advice(
    id="recompute-activations",
    text="recompute activations instead of keeping them",
    precondition="process-keeps-activations",
    holds_when="Backward passes or optimizer steps of a process on the device were recorded.",
)
SMALLER_MICRO_BATCHES = Advice(
    id="use-smaller-micro-batches",
    text=(
        "use smaller micro-batches with gradient accumulation, or shard the optimizer's state"
        " (FSDP, ZeRO)"
    ),
    precondition="process-trains-near-memory-limit",
    holds_when="Backward passes or optimizer steps of a process on the device were recorded.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked.

    It needs the allocator's memory on a device of known size, or the driver's figure.
    """
    if trace.fact(fullest_memory) is not None:
        return None
    if table(trace, "memory") is None:
        return Unmet("not-in-this-format", f"memory: {trace.why_absent('memory')}")
    peaks = trace.fact(memory_peaks)
    if not len(peaks):
        return NO_MEMORY_EVENT
    return None if (peaks["memory_bytes"] > 0).any() else NO_MEMORY_SIZE


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the fullest device, when it is nearly full; no time is lost yet."""
    return pressure_by_allocator(trace, limits) or pressure_by_driver(trace, limits)


def pressure_by_driver(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding by the driver's figure for the device."""
    fullest = trace.fact(fullest_memory)
    if fullest is None or fullest.share < limits.full_memory:
        return None
    use, share = fullest.use, percent(fullest.share)
    used, whole = float(fullest.used_bytes), float(fullest.use.facts.memory_bytes)
    at_peak = (fullest.ts, fullest.ts)
    in_use = "device memory in use, by all processes"
    return device_finding(
        use,
        ID,
        0.0,
        limits,
        has_no_loss=True,
        message=Message(
            f"Memory pressure: {share} of the memory of {device_label(use, trace)} is in use",
            f"{megabytes(used)} of {megabytes(whole)} are in use. A longer input may fail.",
            CAVEAT,
        ),
        evidence=[device_evidence(use, in_use, used / 1e9, "GB", at_peak)],
        actions=smaller_footprint(trace, use.processes),
        scope="run",
    )


def pressure_by_allocator(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding by what PyTorch's allocator held."""
    peaks = trace.fact(memory_peaks)
    known = peaks[peaks["memory_bytes"] > 0]
    if not len(known):
        return None
    shares = (known["reserved_bytes"] / known["memory_bytes"]).to_numpy(np.float64)
    fullest = int(np.argmax(shares))
    if shares[fullest] < limits.full_memory:
        return None
    row = known.iloc[fullest]
    process, device, ts = int(row["process"]), int(row["device"]), int(row["ts"])
    held, whole = float(row["reserved_bytes"]), float(row["memory_bytes"])
    in_use = megabytes(float(row["allocated_bytes"]))
    share = percent(shares[fullest])
    return Finding(
        id=ID,
        cause=None,
        severity="warning",
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=f"Memory pressure: the allocator holds {share} of the device's memory",
        explanation=(
            f"At its peak it holds {megabytes(held)} of {megabytes(whole)}. A longer input may"
            " fail."
        ),
        caveat=CAVEAT,
        evidence=[
            Evidence(
                text=f"peak: {megabytes(held)} held, {in_use} of it in use",
                value=round(held / 1e9, 3),
                unit="GB",
                start_ns=ts,
                end_ns=ts,
                process=process,
                lane="memory",
                device=device,
            )
        ],
        actions=smaller_footprint(trace, (process,)),
        processes=[process],
        devices=[device],
        scope="run",
    )


def smaller_footprint(trace: Trace, processes: tuple[int, ...]) -> list[Action]:
    """Return the changes that save memory in training, where one of the processes trains."""
    for process in processes:
        training = training_evidence(trace, process)
        if training.trains:
            recompute = RECOMPUTE_ACTIVATIONS.given(
                True,
                training.text,
                snippet="torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)",
            )
            return [*recompute, *SMALLER_MICRO_BATCHES.given(True, training.text)]
    return []


RULE = Rule(
    ID,
    not_applicable,
    detect,
    advice=(RECOMPUTE_ACTIVATIONS, SMALLER_MICRO_BATCHES),
    color="device-compute",
)
