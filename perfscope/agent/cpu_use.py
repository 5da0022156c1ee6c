"""What we use of the CPU, and whether the machine has a core to spare for it."""

import resource

from perfscope.agent.calibration import ticks

FULL_CORES_IDLE = 0.04


class CpuUse:
    """CPU time of this process and its children, and idle time of all cores, since it was made."""

    def __init__(self) -> None:
        self.own_ns, self.cores = own_cpu_ns(), ticks()

    def used_ns(self) -> int:
        """Return the CPU time that we used."""
        return own_cpu_ns() - self.own_ns

    def are_cores_full(self) -> bool:
        """Return whether nearly no time of any core was idle."""
        grown = [after - before for before, after in zip(self.cores, ticks(), strict=False)]
        return sum(grown[3:5]) < FULL_CORES_IDLE * max(sum(grown), 1)


def own_cpu_ns() -> int:
    """Return the CPU time of this process and of the children it has waited for."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return int(1e9 * sum(use.ru_utime + use.ru_stime for use in uses))
