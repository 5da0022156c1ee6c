"""The one-word status of each device and process in `perfscope top`, from a single sample. It is a
hint, not a diagnosis.

`clock_events` are the bits of nvmlClocksEventReasons (nvml.h): 0x4 power cap, 0x8 hardware
slowdown, 0x20 and 0x40 temperature, 0x80 power brake.
"""

from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from typing import Any, Final

from perfscope.analyzer.limits import LIMITS
from perfscope.traces.live_sample import DeviceSample, LiveSample, ProcessSample

THERMAL: Final = 0x20 | 0x40 | 0x8
POWER: Final = 0x4 | 0x80
WAITS: Final = (
    "poll",
    "lock",
    "network",
    "pipe",
    "terminal",
    "child",
    "sleep",
    "library-sleep",
)

DEVICE_WORDS: Final = {
    "lost": "it does not answer",
    "throttled": "its temperature lowers its clocks",
    "capped": "its power limit lowers its clocks",
    "full": "nearly all of its memory is in use",
    "busy": "its SMs have work",
    "underused": "a kernel runs, but most SMs have nothing to do",
    "kernels": "a kernel runs; how busy its SMs are cannot be measured on it",
    "idle": "nothing runs on it",
    "unknown": "the driver does not report how busy it is",
}
PROCESS_WORDS: Final = {
    "starved": "its threads could run, but have no core",
    "gil": "its main thread waits for the GIL",
    "storage": "its main thread waits for files",
    "input": "its main thread waits while its loader's workers work",
    "peers": "its main thread waits, probably for other ranks or a network",
    "computing": "its main thread runs, or waits for a device that works",
    "host": "its main thread runs while its device has nothing to do",
    "waiting": "its main thread mostly waits; the reason is not visible from outside",
    "idle": "it does nothing",
    "unknown": "not permitted to read what its main thread does",
}


def device_word(device: DeviceSample) -> str:
    """Return the first of DEVICE_WORDS that applies."""
    if device.lost is not None:
        return "lost"
    if device.clock_events & THERMAL:
        return "throttled"
    if device.clock_events & POWER:
        return "capped"
    full_bytes = LIMITS.full_memory * device.memory_bytes
    if device.memory_bytes > 0 and device.memory_used_bytes >= full_bytes:
        return "full"
    if not isnan(device.sm_active) and device.kernel_time_share >= LIMITS.live_noise_share:
        return "busy" if device.sm_active >= LIMITS.live_pattern_share else "underused"
    if isnan(device.kernel_time_share):
        return "unknown"
    return "kernels" if device.kernel_time_share >= LIMITS.live_noise_share else "idle"


def process_word(process: ProcessSample, devices: Sequence[DeviceSample]) -> str:
    """Return the first of PROCESS_WORDS that applies."""
    used = [each for each in devices if each.device in process.devices and each.lost is None]
    device_works = any(may_work(device) for device in used)
    if process.waiting_cores >= LIMITS.live_pattern_share:
        return "starved"
    if not process.states:
        return "unknown"
    share = process.states.get
    if share("gil", 0.0) >= LIMITS.live_pattern_share:
        return "gil"
    if share("file", 0.0) + share("disk", 0.0) >= LIMITS.live_pattern_share:
        return "storage"
    if share("running", 0.0) >= LIMITS.live_most_share:
        return "host" if used and not device_works else "computing"
    waiting = sum(share(state, 0.0) for state in WAITS)
    mostly_waits = waiting >= LIMITS.live_most_share
    workers_work = process.workers > 0 and process.worker_cores >= LIMITS.live_pattern_share
    if mostly_waits and workers_work:
        return "input"
    if device_works or not mostly_waits:
        return "computing"
    if process.cores < LIMITS.live_noise_share:
        return "idle"
    return "peers" if process.rank is not None else "waiting"


def may_work(device: DeviceSample) -> bool:
    """Return whether a device works, or does not report whether it does."""
    return isnan(device.kernel_time_share) or device.kernel_time_share >= LIMITS.live_noise_share


def add_status_words(sample: LiveSample) -> dict[str, Any]:
    """Return a sample as plain data, with the `word` of each device and process; NaN is unknown."""
    devices = [{"word": device_word(device), **asdict(device)} for device in sample.devices]
    processes = [
        {"word": process_word(process, sample.devices), **asdict(process)}
        for process in sample.processes
    ]
    return {"devices": devices, "processes": processes, "no_devices": sample.no_devices}
