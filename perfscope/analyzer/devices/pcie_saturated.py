"""The PCIe link of a device of the job is full.

What it means
    Copies between host and device, or between devices without NVLink, take as long as their bytes
    need; the device or the host waits for them.

How it is detected
    The driver's byte counters (or GPM, or samples of 20 ms where there is neither) against the link
    as it is now: generation and width while the device works. Full is from 80 % of the peak on, for
    at least 10 % of the time.

What to do
    Move less: keep data on the device, copy uint8 and convert there, offload less. Move beside the
    computation: pinned memory and `non_blocking=True`. Between devices without NVLink: gradient
    accumulation, smaller tensor-parallel groups.

When it is wrong
    Counters are read a few times a second and average bursts away: they prove that a link was full
    and never that it was not. Copies that computation hides cost less than said: the loss is a
    ceiling.
"""

from perfscope.analyzer.counters import full_link
from perfscope.analyzer.diagnosis import Action, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "pcie-saturated"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the link's traffic and its state; and counters alone never clear it."""
    return full_link.why_not(trace, "pcie", limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The fullest device's link."""
    return full_link.detect(
        trace,
        "pcie",
        ID,
        limits,
        title="PCIe saturated",
        actions=[
            Action(
                "copy from pinned memory, beside the computation",
                "batch.to(device, non_blocking=True)",
            ),
            Action(
                "copy less: uint8 images converted on the device, no copies back in the loop, less"
                " offloading"
            ),
        ],
    )


RULE = Rule(ID, not_applicable, detect, needs=("device_counters",), in_traces=False)
