"""Repeated samples of this host's devices and Python processes, for `perfscope top`.

It enters no process. A sample costs a few reads of /proc per process.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from math import nan
from typing import TYPE_CHECKING, Any

from perfscope.agent.collectors.thread_states import MainThread
from perfscope.agent.host import proc
from perfscope.agent.host.process_readings import ProcessReadings, Row
from perfscope.agent.host.system_calls import system_call_kinds
from perfscope.agent.job.loader_workers import (
    is_loader_worker,
    is_multiprocessing_helper,
    parent_program,
    started_by,
)
from perfscope.agent.job.roles import (
    PLACE_VARIABLES,
    has_torch,
    is_python,
    place_from_environment,
    short_name,
)
from perfscope.agent.live.live_engines import LiveEngines
from perfscope.agent.nvml.bindings import check_bindings
from perfscope.errors import CollectorUnavailable
from perfscope.traces.live_sample import DeviceSample, LiveSample, ProcessSample

if TYPE_CHECKING:  # They import the driver's bindings, which may be unusable.
    from perfscope.agent.nvml.device_reader import DeviceReader
    from perfscope.agent.nvml.gpu_processes import GpuProcesses
    from perfscope.agent.nvml.session import NvmlSession

STATE_PERIOD_S = 0.1
KEPT_STATES = 100
"""The states of the last ten seconds."""
TORCH_LOADED_WITHIN_S = 30.0
"""A process that has not loaded torch after this time is not checked again."""


@dataclass
class SampledProcess:
    """What is kept of one process between two samples."""

    pid: int
    name: str
    rank: int | None
    torch: bool
    readings: ProcessReadings
    thread: MainThread | None
    states: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_STATES))
    before_s: float = 0.0
    before: Row = field(default_factory=dict)
    """The counters when the sample began, at `before_s`."""

    def read(self) -> Row:
        """Return the counters of the process."""
        return (self.readings.quick() or {}) | self.readings.all_threads()

    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        return self.readings.quick() is not None

    def close(self) -> None:
        """Close the files."""
        self.readings.close()
        if self.thread is not None:
            self.thread.close()


class LiveSampler:
    """Samples the processes `only`, else all that have torch loaded or use a device."""

    def __init__(self, only: tuple[int, ...] = ()) -> None:
        self.only = only
        self.processes: dict[int, SampledProcess] = {}
        self.kinds = system_call_kinds()
        self.nvml: NvmlSession | None = None
        self.devices: list[DeviceReader] = []
        self.gpu_processes: GpuProcesses | None = None
        self.no_devices: str | None = None
        """Why there are no devices; None where there are."""
        self.without_torch: set[int] = set()
        """Processes that are not checked again."""
        self.unanswered: dict[int, str] = {}
        """Why a device never answered, by its number."""
        self.is_driver_gone = False
        self.engines = LiveEngines()
        try:
            self.open_driver()
        except CollectorUnavailable as reason:
            self.no_devices = str(reason)

    def open_driver(self) -> None:
        """Begin to read the devices. Raises CollectorUnavailable."""
        check_bindings()
        from perfscope.agent.nvml.gpu_processes import GpuProcesses
        from perfscope.agent.nvml.session import open_nvml

        self.nvml, self.gpu_processes = open_nvml(), GpuProcesses()
        self.open_devices(self.nvml)

    def open_devices(self, nvml: "NvmlSession") -> None:
        """Open all devices, also those of a driver that was reloaded."""
        from perfscope.agent.nvml.device_reader import open_devices

        self.unanswered.clear()
        self.devices = open_devices(nvml, self.unanswered)
        self.is_driver_gone = not self.devices
        for device in self.devices:
            # Means between two readings need a first one.
            device.read_slow(nvml)

    def sample(self, seconds: float) -> LiveSample:
        """Return a sample of the next `seconds`."""
        if self.is_driver_gone and self.nvml is not None and self.nvml.initialize():
            self.open_devices(self.nvml)
        on_devices = self.read_gpu_processes()
        self.update_processes(on_devices)
        self.engines.update(set(self.processes))
        for process in self.processes.values():
            process.before_s, process.before = time.monotonic(), process.read()
        self.sample_states(time.monotonic() + seconds)
        living = [process for process in self.processes.values() if process.is_alive()]
        shown = fold_workers(
            [summarize_process(process, on_devices.get(process.pid, [])) for process in living]
        )
        shown = [replace(each, requests=self.engines.sample(each.pid)) for each in shown]
        if self.only:
            shown = [process for process in shown if process.pid in self.only]
        devices = [self.sample_device(device) for device in self.devices]
        for number, reason in self.unanswered.items():
            devices.append(DeviceSample(number, "a device that never answered", lost=reason))
        devices.sort(key=lambda device: device.device)
        return LiveSample(devices, shown, self.no_devices)

    def sample_states(self, until_s: float) -> None:
        """Sample the states of all main threads until `until_s`."""
        while (left_s := until_s - time.monotonic()) > 0:
            for process in self.processes.values():
                state = process.thread.state() if process.thread is not None else None
                if state is not None:
                    process.states.append(state)
            time.sleep(min(STATE_PERIOD_S, left_s))

    def read_gpu_processes(self) -> dict[int, list[dict[str, Any]]]:
        """Return the rows of each process on the devices, by pid."""
        rows_of_pid: dict[int, list[dict[str, Any]]] = {}
        if self.nvml is None or self.gpu_processes is None:
            return rows_of_pid
        for device in self.devices:
            for row in self.gpu_processes.read(self.nvml, device, {}, time.monotonic_ns()):
                rows_of_pid.setdefault(int(row["pid"]), []).append(row)
        return rows_of_pid

    def update_processes(self, on_devices: dict[int, list[dict[str, Any]]]) -> None:
        """Drop the processes that have ended, and add new ones."""
        ended = [pid for pid, process in self.processes.items() if not process.is_alive()]
        for pid in ended:
            self.processes.pop(pid).close()
        pids = self.pids_to_check()
        self.without_torch &= set(pids)
        for pid in pids:
            if pid in self.processes or (pid in self.without_torch and pid not in on_devices):
                continue
            process = self.open_process(pid, on_device=pid in on_devices)
            if process is not None:
                self.processes[pid] = process
            elif will_not_load_torch(pid):
                self.without_torch.add(pid)

    def pids_to_check(self) -> list[int]:
        """Return the requested processes and their children, else all processes."""
        if not self.only:
            return proc.all_pids()
        pids = list(self.only)
        for pid in self.only:
            pids += started_by(pid)
        return pids

    def open_process(self, pid: int, *, on_device: bool) -> SampledProcess | None:
        """Open a process that was requested, uses a device, or is Python with torch loaded."""
        mapped = proc.mapped_names(pid)
        torch = has_torch(mapped)
        is_wanted = self.only or on_device or (torch and is_python(pid, mapped))
        if not is_wanted or proc.stat(pid) is None:
            return None
        rank = place_from_environment(proc.environment(pid, PLACE_VARIABLES), "RANK")
        return SampledProcess(
            pid=pid,
            name=short_name(proc.command_line(pid)),
            rank=rank if rank >= 0 else None,
            torch=torch,
            readings=ProcessReadings(pid),
            thread=MainThread(pid, self.kinds) if self.kinds is not None else None,
        )

    def sample_device(self, device: "DeviceReader") -> DeviceSample:
        """Return the current counters of a device."""
        assert self.nvml is not None
        row = device.read_quick(self.nvml)
        is_lost = self.nvml.is_device_gone or self.nvml.is_driver_gone
        lost = self.nvml.reason if is_lost else None
        self.is_driver_gone |= self.nvml.is_driver_gone
        row |= device.read_slow(self.nvml)
        facts = device.facts
        # A MIG instance has only the share that GPM measures.
        gpm_share = row.get("graphics_active", nan)
        return DeviceSample(
            device=facts.device,
            name=facts.name,
            kernel_time_share=row.get("kernel_time_share", gpm_share),
            sm_active=row.get("sm_active", nan),
            memory_used_bytes=row.get("memory_used_bytes", nan),
            memory_bytes=facts.memory_bytes,
            power_w=row.get("power_w", nan),
            power_limit_w=facts.power_limit_w,
            temperature_c=row.get("temperature_c", nan),
            sm_clock_mhz=row.get("sm_clock_mhz", nan),
            clock_events=int(row.get("clock_events", 0)),
            lost=lost,
        )

    def close(self) -> None:
        """Close all files and devices, and end the children that read pages."""
        self.engines.close()
        for process in self.processes.values():
            process.close()
        for device in self.devices:
            if self.nvml is not None:
                device.close(self.nvml)


def will_not_load_torch(pid: int) -> bool:
    """Return whether a process is so old that it would have loaded torch by now."""
    found = proc.stat(pid)
    if found is None:
        return True
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - found.start_ticks / proc.TICKS_PER_S
    return age_s > TORCH_LOADED_WITHIN_S


def summarize_process(process: SampledProcess, rows: list[dict[str, Any]]) -> ProcessSample:
    """Return what a process did since the sample began; `rows` are its rows on devices."""
    now_s, now = time.monotonic(), process.read()
    span_s = max(now_s - process.before_s, 1e-3)

    def per_second(name: str) -> float:
        if name not in now or name not in process.before:
            return nan
        return (now[name] - process.before[name]) / span_s

    counts = Counter(process.states)
    memory_bytes = sum(max(int(row["memory_bytes"]), 0) for row in rows)
    return ProcessSample(
        pid=process.pid,
        name=process.name,
        rank=process.rank,
        cores=per_second("cpu_ns") / 1e9,
        waiting_cores=per_second("run_delay_ns") / 1e9,
        rss_bytes=now.get("rss_bytes", -1),
        read_bytes_per_s=per_second("read_bytes"),
        states={state: count / len(process.states) for state, count in counts.items()},
        devices=tuple(sorted({int(row["device"]) for row in rows})),
        device_memory_bytes=memory_bytes if rows else -1,
        torch=process.torch,
    )


def fold_workers(samples: list[ProcessSample]) -> list[ProcessSample]:
    """Return the processes without loader workers, which are counted at their parent; ranks first.

    A worker is named by torch, or has the same name as the process that forked it. Fork servers
    are left out.
    """
    by_pid = {sample.pid: sample for sample in samples}
    workers: dict[int, list[ProcessSample]] = {}
    folded: set[int] = set()
    for sample in samples:
        program = by_pid.get(parent_program(sample.pid) or 0)
        if is_multiprocessing_helper(sample.pid):
            folded.add(sample.pid)
        elif program is not None and is_loader_worker(sample.pid, program.pid):
            workers.setdefault(program.pid, []).append(sample)
            folded.add(sample.pid)
    kept: list[ProcessSample] = []
    for sample in samples:
        if sample.pid in folded:
            continue
        if sample.pid in workers:
            cores = sum(worker.cores for worker in workers[sample.pid])
            sample = replace(sample, workers=len(workers[sample.pid]), worker_cores=cores)
        kept.append(sample)
    return sorted(kept, key=lambda sample: (sample.rank is None, sample.rank or 0, sample.pid))
