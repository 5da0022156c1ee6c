"""Charts and tables of recorded traces: kernels, operators, ranges, communication, allocators."""

from dataclasses import replace

import numpy as np
import pandas as pd

from perfscope.analyzer.compute.kernel_origins import kernel_origins
from perfscope.analyzer.compute.kernel_table import kernel_classes, kernel_table
from perfscope.analyzer.compute.operator_table import operator_table
from perfscope.analyzer.host.launch_queue import launch_queue, queue_summaries
from perfscope.analyzer.memory.allocator import Allocator, allocators, memory_owners
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.run.range_table import range_table
from perfscope.analyzer.run.table_access import uses_device
from perfscope.traces.trace import Trace
from perfscope.ui.html.communication import communication_sections
from perfscope.ui.html.kernel_class_bars import kernel_class_bars
from perfscope.ui.html.level_area import Level, level_area
from perfscope.ui.html.sections import PlainChart
from perfscope.ui.html.tables import (
    Table,
    TableColumn,
    count_text,
    rows_of_rank_or_first,
    share,
    time,
)

MOST_ALLOCATORS = 4
SHOWN_AROUND_NS = 1_000_000
"""How much of the timeline a link to the longest call shows, in ns."""
OPERATORS_NOTE = (
    "Device time is attributed to the operator that launched the work. Sorted by device time."
)
HOST_OPERATORS_NOTE = "Time on the thread that called the operator. Sorted by it."
RANGES_NOTE = "Device time of the work that was launched inside each range."
OWNERS_NOTE = (
    "By the operator that was running. Memory that was freed right away counts too: each"
    " allocation costs time."
)
NAME = "name in the profiler"
KERNEL_COLUMNS = (
    TableColumn(
        "short_name", "kernel", f"{NAME}, shortened; the tooltip has all of it", full="name"
    ),
    TableColumn("kernel_class", "class", "kind of work, inferred from the name"),
    TableColumn("count", "runs", "number of runs", count_text),
    TableColumn(
        "sum_ns", "total", "sum of its durations; concurrent kernels each count in full", time
    ),
    TableColumn("share", "share", "share of all work on the device", share),
    TableColumn("mean_ns", "mean", "mean duration", time),
    TableColumn("max_ns", "longest", "longest run", time),
)
KERNEL_DETAILS = (
    TableColumn("operator", "launched by", "operator around the launch of its longest run"),
    TableColumn("shapes", "input shapes", "shapes of the operator's inputs"),
    TableColumn("module", "module", "innermost nn.Module around the launch"),
    TableColumn("python_calls", "Python calls", "callers of the launch, outermost first"),
)
OPERATOR_COLUMNS = (
    TableColumn("name", "operator", NAME),
    TableColumn("count", "calls", "number of calls", count_text),
    TableColumn(
        "device_ns",
        "device",
        "kernels and copies launched by it and by operators inside it",
        time,
    ),
    TableColumn("device_self_ns", "device, self", "kernels and copies it launched itself", time),
    TableColumn(
        "backward_device_ns", "backward", "kernels and copies launched by its backward", time
    ),
    TableColumn("host_ns", "host", "time inside it on its thread", time),
    TableColumn(
        "host_self_ns", "host, self", "time inside it but outside operators it calls", time
    ),
    TableColumn("kernels", "launches", "number of kernels and copies launched", count_text),
)
RANGE_COLUMNS = (
    TableColumn("name", "range", NAME),
    TableColumn("kind", "kind", "module, annotation or NVTX"),
    *OPERATOR_COLUMNS[1:],
)
OWNER_COLUMNS = (
    TableColumn("name", "operator", "operator that was running during the allocation"),
    TableColumn("count", "allocations", "number of allocations", count_text),
    TableColumn("bytes", "allocated", "sum of all allocations, freed ones included", megabytes),
    TableColumn("largest_bytes", "largest", "largest allocation", megabytes),
)


def evidence_of_a_trace(trace: Trace, rank: int) -> list[PlainChart | Table]:
    """Return all charts and tables, in the order of the pages."""
    return [
        *device_work_sections(trace, rank),
        *host_work_sections(trace, rank),
        *communication_sections(trace, rank),
        *memory_sections(trace),
    ]


def device_work_sections(trace: Trace, rank: int) -> list[PlainChart | Table]:
    """Return charts and tables of the work on the device."""
    return [*device_work_charts(trace, rank), *kernels_section(trace, rank)]


def device_work_charts(trace: Trace, rank: int) -> list[PlainChart]:
    """Return the device time by class of kernel, and the launch queue."""
    classes = rows_of_rank_or_first(trace.fact(kernel_classes), rank)
    if not len(classes):
        return []
    shown_rank = int(classes["rank"].iloc[0])
    note = f"All work on the device of rank {shown_rank}, by class of kernel."
    bars = kernel_class_bars(classes)
    chart = PlainChart("classes", "Device time by kernel class", note, bars)
    return [chart, *launch_queue_section(trace, rank)]


def kernels_section(trace: Trace, rank: int) -> list[Table]:
    """Return the table of kernels and copies."""
    kernels = rows_of_rank_or_first(trace.fact(kernel_table), rank)
    if not len(kernels):
        return []
    return [
        Table(
            "kernels",
            "Kernels and copies",
            "Sorted by total time.",
            KERNEL_COLUMNS,
            kernels,
            ("longest_ts", "max_ns"),
        )
    ]


def kernels_with_origins(trace: Trace, rank: int) -> list[Table]:
    """Return the table of kernels and copies, with what launched the longest run of each."""
    rows = rows_of_rank_or_first(trace.fact(kernel_origins), rank)
    return [
        replace(table, rows=rows, details=KERNEL_DETAILS) for table in kernels_section(trace, rank)
    ]


def launch_queue_section(trace: Trace, rank: int) -> list[PlainChart]:
    """Return the chart of kernels that are launched and have not started."""
    depth = rows_of_rank_or_first(trace.fact(launch_queue), rank)
    if not len(depth):
        return []
    shown_rank = depth["rank"].iloc[0]
    summaries = (each for each in trace.fact(queue_summaries) if each.rank == shown_rank)
    summary = next(summaries, None)
    if summary is None:
        return []
    note = (
        f"On average {digits(summary.mean_depth)} launched kernels wait to start;"
        f" {percent(summary.empty_share)} of the time none waits. Median time from launch to"
        f" start: {ms(summary.latency_ns)}; of a launch call: {ms(summary.call_ns)}; of a kernel:"
        f" {ms(summary.kernel_ns)}."
    )
    return [PlainChart("launch-queue", "Launch-queue depth", note, launch_queue_area(depth))]


def launch_queue_area(queue: pd.DataFrame) -> str:
    """Return the chart of a device's launch queue."""
    level = Level("launched", "host-bound", queue["depth"].to_numpy(np.int64))
    highest = digits(max(int(level.values.max()), 1))
    return level_area(queue["ts"].to_numpy(np.int64), [level], highest, "kernels")


def host_work_sections(trace: Trace, rank: int) -> list[PlainChart | Table]:
    """Return the tables of operators, and of modules and annotations."""
    return [*operators_section(trace, rank), *ranges_section(trace, rank)]


def operators_section(trace: Trace, rank: int) -> list[Table]:
    """Return the table of operators."""
    rows = rows_of_rank_or_first(trace.fact(operator_table), rank)
    note = OPERATORS_NOTE if uses_device(trace) else HOST_OPERATORS_NOTE
    return host_table("operators", "Operators", note, OPERATOR_COLUMNS, rows)


def ranges_section(trace: Trace, rank: int) -> list[Table]:
    """Return the table of modules and annotated ranges."""
    rows = rows_of_rank_or_first(trace.fact(range_table), rank)
    return host_table("ranges", "Modules and ranges", RANGES_NOTE, RANGE_COLUMNS, rows)


def host_table(
    table_id: str, title: str, note: str, columns: tuple[TableColumn, ...], rows: pd.DataFrame
) -> list[Table]:
    """Return a table whose rows link to their longest call; nothing where there are no rows."""
    if not len(rows):
        return []
    rows = rows.assign(wide=SHOWN_AROUND_NS)
    return [Table(table_id, title, note, columns, rows, ("longest_ts", "wide"))]


def memory_sections(trace: Trace) -> list[PlainChart | Table]:
    """Return each allocator over time, and the allocations by operator."""
    found: list[PlainChart | Table] = []
    for number, allocator in enumerate(trace.fact(allocators)[:MOST_ALLOCATORS]):
        where = "Host memory" if allocator.device < 0 else f"Device {allocator.device}"
        title = f"{where}: memory of tensors"
        chart = allocator_area(allocator)
        found.append(PlainChart(f"allocator-{number}", title, peak_note(allocator), chart))
    owners = trace.fact(memory_owners)
    if len(owners):
        rows = owners.assign(wide=SHOWN_AROUND_NS)
        place = ("largest_ts", "wide")
        found.append(
            Table("owners", "Allocations by operator", OWNERS_NOTE, OWNER_COLUMNS, rows, place)
        )
    return found


def allocator_area(allocator: Allocator) -> str:
    """Return the chart of an allocator: what is in use, over what is reserved."""
    in_use = Level("in use", "device-compute", allocator.allocated)
    reserved = Level("reserved", "peer-wait", allocator.reserved)
    levels = [in_use] if (allocator.reserved < 0).all() else [reserved, in_use]
    highest = max(int(level.values.max()) for level in levels)
    return level_area(allocator.ts, levels, megabytes(highest), "")


def peak_note(allocator: Allocator) -> str:
    """Return the peak of an allocator, and how much of its memory is unused then."""
    peak = f"Peak: {megabytes(allocator.peak_bytes)} in use"
    if allocator.unused_share is None:
        return f"{peak}."
    unused = percent(allocator.unused_share)
    return (
        f"{peak} of {megabytes(allocator.reserved_bytes)} reserved; {unused} is reserved but unused"
        " (fragmentation and cache)."
    )
