"""Every threshold of the analyzer, each with its reason or source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Shares are of step time, 0..1."""

    # Fewer steady steps than this say nothing: a mean of four is moved by any one of them.
    fewest_steps: int = 5
    # Steps of ranks that step together differ by a few percent by chance: a rank within 5 % of the
    # slowest is as slow.
    as_slow_as_slowest: float = 0.95
    # From here on a bootstrap over steps is trustworthy; below it confidence shrinks (TraceML asks
    # for 20 to be critical).
    enough_steps: int = 20
    # XProf calls 5 % of the step moderately input-bound, TensorBoard's plugin advises from 5 % on.
    input_share: float = 0.05
    # A finding that gives back less than this is not worth a change; run-to-run noise of a step is
    # of this size.
    worth_share: float = 0.03
    # XProf's "highly input-bound"; from here a finding is critical.
    critical_share: float = 0.20
    # A garbage collection or GIL wait below 2 % of a step cannot be told from sampling and clock
    # noise.
    pause_share: float = 0.02
    # Checkpoints closer together than this are written more often than a restart needs: a failure
    # then costs less than the writes.
    frequent_checkpoint_s: float = 300.0
    # Collections by hand are rare, every few hundred steps; a collector that runs more often is
    # worth turning off.
    frequent_collection_steps: int = 300
    # A fetch is the CPU's work when at least this share of it runs or waits for a core: clearly
    # more than half, since what is left over (copying the batch, a lock) belongs to no cause of its
    # own.
    cpu_dominated: float = 0.6
    # A cause explains the waits when it is at least half of them: then removing it wins more than
    # all others together.
    explains: float = 0.5
    # I/O is what a fetch is made of when it is at least this share of it: pure decoding on overfull
    # cores shows none; what is below a third of a fetch is not its cause even where nothing else
    # has a name.
    io_share: float = 0.3
    # What taking one ready batch over costs at least (a queue read, a file descriptor passed on,
    # memory mapped): 0.3 ms on an idle machine, above 1 ms on a full one. That is the price of
    # workers and no illness.
    ordinary_handover_ns: float = 1.5e6
    least_handover_ns: float = 0.3e6
    # A batch that takes less of a core has nothing decoded in it (one small JPEG takes about as
    # long): it goes into calling the dataset for one sample after the other, and into stacking
    # them.
    light_batch_ns: float = 1e6
    # Workers are given this share of the consumer's time, so that a slow batch does not stall it at
    # once: queues that are filled to nine tenths of their rate wait little, at ten tenths without
    # bound.
    headroom: float = 0.9
    # A core that sleeps between steps comes back with cold caches and a low clock: fed without a
    # break the same steps took 0 to 27 % less of its time (docs/measured.md). This much is likely,
    # and at most, where half of the time or more is waiting. Of runs on a CPU: what a device
    # computes for a loop is not known to go so, and nothing is taken off it.
    warmer: float = 0.1
    most_warmer: float = 0.25
    # A loop that is taken off its core in the middle of a step, for long and again and again, finds
    # caches that others used: the same steps took less of a core by 3 to 10 % (a model of 1 MB) and
    # 28 to 39 % (24 MB) where the loop had to wait for 60 to 73 % of its time (docs/measured.md).
    # So much of the time that it stands off its core is likely to shorten it, and at most.
    interrupted: float = 0.3
    most_interrupted: float = 0.55
    # On a CPU what is left beside a product that goes took 12 % less time than before, beside a
    # chain of elementwise operators that was fused 15 % less (docs/measured.md, compute_bound,
    # memory_bound): caches that nothing else runs through. So much at most.
    calmer: float = 0.15
    # With a gain below this from any number of workers the cores are the limit and not the number
    # of workers: predictions on the sample workloads are off by about as much (docs/measured.md).
    workers_gain: float = 1.15
    # More worker processes than this on one host is no advice: memory and start-up dominate, since
    # each is a Python with torch in it, and an epoch waits until all have started.
    most_workers: int = 64
    # A thread that is runnable without a core for this share of its time is short of cores: its
    # steps are then a tenth longer than they could be, which is worth a change.
    run_delay_share: float = 0.10
    # Delay that other jobs cause is not the program's doing and comes and goes with them: only a
    # lot of it is told.
    others_delay_share: float = 0.2
    # Busy share of a machine's cores from which all are taken: scheduling never reaches all of it.
    full_machine: float = 0.9
    # The machine is full when less than this share of the usable cores is left (scheduling never
    # reaches all of it).
    idle_share: float = 0.10
    # Linux counts a throttled period only when the quota was spent; below this the quota is not
    # what limits.
    throttled_share: float = 0.05
    # Growth below this (bytes of a process over the recording) is allocator noise; four that train
    # and load, freshly attached to, took 27 MB together in their first 15 s and then no more.
    growth_bytes: float = 16e6
    # Growth below this share of what is resident is allocator noise too.
    growth_share: float = 0.01
    # Seconds below which a line through resident memory is not a trend: a batch, a cache or a
    # checkpoint comes and goes.
    growth_span_s: float = 5.0
    # Below this a collective's time is its latency: all-reduces on NVLink and InfiniBand reach half
    # of their rate only at some megabytes (nccl-tests' curves), and DDP's own buckets are 25 MB.
    small_collective_bytes: int = 1 << 20
    # Fewer a step than this are the algorithm's own (a norm, a loss) and not a missing bucket.
    many_collectives: int = 10
    # NCCL's protocol leaves about 0.8 of a link's rate (370 of 450 GB/s on NVLink 4: NCCL's
    # maintainers, nccl-tests issue 212); 0.8 of what can be reached is DCGM's and others' sign of a
    # full link.
    near_bus_peak: float = 0.65
    # A link is what bounds communication when it is near its peak at least half of the time in
    # which anything is moved.
    bus_full_share: float = 0.5
    # nsys-ai calls communication serialized when computation hides less than 30 % of it.
    overlapped: float = 0.3
    # TraceML warns when 92 % of the device's memory are held (TensorBoard's plugin: 90 %).
    full_memory: float = 0.92
    # TraceML: twice as much held as used; below a GiB there is nothing to win.
    held_to_used: float = 2.0
    spare_bytes: int = 1 << 30
    # What XProf calls moderate for any part of a step: from here the profiler's own work blurs what
    # it shows.
    profiler_share: float = 0.05
    # A link is full from here on: NCCL's ring all-reduce reaches 80 to 85 % of a link's data rate
    # at best (nccl-tests' published curves), PCIe copies 80 to 90 % (bandwidthTest), the rest being
    # headers and credits.
    near_link_peak: float = 0.8
    # What fills a link for less of the time than this is a burst and not what limits.
    full_link_share: float = 0.1
    # No link carries more than its peak; so much more is no jitter of a reading's instant (a
    # counter that jumps, a nominal peak).
    impossible_link: float = 1.1
    # A measured rate above its roof by more than timer and data-sheet rounding explain.
    above_roof: float = 1.05
    # FLOP per byte at and below which every machine waits for memory, and from which on none does
    # for types of 16 bits and more: ridges of CPUs lie between about 3 and 50, those of the
    # accelerators in device_peaks.json between 9 and 420.
    surely_memory: float = 1.0
    surely_compute: float = 500.0
    surely_compute_on_a_cpu: float = 50.0
    # Without a measured roof memory counts as what limits a call on a CPU only beyond what a core's
    # own caches hold (1 to 2 MB on servers, up to 16 MB on laptops).
    beyond_caches_bytes: float = 16e6
    # What good code reaches of a roof: published best products in 16 bits are 54 % (MI300X) to 83 %
    # (H100) of the data sheet; of a roof that was measured with large products, those of some
    # hundred rows reach two thirds. What a call takes beyond that could be had back.
    reached_of_data_sheet: float = 0.5
    reached_of_measured: float = 0.6
    # A call that reaches less than this share of that is not limited by its roof: latency, too
    # little work, a bad layout.
    limited_from: float = 0.5
    # On a CPU some dispatching is part of every step; from here on larger pieces of work are worth
    # a change.
    dispatch_share: float = 0.35
    # Below this share of work with known FLOPs a utilisation would be that of a part.
    enough_costs: float = 0.9
    # A smaller type is worth it from this ratio of rates on, for calls that reach at least this
    # share of their own type's roof: what stays a factor of five below it is held by something else
    # than the type.
    faster_type: float = 1.3
    near_roof: float = 0.2
    # Clocks that are held for less of the time than this are a passing adjustment.
    held_share: float = 0.05
    # Kernels run "all the time" from here on (TraceML calls utilisation above 0.7 high; below 0.8
    # idle time is the larger part).
    busy_share: float = 0.8
    # A process that was seen at another NUMA node at fewer of the looks than this moves about.
    far_share: float = 0.8
    # Corrected errors of a link below one a second are ordinary: NVLink and PCIe are built to send
    # again.
    link_errors_per_s: float = 1.0

    # One look is twenty samples: below a tenth something may be chance, from three tenths it is a
    # pattern, above a half the rule.
    seen_idle: float = 0.1
    seen_often: float = 0.3
    seen_mostly: float = 0.5


LIMITS = Limits()
