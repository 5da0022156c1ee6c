"""The charts of a report, in order; a chart whose facts are missing is left out."""

from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.run.resources.usage_by_role import JOB, usage_by_role
from perfscope.analyzer.run.stacks.stack_tree import inverted_stack_tree, stack_tree
from perfscope.analyzer.verdict.per_host_findings import host_views
from perfscope.traces.trace import Trace
from perfscope.ui.figures.host_usage import UsageLine, of_each_role, usage
from perfscope.ui.figures.stack_icicle import stack_icicle
from perfscope.ui.figures.worker_timeline import WorkerTables, worker_timeline

STACK_TITLES = {
    "main": "Stacks of the main thread",
    "loader-worker": "Stacks of the loader workers",
}
RECENT_NS = 3_000_000_000
RECENT_NOTE = (
    "Waits for batches, work of the training thread, and each worker's fetches. Refreshed every few"
    " seconds; the axis has the time."
)
STACKS_NOTE = (
    "Sampled Python stacks, callers above, width by time. Click a frame to zoom in, the top row to"
    " zoom out. Green is torch, gray is Python's standard library, amber is all other code."
)
INVERTED_NOTE = (
    "Sampled Python stacks, the running function on top and its callers below, width by time."
    " Click a frame to zoom in, the top row to zoom out."
)
DISK_NOTE = "Block-device I/O; reads from the page cache are not counted."
MEMORY_NOTE = "Resident memory; a page that several processes share counts in each of them."


@dataclass(frozen=True)
class Section:
    """One chart of a page; two charts with `half` are placed next to each other.

    `is_plain`: it has only lines and bars on linear axes, which the dashboard draws itself.
    """

    id: str
    title: str
    note: str
    figure: go.Figure
    half: bool = False
    is_plain: bool = False


@dataclass(frozen=True)
class PlainChart:
    """One chart of a page that is markup and needs no script."""

    id: str
    title: str
    note: str
    markup: str


def sections(trace: Trace) -> list[Section]:
    """Return all charts that this run has facts for."""
    return [*stack_sections(trace), *host_sections(trace)]


def recording_span_s(trace: Trace) -> tuple[float, float]:
    """Return the first and the last instant of the recording, in seconds."""
    begin_ns, end_ns = trace.span_ns
    return begin_ns / 1e9, end_ns / 1e9


def recent_workers(trace: Trace) -> list[Section]:
    """Return the last three seconds of the first rank and its workers, while a run is recorded."""
    processes = trace.table("processes")
    if processes is None:
        return []
    mains = processes[processes["role"] == "main"]
    rank = int(mains["rank"].min()) if len(mains) else 0
    numbers = set(processes[processes["rank"] == rank]["process"])
    end_ns = trace.span_ns[1]
    begin_ns = end_ns - RECENT_NS
    found: dict[str, pd.DataFrame | None] = {"steps": None, "copies": None}
    for name in ("loader", "ranges", "fetches"):
        rows = rows_of_processes(trace.table(name), numbers)
        found[name] = None if rows is None else rows[rows["ts"] + rows["dur"] >= begin_ns]
    if not any(rows is not None and len(rows) for rows in found.values()):
        return []
    figure = worker_timeline(WorkerTables(**found), (begin_ns / 1e9, end_ns / 1e9))
    of_rank = f" of rank {rank}" if len(mains) > 1 else ""
    return [Section("recent", f"The last three seconds{of_rank}", RECENT_NOTE, figure)]


def rows_of_processes(table: pd.DataFrame | None, processes: set[int]) -> pd.DataFrame | None:
    """Return the rows of these processes; None where there is no table."""
    return None if table is None else table[table["process"].isin(processes)]


def stack_sections(trace: Trace) -> list[Section]:
    """Return the sampled stacks, a chart per role."""
    return [
        Section(f"stacks-{role}", STACK_TITLES[role], STACKS_NOTE, stack_icicle(tree))
        for role, tree in trace.fact(stack_tree).items()
    ]


def inverted_stack_sections(trace: Trace) -> list[Section]:
    """Return the sampled stacks with the running function on top, a chart per role."""
    return [
        Section(f"stacks-inverted-{role}", STACK_TITLES[role], INVERTED_NOTE, stack_icicle(tree))
        for role, tree in trace.fact(inverted_stack_tree).items()
    ]


def host_sections(trace: Trace) -> list[Section]:
    """Return what the processes used, host by host, in charts of half the width."""
    views = trace.fact(host_views)
    if len(views) == 1:
        return sections_of_host(trace)
    return [
        replace(
            section, id=f"{section.id}-{number}", title=f"{view.manifest.host}: {section.title}"
        )
        for number, view in enumerate(views)
        for section in sections_of_host(view)
    ]


def sections_of_host(trace: Trace) -> list[Section]:
    """Return cores, waiting threads, disk and memory of the job on one host."""
    rows = trace.fact(usage_by_role)
    if not len(rows):
        return []
    cores = trace.manifest.usable_cores
    limit = cores.cores if cores is not None else None
    span = recording_span_s(trace)
    cpu = usage(rows, of_each_role("cores"), "cores", span, limit=limit)
    waiting = usage(rows, of_each_role("waiting_cores"), "threads", span)
    disk_lines = [
        UsageLine("read_bytes_per_s", JOB, "read", "sync-wait"),
        UsageLine("write_bytes_per_s", JOB, "written", "checkpoint"),
    ]
    disk = usage(rows, disk_lines, "MB/s", span, scale=1e-6)
    memory_limit = trace.manifest.memory_limit_bytes
    memory = usage(
        rows, of_each_role("rss_bytes"), "GB", span, scale=1e-9, least=0.1, limit=memory_limit
    )
    usable = f"; the job can use {limit:g}" if limit is not None else ""
    charts = [
        Section("cpu", "Cores in use", f"CPU-seconds per second{usable}.", cpu, half=True),
        Section(
            "delay", "Threads waiting for a core", "Runnable, but not running.", waiting, half=True
        ),
        Section("disk", "Disk", DISK_NOTE, disk, half=True),
        Section("memory", "Memory", MEMORY_NOTE, memory, half=True),
    ]
    drawn = [replace(chart, is_plain=True) for chart in charts if len(chart.figure.data)]
    return in_pairs(drawn)


def in_pairs(charts: list[Section]) -> list[Section]:
    """Return charts of half the width; where their number is odd, the last has the full width."""
    if len(charts) % 2 == 0:
        return charts
    return [*charts[:-1], replace(charts[-1], half=False)]
