"""The finding about a link that byte counters show to be full: NVLink, PCIe or network."""

from typing import Final

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.counters.device_finding_parts import (
    LANE,
    MOST_LOST,
    device_label,
    link_wait_ceiling,
    no_devices,
    scope_of_use,
)
from perfscope.analyzer.counters.link_use import NEVER_CLEARED, LinkUse, link_use
from perfscope.analyzer.counters.pcie_links import NOT_READ, pcie_links
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

BYTES_PER_GB: Final = 1e9
COUNTER: Final = {"nvlink": "nvlink_tx_bytes", "pcie": "pcie_tx_bytes"}
"""The counter whose absence is explained, by kind of link."""


def unclear_counters(trace: Trace, kind: str, limits: Limits) -> Unmet | None:
    """Return why counters cannot show a full link of `kind` (nvlink, pcie, network).

    Links that were not seen full are unclear too: counters that average bursts never clear a link.
    """
    if kind == "network":
        if table(trace, "network_counters") is None:
            reason = f"network_counters: {trace.why_absent('network_counters')}"
            return Unmet("no-device", reason)
    else:
        unmet = no_devices(trace)
        if unmet is not None:
            return unmet
    uses = trace.fact(device_use)
    if kind == "nvlink" and not any(use.facts.links for use in uses):
        return Unmet("no-device", "the devices of the job have no NVLink that is up")
    if any(link.kind == kind for link in trace.fact(link_use)):
        return unclear_links(trace, kind, limits)
    if kind == "pcie" and not trace.fact(pcie_links):
        return Unmet("other", NOT_READ)
    if kind == "network":
        return Unmet("other", "the kernel does not report the rate of any network port")
    return Unmet("other", uses[0].why_missing(COUNTER[kind]))


def fullest_link(trace: Trace, kind: str, limits: Limits) -> LinkUse | None:
    """Return the link of this kind that was near its peak longest, None when none was full."""
    full = [
        link
        for link in trace.fact(link_use)
        if link.kind == kind and link.near_share >= limits.full_link_share
    ]
    return max(full, key=lambda link: (link.near_share, link.share_of_peak), default=None)


def unclear_links(trace: Trace, kind: str, limits: Limits) -> Unmet | None:
    """Return why links that were not seen full cannot be cleared, None when one was full."""
    if fullest_link(trace, kind, limits) is not None:
        return None
    links = [link for link in trace.fact(link_use) if link.kind == kind]
    fullest = max(links, key=lambda link: (not link.believed, link.share_of_peak))
    peak = digits(fullest.peak_bytes_per_s / BYTES_PER_GB)
    if fullest.believed:
        cannot_clear = NEVER_CLEARED.format(hz=fullest.readings_per_s)
        carried = (
            f"{fullest.name} carried {percent(fullest.share_of_peak)} of its peak ({peak} GB/s)"
        )
        return Unmet("other", f"{carried}: {cannot_clear}")
    nominal = " (that of a virtual port is nominal)" if kind == "network" else ""
    counted = digits(fullest.most_bytes_per_s / BYTES_PER_GB)
    return Unmet(
        "other",
        f"{fullest.name} counted {counted} GB/s, more than the {peak} GB/s that {fullest.path} can"
        f" carry: the counter or the peak is wrong{nominal}",
    )


def full_link_finding(
    trace: Trace, link: LinkUse, id: str, limits: Limits, *, title: str, actions: list[Action]
) -> Finding:
    """Return the finding: the time in which the link was full is the most that it can cost."""
    use = link.use
    near_share = link.near_share if use is None else link_wait_ceiling(trace, use, link.near_share)
    share = min(near_share, MOST_LOST)
    label = device_label(use, trace) if use is not None else link.name
    begin_ns, end_ns = window_of_link(trace, link)
    near = digits(link.near_bytes_per_s / BYTES_PER_GB)
    peak = digits(link.peak_bytes_per_s / BYTES_PER_GB)
    return Finding(
        id=id,
        cause=None,
        severity=severity_of(share, limits),
        lost_s=round(share * (end_ns - begin_ns) / 1e9, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / (1.0 - share), 3)),
        headline=(
            f"{title}: {label} is near the peak of {link.path} {percent(link.near_share)} of the"
            " time"
        ),
        explanation=f"Meanwhile it moves {near} of {peak} GB/s in one direction.",
        evidence=rates_of_link(trace, link),
        actions=actions,
        processes=[] if use is None else list(use.processes),
        devices=[] if use is None else [use.device],
        scope="run" if use is None else scope_of_use(use),
    )


def window_of_link(trace: Trace, link: LinkUse) -> tuple[int, int]:
    """Return the window over which the rates of a link are averaged, in ns."""
    return trace.span_ns if link.use is None else (link.use.begin_ns, link.use.end_ns)


def rates_of_link(trace: Trace, link: LinkUse) -> list[Evidence]:
    """Return the rates of the link while it is full and over its window, and its peak."""
    window_ns = window_of_link(trace, link)
    full_ns = link.full if link.full is not None else trace.span_ns
    peak = f"peak in each direction ({link.source}; {link.path})"
    return [
        link_rate_evidence(link, "while near the peak", link.near_bytes_per_s, full_ns),
        link_rate_evidence(link, "out, over the whole time", link.tx_bytes_per_s, window_ns),
        link_rate_evidence(link, "in, over the whole time", link.rx_bytes_per_s, window_ns),
        link_rate_evidence(link, "the most in one reading", link.most_bytes_per_s, full_ns),
        link_rate_evidence(link, peak, link.peak_bytes_per_s, full_ns),
    ]


def link_rate_evidence(
    link: LinkUse, text: str, bytes_per_s: float, interval_ns: tuple[int, int]
) -> Evidence:
    """Return one rate of a link as evidence."""
    use = link.use
    rate = bytes_per_s / BYTES_PER_GB
    return Evidence(
        text=f"{text}: {digits(rate)} GB/s",
        value=round(rate, 3),
        unit="GB/s",
        start_ns=interval_ns[0],
        end_ns=interval_ns[1],
        process=use.processes[0] if use is not None and use.processes else None,
        lane=LANE,
        device=use.device if use is not None else None,
    )
