"""How full the machine is: what the job may use, what it uses, and what waits for a core."""

from dataclasses import dataclass

from perfscope.analyzer.run.cumulative_counters import HOST, host_growth, readings, used
from perfscope.analyzer.run.steps import steady_steps
from perfscope.analyzer.run.table_access import column, manifest, table
from perfscope.traces.trace import Trace

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class HostLoad:
    """Over the steady steps, or the whole recording where there are none; None where nothing
    tells.
    """

    begin_ns: int
    end_ns: int
    usable_cores: float | None
    cpu_quota: float | None  # cores, by the cgroup
    tree_cores: float | None  # cores the job's processes keep busy
    host_busy: float | None  # 0..1, everyone on the machine
    host_cores: float | None  # cores of the machine
    kernel_cores: (
        float  # cores the kernel keeps busy, whoever it works for; 0 where that was not read
    )
    idle_cores: float | None  # cores the job could still use
    delay: dict[
        int, float
    ]  # process -> seconds per second its threads were runnable without a core, summed over threads
    thread_delay: dict[tuple[int, int], float]  # (process, tid) -> the same for one thread
    process_cores: dict[int, float]  # process -> cores kept busy
    throttled_share: (
        float | None
    )  # of the time, in which the cgroup was held back; over 1 where several cores were
    throttled_events: float | None

    def wanted_by_others(self, process: int) -> float:
        """Cores that the job's other processes (its loader workers first of all) use or would use
        if they could.
        """
        return sum(
            c + self.delay.get(code, 0.0)
            for code, c in self.process_cores.items()
            if code != process
        )

    def used_elsewhere(self) -> float:
        """Cores that other jobs on this machine use."""
        if self.host_busy is None or self.host_cores is None or self.tree_cores is None:
            return 0.0
        return max(self.host_busy * self.host_cores - self.tree_cores, 0.0)

    def used_by_kernel(self) -> float:
        """Cores that the kernel's own threads use at most: its time, as far as it is not the job's
        processes'.
        """
        return min(self.kernel_cores, self.used_elsewhere())

    def full(self, idle_share: float) -> bool:
        """Is at most this share (or a quarter of a core) of the cores that the job may use idle?
        Not where that is not known.
        """
        if self.idle_cores is None or not self.usable_cores:
            return False
        return self.idle_cores <= max(idle_share * self.usable_cores, 0.25)

    @property
    def span_s(self) -> float:
        """Length of the window, seconds."""
        return (self.end_ns - self.begin_ns) / SECOND_NS


def window(trace: Trace) -> tuple[int, int]:
    """(begin, end) in ns of the steady steps, else of everything that was recorded."""
    rows = trace.fact(steady_steps)
    if len(rows):
        return int(rows["ts"].min()), int((rows["ts"] + rows["dur"] + rows["cut"]).max())
    ends = [
        column(frame, "ts")
        for name in ("counters", "thread_states", "stacks", "device_counters", "network_counters")
        if (frame := table(trace, name)) is not None
    ]
    ends = [ts for ts in ends if len(ts)]
    return (
        (int(min(ts.min() for ts in ends)), int(max(ts.max() for ts in ends))) if ends else (0, 0)
    )


def host_load(trace: Trace) -> HostLoad:
    """How full the machine was while the job ran; cores are CPU-seconds per second."""
    begin, end = window(trace)
    span = max(end - begin, 1)
    cores = manifest(trace).usable_cores
    usable = cores.cores if cores is not None else None
    cpu = {p: v for (p, _), v in used(trace, "cpu_ns", begin, end).items() if p != HOST}
    tree = sum(cpu.values()) / span if cpu else None
    busy, count = host_growth(trace, "host_cpu_busy_ns", begin, end), host_cores(trace)
    host_busy = min(busy / span / count, 1.0) if busy is not None and count else None
    throttled = cgroup_growth(trace, "throttled_ns", begin, end)
    return HostLoad(
        begin_ns=begin,
        end_ns=end,
        usable_cores=usable,
        cpu_quota=cores.quota if cores is not None else None,
        tree_cores=tree,
        host_busy=host_busy,
        host_cores=count,
        kernel_cores=(host_growth(trace, "host_cpu_kernel_ns", begin, end) or 0.0) / span,
        idle_cores=_idle(usable, tree, host_busy, count),
        delay={
            p: v / span
            for (p, _), v in used(trace, "run_delay_ns", begin, end).items()
            if p != HOST
        },
        thread_delay={
            k: v / span for k, v in used(trace, "run_delay_ns", begin, end, threads=True).items()
        },
        process_cores={p: v / span for p, v in cpu.items()},
        throttled_share=None if throttled is None else throttled / span,
        throttled_events=cgroup_growth(trace, "nr_throttled", begin, end),
    )


def host_cores(trace: Trace) -> float | None:
    """Cores of the machine, idle ones counted."""
    frame = readings(trace, "host_cpu_count")
    return float(frame["value"].iloc[-1]) if frame is not None and len(frame) else None


def _idle(
    usable: float | None, tree: float | None, host_busy: float | None, count: float | None
) -> float | None:
    """Cores that are free for the job: within its limit, and not taken by others on the machine."""
    if usable is None or tree is None:
        return None
    free = usable - tree
    if host_busy is not None and count:
        free = min(free, count * (1.0 - host_busy))
    return max(free, 0.0)


def cgroup_growth(trace: Trace, name: str, begin: int, end: int) -> float | None:
    """Growth of a cgroup counter: the processes of one job share the group, so the largest reading
    stands for it.
    """
    grown = list(used(trace, name, begin, end).values())
    return max(grown) if grown else None


def cpu_per_step_ns(trace: Trace) -> float | None:
    """CPU nanoseconds of the whole job per step of one rank (ranks step together)."""
    load = trace.fact(host_load)
    rows = trace.fact(steady_steps)
    if load.tree_cores is None or not len(rows):
        return None
    per_rank = rows.groupby("process")["dur"].mean()
    return load.tree_cores * float(per_rank.max())
