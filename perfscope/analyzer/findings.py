"""Every finding that is checked on a recording; each is one file with a `RULE`.

Among findings that cost the same, the order is that of this list.
"""

from perfscope.analyzer.communication import (
    exposed_communication,
    network_saturated,
    nvlink_saturated,
    small_collectives,
    straggler,
)
from perfscope.analyzer.compute import (
    compute_bound,
    low_occupancy,
    memory_bound,
    padding_waste,
    reduced_precision_unused,
)
from perfscope.analyzer.devices import (
    device_lost,
    devices_in_turn,
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
    explicit_call,
    gc_pause,
    gil_contention,
    hang,
    host_sync,
    launch_bound,
    memory_growth,
    profiler_overhead,
    recompilation,
    thread_count,
    validation_time,
)
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.memory import (
    allocator_retries,
    exposed_copy,
    fragmentation,
    memory_pressure,
    pageable_copy,
)
from perfscope.analyzer.program_code import blocking_call, host_code, sleep_in_loop
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.serving import (
    batching_delay,
    compile_while_serving,
    graph_fallback,
    host_bound_decode,
    kv_cache_pressure,
    prefill_interference,
    queueing,
)
from perfscope.analyzer.slow_steps import growing_steps, periodic_slow_steps

FINDINGS: tuple[Rule, ...] = (
    hang.RULE,
    queueing.RULE,
    batching_delay.RULE,
    kv_cache_pressure.RULE,
    prefill_interference.RULE,
    compile_while_serving.RULE,
    host_bound_decode.RULE,
    graph_fallback.RULE,
    input_bound.RULE,
    checkpoint_stall.RULE,
    validation_time.RULE,
    sleep_in_loop.RULE,
    blocking_call.RULE,
    host_code.RULE,
    recompilation.RULE,
    explicit_call.RULE,
    growing_steps.RULE,
    periodic_slow_steps.RULE,
    gil_contention.RULE,
    gc_pause.RULE,
    cpu_oversubscription.RULE,
    cpu_throttled.RULE,
    allocator_retries.RULE,
    pageable_copy.RULE,
    exposed_copy.RULE,
    devices_in_turn.RULE,
    host_sync.RULE,
    nvlink_saturated.RULE,
    network_saturated.RULE,
    small_collectives.RULE,
    exposed_communication.RULE,
    launch_bound.RULE,
    thread_count.RULE,
    padding_waste.RULE,
    compute_bound.RULE,
    low_occupancy.RULE,
    memory_bound.RULE,
    reduced_precision_unused.RULE,
    straggler.RULE,
    memory_growth.RULE,
    memory_pressure.RULE,
    fragmentation.RULE,
    profiler_overhead.RULE,
    pcie_saturated.RULE,
    device_lost.RULE,
    throttled.RULE,
    power_capped.RULE,
    idle_device.RULE,
    wrong_gpu.RULE,
    shared_gpu.RULE,
    pcie_downtrained.RULE,
    link_errors.RULE,
    numa_mismatch.RULE,
)
RULES = {rule.id: rule for rule in FINDINGS}
