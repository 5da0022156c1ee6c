"""A finding about a device as the findings make it: whose it is, over what time, and what it may
cost at most.
"""

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.counters.counter_bound import counter_bound
from perfscope.analyzer.counters.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

LANE = "devices"


def no_devices(trace: Trace) -> str | None:
    """Why nothing can be said of devices, None when the job uses one whose counters were read."""
    if table(trace, "device_counters") is None:
        return f"device_counters: {trace.why_absent('device_counters')}"
    if not trace.fact(all_devices):
        return "no device was read"
    if not trace.fact(device_use):
        refused = [
            one.facts.missing["processes"]
            for one in trace.fact(all_devices)
            if "processes" in one.facts.missing
        ]
        if refused:
            return (
                "which devices the job uses is not known: no list of the processes on them,"
                f" because: {refused[0]}"
            )
        return "no process of the job is on any of this host's devices, as far as the driver says"
    return None


def called(use: DeviceUse, trace: Trace) -> str:
    """`device 3 (NVIDIA H100)`, with its host where there are several."""
    host = f" of {use.host}" if len(trace.manifests) > 1 else ""
    return f"device {use.device}{host} ({use.facts.name})"


def rank_of(use: DeviceUse) -> int | None:
    """The first rank on it."""
    return use.ranks[0] if use.ranks else None


def at_most(trace: Trace, use: DeviceUse, share: float) -> float:
    """A share of the time that waiting for a link may cost, less what the device's own work takes
    at its ceilings (GPM).
    """
    told = next((one for one in trace.fact(counter_bound) if one.use is use), None)
    return share if told is None else min(share, 1.0 - max(told.memory, told.compute))


def evidence(
    use: DeviceUse,
    text: str,
    value: float | None,
    unit: str | None,
    at: tuple[int, int] | None = None,
) -> Evidence:
    """One fact about the device, over its window or over the stretch that shows it; its value
    stands in the text too.
    """
    said = (
        "not known"
        if value is None
        else percent(value)
        if unit == "share"
        else f"{digits(value)} {unit or ''}".strip()
    )
    begin, end = at if at is not None else (use.begin_ns, use.end_ns)
    rounded = None if value is None else round(value, 4)
    process = use.processes[0] if use.processes else None
    return Evidence(
        f"{text}: {said}", rounded, unit, begin, end, rank_of(use), process, LANE, use.device
    )


def finding(
    use: DeviceUse,
    id: str,
    share: float,
    limits: Limits,
    *,
    message: Message,
    evidence: list[Evidence],
    actions: list[Action],
    cause: str | None = None,
    info: bool = False,
    warns: bool = False,
) -> Finding:
    """A finding that costs at most this share of the window: of the gain only the ceiling is known.

    `info`: it is only told of. `warns`: what it costs is not known, or nothing yet.
    """
    lost = 0.0 if info or warns else min(max(share, 0.0), 0.95)
    return Finding(
        id=id,
        cause=cause,
        severity="info" if info else severity_of(lost, limits),
        rank=rank_of(use),
        lost_s=round(lost * use.span_s, 4),
        share=round(lost, 4),
        speedup=None if info or warns else Speedup(None, None, round(1.0 / (1.0 - lost), 3)),
        headline=message.headline,
        explanation=message.explanation,
        caveat=message.caveat,
        evidence=evidence,
        actions=actions,
    )
