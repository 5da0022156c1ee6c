"""Every table of a Trace: its columns, each with dtype, unit and one comment. A table is present
whole, or absent with a reason.

`ts` and `dur` are int64 nanoseconds from the job's time zero. Names are dictionary-coded (pandas
`category`). A missing number is -1, a missing float NaN, a missing name NA; never a mixed column.
`process` refers to `processes.process`.
"""

from dataclasses import dataclass
from typing import Final

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Column:
    """One column: numpy dtype name or `category`, its unit ("" for none) and what it holds."""

    name: str
    dtype: str
    unit: str
    comment: str


TS: Final = Column("ts", "int64", "ns", "start, from the job's time zero")
DUR: Final = Column("dur", "int64", "ns", "duration")
PROCESS: Final = Column("process", "int64", "", "code into `processes`")
TID: Final = Column("tid", "int64", "", "kernel thread id, in the process's own pid namespace")
DEVICE: Final = Column("device", "int64", "", "number of the accelerator on its host, -1 unknown")
STREAM: Final = Column("stream", "int64", "", "stream (queue) of the device, -1 unknown")
CORRELATION: Final = Column(
    "correlation", "int64", "", "id that ties a launch to what it started, -1 none"
)
HOST: Final = Column("host", "category", "", "host name")
LAUNCH: Final = Column("launch", "int64", "", "row of `launches` that started it, -1 unknown")

TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "processes": (
        Column("process", "int64", "", "code, unique in the job"),
        Column("host", "category", "", "host name"),
        Column("boot_id", "category", "", "the kernel's boot id: a pid means nothing across boots"),
        Column("pid", "int64", "", "pid as the agent sees it"),
        Column("ns_pid", "int64", "", "pid in the process's own namespace"),
        Column(
            "start_ticks", "int64", "ticks", "start time since boot, field 22 of /proc/PID/stat"
        ),
        Column("parent", "int64", "", "code of the parent process, -1 when outside the job"),
        Column("role", "category", "", "main, loader-worker, launcher or other"),
        Column("rank", "int64", "", "global rank, 0 when there is only one"),
        Column("local_rank", "int64", "", "rank on this host"),
        Column("worker", "int64", "", "loader worker id, -1 for others"),
        Column("name", "category", "", "short command name for people"),
    ),
    "devices": (
        PROCESS,
        DEVICE,
        Column("name", "category", "", "product name as the driver says it"),
        Column("kind", "category", "", "cuda, hip or mtia"),
        Column("memory_bytes", "int64", "bytes", "memory of the device, -1 unknown"),
        Column("multiprocessors", "int64", "", "SMs or compute units, -1 unknown"),
    ),
    "ranks": (
        PROCESS,
        Column("rank", "int64", "", "global rank"),
        Column("world_size", "int64", "", "ranks of the job, -1 unknown"),
        Column("backend", "category", "", "nccl, gloo ... NA unknown"),
        Column("source", "category", "", "file the rank was read from"),
        Column(
            "clock_offset_ns",
            "int64",
            "ns",
            "added to the recorded times to bring them to the job's clock",
        ),
        Column(
            "clock_residual_ns",
            "int64",
            "ns",
            "what the alignment leaves unexplained, -1 not aligned",
        ),
    ),
    "threads": (
        PROCESS,
        TID,
        Column("name", "category", "", "thread name"),
        Column("main", "bool", "", "the process's main thread"),
    ),
    "loader": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column(
            "kind", "category", "", "next (a wait for one batch) or start (an iterator is built)"
        ),
        Column("iterator", "int64", "", "code of the iterator: one pass over a loader"),
        Column("loader", "int64", "", "code of the loader the iterator belongs to"),
        Column("workers", "int64", "", "worker processes of this loader; 0 means in-process"),
        Column(
            "prefetch",
            "int64",
            "batches",
            "how far ahead each worker may be (prefetch_factor), -1 unknown",
        ),
        Column("queue_depth", "int64", "batches", "batches ready when asked, -1 unknown"),
        Column("end", "int64", "", "1 when the iterator was exhausted: no batch came"),
        Column("cpu_before_ns", "int64", "ns", "CPU time of the thread when it asked"),
        Column("cpu_after_ns", "int64", "ns", "CPU time of the thread when it had its batch"),
    ),
    "fetches": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("worker", "int64", "", "worker id, -1 in the training process"),
        Column("dataset_ns", "int64", "ns", "time in the dataset (reading and decoding)"),
        Column("collate_ns", "int64", "ns", "time in collate_fn"),
        Column("cpu_ns", "int64", "ns", "CPU time of the thread"),
        Column("run_delay_ns", "int64", "ns", "runnable but waiting for a core"),
        Column("read_bytes", "int64", "bytes", "read from block devices by the process"),
        Column("major_faults", "int64", "", "page faults that had to read"),
        Column("samples", "int64", "", "items in the batch, -1 unknown"),
    ),
    "ranges": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column(
            "category",
            "category",
            "",
            "forward, backward, optimizer, scaler, checkpoint, gc, sync, nvtx, step"
            " (`perfscope.step()`: it ends there); of foreign traces: step (marked by the"
            " profiler), annotation, nvtx, python (a function), overhead (the profiler's own),"
            " os and library (a call into the system, into cuBLAS or cuDNN), driver (CUDA's own"
            " work or wait: loading a module, a full command buffer)",
        ),
        Column("name", "category", "", "class or function name"),
        Column(
            "object", "int64", "", "code of the module or optimizer, GC generation, -1 for none"
        ),
        Column(
            "value",
            "int64",
            "",
            "bytes of a checkpoint, training flag of a forward, collected objects of a GC,"
            " samples of a step; -1 unknown",
        ),
        Column("label", "category", "", "NVTX category, `#N` for one without a name; NA for none"),
        Column(
            "payload",
            "float64",
            "",
            "number that the program gave (NVTX), tokens of a step; NaN none",
        ),
    ),
    "copies": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("direction", "category", "", "h2d, d2h, d2d, h2h, p2p or memset"),
        Column("bytes", "int64", "bytes", "size"),
        Column("pinned", "int64", "", "1 when the host side is pinned, 0 not, -1 unknown"),
        Column("non_blocking", "int64", "", "1 when asked so, -1 unknown"),
        Column(
            "device",
            "int64",
            "",
            "number of the accelerator; -1: the row is the call on the host, not the transfer",
        ),
        STREAM,
        CORRELATION,
        LAUNCH,
    ),
    "ops": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("name", "category", "", "operator, as torch names it"),
        Column("parent", "int64", "", "row of the operator around it on its thread, -1 outermost"),
        Column(
            "sequence",
            "int64",
            "",
            "autograd sequence number, the same in forward and backward; -1 none",
        ),
        Column(
            "forward_tid",
            "int64",
            "",
            "torch's number of the thread that ran the forward; above 0 in backward only",
        ),
        Column("shapes", "category", "", "sizes of the inputs as JSON, NA not recorded"),
        Column("dtypes", "category", "", "types of the inputs as JSON, NA not recorded"),
        Column(
            "strides", "category", "", "strides of the inputs as JSON, in elements, NA not recorded"
        ),
        Column(
            "concrete",
            "category",
            "",
            "values of the inputs that are no tensors, as JSON, NA not recorded",
        ),
    ),
    "launches": (
        PROCESS,
        TID,
        TS,
        DUR,
        Column("name", "category", "", "runtime or driver call"),
        Column("kind", "category", "", "kernel, graph, copy, memset, sync, memory or other"),
        CORRELATION,
        Column("op", "int64", "", "row of the innermost operator around it, -1 none"),
    ),
    "kernels": (
        PROCESS,
        DEVICE,
        STREAM,
        TS,
        DUR,
        Column("name", "category", "", "kernel"),
        Column("kind", "category", "", "compute or communication"),
        CORRELATION,
        LAUNCH,
        Column("graph", "bool", "", "started by a graph launch"),
        Column("blocks", "int64", "", "thread blocks (workgroups) of the launch, -1 unknown"),
        Column("threads", "int64", "", "threads of a block, -1 unknown"),
        Column(
            "occupancy_percent", "int64", "%", "occupancy that the profiler estimates, -1 unknown"
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
        Column("in_bytes", "int64", "bytes", "input of this rank, -1 unknown"),
        Column("out_bytes", "int64", "bytes", "output of this rank, -1 unknown"),
        Column("dtype", "category", "", "element type, NA unknown"),
        Column("group", "category", "", "process group: its name and ranks, NA unknown"),
        Column("group_size", "int64", "", "ranks of the group, -1 unknown"),
        Column("kernel", "int64", "", "row of `kernels`"),
    ),
    "memory": (
        PROCESS,
        DEVICE,
        TS,
        Column("bytes", "int64", "bytes", "allocated (above 0) or freed (below 0)"),
        Column("allocated_bytes", "int64", "bytes", "in use by tensors afterwards"),
        Column("reserved_bytes", "int64", "bytes", "held by the allocator afterwards"),
    ),
    "stacks": (
        PROCESS,
        TID,
        TS,
        Column("weight_ns", "int64", "ns", "time this sample stands for"),
        Column(
            "stack",
            "category",
            "",
            "frames from the outermost, `function (file:line)`, joined by `;`",
        ),
    ),
    "thread_states": (
        PROCESS,
        TID,
        TS,
        Column(
            "state",
            "category",
            "",
            "running, gil, lock, file, disk, network, poll, sleep, pipe, other",
        ),
    ),
    "counters": (
        Column(
            "process",
            "int64",
            "",
            "code into `processes`; the host is -1, those of several hosts -1, -2 ...",
        ),
        Column("tid", "int64", "", "thread, -1 for the whole process or host"),
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
            "reading; names in _ns, _bytes, _count are cumulative unless said",
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
            "what was read: traces/device_counters.py says unit and kind of each name",
        ),
        Column("value", "float64", "", "reading; of a mean: over the interval that ends at ts"),
    ),
    "device_processes": (
        HOST,
        DEVICE,
        Column("process", "int64", "", "code into `processes`, -1: it is not of this job"),
        Column("pid", "int64", "", "as the driver says it"),
        Column("name", "category", "", "command name, NA not to be seen from here"),
        Column("user", "category", "", "who runs it, NA not to be seen from here"),
        TS,
        Column("memory_bytes", "int64", "bytes", "of the device, -1 unknown"),
        Column(
            "sm_share",
            "float64",
            "",
            "of the time its kernels ran (not of the SMs), since the last look; NaN unknown",
        ),
        Column("cpu_node", "int64", "", "NUMA node of the core its main thread ran on, -1 unknown"),
    ),
    "device_gaps": (
        HOST,
        Column("device", "int64", "", "number of the accelerator on its host, -1 all of them"),
        TS,
        DUR,
        Column("reason", "category", "", "why nothing could be read meanwhile"),
    ),
    "network_counters": (
        HOST,
        Column("port", "category", "", "`eth0`, or `mlx5_0/1`: adapter and port"),
        TS,
        Column(
            "name", "category", "", "rx_bytes, tx_bytes, errors by their kernel's name: cumulative"
        ),
        Column("value", "float64", "", "reading"),
    ),
    "steps": (
        PROCESS,
        Column("rank", "int64", "", "global rank"),
        Column("index", "int64", "", "number within the recording, from 0"),
        TS,
        DUR,
        Column("phase", "category", "", "train, eval, inference or warmup"),
        Column("micro_steps", "int64", "", "batches in the step (gradient accumulation)"),
        Column(
            "distorted", "bool", "", "in or next to a disturbance of ours: never used for times"
        ),
    ),
    "counting_blocks": (
        PROCESS,
        TS,
        DUR,
    ),
    "windows": (
        PROCESS,
        TS,
        DUR,
        Column("begin", "int64", "ns", "torch's profiler is on, from the job's time zero"),
        Column(
            "end",
            "int64",
            "ns",
            "it is being ended; until ts + dur its trace is written and its memory given back",
        ),
        Column("steps", "int64", "", "whole steps inside, 0: the window is a part of a step"),
        Column(
            "stall_ns",
            "int64",
            "ns",
            "the longest step while it was ended, less a usual one inside; -1 unknown",
        ),
        Column(
            "kept",
            "bool",
            "",
            "its operators are in the tables: not a trial's, nor those of all but the newest"
            " windows of a process",
        ),
    ),
}

# Columns that hold row numbers, and of which table: shifted where tables are put one behind the
# other.
ROW_NUMBERS: Final[dict[tuple[str, str], str]] = {
    ("ops", "parent"): "ops",
    ("launches", "op"): "ops",
    ("kernels", "launch"): "launches",
    ("copies", "launch"): "launches",
    ("collectives", "kernel"): "kernels",
}
