"""Every finding, one file each: ID, NEEDS, not_applicable(trace, limits), detect(trace, limits). Order breaks ties."""

from types import ModuleType

from perfscope.analyzer.communication import (
    exposed_communication,
    network_saturated,
    nvlink_saturated,
    small_collectives,
    straggler,
)
from perfscope.analyzer.compute import compute_bound, low_occupancy, memory_bound, reduced_precision_unused
from perfscope.analyzer.devices import (
    device_lost,
    idle_device,
    link_errors,
    numa_mismatch,
    pcie_downtrained,
    pcie_saturated,
    power_capped,
    shared_gpu,
    throttled,
    wrong_gpu,
)
from perfscope.analyzer.host import (
    checkpoint_stall,
    cpu_oversubscription,
    cpu_throttled,
    gc_pause,
    gil_contention,
    host_sync,
    launch_bound,
    memory_growth,
    profiler_overhead,
)
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.memory import allocator_retries, exposed_copy, fragmentation, memory_pressure, pageable_copy

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
    nvlink_saturated,
    network_saturated,
    small_collectives,
    exposed_communication,
    launch_bound,
    compute_bound,
    low_occupancy,
    memory_bound,
    reduced_precision_unused,
    straggler,
    memory_growth,
    memory_pressure,
    fragmentation,
    profiler_overhead,
    pcie_saturated,
    device_lost,
    throttled,
    power_capped,
    idle_device,
    wrong_gpu,
    shared_gpu,
    pcie_downtrained,
    link_errors,
    numa_mismatch,
)
