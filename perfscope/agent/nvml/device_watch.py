"""Reads all devices on a thread of its own, so that a slow driver never delays the recorder.

There are three rounds, each with its own period and share of a core: cheap counters ten times per
second, expensive ones twice per second, and the processes on the devices once per second. Rows wait
in lists until the recorder's thread takes them.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pynvml

from perfscope.agent.collector import Job
from perfscope.agent.collector_guard import GuardedThread
from perfscope.agent.nvml.device_reader import DeviceReader, open_devices
from perfscope.agent.nvml.gpu_processes import GpuProcesses
from perfscope.agent.nvml.sampling_round import SamplingRound
from perfscope.agent.nvml.session import NvmlSession
from perfscope.traces.device_facts import DeviceSampling

QUICK_NS: Final = 100_000_000
SLOW_NS: Final = 500_000_000
PROCESSES_NS: Final = 1_000_000_000
RETRY_S: Final = 0.5
"""Pause between two attempts while the driver is gone."""
QUICK_SHARE, SLOW_SHARE, PROCESSES_SHARE = 0.0045, 0.003, 0.001
"""Shares of a core; together just below 1 %, which observing a host of eight devices may cost."""
UNUSED_EVERY: Final = 4
"""Devices that the job does not use are read in every fourth slow round only."""
ALL: Final = -1
"""The device number of a gap in all devices."""
LONGEST_SLEEP_S: Final = 0.1
SHORTEST_SLEEP_S: Final = 0.0005


class DeviceWatch:
    """The reading thread, and the rows it has read so far."""

    def __init__(self, job: Job, nvml: NvmlSession) -> None:
        self.job, self.nvml = job, nvml
        self.devices: list[DeviceReader] = []
        self.unanswered: dict[int, str] = {}
        """Why a device did not answer at the start, by its number."""
        self.gpu_processes = GpuProcesses()
        self.counters: list[dict[str, Any]] = []
        self.processes: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.open_gaps: dict[int, tuple[int, str]] = {}
        """When a device that does not answer stopped answering, and why."""
        self.used: set[int] = set()
        """The devices that the job uses."""
        self.events: Any = None
        self.ready = threading.Event()
        self.ended = threading.Event()
        self.quick_round = SamplingRound(QUICK_NS, QUICK_SHARE, self.read_quick)
        self.slow_round = SamplingRound(SLOW_NS, SLOW_SHARE, self.read_slow)
        self.process_round = SamplingRound(PROCESSES_NS, PROCESSES_SHARE, self.read_processes)
        self.rounds: list[SamplingRound] = []
        """The rounds, once they have begun."""
        self.thread = GuardedThread(target=self.run, name="nvml", daemon=True)

    def run(self) -> None:
        """Read until `ended` is set. The driver may hang in a call, so nobody waits for long."""
        self.devices = open_devices(self.nvml, self.unanswered)
        self.register_events()
        self.ready.set()
        self.begin_rounds()
        while not self.ended.is_set():
            now_ns = time.monotonic_ns()
            if ALL in self.open_gaps and not self.reopen(now_ns):
                self.ended.wait(RETRY_S)
                continue
            for sampling_round in self.rounds:
                if now_ns >= sampling_round.due_ns and ALL not in self.open_gaps:
                    sampling_round.run(time.monotonic_ns())
            due_ns = min(sampling_round.due_ns for sampling_round in self.rounds)
            sleep_s = (due_ns - time.monotonic_ns()) / 1e9
            self.ended.wait(min(max(sleep_s, SHORTEST_SLEEP_S), LONGEST_SLEEP_S))
        for device in self.devices:
            device.close(self.nvml)
        if self.events is not None:
            self.nvml.query(pynvml.nvmlEventSetFree, self.events)

    def begin_rounds(self) -> None:
        """Begin all rounds now; find out quickly which of several devices the job uses."""
        rounds = [self.quick_round, self.slow_round, self.process_round]
        for sampling_round in rounds:
            sampling_round.begin()
        if len(self.devices) > 1:
            self.process_round.quick_runs = len(self.devices)
        self.rounds = rounds

    def read_quick(self, now_ns: int) -> int:
        """Read the cheap counters of the devices that the job uses.

        Until each device has been asked for its processes, that is all of them.
        """
        all_asked = self.process_round.runs >= len(self.devices)
        if not all_asked or not self.used:
            return self.read(self.devices, DeviceReader.read_quick)
        used = [device for device in self.devices if device.number in self.used]
        return self.read(used, DeviceReader.read_quick)

    def read_slow(self, now_ns: int) -> int:
        """Read the expensive counters, and the driver's errors; unused devices take turns."""
        due = [device for device in self.devices if self.is_turn_of(device)]
        self.read_events(now_ns)
        self.processes += self.gpu_processes.locate(self.job.processes, now_ns)
        return self.read(due, DeviceReader.read_slow)

    def is_turn_of(self, device: DeviceReader) -> bool:
        """Return whether this slow round reads the device."""
        if not self.used or device.number in self.used:
            return True
        return (self.slow_round.runs + device.number) % UNUSED_EVERY == 0

    def read(
        self,
        devices: list[DeviceReader],
        read_row: Callable[[DeviceReader, NvmlSession], dict[str, float]],
    ) -> int:
        """Read a row of each device; return how many answered."""
        count = 0
        for device in devices:
            self.nvml.last = 0
            row = read_row(device, self.nvml)
            ts = device.read_ns
            if self.nvml.is_driver_gone:
                self.begin_gap(ALL, ts, self.nvml.reason)
                return count
            if self.nvml.is_device_gone:
                self.begin_gap(device.number, ts, self.nvml.reason)
                continue
            self.end_gap(device.number, ts)
            count += 1
            if row:
                self.counters.append({"ts": ts, "device": device.number, **row})
        return count

    def read_processes(self, now_ns: int) -> int:
        """Read the processes on one device; listing them takes the driver milliseconds, so the
        devices take turns.
        """
        if not self.devices:
            return 0
        device = self.devices[self.process_round.runs % len(self.devices)]
        rows = self.gpu_processes.read(self.nvml, device, self.job.processes, now_ns)
        self.processes += rows
        if any(row["process"] >= 0 for row in rows):
            self.used.add(device.number)
            self.used |= {
                other.number for other in self.devices if other.facts.device == device.facts.parent
            }
        elif not self.nvml.is_device_gone:
            self.used.discard(device.number)
        return 1

    def register_events(self) -> None:
        """Have the driver keep critical errors (Xid) for this thread."""
        self.events = self.nvml.query(pynvml.nvmlEventSetCreate)
        if self.events is None:
            return
        kind = pynvml.nvmlEventTypeXidCriticalError
        for device in self.devices:
            if device.whole is None:
                self.nvml.query(pynvml.nvmlDeviceRegisterEvents, device.handle, kind, self.events)

    def read_events(self, now_ns: int) -> None:
        """Read the errors that the driver has kept."""
        while self.events is not None:
            event = self.nvml.query(pynvml.nvmlEventSetWait_v2, self.events, 0)
            if event is None:
                return
            for device in self.devices:
                if handle_address(device.handle) == handle_address(event.device):
                    xid = int(event.eventData)
                    self.counters.append({"ts": now_ns, "device": device.number, "xid": xid})
                    break

    def begin_gap(self, device: int, ts: int, reason: str) -> None:
        """Record that a device does not answer."""
        self.open_gaps.setdefault(device, (ts, reason))

    def end_gap(self, device: int, ts: int) -> None:
        """Add a row for the gap of a device that answers again."""
        gap = self.open_gaps.pop(device, None)
        if gap is not None:
            began_ns, reason = gap
            self.gaps.append(
                {"ts": began_ns, "dur": ts - began_ns, "device": device, "reason": reason}
            )

    def reopen(self, now_ns: int) -> bool:
        """Return whether the driver answers again; if so, open all devices again."""
        if not self.nvml.initialize():
            return False
        devices = open_devices(self.nvml)
        if not devices:
            return False
        for device in self.devices:
            device.close(self.nvml)
        self.devices = devices
        self.register_events()
        self.end_gap(ALL, now_ns)
        return True

    def end(self, wait_s: float) -> bool:
        """End the thread; return False when it hangs in the driver."""
        self.ended.set()
        self.thread.join(wait_s)
        now_ns = time.monotonic_ns()
        for device in list(self.open_gaps):
            self.end_gap(device, now_ns)
        return not self.thread.is_alive()

    def sampling(self) -> DeviceSampling | None:
        """Return the rates that were reached and their cost; None before the first round."""
        if not self.rounds:
            return None
        shares = [sampling_round.pace.share for sampling_round in self.rounds]
        return DeviceSampling(
            asked_hz=1e9 / QUICK_NS,
            quick_hz=round(self.quick_round.hz, 2),
            quick_us=round(self.quick_round.device_us, 1),
            slow_hz=round(self.slow_round.hz, 2),
            slow_us=round(self.slow_round.device_us, 1),
            processes_hz=round(self.process_round.hz / max(len(self.devices), 1), 3),
            processes_us=round(self.process_round.device_us, 1),
            core_share=round(sum(shares), 5),
        )


def handle_address(handle: Any) -> int | None:
    """Return the address that a handle points to; handles of one device share it."""
    return ctypes.cast(handle, ctypes.c_void_p).value
