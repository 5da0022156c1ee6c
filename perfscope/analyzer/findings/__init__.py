"""Every finding, one file each: ID, NEEDS, not_applicable(trace, limits), detect(trace, limits). Order breaks ties."""

from types import ModuleType

from perfscope.analyzer.findings import (
    checkpoint_stall,
    cpu_oversubscription,
    cpu_throttled,
    gc_pause,
    gil_contention,
    host_sync,
    input_bound,
    memory_growth,
    straggler,
)

FINDINGS: tuple[ModuleType, ...] = (
    input_bound,
    checkpoint_stall,
    gil_contention,
    gc_pause,
    cpu_oversubscription,
    cpu_throttled,
    host_sync,
    memory_growth,
    straggler,
)
