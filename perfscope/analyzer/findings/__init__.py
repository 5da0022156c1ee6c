"""Every finding, one file each: ID, NEEDS, not_applicable(trace, limits), detect(trace, limits). Order breaks ties."""

from types import ModuleType

from perfscope.analyzer.findings import (
    allocator_retries,
    checkpoint_stall,
    cpu_oversubscription,
    cpu_throttled,
    exposed_communication,
    exposed_copy,
    fragmentation,
    gc_pause,
    gil_contention,
    host_sync,
    input_bound,
    launch_bound,
    memory_growth,
    memory_pressure,
    pageable_copy,
    pcie_downtrained,
    profiler_overhead,
    small_collectives,
    straggler,
)

FINDINGS: tuple[ModuleType, ...] = (
    input_bound,
    checkpoint_stall,
    gil_contention,
    gc_pause,
    cpu_oversubscription,
    cpu_throttled,
    allocator_retries,
    pageable_copy,
    exposed_copy,
    host_sync,
    small_collectives,
    exposed_communication,
    launch_bound,
    straggler,
    memory_growth,
    memory_pressure,
    fragmentation,
    profiler_overhead,
    pcie_downtrained,
)
