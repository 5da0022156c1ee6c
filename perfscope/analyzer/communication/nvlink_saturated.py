"""The links between the devices of a host are full: NVLink, or Infinity Fabric on AMD.

What it means
    Collectives run as fast as the links between the devices allow. A faster algorithm or earlier
    launches do not move the bytes sooner; moving fewer bytes does.

How it is detected
    Each collective's bus bandwidth (nccl-tests' convention: its bytes times the part of them that
    crosses the slowest link, over the time from the last arrival to the end) against the peak of
    the links between the members of its group: all links of a device behind switches, one per peer
    in a mesh. Links are full from 65 % of the datasheet's rate (NCCL's protocol leaves about 80 %),
    for at least half of the time in which data move; during at least 3 % of the span the device
    does nothing else meanwhile. From one rank's trace the time includes waiting for peers, so the
    rate is a lower bound: it can show that a link is full, never that it is not. Where switches may
    reduce (NVLink SHARP, on Hopper and newer) an all-reduce counts each byte once. While attached:
    the driver's byte counters against the peak of the links in use, at their current rate. Links
    are full from 80 % of it, for at least 10 % of the time; the loss is a ceiling, because overlap
    with computation is not measured.

What to do
    Move fewer bytes: gradients in bfloat16, accumulation under `no_sync()`, sharding within the
    host and replication across hosts (HSDP). Overlap them: buckets while backward runs, prefetch in
    FSDP. Use fewer ranks per model in tensor parallelism.

When it is wrong
    In a trace the peaks are datasheet figures by product name, not of this machine: a board with
    links down or without switches has less, so that full links are not detected. Two groups that
    communicate at the same time share the links; each is compared with the whole. Counters are read
    a few times per second and average bursts away: they can prove that a link was full, never that
    it was not.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import Case
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication.collectives_on_links import (
    CollectiveLinkUse,
    longest_collectives,
)
from perfscope.analyzer.communication.communication_advice import (
    ACCUMULATE_GRADIENTS,
    COMPRESS_GRADIENTS,
    OVERLAP,
    fewer_gradient_bytes,
    overlap_actions,
)
from perfscope.analyzer.communication.group_path import DEVICE_LINKS
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
from perfscope.analyzer.run.training_evidence import training_evidence
from perfscope.traces.trace import Trace

ID = "nvlink-saturated"
TITLE = "NVLink saturated"
SYNCHRONIZE_LESS_OFTEN = Advice(
    id="exchange-gradients-less-often",
    text="exchange gradients once for several micro-batches",
    precondition="process-trains",
    holds_when="Backward passes or optimizer steps of a process on the device were recorded.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked.

    It needs the driver's byte counters, or collectives with sizes over links of known peak.
    """
    if trace.has_profiled_work:
        return unclear_path(trace, DEVICE_LINKS, limits)
    return unclear_counters(trace, "nvlink", limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about links that are near their peak, when that costs enough."""
    if trace.has_profiled_work:
        return saturated_path(
            trace, DEVICE_LINKS, ID, limits, message=device_link_message, actions=less_link_traffic
        )
    link = fullest_link(trace, "nvlink", limits)
    if link is None:
        return None
    return full_link_finding(
        trace, link, ID, limits, title=TITLE, actions=less_counted_traffic(trace, link)
    )


def device_link_message(use: CollectiveLinkUse, exposed: str) -> Message:
    """Return what the finding says of collectives between devices."""
    technology = longest_collectives(use.rows)["technology"]
    return Message(
        f"{technology} saturated: collectives between devices take {exposed} of the time exposed",
        f"They run near the peak of the links {percent(use.near_share)} of the time in which they"
        " transfer data.",
        "Only moving fewer bytes, or overlapping them with computation, would help.",
    )


def less_link_traffic(case: Case, use: CollectiveLinkUse) -> list[Action]:
    """Return the changes that fit the collectives of a profiler's trace."""
    return [*fewer_gradient_bytes(case), *overlap_actions(case)]


def less_counted_traffic(trace: Trace, link: LinkUse) -> list[Action]:
    """Return the changes that fit a live recording, in which collectives are not recorded."""
    processes = link.use.processes if link.use is not None else ()
    for process in processes[:1]:
        training = training_evidence(trace, process)
        return SYNCHRONIZE_LESS_OFTEN.given(
            training.trains, training.text, snippet="with model.no_sync(): loss.backward()"
        )
    return []


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=EXPOSED_COMMUNICATION,
    across_hosts=True,
    consequences=("exposed-communication",),
    advice=(COMPRESS_GRADIENTS, ACCUMULATE_GRADIENTS, OVERLAP, SYNCHRONIZE_LESS_OFTEN),
)
