"""Devices that stopped answering while their counters were read."""

from dataclasses import dataclass

from perfscope.analyzer.run.accelerators.device_use import DeviceUse, all_devices
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class DeviceLoss:
    """One device, and the interval in which it did not answer.

    `recorded_ns` is the span of all devices' readings. `xids` are the critical errors that the
    driver reported for it: (when in ns, code).
    """

    use: DeviceUse
    begin_ns: int
    end_ns: int
    recorded_ns: tuple[int, int]
    reason: str
    xids: tuple[tuple[int, int], ...]

    @property
    def after_s(self) -> float:
        """Seconds from the first reading to the loss."""
        return max(self.begin_ns - self.recorded_ns[0], 0) / 1e9

    @property
    def dur_s(self) -> float:
        """Seconds for which it did not answer."""
        return (self.end_ns - self.begin_ns) / 1e9


def device_losses(trace: Trace) -> list[DeviceLoss]:
    """Return each time a single device did not answer, in order.

    Intervals in which no device answered are the driver's and are left out.
    """
    gaps, counters = table(trace, "device_gaps"), table(trace, "device_counters")
    if gaps is None or counters is None or not len(counters):
        return []
    ts = column(counters, "ts")
    first_ns, last_ns = int(ts.min()), int(ts.max())
    found = []
    for use in trace.fact(all_devices):
        of_device = (gaps["host"] == use.host) & (gaps["device"] == use.device)
        for row in gaps[of_device].to_dict("records"):
            begin_ns = int(row["ts"])
            end_ns = begin_ns + int(row["dur"])
            recorded_ns = min(first_ns, begin_ns), max(last_ns, end_ns)
            xids, reason = reported_xids(trace, use), str(row["reason"])
            found.append(DeviceLoss(use, begin_ns, end_ns, recorded_ns, reason, xids))
    return sorted(found, key=lambda loss: loss.begin_ns)


def reported_xids(trace: Trace, use: DeviceUse) -> tuple[tuple[int, int], ...]:
    """Return the critical errors that the driver reported for a device."""
    counters = table(trace, "device_counters")
    if counters is None:
        return ()
    of_device = (counters["host"] == use.host) & (counters["device"] == use.device)
    rows = counters[of_device & (counters["name"] == "xid")]
    return tuple((int(row["ts"]), int(row["value"])) for row in rows.to_dict("records"))
