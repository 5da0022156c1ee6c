"""The load of the machine: cores that the job may use and uses, and waits for a core."""

from dataclasses import dataclass

from perfscope.analyzer.run.loops.steps import steady_steps
from perfscope.analyzer.run.resources.cumulative_counters import (
    HOST,
    counter_growth,
    host_growth,
    readings,
)
from perfscope.analyzer.run.table_access import column, manifest, table
from perfscope.traces.trace import Trace

SECOND_NS = 1_000_000_000
SAMPLED_TABLES = ("counters", "thread_states", "stacks", "device_counters", "network_counters")


@dataclass(frozen=True)
class HostLoad:
    """Means over the steady steps, or the whole recording without any; None where unknown."""

    begin_ns: int
    end_ns: int
    usable_cores: float | None
    cpu_quota: float | None
    """The quota of the cgroup, in cores."""
    tree_cores: float | None
    """The cores that the job's processes keep busy."""
    host_busy: float | None
    """The busy share of the machine, 0..1, by all jobs."""
    host_cores: float | None
    """The cores of the machine."""
    kernel_cores: float
    """The cores that the kernel keeps busy, for all jobs; 0 where that was not read."""
    idle_cores: float | None
    """The cores that the job could use in addition."""
    delay: dict[int, float]
    """Seconds per second that a process's threads were runnable without a core, summed."""
    thread_delay: dict[tuple[int, int], float]
    """The delay of one thread, by process and tid."""
    process_cores: dict[int, float]
    """The cores that a process keeps busy."""
    throttled_share: float | None
    """The share of time in which the cgroup was throttled, summed over cores: it may exceed 1."""

    def wanted_by_others(self, process: int) -> float:
        """Return the number of cores that the job's other processes use or wait for.

        They are mostly its loader workers.
        """
        return sum(
            cores + self.delay.get(code, 0.0)
            for code, cores in self.process_cores.items()
            if code != process
        )

    def longest_delay(self, process: int) -> float:
        """Return the largest share of time in which a thread of the process had no core."""
        threads = [delay for (owner, _), delay in self.thread_delay.items() if owner == process]
        return max(threads) if threads else self.delay.get(process, 0.0)

    def used_elsewhere(self) -> float:
        """Return the number of cores that other jobs on this machine use."""
        if self.host_busy is None or self.host_cores is None or self.tree_cores is None:
            return 0.0
        return max(self.host_busy * self.host_cores - self.tree_cores, 0.0)

    def used_by_kernel(self) -> float:
        """Return the number of cores that the kernel's own threads use at most.

        That is its time without that of the job's processes.
        """
        return min(self.kernel_cores, self.used_elsewhere())

    def full(self, idle_share: float) -> bool:
        """Return whether at most this share of the usable cores, or a quarter of a core, is idle.

        False where that is unknown.
        """
        if self.idle_cores is None or not self.usable_cores:
            return False
        return self.idle_cores <= max(idle_share * self.usable_cores, 0.25)

    @property
    def span_s(self) -> float:
        """The length of the window, in seconds."""
        return (self.end_ns - self.begin_ns) / SECOND_NS


def window(trace: Trace) -> tuple[int, int]:
    """Return begin and end in ns of the steady steps, else of everything that was recorded."""
    rows = trace.fact(steady_steps)
    if len(rows):
        return int(rows["ts"].min()), int((rows["ts"] + rows["dur"] + rows["cut"]).max())
    times = [column(table(trace, name), "ts") for name in SAMPLED_TABLES]
    times = [ts for ts in times if len(ts)]
    if not times:
        return 0, 0
    return int(min(ts.min() for ts in times)), int(max(ts.max() for ts in times))


def host_load(trace: Trace) -> HostLoad:
    """Return the load of the machine while the job ran; cores are CPU-seconds per second."""
    begin, end = window(trace)
    span = max(end - begin, 1)
    cores = manifest(trace).usable_cores
    usable = cores.cores if cores is not None else None
    cpu = {p: v for (p, _), v in counter_growth(trace, "cpu_ns", begin, end).items() if p != HOST}
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
        idle_cores=free_cores(usable, tree, host_busy, count),
        delay={
            p: v / span
            for (p, _), v in counter_growth(trace, "run_delay_ns", begin, end).items()
            if p != HOST
        },
        thread_delay={
            k: v / span
            for k, v in counter_growth(trace, "run_delay_ns", begin, end, threads=True).items()
        },
        process_cores={p: v / span for p, v in cpu.items()},
        throttled_share=None if throttled is None else throttled / span,
    )


def host_cores(trace: Trace) -> float | None:
    """Return the number of cores of the machine."""
    frame = readings(trace, "host_cpu_count")
    return float(frame["value"].iloc[-1]) if frame is not None and len(frame) else None


def free_cores(
    usable: float | None, tree: float | None, host_busy: float | None, count: float | None
) -> float | None:
    """Return the number of cores that are free for the job: within its limit, and unused."""
    if usable is None or tree is None:
        return None
    free = usable - tree
    if host_busy is not None and count:
        free = min(free, count * (1.0 - host_busy))
    return max(free, 0.0)


def cgroup_growth(trace: Trace, name: str, begin: int, end: int) -> float | None:
    """Return the growth of a cgroup counter.

    The processes of one job share the group, so the largest reading is that of the group.
    """
    grown = list(counter_growth(trace, name, begin, end).values())
    return max(grown) if grown else None


def cpu_per_step_ns(trace: Trace) -> float | None:
    """Return the CPU nanoseconds of the whole job per step (ranks step together)."""
    load = trace.fact(host_load)
    rows = trace.fact(steady_steps)
    if load.tree_cores is None or not len(rows):
        return None
    per_rank = rows.groupby("process")["dur"].mean()
    return load.tree_cores * float(per_rank.max())
