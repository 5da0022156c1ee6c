"""The host waits for the device in the middle of a step, so that the device runs dry afterwards.

What it means
    `.item()`, `.cpu()` and `synchronize()` wait until the device has done everything queued; until the host has queued
    new work, the device is idle.

How it is detected
    Only on a GPU and only with device timing: the device's idle time behind each synchronising call. Host timers alone
    cannot tell, since the wait is where the device's work is being done.

What to do
    Read losses every n-th step, keep counters on the device, copy with `non_blocking=True` from pinned memory.

When it is wrong
    A synchronisation that falls where the device would be idle anyway costs nothing.
"""

from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.facts.rows import manifest
from perfscope.analyzer.limits import Limits
from perfscope.traces.trace import Trace

ID = "host-sync"
NEEDS: tuple[str, ...] = ()


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a GPU and device timing, which no table holds yet."""
    torch = manifest(trace).torch
    if torch is None or not torch.cuda:
        return "there is no GPU in use: on a CPU nothing is queued, so nothing is waited for"
    return "needs device timing: a host timer sees the device's work, not its idle time"


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Nothing without device timing."""
    return None
