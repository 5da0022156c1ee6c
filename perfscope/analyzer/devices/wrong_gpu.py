"""Ranks are on the wrong devices: two on one while another is free, or each with memory on the
first.

What it means
    Each rank should have a device of its own. Two ranks on one device take turns on it. A rank that
    also holds memory on another rank's device (often device 0) uses about half a gigabyte there,
    which is missing for the largest batch.

How it is detected
    The driver lists which processes are on which device, with the memory that each holds.

What to do
    `torch.cuda.set_device(local_rank)` before anything uses CUDA, `torch.load(...,
    map_location="cpu")`, and `init_process_group(device_id=...)`; `CUDA_VISIBLE_DEVICES` for each
    rank where a library requires device 0.

When it is wrong
    Ranks may share a device on purpose (a test, MPS).
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    no_devices,
)
from perfscope.analyzer.devices.device_sharing import (
    MisplacedMemory,
    crowded_devices,
    misplaced_memory,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import megabytes, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.traces.trace import Trace

ID = "wrong-gpu"
MOST_RANKS = 8
SET_DEVICE = Advice(
    id="set-device-first",
    text="set the device before anything uses CUDA",
    precondition="rank-on-another-rank-device",
    holds_when="Several ranks are on one device, or a rank holds memory on another rank's.",
)
LOAD_TO_HOST = Advice(
    id="load-checkpoints-to-host",
    text="load checkpoints to the host",
    precondition="rank-holds-memory-elsewhere",
    holds_when="A rank holds memory on a device on which another rank computes.",
)
SET_DEVICE_SNIPPET = "torch.cuda.set_device(int(os.environ['LOCAL_RANK']))"


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs the driver's list of processes."""
    return no_devices(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return ranks that share a device while another is free, else memory on another's device."""
    return two_ranks_on_one(trace, limits) or memory_on_another(trace, limits)


def two_ranks_on_one(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the first device that ranks share while another is free."""
    shared = trace.fact(crowded_devices)
    if not shared:
        return None
    use, free_devices = shared[0]
    count, label = len(use.ranks), device_label(use, trace)
    free = ", ".join(str(device.device) for device in free_devices)
    on_device = f"{plural(count, 'rank')} of the job on it"
    return device_finding(
        use,
        ID,
        1.0 - 1.0 / count,
        limits,
        cause="two-ranks-on-one",
        message=Message(
            f"Wrong GPU: ranks {', '.join(map(str, use.ranks))} share {label}",
            f"No process uses device {free}.",
        ),
        evidence=[device_evidence(use, on_device, float(count), "ranks")],
        actions=SET_DEVICE.given(count > 1, on_device, snippet=SET_DEVICE_SNIPPET),
    )


def memory_on_another(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about ranks that hold memory on a device where another rank computes."""
    misplaced = trace.fact(misplaced_memory)
    if not misplaced:
        return None
    first = misplaced[0]
    total = megabytes(sum(memory.size_bytes for memory in misplaced))
    ranks = plural(len(misplaced), "rank")
    held = f"{ranks} hold {total} on devices that other ranks compute on"
    return device_finding(
        first.other,
        ID,
        0.0,
        limits,
        has_no_loss=True,
        cause="memory-on-another",
        message=Message(
            f"Wrong GPU: rank {first.rank} of device {first.home.device} also holds memory of"
            f" {device_label(first.other, trace)}",
            f"{held}.",
        ),
        evidence=[evidence_of_memory(memory) for memory in misplaced[:MOST_RANKS]],
        actions=memory_at_home(held),
        scope="run",
    )


def evidence_of_memory(memory: MisplacedMemory) -> Evidence:
    """Return the memory that one rank holds on another rank's device."""
    text = f"rank {memory.rank} works on device {memory.home.device} and holds memory here"
    return device_evidence(memory.other, text, memory.size_bytes / 1e9, "GB")


def memory_at_home(held: str) -> list[Action]:
    """Return how to keep each rank's memory on its own device."""
    return [
        *SET_DEVICE.given(True, held, snippet=SET_DEVICE_SNIPPET),
        *LOAD_TO_HOST.given(True, held, snippet="torch.load(path, map_location='cpu')"),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters", "device_processes"),
    in_traces=False,
    advice=(SET_DEVICE, LOAD_TO_HOST),
    color="device-compute",
)
