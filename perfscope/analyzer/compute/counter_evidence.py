"""What a device's counters (GPM) say about being bound by memory or arithmetic, in addition to the
recorded operators or (memory only) without them.
"""

from typing import Final

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.counters.bound_by_from_counters import busiest_device
from perfscope.analyzer.counters.counter_bound import (
    CounterBound,
    counter_bound,
    why_not_measurable,
)
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.analyzer.run.training_evidence import training_evidence
from perfscope.traces.trace import Trace

BANDWIDTH: Final = "memory-bandwidth"
FLOAT32_PIPE: Final = "fp32_active"
LARGER_DECODE_BATCH: Final = Advice(
    id="decode-larger-batches",
    text="when decoding: use a larger batch, which reads the weights once for more tokens",
    precondition="runs-inference",
    holds_when="No backward pass and no optimizer step of the process was recorded.",
)
SMALLER_TYPES: Final = Advice(
    id="use-smaller-types",
    text="move fewer bytes: bfloat16 instead of float32, weights and caches in 8 bits",
    precondition="computes-in-float32-and-has-bfloat16",
    holds_when=(
        "The busiest arithmetic pipe is that of float32, and the compute capability is 8.0 or"
        " higher."
    ),
)
FUSE_BY_COUNTERS: Final = Advice(
    id="fuse-memory-bound-operators",
    text="fuse consecutive operators",
    precondition="not-compiled",
    holds_when="Operators were recorded, and none of them is code that torch.compile compiled.",
)
COUNTER_ADVICE: Final = (LARGER_DECODE_BATCH, SMALLER_TYPES, FUSE_BY_COUNTERS)


def unmet_without_counters(trace: Trace, unmet: Unmet) -> Unmet | None:
    """Return why memory cannot be shown to limit without operators, None where counters show it."""
    if trace.has_profiled_work or not trace.fact(device_use):
        return unmet
    unmeasured = why_not_measurable(trace)
    if unmeasured is None:
        return None
    return Unmet(unmet.group, f"{unmet.reason}; {unmeasured.reason}")


def with_counters(finding: Finding | None, trace: Trace, id: str, limits: Limits) -> Finding | None:
    """Return the finding from operators with its device's counters, else what counters alone show.

    Counters do not show how much could be saved, so such a finding has no loss.
    """
    bound = bound_by_resource(trace, BANDWIDTH)
    if finding is not None or bound is None:
        return with_counter_evidence(finding, trace, BANDWIDTH)
    used = percent(bound.use.means["dram_active"])
    return device_finding(
        bound.use,
        id,
        0.0,
        limits,
        is_info=True,
        message=Message(
            f"Memory-bound: {device_label(bound.use, trace)} uses {used} of its memory bandwidth",
            "About 80 % is the most that can be reached. Its arithmetic units are far from their"
            " peak.",
            "Faster arithmetic would not help.",
        ),
        evidence=pipe_evidence(bound),
        actions=fewer_bytes(trace, bound),
    )


def fewer_bytes(trace: Trace, bound: CounterBound) -> list[Action]:
    """Return the changes that move fewer bytes and fit this device and its processes."""
    use = bound.use
    process = use.processes[0] if use.processes else None
    training = None if process is None else training_evidence(trace, process)
    compiled = None if process is None else compiled_code(trace, process)
    capability = use.facts.compute_capability or "unknown"
    return [
        *LARGER_DECODE_BATCH.given(
            training is not None and not training.trains, "" if training is None else training.text
        ),
        *SMALLER_TYPES.given(
            bound.pipe == FLOAT32_PIPE and capability_at_least(capability, 8),
            f"the busiest pipe is {bound.pipe}; compute capability {capability}",
        ),
        *FUSE_BY_COUNTERS.given(
            compiled is not None and compiled.is_eager,
            "" if compiled is None else compiled.text,
            snippet="model = torch.compile(model)",
        ),
    ]


def capability_at_least(capability: str, major: int) -> bool:
    """Return whether a compute capability (`9.0`) is known and at least `major`."""
    number = capability.partition(".")[0]
    return number.isdigit() and int(number) >= major


def bound_by_resource(trace: Trace, resource: str) -> CounterBound | None:
    """Return the job's device that its counters show bound by `resource`, None without one."""
    if trace.has_profiled_work:
        return None
    bound = busiest_device(trace.fact(counter_bound))
    return bound if bound is not None and bound.id == resource else None


def with_counter_evidence(finding: Finding | None, trace: Trace, resource: str) -> Finding | None:
    """Return the finding with the device's counters, where they name the same resource."""
    bound = bound_by_resource(trace, resource)
    if finding is None or bound is None:
        return finding
    return msgspec.structs.replace(finding, evidence=[*finding.evidence, *pipe_evidence(bound)])


def pipe_evidence(bound: CounterBound) -> list[Evidence]:
    """Return memory, arithmetic and SM activity; warps that wait for memory count as active."""
    use, means = bound.use, bound.use.means
    pipe = bound.pipe.removesuffix("_active")
    memory = "DRAM bandwidth of its peak (about 0.8 can be reached)"
    return [
        device_evidence(use, memory, means["dram_active"], "share"),
        device_evidence(use, f"busiest pipe ({pipe})", means.get(bound.pipe), "share"),
        device_evidence(
            use, "SM activity; warps that wait count as active", bound.sm_active, "share"
        ),
    ]
