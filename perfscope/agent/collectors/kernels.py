"""Windows of torch's profiler: requests them from the probes and stores the traces.

A process gets one window. Another one (`every_s`, or on request) is taken by its probe only where
that is known to be safe: the trace of the last window must show that nothing was open at its end. A
trace arrives as an open memory file over the socket of the probe, which works across mount, network
and pid namespaces.
"""

import time
from collections.abc import Sequence
from typing import Any

from perfscope.agent.collector import Collector, Job, Need
from perfscope.agent.collectors.probe import Probes
from perfscope.agent.delivery.discarded_descriptors import discard_files
from perfscope.agent.delivery.probe_notes import WindowRefusedNote
from perfscope.agent.host.cgroup import find_group, memory_left_bytes
from perfscope.agent.host.proc import available_bytes
from perfscope.agent.profiler_windows.agreed_step import common_step
from perfscope.agent.profiler_windows.trace_store import TraceStore
from perfscope.agent.profiler_windows.window import Window, first_window_is_due
from perfscope.agent.profiler_windows.window_summary import summarize_windows
from perfscope.agent.recording.probe_session import ProbeSession
from perfscope.agent.recording.recording_plan import Plan
from perfscope.traces.run_folder.manifest import SourceStatus, TorchFacts

STOP_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_NS = 60_000_000_000
AGREE_TIMEOUT_NS = 5_000_000_000
"""How long to wait for the evidence that the ranks step together."""
RETRY_AFTER_NS = 5_000_000_000
"""When to request a window again from a probe that reported that it is not possible yet."""
NO_OPERATORS = (
    "the process ran no operator during the window; attach while it computes to profile it"
)
NO_KERNELS = (
    "the trace has no kernels: the process was first profiled without CUDA, or CUPTI was not"
    " available"
)
NO_KERNELS_ON_ROCM = (
    "the trace has no kernels: on ROCm torch's profiler must be used once before the program first"
    " uses the device (pytorch/kineto #1338)"
)
CUPTI_STAYS = (
    "CUPTI stays loaded until the program ends, which can slow it down (10 to 20 % were reported"
    " for some programs)"
)
PARTIAL_STEP = "the window ended before the end of a whole step, so it covers a part of one"
STEPS_AROUND = 3
"""Steps that a window distorts besides those inside it: those in which it begins and ends, and
their neighbors.
"""


class Kernels(Collector):
    """Requests a window of each training or serving process, after some undisturbed steps.

    With `every_s`, it requests one in each such period.
    """

    NAME = "kernels"
    PERIOD_NS = 100_000_000
    NEEDS = frozenset({Need.PROBE_RUNNING, Need.WINDOWS_WANTED})
    STOPS_SLOWLY = True

    def __init__(self, probes: Probes, total_s: float | None = None) -> None:
        """`total_s` is the longest duration of the recording, None if it has no limit."""
        self.probes = probes
        self.window = probes.window or Window()
        self.total_s = total_s
        self.wanted_now = False
        """Whether the user has requested a window."""
        self.requests = 0
        self.results: list[dict[str, Any]] = []
        """The row of each window that was taken, or {"refused": reason}."""
        self.connected_ns: dict[int, int] = {}
        """When the probe of a process was first seen, by pid. The dicts below are by pid too."""
        self.requested_ns: dict[int, int] = {}
        self.never_again: set[int] = set()
        self.not_yet: dict[int, str] = {}
        """Why the probe of a process could not take a window yet."""
        self.retry_ns: dict[int, int] = {}
        self.undecided_ns = 0

    @classmethod
    def create(cls, plan: Plan, running: Sequence[Collector]) -> "Kernels":
        probes = next(collector for collector in running if isinstance(collector, Probes))
        longest_s = None if plan.follow else plan.max_duration_s
        return cls(probes, plan.duration_s or longest_s)

    def start(self, job: Job) -> None:
        self.job = job
        self.began_ns = time.monotonic_ns()
        self.store = TraceStore(job.run)

    def poll(self, now_ns: int) -> int:
        self.store.list_stored()
        for pid, session in self.probes.sessions.items():
            self.take(pid, session)
        is_wanted_now = self.wanted_now and not self.store.threads
        if is_wanted_now:
            self.wanted_now = False
        due_pids = [
            pid
            for pid, session in self.connected_sessions().items()
            if is_wanted_now or self.is_due(session, pid, now_ns)
        ]
        if due_pids and not self.request_from_ranks(now_ns):
            for pid in due_pids:
                self.request(pid, now_ns)
        return now_ns + self.PERIOD_NS

    def connected_sessions(self) -> dict[int, ProbeSession]:
        """Return the sessions of processes that can be profiled, by pid."""
        sessions = {pid: self.probes.sessions[pid] for pid in self.probes.connections}
        return {
            pid: session
            for pid, session in sessions.items()
            if session.target.role != "loader-worker"
        }

    def request_from_ranks(self, now_ns: int) -> bool:
        """Request windows of all ranks at the same step.

        Return True when that was done, and as long as it is not known whether they step together.
        """
        sessions = self.connected_sessions()
        ranks = {
            pid: session
            for pid, session in sessions.items()
            if session.steps.updates.reported is not None
        }
        if len(ranks) < 2 or len(ranks) < len(sessions):
            return False
        numbers = common_step([session.steps.updates for session in ranks.values()])
        if numbers is None:
            self.undecided_ns = self.undecided_ns or now_ns
            return now_ns - self.undecided_ns < AGREE_TIMEOUT_NS
        self.undecided_ns = 0
        for pid, number in zip(ranks, numbers, strict=True):
            self.request(pid, now_ns, number)
        return True

    @property
    def is_complete(self) -> bool:
        """Whether every window was taken or refused, or none has been for a long time."""
        waited_ns = time.monotonic_ns() - self.began_ns
        if waited_ns > ANSWER_TIMEOUT_NS:
            return True
        return self.requests > 0 and len(self.results) >= self.requests

    @property
    def distorted_steps(self) -> int:
        """About how many steps of one process the windows have distorted."""
        steps = sum(STEPS_AROUND + int(result.get("steps", 0)) for result in self.results)
        return steps // max(len(self.requested_ns), 1)

    def is_due(self, session: ProbeSession, pid: int, now_ns: int) -> bool:
        """Return whether to request a window of a process now."""
        if now_ns < self.retry_ns.get(pid, 0):
            return False
        if pid in self.requested_ns:
            return self.is_next_due(pid, now_ns)
        connected_ns = self.connected_ns.setdefault(pid, now_ns)
        return first_window_is_due((now_ns - connected_ns) / 1e9, session.steps.steps, self.total_s)

    def is_next_due(self, pid: int, now_ns: int) -> bool:
        """Return whether to request another window of a process now."""
        every_s = self.window.every_s
        if every_s is None or pid in self.never_again:
            return False
        if now_ns - self.requested_ns[pid] < every_s * 1e9:
            return False
        return len(self.results) >= self.requests and not self.store.threads

    def request(self, pid: int, now_ns: int, number: int = 0) -> None:
        """Request a window now, or when optimizer step `number` has ended."""
        self.requested_ns[pid] = now_ns
        self.requests += 1
        left_bytes = memory_left(pid)
        events = self.window.affordable(left_bytes)
        if not events:
            left_mb = (left_bytes or 0) >> 20
            reason = f"{left_mb} MB of memory are left, which is too little for a window"
            self.results.append({"refused": reason})
            return
        is_closed = self.store.all_closed(self.probes.sessions[pid].target.process) is True
        self.probes.connections[pid].send(b"W%d,%d,%d;" % (number, events, is_closed))

    def take(self, pid: int, session: ProbeSession) -> None:
        """Store the windows that a probe has sent."""
        notes, session.windows = session.windows, []
        for note in notes:
            if isinstance(note, WindowRefusedNote):
                discard_files([note])
                self.take_refusal(pid, note)
                continue
            row = note.row()
            self.results.append(row)
            if note.descriptor >= 0:
                self.store.keep(note.descriptor, row, session.target)

    def take_refusal(self, pid: int, note: WindowRefusedNote) -> None:
        """Note why a process has no window, and whether to request one again."""
        if note.later:
            self.not_yet[pid] = note.reason
            self.retry_ns[pid] = time.monotonic_ns() + RETRY_AFTER_NS
            self.requests -= 1
            self.requested_ns.pop(pid, None)
            return
        if note.for_good:
            self.never_again.add(pid)
        self.results.append({"refused": note.reason})

    def stop(self) -> SourceStatus:
        """Wait for the windows that were requested, but not for those of a job that hangs."""
        until_s = time.monotonic() + (0.0 if self.job.is_stuck else STOP_TIMEOUT_S)
        while len(self.results) < self.requests and self.probes.connections:
            if time.monotonic() >= until_s:
                break
            self.probes.read()
            self.probes.send_heartbeats(time.monotonic_ns())
            for pid, session in self.probes.sessions.items():
                self.take(pid, session)
            time.sleep(0.02)
        self.store.finish()
        status = self.status()
        manifest = self.job.run.manifest
        if not self.store.stored and manifest.depth == "probe":
            manifest.depth_reason = f"no window of torch's profiler: {status.reason}"
        return status

    def status(self) -> SourceStatus:
        """Return the status of this source."""
        torch = self.job.run.manifest.torch
        taken = [result for result in self.results if "refused" not in result]
        refused = [str(result["refused"]) for result in self.results if "refused" in result]
        if not refused and not taken:
            refused = list(self.not_yet.values())
        reasons = [*refused[:1], *self.store.trouble[:1]]
        if not self.store.stored:
            reason = reasons[0] if reasons else self.reason_for_none()
            return SourceStatus(self.NAME, "unavailable", reason)
        if any(not row["whole"] and not row["steps"] for row in taken):
            reasons.append(PARTIAL_STEP)
        if self.store.without_operators:
            reasons.append(NO_OPERATORS)
        if self.store.without_kernels:
            reasons.append(reason_without_kernels(torch))
        status = "partial" if reasons else "ok"
        reasons += summarize_windows(taken)
        uses_device = any(row.get("device") for row in taken)
        if uses_device and not self.store.without_kernels and may_use_cupti(torch):
            reasons.append(CUPTI_STAYS)
        return SourceStatus(self.NAME, status, "; ".join(reasons))

    def reason_for_none(self) -> str:
        """Return why no window was taken although none was refused."""
        if not self.probes.sessions:
            return "the process was not entered"
        if self.requests:
            return "the probe did not answer"
        return "no process ran long enough for a window"


def is_rocm(torch: TorchFacts | None) -> bool:
    """Return whether torch was built for AMD's devices."""
    return torch is not None and bool(torch.hip)


def reason_without_kernels(torch: TorchFacts | None) -> str:
    """Return why a trace of a program that uses a device has no kernels."""
    return NO_KERNELS_ON_ROCM if is_rocm(torch) else NO_KERNELS


def may_use_cupti(torch: TorchFacts | None) -> bool:
    """Return whether the profiler of this torch loads CUPTI, the profiling library of CUDA."""
    return torch is None or (torch.cuda and not is_rocm(torch))


def memory_left(pid: int) -> int | None:
    """Return the memory that a process can still get, in bytes; None if unknown."""
    limits = [available_bytes()]
    group = find_group(pid, "memory")
    if group is not None:
        limits.append(memory_left_bytes(group))
    return min((limit for limit in limits if limit is not None), default=None)
