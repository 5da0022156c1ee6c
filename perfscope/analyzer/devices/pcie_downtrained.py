"""The device's PCIe link runs slower or narrower than device and slot can.

What it means
    A card that sits badly, a bad riser or a slot with fewer lanes make the link come up with fewer
    lanes or an older generation than both ends could do. Every copy between host and device, and
    between devices without NVLink, takes as much longer.

How it is detected
    The driver says what generation and width the link has now, and what device and slot can do
    together. What it has while kernels run counts, for a tenth of that time at least, since the
    link rests at generation 1 when nothing is to be done.

What to do
    Reseat the card or exchange the riser, look at the slot's setting in the firmware (`nvidia-smi
    -q -d PCIE`, `lspci -vv`: LnkSta against LnkCap), and tell whoever runs the machine.

When it is wrong
    Some boards wire fewer lanes to a slot than the slot tells. Where little goes over PCIe nothing
    is lost by it: the loss given is the share of the time in which the link was near what it can
    carry now.
"""

from perfscope.analyzer.counters.device_finding import (
    at_most,
    called,
    evidence,
    finding,
    no_devices,
)
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.pcie_links import DOWN, NOT_READ, pcie_links
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "pcie-downtrained"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the link's state, now and at most, of a device that the job uses."""
    reason = no_devices(trace)
    if reason is not None:
        return reason
    return None if trace.fact(pcie_links) else NOT_READ


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The worst link; what it may cost is the time in which it was full."""
    down = [
        one for one in trace.fact(pcie_links) if one.now_bytes_per_s < DOWN * one.most_bytes_per_s
    ]
    if not down:
        return None
    worst = min(down, key=lambda one: one.now_bytes_per_s / one.most_bytes_per_s)
    use, slower = worst.use, 1.0 - worst.now_bytes_per_s / worst.most_bytes_per_s
    links = [one for one in trace.fact(link_use) if one.kind == "pcie" and one.use is use]
    near = max((one.near_share for one in links), default=0.0)
    part = (
        "" if worst.share >= 1.0 else f" for {percent(worst.share)} of the time in which it works"
    )
    return finding(
        use,
        ID,
        at_most(trace, use, near * slower),
        limits,
        message=Message(
            f"PCIe down-trained: {called(use, trace)} runs at {worst.now}{part}",
            f"Device and slot support {worst.most}: {percent(slower)} of the bandwidth between host"
            " and device is missing.",
        ),
        evidence=[
            evidence(
                use,
                f"the link is at {worst.now} while the device works",
                worst.now_bytes_per_s / 1e9,
                "GB/s",
            ),
            evidence(
                use, f"device and slot can do {worst.most}", worst.most_bytes_per_s / 1e9, "GB/s"
            ),
            evidence(
                use,
                "share of the time in which the link was near what it carries now",
                near,
                "share",
            ),
        ],
        actions=[
            Action(
                "compare LnkSta with LnkCap",
                f"lspci -vv -s {use.facts.bus_id or 'BUS_ID'} | grep Lnk",
            ),
            Action(
                "reseat the card, replace the riser, and check the setting of the slot in the"
                " firmware"
            ),
        ],
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters",),
    in_traces=False,
    explains=("pcie-saturated",),
)
