"""The PCIe link of a device of the job is full.

What it means
    Copies between host and device, or between devices without NVLink, are limited by the link; the
    device or the host waits for them.

How it is detected
    The driver's byte counters (or GPM, or samples of 20 ms where there is neither) against the
    current state of the link: generation and width while the device works. The link is full from
    80 % of the peak, for at least 10 % of the time.

What to do
    Copy less: keep data on the device, copy uint8 and convert there, offload less. Overlap copies
    with computation: pinned memory and `non_blocking=True`. Between devices without NVLink:
    gradient accumulation, smaller tensor-parallel groups.

When it is wrong
    Counters are read a few times per second and average bursts away: they can prove that a link was
    full, never that it was not. Copies that overlap with computation cost less: the loss is a
    ceiling.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.full_link_finding_parts import (
    full_link_finding,
    fullest_link,
    unclear_counters,
)
from perfscope.analyzer.counters.link_use import LinkUse
from perfscope.analyzer.diagnosis import Action, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

ID = "pcie-saturated"
KIND = "pcie"
PIN_COPIES = Advice(
    id="copy-from-pinned-memory",
    text="copy from pinned memory, overlapped with computation",
    precondition="copies-are-pageable-or-blocking",
    holds_when="Copies of pageable memory, or blocking copies, of the process were recorded.",
)
COPY_LESS = Advice(
    id="copy-fewer-bytes-over-pcie",
    text=(
        "copy less: uint8 images converted on the device, no copies back in the loop, less"
        " offloading"
    ),
    precondition="pcie-near-peak",
    holds_when="The link is near its peak for at least a tenth of the time.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked.

    It needs the traffic and the state of the link. Counters alone do not show that a link was
    never full.
    """
    return unclear_counters(trace, KIND, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the fullest link of a device."""
    link = fullest_link(trace, KIND, limits)
    if link is None:
        return None
    return full_link_finding(
        trace, link, ID, limits, title="PCIe saturated", actions=less_pcie_traffic(trace, link)
    )


def less_pcie_traffic(trace: Trace, link: LinkUse) -> list[Action]:
    """Return the changes that fit the recorded copies."""
    processes = () if link.use is None else link.use.processes
    slow = slow_copies(trace, processes)
    return [
        *PIN_COPIES.given(
            slow > 0,
            f"{plural(float(slow), 'pageable or blocking copy call')}",
            snippet="batch.to(device, non_blocking=True)",
        ),
        *COPY_LESS.given(True, f"near the peak {percent(link.near_share)} of the time"),
    ]


def slow_copies(trace: Trace, processes: tuple[int, ...]) -> int:
    """Return how many recorded copies of these processes are pageable or blocking."""
    copies = table(trace, "copies")
    if copies is None:
        return 0
    is_slow = (column(copies, "pinned") == 0) | (column(copies, "non_blocking") == 0)
    return int((is_slow & copies["process"].isin(processes).to_numpy(bool)).sum())


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters",),
    in_traces=False,
    advice=(PIN_COPIES, COPY_LESS),
    color="exposed-copy",
)
