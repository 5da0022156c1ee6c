"""The CPU time that perfscope itself uses, and whether the machine has a core to spare."""

import resource

from perfscope.agent.machine_checks.calibration import read_cpu_ticks

FULL_CORES_IDLE = 0.04


class CpuUse:
    """CPU time of this process and its children, and idle time of all cores, since creation."""

    def __init__(self) -> None:
        self.began_ns, self.began_ticks = cpu_time_ns(), read_cpu_ticks()

    def used_ns(self) -> int:
        """Return the CPU time used since creation."""
        return cpu_time_ns() - self.began_ns

    def are_cores_full(self) -> bool:
        """Return whether almost no core was idle since creation."""
        ticks = [
            after - before
            for before, after in zip(self.began_ticks, read_cpu_ticks(), strict=False)
        ]
        idle_and_iowait = sum(ticks[3:5])
        return idle_and_iowait < FULL_CORES_IDLE * max(sum(ticks), 1)


def cpu_time_ns() -> int:
    """Return the CPU time of this process and of the children it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return int(1e9 * sum(usage.ru_utime + usage.ru_stime for usage in usages))
