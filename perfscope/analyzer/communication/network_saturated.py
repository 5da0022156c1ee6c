"""The network between the hosts is full.

What it means
    Collectives of groups that span hosts go as fast as the network allows. Faster devices would
    wait longer for it.

How it is detected
    As `nvlink-saturated`, for groups whose ranks are on several hosts, against the rate of the
    network ports of the host as recorded. A trace of a profiler does not say what the network can
    carry; then this does not apply, and the rate reached is told. While attached: the kernel's byte
    counters of InfiniBand and RoCE ports and of interfaces, against the rate that the port has now.
    Full is then at least 80 % of it for at least 10 % of the time.

What to do
    Keep the traffic within hosts: shard inside a host and replicate across (HSDP), tensor
    parallelism inside a host only. Move fewer bytes: gradients in bfloat16, accumulation under
    `no_sync()`. Check that NCCL uses the fast ports (`NCCL_DEBUG=INFO` names them) and GPUDirect
    RDMA.

When it is wrong
    Where network switches reduce (SHARP) less crosses the wire than bus bandwidth says. Other jobs
    on the same network take their part and are not seen in collectives; a port's counters are of
    everybody's bytes. They average bursts away: they prove that a port was full and never that it
    was not.
"""

from perfscope.analyzer.budget.trace_case import case_of, no_device
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication import collectives_on_links as link_case
from perfscope.analyzer.communication.group_path import NETWORK
from perfscope.analyzer.counters import full_link
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "network-saturated"
ACTIONS = (
    Action(
        "keep the traffic within hosts: shard inside a host, replicate across",
        "device_mesh=(replicate, shard)",
    ),
    Action(
        "halve the bytes of gradients",
        "model.register_comm_hook(None, default_hooks.bf16_compress_hook)",
    ),
    Action("check that NCCL uses the fast ports and GPUDirect RDMA", "NCCL_DEBUG=INFO"),
)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs collectives with sizes across hosts, and the rate of the network; or ports whose bytes
    the kernel counts.
    """
    if not trace.has_profiled_work:
        return full_link.why_not(trace, "network", limits)
    return no_device(trace) or link_case.why_not(trace, NETWORK, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """A network near its peak most of the time in which something is moved, when that costs
    enough.
    """
    if not trace.has_profiled_work:
        return full_link.detect(
            trace, "network", ID, limits, title="Network saturated", actions=list(ACTIONS)
        )
    case = case_of(trace, limits)
    use = link_case.link_use(case, NETWORK)
    share = use.exposed_ns / case.span_ns
    if use.near_share < limits.bus_full_share or share < limits.worth_share:
        return None
    return case.finding(
        ID,
        use.exposed_ns,
        limits,
        message=Message(
            f"Network saturated: collectives across hosts take {percent(share)} of the time"
            " exposed",
            f"They run near the link rate {percent(use.near_share)} of the time in which they"
            " transfer data.",
        ),
        evidence=link_case.evidence(case, use),
        actions=list(ACTIONS),
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=EXPOSED_COMMUNICATION,
    across_hosts=True,
    explains=("exposed-communication",),
)
