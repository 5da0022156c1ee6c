"""Several devices of one process work one after the other.

What it means
    A model is split over devices, and each batch passes from one to the next: while one computes,
    the others wait for its result. The job runs at the speed of a single device.

How it is detected
    In a trace with several devices of one process: the time in which a device is idle although its
    next work is launched, or while the host waits for the devices, and another device of the
    process is busy. The loss is this time of the device that waits least. It is at least a tenth of
    that device's time.

What to do
    Let the devices work at the same time: split each batch into micro-batches
    (`torch.distributed.pipelining`), or use one process per device and shard the model
    (`fully_shard`). A model that fits on one device needs no split.

When it is wrong
    Devices may depend on each other for another reason: for example, one of two models needs the
    result of the other. The speedup is a ceiling: filling and emptying a pipeline takes time, and
    micro-batches use a device less well.
"""

from dataclasses import dataclass

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    case_of_unit,
    missing_device,
)
from perfscope.analyzer.categories import OTHER_IDLE
from perfscope.analyzer.diagnosis import Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.other_devices import busy_elsewhere
from perfscope.analyzer.run.budget_units import Unit, units
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import covered, intersected, length_ns, merged
from perfscope.traces.trace import Trace

ID = "devices-in-turn"
WORK_AT_ONCE = Advice(
    "let-devices-work-at-once",
    "let the devices work at the same time: pipeline micro-batches"
    " (`torch.distributed.pipelining`), or use one process per device with a sharded model"
    " (`fully_shard`)",
    "each-device-waits-for-another",
    "Each device of the process waits for another one for at least a tenth of its time.",
)


@dataclass(frozen=True)
class Turn:
    """How long one device waits for others of its process; `case` is that device."""

    case: Case
    waited_ns: int

    @property
    def share(self) -> float:
        """The share of its time in which the device waits."""
        return self.waited_ns / self.case.span_ns


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs several devices of one process in a trace."""
    unmet = missing_device(trace)
    if unmet is not None:
        return unmet
    if len(units_of_process(trace, case_of(trace, limits).unit)) < 2:
        return Unmet("other", "the process uses one device")
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where each device of the process waits for others for long enough."""
    case = case_of(trace, limits)
    turns = [turn_of(case_of_unit(trace, unit)) for unit in units_of_process(trace, case.unit)]
    least = min(turns, key=lambda turn: turn.share)
    if least.share < limits.unexplained_idle:
        return None
    names = " and ".join(str(turn.case.unit.device) for turn in turns)
    return least.case.finding(
        ID,
        least.waited_ns,
        limits,
        message=Message(
            f"Devices in turn: devices {names} of one process work one after the other",
            f"Each of them waits for another one for {percent(least.share)} of the time or more.",
        ),
        evidence=[evidence_of_turn(turn) for turn in turns],
        actions=WORK_AT_ONCE.given(
            True,
            ", ".join(f"device {turn.case.unit.device}: {percent(turn.share)}" for turn in turns),
        ),
    )


def units_of_process(trace: Trace, unit: Unit) -> list[Unit]:
    """Return all devices of the process of one of them."""
    return [other for other in units(trace) if other.process == unit.process]


def turn_of(case: Case) -> Turn:
    """Return how long a device is idle, and would not be without its wait for another one."""
    idle = case.of(OTHER_IDLE)
    idle = idle[column(idle, "launch") >= 0]
    spans = merged((column(idle, "ts"), column(idle, "ts") + column(idle, "dur")))
    return Turn(case, length_ns(intersected(spans, busy_elsewhere(case.trace, case.unit))))


def evidence_of_turn(turn: Turn) -> Evidence:
    """Return how long a device waits, with the longest wait on the timeline."""
    case = turn.case
    idle = case.of(OTHER_IDLE)
    begin = column(idle, "ts")
    waits = covered(busy_elsewhere(case.trace, case.unit), begin, begin + column(idle, "dur"))
    longest = idle.iloc[int(waits.argmax())] if len(waits) else None
    text = f"device {case.unit.device} waits for another one {percent(turn.share)} of the time"
    return case.timed_evidence(text, longest, value_ns=turn.waited_ns, lane="device")


RULE = Rule(ID, not_applicable, detect, in_windows=True, advice=(WORK_AT_ONCE,), color="other-idle")
