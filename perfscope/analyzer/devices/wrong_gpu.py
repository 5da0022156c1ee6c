"""Ranks are on the wrong devices: two on one while another is free, or each with memory on the
first.

What it means
    Each rank should have a device of its own. Two ranks on one device take turns on it. A rank that
    also holds memory of another rank's device (often device 0) takes half a gigabyte there for
    each, which is missing where the largest batch has to fit.

How it is detected
    The driver lists which processes are on which device, with the memory that each holds.

What to do
    `torch.cuda.set_device(local_rank)` before anything touches CUDA, `torch.load(...,
    map_location="cpu")`, and `init_process_group(device_id=...)`; `CUDA_VISIBLE_DEVICES` for each
    rank where a library insists on device 0.

When it is wrong
    Ranks that share a device on purpose (a test, MPS).
"""

from perfscope.analyzer.counters.device_finding import called, evidence, finding, no_devices
from perfscope.analyzer.devices.device_sharing import crowded, strays
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import megabytes, plural
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "wrong-gpu"
ACTIONS = (
    Action(
        "set the device before anything touches CUDA",
        "torch.cuda.set_device(int(os.environ['LOCAL_RANK']))",
    ),
    Action("load checkpoints to the host", "torch.load(path, map_location='cpu')"),
)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the driver's list of processes."""
    return no_devices(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Ranks that share a device while another is free, else ranks that hold memory of another's."""
    shared = trace.fact(crowded)
    if shared:
        use, empty = shared[0]
        count = len(use.ranks)
        free = ", ".join(str(one.device) for one in empty)
        return finding(
            use,
            ID,
            1.0 - 1.0 / count,
            limits,
            cause="two-ranks-on-one",
            message=Message(
                f"Wrong GPU: ranks {', '.join(map(str, use.ranks))} share {called(use, trace)}",
                f"No process uses device {free}.",
            ),
            evidence=[
                evidence(use, f"{plural(count, 'rank')} of the job on it", float(count), "ranks")
            ],
            actions=list(ACTIONS),
        )
    held = trace.fact(strays)
    if not held:
        return None
    rank, home, other, _ = held[0]
    total = sum(size for *_, size in held)
    facts: list[Evidence] = [
        evidence(
            there,
            f"rank {who} works on device {mine.device} and holds memory here",
            size / 1e9,
            "GB",
        )
        for who, mine, there, size in held[:8]
    ]
    return finding(
        other,
        ID,
        0.0,
        limits,
        warns=True,
        cause="memory-on-another",
        message=Message(
            f"Wrong GPU: rank {rank} of device {home.device} also holds memory of"
            f" {called(other, trace)}",
            f"{plural(len(held), 'rank')} hold {megabytes(total)} on devices that other ranks"
            " compute on.",
        ),
        evidence=facts,
        actions=list(ACTIONS),
    )


RULE = Rule(
    ID, not_applicable, detect, needs=("device_counters", "device_processes"), in_traces=False
)
