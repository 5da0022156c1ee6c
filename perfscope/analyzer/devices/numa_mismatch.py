"""A process runs on the processor that is farther from its device.

What it means
    On a host with several NUMA nodes a device hangs at one of them. A process that runs on another
    one reaches its device, and the memory that it copies from, over the link between the
    processors: launches and copies take longer, and share that link.

How it is detected
    The kernel (or the driver) says at which node the device is; the core on which the process's
    main thread ran is read once a second. It is told when at least 80 % of the readings are on
    another node.

What to do
    Start each rank on its device's node: `numactl --cpunodebind=N --membind=N`, `torchrun
    --numa-binding=node` (torch 2.9 and newer), `srun --gpu-bind=closest`.

When it is wrong
    It costs little where a device computes for long between launches and copies little. Where nodes
    are parts of one processor (NPS4) the way is short. The loss is not known from this alone: none
    is given.
"""

from perfscope.analyzer.counters.device_finding import called, evidence, finding, no_devices
from perfscope.analyzer.devices.numa_nodes import far_processes, nodes_known
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "numa-mismatch"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs to know at which node devices and processes are."""
    reason = no_devices(trace)
    if reason is not None:
        return reason
    return (
        None
        if nodes_known(trace)
        else "neither the kernel nor the driver says at which NUMA node the device is"
    )


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The process that is farthest most of the time."""
    far = [one for one in trace.fact(far_processes) if one.share >= limits.far_share]
    if not far:
        return None
    worst = max(far, key=lambda one: one.share)
    use = worst.use
    return finding(
        use,
        ID,
        0.0,
        limits,
        warns=True,
        message=Message(
            f"NUMA mismatch: {called(use, trace)} is at node {use.facts.numa_node}, its process on"
            f" node {worst.node}",
            f"The process ran on that node in {percent(worst.share)} of the samples.",
        ),
        evidence=[
            evidence(
                use,
                f"process {worst.process} on node {worst.node} ({worst.looks} samples)",
                worst.share,
                "share",
            )
        ],
        actions=[
            Action(
                "start it on the device's node",
                f"numactl --cpunodebind={use.facts.numa_node} --membind={use.facts.numa_node}"
                " python train.py",
            )
        ],
    )


RULE = Rule(
    ID, not_applicable, detect, needs=("device_counters", "device_processes"), in_traces=False
)
