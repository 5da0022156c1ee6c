"""Findings about a device: its label, its window, its evidence, and the most that it can cost."""

from typing import Final

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.counters.counter_bound import counter_bound
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Scope, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.accelerators.device_use import (
    DeviceUse,
    all_devices,
    device_use,
    lists_other_pids,
)
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

LANE: Final = "devices"
MOST_LOST: Final = 0.95
"""The largest share that a finding about a device claims: the remainder keeps speedups finite."""
OTHER_PIDS: Final = (
    "which devices the job uses is unknown: the driver lists pids of another namespace, as in a"
    " container with pids of its own (start it with `--pid=host`, or record outside of it)"
)


def no_devices(trace: Trace) -> Unmet | None:
    """Return why no device can be checked, None when counters of a used one were read."""
    if table(trace, "device_counters") is None:
        return Unmet("no-driver", f"device_counters: {trace.why_absent('device_counters')}")
    found = trace.fact(all_devices)
    if not found:
        return Unmet("no-device", "no device was read")
    if trace.fact(device_use):
        return None
    refusals = [use.facts.missing["processes"] for use in found if "processes" in use.facts.missing]
    if refusals:
        return Unmet(
            "not-permitted",
            "which devices the job uses is unknown: the processes on them cannot be listed,"
            f" because: {refusals[0]}",
        )
    if any(lists_other_pids(trace, use.host) for use in found):
        return Unmet("no-device", OTHER_PIDS)
    return Unmet("no-device", "according to the driver no process of the job uses a device here")


def device_label(use: DeviceUse, trace: Trace) -> str:
    """Return `device 3 (NVIDIA H100)`, with its host where there are several."""
    host = f" of {use.host}" if len(trace.manifests) > 1 else ""
    return f"device {use.device}{host} ({use.facts.name})"


def link_wait_ceiling(trace: Trace, use: DeviceUse, share: float) -> float:
    """Return the most of `share` of the time that waiting for a link can cost.

    The time in which GPM counters show the device at its memory or compute peak is not waiting.
    """
    bound = next((bound for bound in trace.fact(counter_bound) if bound.use is use), None)
    return share if bound is None else min(share, 1.0 - max(bound.memory, bound.compute))


def device_evidence(
    use: DeviceUse,
    text: str,
    value: float | None,
    unit: str | None,
    interval_ns: tuple[int, int] | None = None,
) -> Evidence:
    """Return one fact about the device, over its window or over `interval_ns`.

    The text ends with the value.
    """
    if value is None:
        shown = "unknown"
    elif unit == "share":
        shown = percent(value)
    else:
        shown = f"{digits(value)} {unit or ''}".strip()
    begin_ns, end_ns = interval_ns if interval_ns is not None else (use.begin_ns, use.end_ns)
    return Evidence(
        text=f"{text}: {shown}",
        value=None if value is None else round(value, 4),
        unit=unit,
        start_ns=begin_ns,
        end_ns=end_ns,
        process=use.processes[0] if use.processes else None,
        lane=LANE,
        device=use.device,
    )


def scope_of_use(use: DeviceUse) -> Scope:
    """Return the scope of a share of the device's window: the steps, or the whole run."""
    return "steps" if use.over_steps else "run"


def device_finding(
    use: DeviceUse,
    id: str,
    share: float,
    limits: Limits,
    *,
    message: Message,
    evidence: list[Evidence],
    actions: list[Action],
    cause: str | None = None,
    is_info: bool = False,
    has_no_loss: bool = False,
    scope: Scope | None = None,
) -> Finding:
    """Return a finding that costs at most `share` of the device's window; the speedup is a ceiling.

    `is_info`: it is reported without a loss and without a warning. `has_no_loss`: its cost is
    unknown, or it costs nothing yet.
    """
    lost = 0.0 if is_info or has_no_loss else min(max(share, 0.0), MOST_LOST)
    speedup = None if is_info or has_no_loss else Speedup(None, None, round(1.0 / (1.0 - lost), 3))
    return Finding(
        id=id,
        cause=cause,
        severity="info" if is_info else severity_of(lost, limits),
        lost_s=round(lost * use.span_s, 4),
        share=round(lost, 4),
        speedup=speedup,
        headline=message.headline,
        explanation=message.explanation,
        caveat=message.caveat,
        evidence=evidence,
        actions=actions,
        processes=list(use.processes),
        devices=[use.device],
        scope=scope if scope is not None else scope_of_use(use),
    )
