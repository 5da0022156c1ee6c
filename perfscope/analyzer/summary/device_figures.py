"""Figures of a whole diagnosis that the screens show: how busy the device is, the highest peak."""

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import Diagnosis, MemoryUse


def device_busy_share(diagnosis: Diagnosis) -> float | None:
    """Return the share of the time budget in which the device works, None without a device."""
    if not diagnosis.devices or not diagnosis.time_budget:
        return None
    return sum(part.share for part in diagnosis.time_budget if CATEGORY[part.category].on_device)


def highest_peak(diagnosis: Diagnosis) -> MemoryUse | None:
    """Return the highest peak memory of a device, else of the host; None where none is known."""
    on_devices = [use for use in diagnosis.memory if use.device is not None]
    return max(on_devices or diagnosis.memory, key=lambda use: use.peak_bytes, default=None)
