"""Charts and tables of recorded traces: kernels, operators, ranges, communication, allocators."""

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
NAME = "name in the profiler"
KERNEL_COLUMNS = (
    Column("name", "kernel", NAME),
    Column("kernel_class", "class", "kind of work, inferred from the name"),
    Column("count", "runs", "number of runs", count),
    Column("sum_ns", "total", "sum of its durations; concurrent kernels each count in full", time),
    Column("share", "share", "share of all work on the device", share),
    Column("mean_ns", "mean", "mean duration", time),
    Column("max_ns", "longest", "longest run", time),
)
OPERATOR_COLUMNS = (
    Column("name", "operator", NAME),
    Column("count", "calls", "number of calls", count),
    Column(
        "device_ns",
        "device",
        "kernels and copies launched by it and by operators inside it",
        time,
    ),
    Column("device_self_ns", "device, self", "kernels and copies it launched itself", time),
    Column("backward_device_ns", "backward", "kernels and copies launched by its backward", time),
    Column("host_ns", "host", "time inside it on its thread", time),
    Column("host_self_ns", "host, self", "time inside it but outside operators it calls", time),
    Column("kernels", "launches", "number of kernels and copies launched", count),
)
RANGE_COLUMNS = (
    Column("name", "range", NAME),
    Column("kind", "kind", "module, annotation or NVTX"),
    *OPERATOR_COLUMNS[1:],
)
OWNER_COLUMNS = (
    Column("name", "operator", "operator that was running during the allocation"),
    Column("count", "allocations", "number of allocations", count),
    Column("bytes", "allocated", "sum of all allocations, freed ones included", megabytes),
    Column("largest_bytes", "largest", "largest allocation", megabytes),
)


def of_rank(rows: pd.DataFrame, rank: int) -> pd.DataFrame:
    """Return the rows of a rank; of the first rank where that one has none."""
    if not len(rows):
        return rows
    own = rows[rows["rank"] == rank]
    return own if len(own) else rows[rows["rank"] == rows["rank"].min()]


def evidence_of_a_trace(trace: Trace, rank: int) -> list[Section | Table]:
    """Return all charts and tables, in the order of the pages."""
    return [
        *device_work(trace, rank),
        *host_work(trace, rank),
        *communication(trace, rank),
        *memory(trace),
    ]


def device_work(trace: Trace, rank: int) -> list[Section | Table]:
    """Return charts and tables of the work on the device."""
    kernels = of_rank(trace.fact(kernel_table), rank)
    if not len(kernels):
        return []
    classes = of_rank(trace.fact(kernel_classes), rank)
    note = f"All work on the device of rank {int(kernels['rank'].iloc[0])}, by class of kernel."
    return [
        Section("classes", "Device time by kernel class", note, class_bars(classes)),
        *queue(trace, rank),
        Table(
            "kernels",
            "Kernels and copies",
            "Sorted by total time.",
            KERNEL_COLUMNS,
            kernels,
            ("longest_ts", "max_ns"),
        ),
    ]


def queue(trace: Trace, rank: int) -> list[Section]:
    """Return the chart of kernels that are launched and have not started."""
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
        f"On average {digits(one.mean_depth)} launched kernels wait to start;"
        f" {percent(one.empty_share)} of the time none waits. Median time from launch to start:"
        f" {ms(one.latency_ns)}; of a launch call: {ms(one.call_ns)}; of a kernel:"
        f" {ms(one.kernel_ns)}."
    )
    return [Section("launch-queue", "Launch-queue depth", note, launch_queue_line(depth))]


def host_work(trace: Trace, rank: int) -> list[Section | Table]:
    """Return the tables of operators, and of modules and annotations."""
    found: list[Section | Table] = []
    operators = of_rank(trace.fact(operator_table), rank)
    if len(operators):
        note = "Device time is attributed to the operator that launched the work; sorted by device time."
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
        note = "Device time of the work that was launched inside each range."
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
    """Return each allocator over time, and the allocations by operator."""
    found: list[Section | Table] = []
    for at, one in enumerate(trace.fact(allocators)[:MOST_ALLOCATORS]):
        where = "Host memory" if one.device < 0 else f"Device {one.device}"
        note = f"Peak: {megabytes(one.peak_bytes)} in use"
        note += (
            "." if one.unused_share is None else f" of {megabytes(one.reserved_bytes)} reserved: "
        )
        note += (
            ""
            if one.unused_share is None
            else f"{percent(one.unused_share)} is reserved but unused (fragmentation and cache)."
        )
        found.append(
            Section(f"allocator-{at}", f"{where}: memory of tensors", note, allocator_lines(one))
        )
    owners = trace.fact(memory_owners)
    if len(owners):
        title = "Allocations by operator"
        note = (
            "By the operator that was running. Memory that was freed right away counts too: each"
            " allocation costs time."
        )
        rows = owners.assign(wide=1_000_000)
        found.append(Table("owners", title, note, OWNER_COLUMNS, rows, ("largest_ts", "wide")))
    return found
