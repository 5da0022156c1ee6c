"""The thresholds that several rules share, each with its reason or source.

The threshold of a single rule is a constant in its file.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Shares are of step time, 0..1, unless the comment says otherwise.

    Sources: XProf (https://github.com/openxla/xprof), the PyTorch plugin of TensorBoard
    (https://github.com/pytorch/kineto/tree/main/tb_plugin).
    """

    # With fewer steady steps a mean depends on each single step.
    fewest_steps: int = 5
    # Steps of ranks that step together differ by a few percent by chance: a rank within 5 % of the
    # slowest is as slow.
    as_slow_as_slowest: float = 0.95
    # From here on a bootstrap over steps is reliable; below it confidence is lower (TraceML
    # requires 20 steps for a critical finding).
    enough_steps: int = 20
    # The part of the time from which on a recoverable cost (waits for input, communication,
    # validation ...) is reported. XProf calls 5 % of the step moderately input-bound, TensorBoard's
    # plugin advises from 5 % on.
    recoverable_share: float = 0.05
    # A finding that saves less than this is not worth a change; the noise of a step between runs is
    # of this size.
    worth_share: float = 0.03
    # XProf's "highly input-bound": from here on a finding is critical.
    critical_share: float = 0.20
    # Checkpoints closer together than this are written more often than a restart needs: a failure
    # then costs less than the writes.
    frequent_checkpoint_s: float = 300.0
    # Collections by hand are rare, every few hundred steps; a collector that runs more often is
    # worth turning off.
    frequent_collection_steps: int = 300
    # A fetch is CPU work when at least this share of it runs or waits for a core: clearly more than
    # half, since the rest (copying the batch, a lock) has no cause of its own.
    cpu_dominated: float = 0.6
    # A cause explains the waits when it is at least half of them: then removing it saves more than
    # removing all others.
    main_cause_share: float = 0.5
    # A fetch is bound by I/O when that is at least this share of it. Pure decoding on full cores
    # shows no I/O; below a third of a fetch it is not the cause, even where no other is known.
    io_share: float = 0.3
    # The least cost of receiving a ready batch (a queue read, a file descriptor passed on, memory
    # mapped): 0.3 ms on an idle machine, above 1 ms on a full one. It is the cost of workers, not a
    # bottleneck.
    receive_batch_ns: float = 1.5e6
    least_receive_batch_ns: float = 0.3e6
    # A batch that needs less CPU time contains no decoding (one small JPEG takes about as long):
    # the time goes into calling the dataset for each sample, and into stacking them.
    light_batch_ns: float = 1e6
    # A sample that takes longer has work of its own (a small JPEG takes 1 ms); a call that fetches
    # a row of a few columns from memory and makes tensors of them takes 10 to 500 us.
    light_sample_ns: float = 1e6
    # Up to here also functions that the dataset calls for a sample have little work of their own.
    short_sample_ns: float = 250e3
    # A sample that takes less holds nothing but a few calls, whatever they are.
    tiny_sample_ns: float = 50e3
    # From this many samples per batch on, calls per sample can be replaced by one per batch.
    many_samples: int = 8
    # A worker is slow where its usual fetch takes at least twice as long as that of the others:
    # equal workers that share cores differ by a third at most.
    uneven_workers: float = 2.0
    # A fetch is an outlier from five times the usual one on, and rare if at most one in ten is.
    slow_fetch: float = 5.0
    rare_fetches: float = 0.1
    # Workers are planned for this share of the consumer's time, so that a slow batch does not stall
    # it: at nine tenths of its rate a queue waits little, at ten tenths without bound.
    headroom: float = 0.9
    # A function outside PyTorch is worth a change from a tenth of the loop on: below that, an
    # operator that it calls costs as much.
    host_code_share: float = 0.10
    # A core that sleeps between steps wakes with cold caches and a low clock: without the sleep the
    # same steps took 0 to 27 % less of its time (docs/measured.md). These are the likely and the
    # largest reduction where half of the time or more is waiting. For runs on a CPU only: for
    # devices no such effect is known.
    warm_core_saving: float = 0.1
    most_warm_core_saving: float = 0.25
    # A loop that often loses its core within a step finds caches that others used: without that the
    # same steps took 3 to 10 % (a model of 1 MB) and 28 to 39 % (24 MB) less time where the loop
    # had waited for 60 to 73 % of its time (docs/measured.md). These are the likely and the largest
    # reduction, as shares of the time off its core.
    kept_core_saving: float = 0.3
    most_kept_core_saving: float = 0.55
    # On a CPU the rest of a step took 12 % less time without a product, and 15 % less without a
    # chain of elementwise operators that was fused (docs/measured.md, compute_bound, memory_bound):
    # nothing else uses the caches. This is the largest reduction. Of a loop that loaded its batches
    # itself, the rest of a step differed by -8 to 14 % once nothing was loaded.
    most_free_cache_saving: float = 0.15
    # With a speedup below this from any number of workers, the cores are the limit: predictions on
    # the sample workloads have errors of this size (docs/measured.md).
    workers_gain: float = 1.15
    # More worker processes than this on one host are not recommended: memory and start-up dominate,
    # since each is a Python with torch, and an epoch waits until all have started.
    most_workers: int = 64
    # A thread that is runnable without a core for this share of its time lacks cores: its steps are
    # then a tenth longer than necessary, which is worth a change.
    run_delay_share: float = 0.10
    # Delay that other jobs cause comes and goes with them, so only a large one is reported.
    others_delay_share: float = 0.2
    # Busy share of a machine's cores from which all are taken: scheduling never reaches all of it.
    full_machine: float = 0.9
    # The machine is full when less than this share of the usable cores is left (scheduling never
    # reaches all of it).
    idle_share: float = 0.10
    # Linux counts a throttled period only when the quota was spent; below this share of the time
    # the quota is not the limit.
    throttled_share: float = 0.05
    # Growth below this (bytes of a process over the recording) is allocator noise; four processes
    # that train and load took 27 MB together in the first 15 s after attaching, then no more.
    growth_bytes: float = 16e6
    # Growth below this share of what is resident is allocator noise too.
    growth_share: float = 0.01
    # A leak is there all the time: each half of the recording grows at least half as fast as the
    # whole.
    steady_growth_share: float = 0.5
    # Of the growth that the line shows at least this part is in the readings at both ends.
    kept_growth_share: float = 0.25
    # Seconds below which a line through resident memory is not a trend, because of batches, caches
    # and checkpoints.
    growth_span_s: float = 5.0
    # Graphs of small models that are kept alive take a few MB in ten seconds; less is rounding.
    kept_graph_bytes: float = 1e6
    # Steps grow when they take this much longer at the end of the recording: the median step on a
    # machine with other jobs drifted by up to 10 % in twelve seconds.
    step_growth: float = 0.15
    # Growth is steady when steps rise at both ends of the recording by at least this part of the
    # mean rise: what fills up does not.
    section_growth_share: float = 0.3
    # Steps grow by their own work where at most this part of the growth may be threads of torch
    # that wait for cores.
    delay_of_growth: float = 0.3
    # The clock of a device that falls by more than this explains a part of slower steps.
    clock_of_growth: float = 0.03
    # The median of a part of a step measures the speed of the machine from here on: shorter calls
    # are as long as the clock takes to be read a few times.
    measurable_part_ns: float = 50e3
    # All parts of a step grow alike when each grows by at least this part of what the step does.
    alike_growth: float = 0.5
    # A slow step takes half as long again as the median: batches of random sizes differ by less.
    slow_step_excess: float = 0.5
    # Four slow steps have three distances; that they are equal by chance is tested in addition.
    fewest_slow_steps: int = 4
    # Distances in time vary, so that more of them are needed.
    fewest_in_time: int = 6
    # Steps that take turns (two sizes of batches, a critic and a generator) have shorter periods.
    shortest_slow_period: int = 4
    # A time that elapses within a step makes distances that differ by steps, a few percent of them.
    time_period_tolerance: float = 0.1
    # At most one in five distances between slow steps may be irregular: other slow steps happen.
    regular_distances: float = 0.8
    # At least this share of the steps that are due are slow.
    due_slow_steps: float = 0.75
    # A line belongs to slow steps where its share of the other steps is at most this part of its
    # share of the slow ones.
    seldom_called: float = 0.5
    # Rollouts call the model once per step of an environment; a metric calls it a few times.
    many_model_calls: float = 8.0
    # A thread that is in the driver of a device for this share of its samples may wait for it.
    waits_for_device: float = 0.3
    # Below this a collective's time is its latency: all-reduces on NVLink and InfiniBand reach half
    # of their rate only at some megabytes (nccl-tests' curves), and DDP's own buckets are 25 MB.
    small_collective_bytes: int = 1 << 20
    # Fewer per step than this are part of the algorithm (a norm, a loss), not a missing bucket.
    many_collectives: int = 10
    # NCCL's protocol leaves about 0.8 of a link's rate (370 of 450 GB/s on NVLink 4: NCCL's
    # maintainers, nccl-tests issue 212); DCGM and others call a link full at 0.8 of what can be
    # reached.
    near_bus_peak: float = 0.65
    # A link bounds communication when it is near its peak for at least half of the time in which
    # data moves.
    bus_full_share: float = 0.5
    # nsys-ai calls communication serialized when computation hides less than 30 % of it.
    overlapped: float = 0.3
    # TraceML warns when 92 % of the device's memory is reserved (TensorBoard's plugin: 90 %).
    full_memory: float = 0.92
    # TraceML: twice as much reserved as used; below 1 GiB nothing is worth saving.
    held_to_used: float = 2.0
    spare_bytes: int = 1 << 30
    # XProf's "moderate" for any part of a step: from here on the profiler's own work distorts the
    # trace.
    profiler_share: float = 0.05
    # A link is full from here on: NCCL's ring all-reduce reaches 80 to 85 % of a link's data rate
    # at best (nccl-tests' published curves), PCIe copies 80 to 90 % (bandwidthTest), the rest being
    # headers and credits.
    near_link_peak: float = 0.8
    # A link that is full for less of the time than this has bursts and is not the limit.
    full_link_share: float = 0.1
    # No link carries more than its peak: this much more is not jitter of a reading's instant, but a
    # counter that jumps or a nominal peak.
    impossible_link: float = 1.1
    # A measured rate this far above its roof is not explained by timer and data-sheet rounding.
    above_roof: float = 1.05
    # FLOP per byte up to which every machine waits for memory, and from which on none does for
    # types of 16 bits and more: ridge points of CPUs are between about 3 and 50, those of the
    # accelerators in device_peaks.json between 9 and 420.
    memory_bound_intensity: float = 1.0
    compute_bound_intensity: float = 500.0
    compute_bound_intensity_on_cpu: float = 50.0
    # Without a measured roof memory counts as the limit of a call on a CPU only beyond the size of
    # a core's own caches (1 to 2 MB on servers, up to 16 MB on laptops).
    beyond_caches_bytes: float = 16e6
    # The share of a roof that well-tuned code reaches: the best published products in 16 bits are
    # at 54 % (MI300X) to 83 % (H100) of the data sheet; products of some hundred rows reach two
    # thirds of a roof that was measured with large ones. Time beyond that can be saved.
    reached_of_data_sheet: float = 0.5
    reached_of_measured: float = 0.6
    # A call that reaches less than this share of it is not limited by its roof but by latency, too
    # little work or a bad layout.
    limited_from: float = 0.5
    # On a CPU some dispatching is part of every step; from here on larger pieces of work are worth
    # a change.
    dispatch_share: float = 0.35
    # Activation checkpointing repeats a forward pass, a quarter to a third of a step: less is only
    # a part of the model, or chance among some hundred samples.
    recomputed_share: float = 0.15
    # A third of the loop in operators that no gradient needs, or without a core, is more than what
    # preparing a batch, or sharing a machine, usually takes.
    untracked_share: float = 0.3
    not_scheduled_share: float = 0.3
    # From this share of dispatch outside of the model, backward and the optimizer on, changes of
    # the model alone would leave too much of it.
    dispatched_by_program: float = 0.3
    # Below this share of work with known FLOPs a utilization would be that of a part.
    enough_costs: float = 0.9
    # A smaller type is worth using from this ratio of rates on, for calls that reach at least this
    # share of their type's roof: a call at a fifth of it is limited by something other than the
    # type.
    faster_type: float = 1.3
    near_roof: float = 0.2
    # Clocks that are reduced for less of the time than this are a passing adjustment.
    held_share: float = 0.05
    # From here on kernels run "all the time" (TraceML calls utilization above 0.7 high).
    busy_share: float = 0.8
    # A power limit that is less than this share of the default was lowered on purpose: drivers
    # round limits to about a percent.
    lowered_power_limit: float = 0.98
    # Kernels for less of the time than this, and the device may be in an idle state: only such
    # readings show the clock, the PCIe generation (an idle link falls to 1) or the limits of work.
    device_works: float = 0.1
    # A PCIe link below this share of what device and slot support trained down: the next lower
    # generation or width is half.
    trained_down: float = 0.9
    # An arithmetic or memory pipe at half of what it reaches in practice is what the work goes into
    # (GPM's pipe ratios).
    pipe_busy: float = 0.5
    # SM activity below one half is "likely ineffective use of the GPU" (NVIDIA's DCGM guide).
    sms_filled: float = 0.5
    # A process that was on another NUMA node in fewer of the samples than this moves between nodes.
    far_share: float = 0.8
    # Corrected errors of a link below one per second are ordinary: NVLink and PCIe are designed to
    # retransmit.
    link_errors_per_s: float = 1.0

    # For a live sample of twenty readings: below a tenth something may be chance, from three tenths
    # on it is a pattern, above a half it is usual.
    live_noise_share: float = 0.1
    live_pattern_share: float = 0.3
    live_most_share: float = 0.5
    # A trace mostly covers start-up, or its device mostly computes, from half of its time on.
    most_of_trace: float = 0.5
    # Idle time for reasons that the trace does not contain is reported from a tenth of it on.
    unexplained_idle: float = 0.10
    # Steps describe a run when they fill at least nine tenths of the recorded time: from a tenth
    # on, what is outside of them is reported, as it is for unexplained idle time.
    outside_steps_share: float = 0.10
    # The device has begun when it has done this share of all its work: a single small kernel or
    # copy before that does not count.
    device_began: float = 0.001
    # Memory bounds the run, and not arithmetic, when it limits more of the work than arithmetic and
    # at least this share; the rest may be in small calls.
    mostly_memory: float = 0.25
    # Rates of a server need some readings of its metrics; three are two intervals.
    fewest_readings: int = 3
    # Of ten requests the 90th percentile is the slowest; of a hundred the 99th is.
    fewest_requests: int = 10
    enough_requests: int = 100
    # Engines keep part of the KV cache for the next tokens of running requests: vLLM and SGLang
    # admit no request that would fill the rest. From nine tenths on they begin to preempt.
    kv_full: float = 0.9
    # Steps are full when their mean has this part of the tokens that the engine allows: a queue
    # that never runs empty leaves only the remainder of the last request unused.
    full_steps: float = 0.8
    # Prefills always share steps with decoding a little. Below a tenth of the decoding time,
    # smaller prefills cost more time to first token than they save.
    interference_share: float = 0.10
    # Latencies between tokens without which the tail of their distribution is not known.
    fewest_tokens: int = 200
    # A decode step reads at most the whole memory of its device once. The slowest ratio of memory
    # to bandwidth among current data-center GPUs is 80 ms (L4: 24 GB at 0.3 TB/s; H100: 24 ms).
    memory_read_s: float = 0.10
    # A decode step has one token per running request, or a few with speculative decoding; with more
    # than this many per request, prefills take part in most steps.
    decode_tokens: float = 8.0


LIMITS = Limits()
