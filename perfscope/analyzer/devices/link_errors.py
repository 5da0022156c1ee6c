"""A link corrects errors or goes down and comes up again: NVLink, PCIe or network.

What it means
    Damaged packets are sent again; a link that goes down and comes up again stops all traffic for
    milliseconds to seconds. A bad cable, connector or riser does that long before anything fails.

How it is detected
    The counters of CRC errors, replays and recoveries of NVLink, of replays of PCIe, and of errors
    and discards of network ports grow during the recording: by at least one per second, or any link
    went down. Critical errors that the driver reported (Xid) are reported here too.

What to do
    Report the link to the operator of the machine: `nvidia-smi nvlink -e`, `nvidia-smi -q -d PCIE`,
    `ibdiagnet`, `ethtool -S`.

When it is wrong
    Single corrected errors are normal on fast links. No counter measures the time that they cost:
    no loss is given.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import LANE
from perfscope.analyzer.devices.link_error_counts import LinkErrors, errors_counted, link_errors
from perfscope.analyzer.diagnosis import Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.traces.trace import Trace

ID = "link-errors"
MOST_LINKS = 8
COMMANDS = {
    "NVLink": "nvidia-smi nvlink -e",
    "PCIe": "nvidia-smi -q -d PCIE",
    "network": "ibdiagnet   # or ethtool -S PORT",
}
COMMAND_FOR_XID = "dmesg | grep -i xid"
NOT_COUNTED = Unmet("no-device", "no link's error counters were read")
REPORT_LINK = Advice(
    id="report-link-errors",
    text="report the link to the operator of the machine",
    precondition="link-has-errors",
    holds_when="An error counter of a link grew, a link went down, or the driver reported an Xid.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs error counters of a link."""
    return None if errors_counted(trace) else NOT_COUNTED


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the link with most errors per second; an Xid comes first."""
    bad = [
        errors
        for errors in trace.fact(link_errors)
        if errors.per_s >= limits.link_errors_per_s or errors.xid is not None or errors.went_down
    ]
    if not bad:
        return None
    worst = max(bad, key=urgency)
    return Finding(
        id=ID,
        cause=worst.kind.lower(),
        severity="warning",
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=headline_of_errors(worst),
        explanation="" if worst.used else "The job does not use this link.",
        caveat="The driver does not measure what errors cost, so no time is given.",
        evidence=[evidence_of_errors(errors) for errors in bad[:MOST_LINKS]],
        actions=REPORT_LINK.given(
            True,
            f"{digits(worst.count)} {worst.what} on {worst.where}",
            snippet=COMMANDS.get(worst.kind, COMMAND_FOR_XID),
        ),
        devices=sorted({errors.device for errors in bad if errors.device >= 0}),
        scope="run",
    )


def urgency(errors: LinkErrors) -> tuple[bool, bool, bool, float]:
    """Return the key that orders links, the most urgent last."""
    return errors.used, errors.xid is not None, errors.went_down, errors.per_s


def headline_of_errors(worst: LinkErrors) -> str:
    """Return the headline for the worst link."""
    if worst.xid is not None:
        return f"Critical error: the driver reported Xid {worst.xid} for {worst.where}"
    return (
        f"Link errors: {worst.kind} of {worst.where} reports {digits(worst.per_s)} {worst.what} per"
        " second"
    )


def evidence_of_errors(errors: LinkErrors) -> Evidence:
    """Return the errors of one link."""
    xid = f" (Xid {errors.xid})" if errors.xid is not None else ""
    return Evidence(
        text=f"{errors.where}: {errors.kind}, {errors.what}{xid}",
        value=round(errors.count, 1),
        unit="count",
        start_ns=errors.begin_ns,
        end_ns=errors.end_ns,
        lane=LANE,
        device=errors.device if errors.device >= 0 else None,
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    in_traces=False,
    advice=(REPORT_LINK,),
    color="exposed-communication",
)
