"""A link corrects errors or comes up again: NVLink, PCIe or network.

What it means
    Packets that arrive damaged are sent again; a link that is lost and comes up again stops all
    traffic for milliseconds to seconds. A bad cable, connector or riser does that long before
    anything fails.

How it is detected
    The counters of CRC errors, replays and recoveries of NVLink, of replays of PCIe, and of errors
    and discards of network ports grow during the recording: at least one a second, or any link that
    went down. Critical errors that the driver reported (Xid) are told with it.

What to do
    Tell whoever runs the machine, with the link: `nvidia-smi nvlink -e`, `nvidia-smi -q -d PCIE`,
    `ibdiagnet`, `ethtool -S`.

When it is wrong
    Single corrected errors are ordinary on fast links. How much time they cost is not counted by
    anybody: no loss is given.
"""

from perfscope.analyzer.counters.device_finding import LANE
from perfscope.analyzer.devices.link_error_counts import LinkErrors, errors_counted, link_errors
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "link-errors"
LOOK_AT = {
    "NVLink": "nvidia-smi nvlink -e",
    "PCIe": "nvidia-smi -q -d PCIE",
    "network": "ibdiagnet   # or ethtool -S PORT",
}


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs error counters of any link."""
    return None if errors_counted(trace) else "no link's error counters were read"


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The link with most errors a second; a reported Xid comes first."""
    bad: list[LinkErrors] = [
        one
        for one in trace.fact(link_errors)
        if one.per_s >= limits.link_errors_per_s or one.xid is not None or one.went_down
    ]
    if not bad:
        return None
    return as_finding(
        max(bad, key=lambda one: (one.used, one.xid is not None, one.went_down, one.per_s)), bad
    )


def as_finding(worst: LinkErrors, bad: list[LinkErrors]) -> Finding:
    """The finding: nobody counts what errors cost, so that no loss is given."""
    if worst.xid is not None:
        headline = f"Critical error: the driver reported Xid {worst.xid} for {worst.where}"
    else:
        headline = (
            f"Link errors: {worst.kind} of {worst.where} reports {digits(worst.per_s)} {worst.what}"
            " per second"
        )
    return Finding(
        id=ID,
        cause=worst.kind.lower(),
        severity="warning",
        rank=None,
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=headline,
        explanation="" if worst.used else "The job does not use this link.",
        caveat="The driver does not measure what errors cost, so no time is given.",
        evidence=[
            Evidence(
                f"{one.where}: {one.kind}, {one.what}"
                + (f" (Xid {one.xid})" if one.xid is not None else ""),
                round(one.count, 1),
                "count",
                one.begin_ns,
                one.end_ns,
                lane=LANE,
                device=one.device if one.device >= 0 else None,
            )
            for one in bad[:8]
        ],
        actions=[
            Action(
                "report the link to the operator of the machine",
                LOOK_AT.get(worst.kind, "dmesg | grep -i xid"),
            )
        ],
    )


RULE = Rule(ID, not_applicable, detect, in_traces=False)
