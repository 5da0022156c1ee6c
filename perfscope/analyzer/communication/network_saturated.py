"""The network between the hosts is full.

What it means
    Collectives of groups that span hosts run as fast as the network allows. Faster devices would
    wait longer for it.

How it is detected
    As `nvlink-saturated`, for groups whose ranks are on several hosts, against the recorded rate of
    the host's network ports. A profiler's trace does not contain the rate of the network: then the
    finding does not apply, and the bandwidth that was reached is reported. While attached: the
    kernel's byte counters of InfiniBand and RoCE ports and of interfaces, against the current rate
    of the port. A port is full from 80 % of it, for at least 10 % of the time.

What to do
    Keep the traffic within hosts: shard inside a host and replicate across hosts (HSDP), use tensor
    parallelism inside a host only. Move fewer bytes: gradients in bfloat16, accumulation under
    `no_sync()`. Check that NCCL uses the fast ports (`NCCL_DEBUG=INFO` lists them) and GPUDirect
    RDMA.

When it is wrong
    Where network switches reduce (SHARP) fewer bytes cross the wire than bus bandwidth implies.
    Other jobs on the same network use part of it and do not show in collectives; a port's counters
    include everyone's bytes. Counters average bursts away: they can prove that a port was full,
    never that it was not.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import Case
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication.collectives_on_links import CollectiveLinkUse
from perfscope.analyzer.communication.communication_advice import (
    ACCUMULATE_GRADIENTS,
    COMPRESS_GRADIENTS,
    fewer_gradient_bytes,
)
from perfscope.analyzer.communication.group_path import NETWORK
from perfscope.analyzer.communication.saturated_links import saturated_path, unclear_path
from perfscope.analyzer.counters.full_link_finding_parts import (
    full_link_finding,
    fullest_link,
    unclear_counters,
)
from perfscope.analyzer.counters.link_use import LinkUse
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.ranks.local_ranks import main_processes
from perfscope.analyzer.run.ranks.rank_waiting import host_by_process
from perfscope.traces.trace import Trace

ID = "network-saturated"
TITLE = "Network saturated"
KEEP_WITHIN_HOSTS = Advice(
    id="keep-traffic-within-hosts",
    text="keep the traffic within hosts: shard inside a host, replicate across hosts",
    precondition="several-ranks-per-host",
    holds_when="More ranks than hosts were recorded.",
)
CHECK_PORTS = Advice(
    id="check-network-ports",
    text="check that NCCL uses the fast ports and GPUDirect RDMA",
    precondition="network-near-peak",
    holds_when="The network is near its peak for the share of the time that the finding requires.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked.

    It needs port counters, or collectives with sizes across hosts and the rate of the network.
    """
    if trace.has_profiled_work:
        return unclear_path(trace, NETWORK, limits)
    return unclear_counters(trace, "network", limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about a network that is near its peak, when that costs enough."""
    if trace.has_profiled_work:
        return saturated_path(
            trace, NETWORK, ID, limits, message=network_message, actions=less_network_traffic
        )
    link = fullest_link(trace, "network", limits)
    if link is None:
        return None
    return full_link_finding(
        trace, link, ID, limits, title=TITLE, actions=less_port_traffic(trace, link)
    )


def network_message(use: CollectiveLinkUse, exposed: str) -> Message:
    """Return what the finding says of collectives across hosts."""
    return Message(
        f"Network saturated: collectives across hosts take {exposed} of the time exposed",
        f"They run near the link rate {percent(use.near_share)} of the time in which they transfer"
        " data.",
    )


def less_network_traffic(case: Case, use: CollectiveLinkUse) -> list[Action]:
    """Return the changes that fit the collectives of a profiler's trace."""
    return [
        *within_hosts(case.trace),
        *fewer_gradient_bytes(case),
        *port_check(use.near_share),
    ]


def less_port_traffic(trace: Trace, link: LinkUse) -> list[Action]:
    """Return the changes that fit a live recording."""
    return [*within_hosts(trace), *port_check(link.near_share)]


def within_hosts(trace: Trace) -> list[Action]:
    """Return the advice to shard inside a host, where hosts run several ranks."""
    processes = main_processes(trace)
    host_names = host_by_process(trace)
    ranks, hosts = len(processes), len({host_names.get(code, "") for code, _ in processes})
    return KEEP_WITHIN_HOSTS.given(
        ranks > hosts, f"ranks: {ranks}, hosts: {hosts}", snippet="device_mesh=(replicate, shard)"
    )


def port_check(near_share: float) -> list[Action]:
    """Return the advice to check which ports NCCL uses."""
    text = f"near the peak {percent(near_share)} of the time"
    return CHECK_PORTS.given(near_share > 0.0, text, snippet="NCCL_DEBUG=INFO")


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=EXPOSED_COMMUNICATION,
    across_hosts=True,
    consequences=("exposed-communication",),
    advice=(KEEP_WITHIN_HOSTS, ACCUMULATE_GRADIENTS, COMPRESS_GRADIENTS, CHECK_PORTS),
)
