"""The device's PCIe link runs slower or narrower than device and slot support.

What it means
    A card that is not seated well, a bad riser or a slot with fewer lanes make the link come up
    with fewer lanes or an older generation than both ends support. Every copy between host and
    device, and between devices without NVLink, takes longer in proportion.

How it is detected
    The driver reports the current generation and width of the link, and what device and slot
    support together. Only readings made while kernels run count, for a tenth of that time at least,
    because an idle link falls to generation 1.

What to do
    Reseat the card or replace the riser, check the slot's setting in the firmware (`nvidia-smi -q
    -d PCIE`, `lspci -vv`: LnkSta against LnkCap), and report it to the operator of the machine.

When it is wrong
    Some boards wire fewer lanes to a slot than the slot reports. Where little data moves over PCIe
    nothing is lost: the loss is the share of the time in which the link was near what it can carry
    now.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    link_wait_ceiling,
    no_devices,
)
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.pcie_links import NOT_READ, PcieLink, pcie_links
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.traces.trace import Trace

ID = "pcie-downtrained"
COMPARE_STATES = Advice(
    id="compare-pcie-states",
    text="compare LnkSta with LnkCap",
    precondition="pcie-below-its-best",
    holds_when="The link is below the generation or width that device and slot support.",
)
RESEAT_CARD = Advice(
    id="reseat-card",
    text="reseat the card, replace the riser, and check the slot's setting in the firmware",
    precondition="pcie-below-its-best",
    holds_when="The link is below the generation or width that device and slot support.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs the current and best state of a PCIe link."""
    unmet = no_devices(trace)
    if unmet is not None:
        return unmet
    return None if trace.fact(pcie_links) else Unmet("other", NOT_READ)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the slowest link; it may cost the time in which it was full."""
    slow = [link for link in trace.fact(pcie_links) if link.is_slow]
    if not slow:
        return None
    worst = min(slow, key=lambda link: link.bytes_per_s / link.best_bytes_per_s)
    use = worst.use
    missing = 1.0 - worst.bytes_per_s / worst.best_bytes_per_s
    near_share = share_near_peak(trace, worst)
    part = ""
    if worst.share < 1.0:
        part = f" for {percent(worst.share)} of the time in which it works"
    now_gb, best_gb = worst.bytes_per_s / 1e9, worst.best_bytes_per_s / 1e9
    near = "share of the time in which the link was near what it carries now"
    return device_finding(
        use,
        ID,
        link_wait_ceiling(trace, use, near_share * missing),
        limits,
        message=Message(
            f"PCIe down-trained: {device_label(use, trace)} runs at {worst.state}{part}",
            f"Device and slot support {worst.best_state}: {percent(missing)} of the bandwidth"
            " between host and device is missing.",
        ),
        evidence=[
            device_evidence(
                use, f"the link is at {worst.state} while the device works", now_gb, "GB/s"
            ),
            device_evidence(use, f"device and slot support {worst.best_state}", best_gb, "GB/s"),
            device_evidence(use, near, near_share, "share"),
        ],
        actions=faster_link(worst),
    )


def share_near_peak(trace: Trace, link: PcieLink) -> float:
    """Return the share of the time in which the link was near what it carries now."""
    shares = [
        use.near_share for use in trace.fact(link_use) if use.kind == "pcie" and use.use is link.use
    ]
    return max(shares, default=0.0)


def faster_link(link: PcieLink) -> list[Action]:
    """Return how to check and repair the link."""
    evidence = f"the link is at {link.state}, device and slot support {link.best_state}"
    bus_id = link.use.facts.bus_id or "BUS_ID"
    return [
        *COMPARE_STATES.given(link.is_slow, evidence, snippet=f"lspci -vv -s {bus_id} | grep Lnk"),
        *RESEAT_CARD.given(link.is_slow, evidence),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters",),
    in_traces=False,
    consequences=("pcie-saturated",),
    advice=(COMPARE_STATES, RESEAT_CARD),
    color="exposed-copy",
)
