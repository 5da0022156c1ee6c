"""The tables of a Trace: the columns of each, with dtype, unit and a comment. `docs/tables.md` is
generated from it.

A table is present with all its columns, or absent with a reason. `ts` and `dur` are int64
nanoseconds, `ts` from the job's time zero on. Names are dictionary-coded (pandas `category`). A
missing number is -1, a missing float NaN, a missing name NA. `process` refers to
`processes.process`.
"""

from typing import Final

from perfscope.traces.schema_columns import (
    CORRELATION,
    DEVICE,
    DEVICE_TIMES,
    DUR,
    ENGINE_METRICS,
    ENGINE_SERVERS,
    ENGINE_SETTINGS,
    FLIGHT_RECORDS,
    HOST,
    LAUNCH,
    PADDED_BATCHES,
    PROCESS,
    REQUESTS,
    SOURCE_LINES,
    STACK_SAMPLES,
    STREAM,
    THREAD_WAITS,
    TID,
    TOKEN_GAPS,
    TS,
    Column,
)

SCHEMA_VERSION: Final = 1


TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "processes": (
        Column("process", "int64", "", "process code, unique in the job"),
        Column("host", "category", "", "host name"),
        Column(
            "boot_id", "category", "", "boot id of the kernel; pids are unique within one boot only"
        ),
        Column("pid", "int64", "", "pid in the pid namespace of the agent"),
        Column("ns_pid", "int64", "", "pid in the pid namespace of the process"),
        Column(
            "start_ticks", "int64", "ticks", "start time since boot, field 22 of /proc/PID/stat"
        ),
        Column(
            "parent", "int64", "", "process code of the parent, -1 when it is not part of the job"
        ),
        Column("role", "category", "", "main, loader-worker, launcher or other"),
        Column("rank", "int64", "", "global rank, 0 in a job with one rank"),
        Column("local_rank", "int64", "", "rank on this host"),
        Column("worker", "int64", "", "id of a data-loader worker, -1 for other processes"),
        Column("name", "category", "", "short name of the command"),
    ),
    "devices": (
        PROCESS,
        DEVICE,
        Column("name", "category", "", "product name that the driver reports"),
        Column("kind", "category", "", "cuda, hip or mtia"),
        Column("memory_bytes", "int64", "bytes", "memory of the device, -1 unknown"),
        Column("multiprocessors", "int64", "", "SMs or compute units, -1 unknown"),
    ),
    "ranks": (
        PROCESS,
        Column("rank", "int64", "", "global rank"),
        Column("world_size", "int64", "", "ranks of the job, -1 unknown"),
        Column(
            "backend", "category", "", "backend of torch.distributed (nccl, gloo ...), NA unknown"
        ),
        Column("source", "category", "", "file that the rank was read from"),
        Column(
            "clock_offset_ns",
            "int64",
            "ns",
            "offset that was added to the recorded times",
        ),
        Column(
            "clock_residual_ns",
            "int64",
            "ns",
            "remaining error of the clock alignment, -1 not aligned",
        ),
    ),
    "threads": (
        PROCESS,
        TID,
        Column("name", "category", "", "thread name"),
        Column("main", "bool", "", "whether it is the main thread of the process"),
    ),
    "loader": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column(
            "kind", "category", "", "next (wait for one batch) or start (creation of an iterator)"
        ),
        Column(
            "iterator", "int64", "", "code of the iterator; each pass over a loader has its own"
        ),
        Column("loader", "int64", "", "code of the loader that the iterator belongs to"),
        Column(
            "workers",
            "int64",
            "",
            "worker processes of the loader; 0: batches are made in the training process",
        ),
        Column(
            "prefetch",
            "int64",
            "batches",
            "batches that each worker prepares in advance (prefetch_factor), -1 unknown",
        ),
        Column(
            "persistent",
            "int64",
            "",
            "1 when the workers are kept after a pass (persistent_workers), 0 when not, -1 unknown",
        ),
        Column(
            "iterable",
            "int64",
            "",
            "1 when the dataset is iterable, 0 when it is indexed, -1 unknown",
        ),
        Column(
            "queue_depth",
            "int64",
            "batches",
            "batches that were ready when the wait began, -1 unknown",
        ),
        Column("end", "int64", "", "1 when the iterator was exhausted and returned no batch"),
        Column("cpu_before_ns", "int64", "ns", "CPU time of the thread when the wait began"),
        Column("cpu_after_ns", "int64", "ns", "CPU time of the thread when the wait ended"),
    ),
    "fetches": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("worker", "int64", "", "worker id, -1 in the training process"),
        Column("dataset_ns", "int64", "ns", "time in the dataset, which reads and decodes"),
        Column("collate_ns", "int64", "ns", "time in collate_fn"),
        Column("cpu_ns", "int64", "ns", "CPU time of the thread"),
        Column(
            "run_delay_ns", "int64", "ns", "time in which the thread was runnable and had no core"
        ),
        Column("read_bytes", "int64", "bytes", "bytes that the process read from block devices"),
        Column("major_faults", "int64", "", "page faults that read from storage"),
        Column("samples", "int64", "", "samples in the batch, -1 unknown"),
    ),
    "padding": PADDED_BATCHES,
    "ranges": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column(
            "category",
            "category",
            "",
            "forward, backward, optimizer, scaler, checkpoint, fsync (in more than half of the"
            " steps: a log), compilation (by torch.compile), gc,"
            " sync, nvtx, step (the end of a step, from `perfscope.step()`); in profiler traces:"
            " step (a mark of the profiler), annotation, nvtx, python (a function), overhead (of"
            " the profiler), os (a system call), library (a call of cuBLAS or cuDNN), driver (work"
            " of the CUDA driver, such as loading a module, or a wait for its full command buffer)",
        ),
        Column(
            "name",
            "category",
            "",
            "name of the class, function or range; of a full garbage collection that the program"
            " asks for: the frame that does, after the program's own frame that led to it,"
            " separated by `;`",
        ),
        Column(
            "object",
            "int64",
            "",
            "code of the module or optimizer, generation of a garbage collection, Dynamo's number"
            " of the frame that is compiled, -1 none",
        ),
        Column(
            "value",
            "int64",
            "",
            "bytes of a checkpoint, training flag of a forward pass (2: in training mode, without"
            " gradients), objects that a garbage collection freed, samples of a step, earlier"
            " compilations of the same frame, -1 unknown",
        ),
        Column(
            "label",
            "category",
            "",
            "NVTX category, `#N` for one without a name; of a compilation: Dynamo's check that"
            " failed, without values; NA none",
        ),
        Column(
            "payload",
            "float64",
            "",
            "number that the program attached to an NVTX range, tokens of a step, NaN none",
        ),
    ),
    "copies": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("direction", "category", "", "h2d, d2h, d2d, h2h, p2p or memset"),
        Column("bytes", "int64", "bytes", "size of the copy"),
        Column(
            "pinned",
            "int64",
            "",
            "1 when the host memory is pinned, 0 when it is pageable, -1 unknown",
        ),
        Column("non_blocking", "int64", "", "1 when called with `non_blocking=True`, -1 unknown"),
        Column(
            "device",
            "int64",
            "",
            "number of the accelerator on its host; -1: the row is the call on the host",
        ),
        STREAM,
        CORRELATION,
        LAUNCH,
    ),
    "device_times": DEVICE_TIMES,
    "ops": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("name", "category", "", "name of the operator in torch"),
        Column("parent", "int64", "", "row of the operator that called it, -1 none"),
        Column(
            "sequence",
            "int64",
            "",
            "autograd sequence number, equal in forward and backward pass, -1 none",
        ),
        Column(
            "forward_tid",
            "int64",
            "",
            "torch's number of the thread of the forward pass; above 0 in the backward pass only",
        ),
        Column("shapes", "category", "", "shapes of the inputs as JSON, NA not recorded"),
        Column("dtypes", "category", "", "dtypes of the inputs as JSON, NA not recorded"),
        Column(
            "strides", "category", "", "strides of the inputs in elements, as JSON, NA not recorded"
        ),
        Column(
            "concrete",
            "category",
            "",
            "values of the inputs that are not tensors, as JSON, NA not recorded",
        ),
    ),
    "launches": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("name", "category", "", "name of the CUDA runtime or driver call"),
        Column("kind", "category", "", "kernel, graph, copy, memset, sync, memory or other"),
        CORRELATION,
        Column("op", "int64", "", "row of the innermost operator that made the call, -1 none"),
    ),
    "kernels": (
        PROCESS,
        DEVICE,
        STREAM,
        TS,
        DUR,
        Column("name", "category", "", "name of the kernel"),
        Column("kind", "category", "", "compute or communication"),
        CORRELATION,
        LAUNCH,
        Column("graph", "bool", "", "whether a graph launch started it"),
        Column("blocks", "int64", "", "thread blocks (workgroups) of the launch, -1 unknown"),
        Column("threads", "int64", "", "threads per block, -1 unknown"),
        Column(
            "occupancy_percent", "int64", "%", "occupancy estimated by the profiler, -1 unknown"
        ),
    ),
    "collectives": (
        PROCESS,
        DEVICE,
        STREAM,
        TS,
        DUR,
        Column(
            "kind",
            "category",
            "",
            "all_reduce, all_gather, reduce_scatter, broadcast, all_to_all, send, recv ...",
        ),
        Column("in_bytes", "int64", "bytes", "input bytes of this rank, -1 unknown"),
        Column("out_bytes", "int64", "bytes", "output bytes of this rank, -1 unknown"),
        Column("dtype", "category", "", "element type, NA unknown"),
        Column("group", "category", "", "name and ranks of the process group, NA unknown"),
        Column("group_size", "int64", "", "number of ranks in the group, -1 unknown"),
        Column("kernel", "int64", "", "row of its kernel in `kernels`"),
    ),
    "memory": (
        PROCESS,
        DEVICE,
        TS,
        Column("bytes", "int64", "bytes", "bytes allocated (positive) or freed (negative)"),
        Column("allocated_bytes", "int64", "bytes", "bytes in use by tensors afterwards"),
        Column("reserved_bytes", "int64", "bytes", "bytes reserved by the allocator afterwards"),
    ),
    "stacks": STACK_SAMPLES,
    "outside_stacks": STACK_SAMPLES,
    "native_samples": (
        PROCESS,
        TID,
        TS,
        Column("weight_ns", "int64", "ns", "CPU time that the sample represents"),
        Column(
            "library",
            "category",
            "",
            "file whose code ran, without its folder; [kernel], [anonymous] (code that was compiled"
            " just in time) or [unknown]",
        ),
    ),
    "waits": THREAD_WAITS,
    "flight_records": FLIGHT_RECORDS,
    "thread_states": (
        PROCESS,
        TID,
        TS,
        Column(
            "state",
            "category",
            "",
            "running, gil, lock, file, disk, network, poll, sleep, library-sleep, pipe, terminal,"
            " child, other",
        ),
    ),
    "counters": (
        Column(
            "process",
            "int64",
            "",
            "process code; -1 for the host, and -1, -2 ... for the hosts of a job on several",
        ),
        Column("tid", "int64", "", "thread id, -1 for the whole process or host"),
        TS,
        Column(
            "name",
            "category",
            "",
            "cpu_ns, run_delay_ns, rss_bytes, read_bytes ... (docs/tables.md)",
        ),
        Column(
            "value",
            "float64",
            "",
            "value; names that end in _ns, _bytes or _count are cumulative unless noted",
        ),
    ),
    "device_counters": (
        HOST,
        DEVICE,
        TS,
        Column(
            "name",
            "category",
            "",
            "name of the counter; the table of names below has its unit and kind",
        ),
        Column("value", "float64", "", "value; a mean is over the interval that ends at `ts`"),
    ),
    "device_processes": (
        HOST,
        DEVICE,
        Column(
            "process", "int64", "", "process code, -1 for a process that is not part of the job"
        ),
        Column("pid", "int64", "", "pid that the driver reports"),
        Column("name", "category", "", "name of the command, NA not visible to the agent"),
        Column("user", "category", "", "user that runs it, NA not visible to the agent"),
        TS,
        Column("memory_bytes", "int64", "bytes", "device memory in use, -1 unknown"),
        Column(
            "sm_share",
            "float64",
            "",
            "share of the time since the last sample in which its kernels ran, NaN unknown",
        ),
        Column(
            "cpu_node", "int64", "", "NUMA node of the core that ran its main thread, -1 unknown"
        ),
    ),
    "device_gaps": (
        HOST,
        Column("device", "int64", "", "number of the accelerator on its host, -1 for all"),
        TS,
        DUR,
        Column("reason", "category", "", "why no counters could be read in this interval"),
    ),
    "network_counters": (
        HOST,
        Column("port", "category", "", "interface (`eth0`), or adapter and port (`mlx5_0/1`)"),
        TS,
        Column(
            "name", "category", "", "rx_bytes, tx_bytes, and errors by the kernel's name for them"
        ),
        Column("value", "float64", "", "cumulative value"),
    ),
    "requests": REQUESTS,
    "token_gaps": TOKEN_GAPS,
    "engine_servers": ENGINE_SERVERS,
    "engine_settings": ENGINE_SETTINGS,
    "engine_metrics": ENGINE_METRICS,
    "steps": (
        PROCESS,
        Column("rank", "int64", "", "global rank"),
        Column("index", "int64", "", "number of the step in the recording, from 0"),
        TS,
        DUR,
        Column("phase", "category", "", "train, eval, inference or warmup"),
        Column("micro_steps", "int64", "", "batches per step (gradient accumulation)"),
        Column(
            "distorted",
            "bool",
            "",
            "whether recording disturbed it; such steps are not used for times",
        ),
    ),
    "source_lines": SOURCE_LINES,
    "counting_blocks": (
        PROCESS,
        TS,
        DUR,
    ),
    "windows": (
        PROCESS,
        TS,
        DUR,
        Column(
            "begin", "int64", "ns", "start of the profiled part, counted from the job's time zero"
        ),
        Column(
            "end",
            "int64",
            "ns",
            "end of the profiled part; until ts + dur torch writes the trace and frees memory",
        ),
        Column(
            "steps", "int64", "", "complete steps in the window, 0 for a window within one step"
        ),
        Column(
            "stall_ns",
            "int64",
            "ns",
            "longest step while the window was closed, less a usual one in it, -1 unknown",
        ),
        Column(
            "kept",
            "bool",
            "",
            "whether its operators are in the tables; false for a trial, and for all but the newest"
            " windows of a process",
        ),
    ),
}

ROW_NUMBERS: Final[dict[tuple[str, str], str]] = {
    ("ops", "parent"): "ops",
    ("launches", "op"): "ops",
    ("kernels", "launch"): "launches",
    ("copies", "launch"): "launches",
    ("collectives", "kernel"): "kernels",
}
"""Columns that hold row numbers of another table. They are shifted when tables are merged."""
