"""What the findings about full links share: which link is full, why one cannot be cleared, and the
finding itself.
"""

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.counters.device_finding import LANE, at_most, called, no_devices, rank_of
from perfscope.analyzer.counters.device_use import device_use
from perfscope.analyzer.counters.link_use import NEVER_CLEARED, LinkUse, link_use
from perfscope.analyzer.counters.pcie_links import NOT_READ, pcie_links
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

GB = 1e9


MISSING = {"nvlink": "nvlink_tx_bytes", "pcie": "pcie_tx_bytes"}


def why_not(trace: Trace, kind: str, limits: Limits) -> str | None:
    """Why nothing can be said of links of this kind (nvlink, pcie, network); of links that were not
    seen full nothing can.
    """
    if kind == "network":
        if table(trace, "network_counters") is None:
            return f"network_counters: {trace.why_absent('network_counters')}"
    else:
        reason = no_devices(trace)
        if reason is not None:
            return reason
    uses = trace.fact(device_use)
    if kind == "nvlink" and not any(use.facts.links for use in uses):
        return "the devices of the job have no NVLink that is up"
    if not any(link.kind == kind for link in trace.fact(link_use)):
        if kind == "pcie" and not trace.fact(pcie_links):
            return NOT_READ
        unknown = "the kernel says of no network port how fast it is"
        return unknown if kind == "network" else uses[0].why_missing(MISSING[kind])
    return not_full(trace, kind, limits)


def detect(
    trace: Trace, kind: str, id: str, limits: Limits, *, title: str, actions: list[Action]
) -> Finding | None:
    """The finding about the fullest link of this kind, None when none was full."""
    link = fullest(trace, kind, limits)
    return (
        None
        if link is None
        else of_full_link(trace, link, id, limits, title=title, actions=actions)
    )


def fullest(trace: Trace, kind: str, limits: Limits) -> LinkUse | None:
    """The link of this kind that was near its peak longest, None when none was for long enough."""
    full = [
        one
        for one in trace.fact(link_use)
        if one.kind == kind and one.near_share >= limits.full_link_share
    ]
    return max(full, key=lambda one: (one.near_share, one.share_of_peak), default=None)


def not_full(trace: Trace, kind: str, limits: Limits) -> str | None:
    """Why nothing is said of links that were not seen full."""
    links = [one for one in trace.fact(link_use) if one.kind == kind]
    if fullest(trace, kind, limits) is not None:
        return None
    most = max(links, key=lambda one: (not one.believed, one.share_of_peak))
    if not most.believed:
        nominal = " (that of a virtual port is nominal)" if kind == "network" else ""
        return (
            f"{most.name} counted {digits(most.most_bytes_per_s / GB)} GB/s, more than the"
            f" {digits(most.peak_bytes_per_s / GB)} GB/s that {most.path} can carry: the counter or"
            f" the peak is wrong{nominal}"
        )
    return (
        f"{most.name} carried {percent(most.share_of_peak)} of its peak"
        f" ({digits(most.peak_bytes_per_s / GB)} GB/s): "
        + NEVER_CLEARED.format(hz=most.readings_per_s)
    )


def of_full_link(
    trace: Trace, link: LinkUse, id: str, limits: Limits, *, title: str, actions: list[Action]
) -> Finding:
    """The finding: the time in which the link was full is the most that it can cost."""
    use = link.use
    share = min(link.near_share if use is None else at_most(trace, use, link.near_share), 0.95)
    where = called(use, trace) if use is not None else link.name
    begin, end = link.full if link.full is not None else trace.span_ns
    span_s = use.span_s if use is not None else (trace.span_ns[1] - trace.span_ns[0]) / 1e9
    rank = rank_of(use) if use is not None else None
    process = use.processes[0] if use is not None and use.processes else None
    device = use.device if use is not None else None

    def fact(text: str, rate: float, at: tuple[int, int] = (begin, end)) -> Evidence:
        return Evidence(
            f"{text}: {digits(rate / GB)} GB/s",
            round(rate / GB, 3),
            "GB/s",
            *at,
            rank,
            process,
            LANE,
            device,
        )

    whole = (use.begin_ns, use.end_ns) if use is not None else trace.span_ns
    return Finding(
        id=id,
        cause=None,
        severity=severity_of(share, limits),
        rank=rank,
        lost_s=round(share * span_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / (1.0 - share), 3)),
        headline=(
            f"{title}: {where} is near the peak of {link.path} {percent(link.near_share)} of the"
            " time"
        ),
        explanation=(
            f"It moves {digits(link.near_bytes_per_s / GB)} of {digits(link.peak_bytes_per_s / GB)}"
            " GB/s in one direction then."
        ),
        evidence=[
            fact("while near the peak", link.near_bytes_per_s),
            fact("out, over the whole time", link.tx_bytes_per_s, whole),
            fact("in, over the whole time", link.rx_bytes_per_s, whole),
            fact("the most in one reading", link.most_bytes_per_s),
            fact(f"peak in each direction ({link.source}; {link.path})", link.peak_bytes_per_s),
        ],
        actions=actions,
    )
