"""Charts and tables of recorded traces: kernels, operators, ranges, communication, the allocator.
For pages and the report.
"""

import pandas as pd

from perfscope.analyzer.compute.kernel_table import kernel_classes, kernel_table
from perfscope.analyzer.compute.operator_table import operator_table
from perfscope.analyzer.host.launch_queue import launch_queue, queue_summaries
from perfscope.analyzer.memory.allocator import allocators, memory_owners
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.run.range_table import range_table
from perfscope.traces.trace import Trace
from perfscope.ui.figures.allocator_lines import allocator_lines
from perfscope.ui.figures.class_bars import class_bars
from perfscope.ui.figures.launch_queue_line import launch_queue_line
from perfscope.ui.html.communication import communication
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Column, Table, count, share, time

MOST_ALLOCATORS = 4
NAME = "as the profiler names it"
KERNEL_COLUMNS = (
    Column("name", "kernel", NAME),
    Column("kernel_class", "class", "sort of work, told from the name"),
    Column("count", "runs", "how often it ran", count),
    Column("sum_ns", "in all", "sum of its durations; kernels side by side each count whole", time),
    Column("share", "share", "of everything that ran on the device", share),
    Column("mean_ns", "mean", "mean duration", time),
    Column("max_ns", "longest", "its longest run", time),
)
OPERATOR_COLUMNS = (
    Column("name", "operator", NAME),
    Column("count", "calls", "how often it was called", count),
    Column(
        "device_ns",
        "device",
        "kernels and copies that it and the operators inside it launched",
        time,
    ),
    Column("device_self_ns", "device, itself", "what it launched itself", time),
    Column("backward_device_ns", "its backward", "what the backward of it launched", time),
    Column("host_ns", "host", "time inside it on its thread", time),
    Column("host_self_ns", "host, itself", "time outside the operators that it calls", time),
    Column("kernels", "launches", "kernels and copies launched", count),
)
RANGE_COLUMNS = (
    Column("name", "range", NAME),
    Column("kind", "kind", "module, annotation or NVTX"),
    *OPERATOR_COLUMNS[1:],
)
OWNER_COLUMNS = (
    Column("name", "operator", "the operator that ran when the memory was asked for"),
    Column("count", "allocations", "how often it asked", count),
    Column("bytes", "asked for", "sum over all allocations, freed ones too", megabytes),
    Column("largest_bytes", "largest", "its largest allocation", megabytes),
)


def of_rank(rows: pd.DataFrame, rank: int) -> pd.DataFrame:
    """The rows of a rank; of the first there is, where that one has none."""
    if not len(rows):
        return rows
    own = rows[rows["rank"] == rank]
    return own if len(own) else rows[rows["rank"] == rows["rank"].min()]


def evidence_of_a_trace(trace: Trace, rank: int) -> list[Section | Table]:
    """All of them, in the order of the pages."""
    return [
        *device_work(trace, rank),
        *host_work(trace, rank),
        *communication(trace, rank),
        *memory(trace),
    ]


def device_work(trace: Trace, rank: int) -> list[Section | Table]:
    """What ran on the device."""
    kernels = of_rank(trace.fact(kernel_table), rank)
    if not len(kernels):
        return []
    classes = of_rank(trace.fact(kernel_classes), rank)
    note = (
        f"Everything that ran on the device of rank {int(kernels['rank'].iloc[0])}, by sort of"
        " work."
    )
    return [
        Section("classes", "What the device's time went to", note, class_bars(classes)),
        *queue(trace, rank),
        Table(
            "kernels",
            "Kernels and copies",
            "Longest in sum first.",
            KERNEL_COLUMNS,
            kernels,
            ("longest_ts", "max_ns"),
        ),
    ]


def queue(trace: Trace, rank: int) -> list[Section]:
    """How far the host ran ahead of the device."""
    depth = of_rank(trace.fact(launch_queue), rank)
    one = next(
        (
            one
            for one in trace.fact(queue_summaries)
            if len(depth) and one.rank == depth["rank"].iloc[0]
        ),
        None,
    )
    if one is None:
        return []
    note = (
        f"The host ran {digits(one.mean_depth)} kernels ahead on average;"
        f" {percent(one.empty_share)} of the time none was waiting. From launch to start"
        f" {ms(one.latency_ns)} (median), a launch call takes {ms(one.call_ns)}, a kernel"
        f" {ms(one.kernel_ns)}."
    )
    return [
        Section(
            "launch-queue", "Kernels that are launched and wait", note, launch_queue_line(depth)
        )
    ]


def host_work(trace: Trace, rank: int) -> list[Section | Table]:
    """Operators, and modules and annotations where there are any."""
    found: list[Section | Table] = []
    operators = of_rank(trace.fact(operator_table), rank)
    if len(operators):
        note = "Device time belongs to the operator that launched it, most first."
        found.append(
            Table(
                "operators",
                "Operators",
                note,
                OPERATOR_COLUMNS,
                operators.assign(wide=1_000_000),
                ("longest_ts", "wide"),
            )
        )
    ranges = of_rank(trace.fact(range_table), rank)
    if len(ranges):
        note = "Device time of what was launched while it was open."
        found.append(
            Table(
                "ranges",
                "Modules and ranges",
                note,
                RANGE_COLUMNS,
                ranges.assign(wide=1_000_000),
                ("longest_ts", "wide"),
            )
        )
    return found


def memory(trace: Trace) -> list[Section | Table]:
    """Each allocator over time, and who asks it."""
    found: list[Section | Table] = []
    for at, one in enumerate(trace.fact(allocators)[:MOST_ALLOCATORS]):
        where = "Host memory" if one.device < 0 else f"Device {one.device}"
        note = f"At its peak {megabytes(one.peak_bytes)} are in use"
        note += (
            "." if one.unused_share is None else f" of {megabytes(one.reserved_bytes)} reserved: "
        )
        note += (
            ""
            if one.unused_share is None
            else f"{percent(one.unused_share)} is held and not used (fragmentation and cache)."
        )
        found.append(
            Section(f"allocator-{at}", f"{where}: what tensors use", note, allocator_lines(one))
        )
    owners = trace.fact(memory_owners)
    if len(owners):
        title = "Who asks for memory"
        note = (
            "By the operator that was running. Memory freed at once counts too: it still costs the"
            " call."
        )
        rows = owners.assign(wide=1_000_000)
        found.append(Table("owners", title, note, OWNER_COLUMNS, rows, ("largest_ts", "wide")))
    return found
