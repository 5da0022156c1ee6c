"""The one word that `perfscope top` has for a device and for a process: a first look and no
diagnosis.

`clock_events` are the bits of nvmlClocksEventReasons (nvml.h): 0x4 power cap, 0x8 hardware
slowdown, 0x20 and 0x40 temperature, 0x80 power brake.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from perfscope.analyzer.limits import LIMITS
from perfscope.traces.glance import DeviceGlance, Glances, ProcessGlance

THERMAL: Final = 0x20 | 0x40 | 0x8
POWER: Final = 0x4 | 0x80
WAITS: Final = ("poll", "lock", "network", "pipe", "sleep")

DEVICE_WORDS: Final = {
    "lost": "it does not answer",
    "throttled": "temperature holds its clocks down",
    "capped": "the power limit holds its clocks down",
    "full": "its memory is nearly all in use",
    "busy": "its SMs have work",
    "underused": "a kernel runs, but most SMs have nothing to do",
    "kernels": "a kernel runs; how busy its SMs are cannot be measured on it",
    "idle": "nothing runs on it",
    "unknown": "the driver does not say how busy it is",
}
PROCESS_WORDS: Final = {
    "starved": "its threads could run and have no core",
    "gil": "its main thread waits for the interpreter's lock",
    "storage": "its main thread waits for files",
    "input": "its main thread waits while its loader's workers work",
    "peers": "its main thread waits, as for other ranks or a network",
    "computing": "its main thread runs, or waits for a device that works",
    "host": "its main thread runs while its device has nothing to do",
    "waiting": "its main thread mostly waits; for what does not show from here",
    "idle": "it does nothing",
    "unknown": "what its main thread does may not be seen",
}


def device_word(seen: DeviceGlance) -> str:
    """One of DEVICE_WORDS; the first that fits."""
    if seen.lost is not None:
        return "lost"
    if seen.clock_events & THERMAL:
        return "throttled"
    if seen.clock_events & POWER:
        return "capped"
    if seen.memory_bytes > 0 and seen.memory_used_bytes >= LIMITS.full_memory * seen.memory_bytes:
        return "full"
    if seen.sm_active == seen.sm_active and seen.kernel_time_share >= LIMITS.seen_idle:
        return "busy" if seen.sm_active >= LIMITS.seen_often else "underused"
    if seen.kernel_time_share != seen.kernel_time_share:
        return "unknown"
    return "kernels" if seen.kernel_time_share >= LIMITS.seen_idle else "idle"


def process_word(seen: ProcessGlance, devices: Sequence[DeviceGlance]) -> str:
    """One of PROCESS_WORDS; the first that fits."""
    mine = [one for one in devices if one.device in seen.devices and one.lost is None]
    at_work = any(
        not one.kernel_time_share < LIMITS.seen_idle for one in mine
    )  # one that does not say may well work
    if seen.waiting_cores >= LIMITS.seen_often:
        return "starved"
    if not seen.states:
        return "unknown"
    share = seen.states.get
    if share("gil", 0.0) >= LIMITS.seen_often:
        return "gil"
    if share("file", 0.0) + share("disk", 0.0) >= LIMITS.seen_often:
        return "storage"
    if share("running", 0.0) >= LIMITS.seen_mostly:
        return "host" if mine and not at_work else "computing"
    waiting = sum(share(name, 0.0) for name in WAITS)
    if waiting >= LIMITS.seen_mostly and seen.workers and seen.worker_cores >= LIMITS.seen_often:
        return "input"
    if at_work:
        return "computing"
    if waiting < LIMITS.seen_mostly:
        return "computing"
    if seen.cores < LIMITS.seen_idle:
        return "idle"
    return "peers" if seen.rank is not None else "waiting"


def worded(seen: Glances) -> dict[str, Any]:
    """A look as plain data, `word` with each device and process; NaN stands for what is unknown."""
    devices = [{"word": device_word(one), **asdict(one)} for one in seen.devices]
    processes = [{"word": process_word(one, seen.devices), **asdict(one)} for one in seen.processes]
    return {"devices": devices, "processes": processes, "no_devices": seen.no_devices}
