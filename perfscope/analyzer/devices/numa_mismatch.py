"""A process runs on a processor that is not the one its device is connected to.

What it means
    On a host with several NUMA nodes a device is connected to one of them. A process that runs on
    another node reaches its device, and the memory that it copies from, over the link between the
    processors: launches and copies take longer, and share that link.

How it is detected
    The kernel (or the driver) reports the node of the device; the core on which the process's main
    thread ran is read once per second. It is reported when at least 80 % of the readings are on
    another node.

What to do
    Start each rank on its device's node: `numactl --cpunodebind=N --membind=N`, `torchrun
    --numa-binding=node` (torch 2.9 and newer), `srun --gpu-bind=closest`.

When it is wrong
    It costs little where a device computes for long between launches and copies little. Where nodes
    are parts of one processor (NPS4) the distance is short. The loss cannot be measured this way:
    none is given.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    no_devices,
)
from perfscope.analyzer.devices.numa_nodes import are_nodes_known, far_processes
from perfscope.analyzer.diagnosis import Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.traces.trace import Trace

ID = "numa-mismatch"
NO_NODES = Unmet("other", "neither the kernel nor the driver reports the NUMA node of the device")
BIND_TO_NODE = Advice(
    id="bind-to-numa-node",
    text="start the process on the device's node",
    precondition="process-on-another-node",
    holds_when="Most samples of the process are on another NUMA node than its device.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs the NUMA nodes of devices and processes."""
    unmet = no_devices(trace)
    if unmet is not None:
        return unmet
    return None if are_nodes_known(trace) else NO_NODES


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the process that runs on another node most of the time."""
    far = [found for found in trace.fact(far_processes) if found.share >= limits.far_share]
    if not far:
        return None
    worst = max(far, key=lambda found: found.share)
    use, node = worst.use, worst.use.facts.numa_node
    seen = f"process {worst.process} on node {worst.node} ({worst.samples} samples)"
    return device_finding(
        use,
        ID,
        0.0,
        limits,
        has_no_loss=True,
        message=Message(
            f"NUMA mismatch: {device_label(use, trace)} is at node {node}, its process on node"
            f" {worst.node}",
            f"The process ran on that node in {percent(worst.share)} of the samples.",
        ),
        evidence=[device_evidence(use, seen, worst.share, "share")],
        actions=BIND_TO_NODE.given(
            True,
            f"{percent(worst.share)} of {worst.samples} samples on node {worst.node}",
            snippet=f"numactl --cpunodebind={node} --membind={node} python train.py",
        ),
        scope="run",
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters", "device_processes"),
    in_traces=False,
    advice=(BIND_TO_NODE,),
    color="exposed-copy",
)
