"""Devices that stopped answering while they were read."""

from dataclasses import dataclass

from perfscope.analyzer.counters.device_use import DeviceUse, all_devices
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Loss:
    """One device, and from when until when it did not answer; `recorded_ns` is the span of all
    devices' readings.
    """

    use: DeviceUse
    begin_ns: int
    end_ns: int
    recorded_ns: tuple[int, int]
    reason: str
    xids: tuple[
        tuple[int, int], ...
    ]  # (when, code) of the critical errors that the driver reported of it

    @property
    def after_s(self) -> float:
        """Seconds from the first reading to the loss."""
        return max(self.begin_ns - self.recorded_ns[0], 0) / 1e9

    @property
    def dur_s(self) -> float:
        """For how long it did not answer, seconds."""
        return (self.end_ns - self.begin_ns) / 1e9


def losses(trace: Trace) -> list[Loss]:
    """Every time a single device did not answer, in order; times at which no device did are the
    driver's and left out.
    """
    gaps, counters = table(trace, "device_gaps"), table(trace, "device_counters")
    if gaps is None or counters is None or not len(counters):
        return []
    ts = column(counters, "ts")
    found = []
    for use in trace.fact(all_devices):
        own = gaps[(gaps["host"] == use.host) & (gaps["device"] == use.device)]
        mine = counters[
            (counters["host"] == use.host)
            & (counters["device"] == use.device)
            & (counters["name"] == "xid")
        ]
        xids = tuple((int(row["ts"]), int(row["value"])) for row in mine.to_dict("records"))
        for row in own.to_dict("records"):
            begin, end = int(row["ts"]), int(row["ts"] + row["dur"])
            recorded = min(int(ts.min()), begin), max(int(ts.max()), end)
            found.append(Loss(use, begin, end, recorded, str(row["reason"]), xids))
    return sorted(found, key=lambda one: one.begin_ns)
