"""The links between the devices of a host are full: NVLink, or Infinity Fabric on AMD.

What it means
    Collectives go as fast as the links between the devices allow. A faster algorithm or more
    overlap of launches will not move the bytes any sooner; fewer bytes will.

How it is detected
    Each collective's bus bandwidth (nccl-tests' convention: its bytes times what of them has to
    cross the slowest link, over the time from the last arrival to the end) against the peak of the
    links between the members of its group: all links of a device behind switches, one for each peer
    in a mesh. Full is at least 65 % of the datasheet's rate (what NCCL's protocol leaves, and most
    of that), for at least half of the time in which anything is moved, while the device does
    nothing else for 3 % of the span. From one rank's trace the time includes waiting for peers, so
    the rate is "at least": it can show a full link and never clear it. Where switches may reduce
    (NVLink SHARP, on Hopper and newer) an all-reduce counts each byte once. While attached: the
    driver's byte counters against the peak of the links in use, as they came up here. Full is then
    at least 80 % of it for at least 10 % of the time; the loss is a ceiling, as what computation
    hides is not seen.

What to do
    Move fewer bytes: gradients in bfloat16, accumulation under `no_sync()`, sharding within the
    host and replication across (HSDP). Hide them: buckets while backward runs, prefetch in FSDP.
    Fewer ranks a model in tensor parallelism.

When it is wrong
    Of a trace the peaks are datasheet figures by product name, not of this machine: a board with
    links down or without switches has less, so that full links are then not seen. Two groups that
    communicate at the same time share the links; each is held against the whole. Counters are read
    a few times a second and average bursts away: they prove that a link was full and never that it
    was not.
"""

from perfscope.analyzer.budget.trace_case import case_of, no_device
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication import collectives_on_links as link_case
from perfscope.analyzer.communication.group_path import DEVICE_LINKS
from perfscope.analyzer.counters import full_link
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "nvlink-saturated"
ACTIONS = (
    Action(
        "halve the bytes of gradients",
        "model.register_comm_hook(None, default_hooks.bf16_compress_hook)",
    ),
    Action(
        "exchange gradients once for several micro-batches", "with model.no_sync(): loss.backward()"
    ),
    Action("hide them: DDP's buckets while backward runs, FSDP with prefetch"),
)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs collectives with sizes over links whose peak is known, or links whose bytes the driver
    counts.
    """
    if not trace.has_profiled_work:
        return full_link.why_not(trace, "nvlink", limits)
    return no_device(trace) or link_case.why_not(trace, DEVICE_LINKS, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Links that are near their peak most of the time in which something is moved, when that costs
    enough.
    """
    if not trace.has_profiled_work:
        return full_link.detect(
            trace, "nvlink", ID, limits, title="NVLink saturated", actions=list(ACTIONS)
        )
    case = case_of(trace, limits)
    use = link_case.link_use(case, DEVICE_LINKS)
    share = use.exposed_ns / case.span_ns
    if use.near_share < limits.bus_full_share or share < limits.worth_share:
        return None
    first = link_case.largest(use.rows)
    return case.finding(
        ID,
        use.exposed_ns,
        limits,
        message=Message(
            f"{first['technology']} saturated: collectives between devices take {percent(share)} of"
            " the time exposed",
            f"They run near the peak of the links {percent(use.near_share)} of the time in which"
            " they transfer data.",
            "Only moving fewer bytes, or overlapping them with computation, would help.",
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
