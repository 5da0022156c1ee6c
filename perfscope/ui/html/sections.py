"""The charts of a report, in order; a chart whose facts are missing is left out, the page's end
says why.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.run.stack_tree import stack_tree
from perfscope.analyzer.run.steps import steady, steps
from perfscope.analyzer.run.usage_by_role import JOB, usage_by_role
from perfscope.analyzer.verdict.hosts import host_views
from perfscope.traces.trace import Trace
from perfscope.ui.figures.budget_over_steps import budget_over_steps, columns_for
from perfscope.ui.figures.stack_icicle import stack_icicle
from perfscope.ui.figures.step_times import step_times
from perfscope.ui.figures.usage import Line, of_each_role, usage
from perfscope.ui.figures.worker_timeline import Lanes, worker_timeline

STACK_TITLES = {
    "main": "Stacks of the main thread",
    "loader-worker": "Stacks of the loader workers",
}
EVALUATION = "eval"  # its steps are numbered by themselves


@dataclass(frozen=True)
class Section:
    """One chart of the page; `half` stands beside another."""

    id: str
    title: str
    note: str
    figure: go.Figure
    half: bool = False


def sections(trace: Trace, diagnosis: Diagnosis) -> list[Section]:
    """All charts that this run has facts for; the one called `budget` belongs under the budget's
    bar.
    """
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    return [
        *of_budget(trace, rank),
        *of_steps(trace, diagnosis, rank),
        *of_stacks(trace),
        *of_host(trace),
    ]


def span_s(trace: Trace) -> tuple[float, float]:
    begin, end = trace.span_ns
    return begin / 1e9, end / 1e9


def of_rank(trace: Trace, fact: Callable[[Trace], pd.DataFrame], rank: int) -> pd.DataFrame:
    rows = trace.fact(fact)
    return rows[rows["rank"] == rank].sort_values("ts") if len(rows) else rows


def of_budget(trace: Trace, rank: int) -> list[Section]:
    everything = of_rank(trace, time_budget, rank)
    own = steady(everything)
    if not len(own):
        return []
    together = columns_for(len(own))
    column = "a step" if together == 1 else f"the mean of {together} steps"
    note = f"Over the run: each column is {column}.{gaps(everything, own)}"
    return [Section("budget", "Over the run", note, budget_over_steps(own))]


def gaps(everything: pd.DataFrame, drawn: pd.DataFrame) -> str:
    """Why there is no column for some of the steps between the first and the last that are
    drawn.
    """
    left = everything.drop(drawn.index)
    left = left[left["ts"].between(*drawn["ts"].iloc[[0, -1]]) & (left["phase"] != EVALUATION)]
    slowed = ["a window of torch's profiler slowed them"] if left["distorted"].any() else []
    warm = ["they are of a warm-up"] if (~left["distorted"]).any() else []
    return f" Where steps are missing {' or '.join(slowed + warm)}." if slowed or warm else ""


def of_steps(trace: Trace, diagnosis: Diagnosis, rank: int) -> list[Section]:
    own = of_rank(trace, steps, rank)
    if not len(own):
        return []
    note = (
        "A point a step. Slow steps at regular distances are something that happens every so many"
        " steps."
    )
    figure = step_times(own, diagnosis.steps, span_s(trace))
    return [Section("steps", "How long each step took", note, figure)]


RECENT_NS = 3_000_000_000


def recent_workers(trace: Trace) -> list[Section]:
    """The last three seconds of the first rank and its workers, of a run that is being recorded."""
    processes = trace.table("processes")
    if processes is None:
        return []
    mains = processes[processes["role"] == "main"]
    rank = int(mains["rank"].min()) if len(mains) else 0
    own, end = set(processes[processes["rank"] == rank]["process"]), trace.span_ns[1]
    found: dict[str, pd.DataFrame | None] = {"steps": None, "copies": None}
    for name in ("loader", "ranges", "fetches"):
        rows = of_processes(trace.table(name), own)
        found[name] = None if rows is None else rows[rows["ts"] + rows["dur"] >= end - RECENT_NS]
    if not any(rows is not None and len(rows) for rows in found.values()):
        return []
    figure = worker_timeline(Lanes(**found), ((end - RECENT_NS) / 1e9, end / 1e9))
    note = (
        "Waits for batches, work of the training thread and each worker's fetches; made anew now"
        " and then: the axis says when."
    )
    of = f" of rank {rank}" if len(mains) > 1 else ""
    return [Section("recent", f"Three seconds{of}", note, figure)]


def of_processes(table: pd.DataFrame | None, processes: set[int]) -> pd.DataFrame | None:
    return None if table is None else table[table["process"].isin(processes)]


def of_stacks(trace: Trace) -> list[Section]:
    note = (
        "Sampled Python stacks, callers above, width by time. Click a frame to zoom in, the top row"
        " to go back. Green is torch, grey is Python's own, amber is the rest."
    )
    trees = trace.fact(stack_tree)
    return [
        Section(f"stacks-{role}", STACK_TITLES[role], note, stack_icicle(tree))
        for role, tree in trees.items()
    ]


def of_host(trace: Trace) -> list[Section]:
    """What the processes used, host by host: four charts, two beside each other."""
    views = trace.fact(host_views)
    if len(views) == 1:
        return of_one_host(trace)
    return [
        replace(one, id=f"{one.id}-{number}", title=f"{view.manifest.host}: {one.title}")
        for number, view in enumerate(views)
        for one in of_one_host(view)
    ]


def of_one_host(trace: Trace) -> list[Section]:
    rows = trace.fact(usage_by_role)
    if not len(rows):
        return []
    cores = trace.manifest.usable_cores
    limit = cores.cores if cores is not None else None
    span = span_s(trace)
    disk = [
        Line("read_bytes_per_s", JOB, "read", "sync-wait"),
        Line("write_bytes_per_s", JOB, "written", "checkpoint"),
    ]
    most = trace.manifest.memory_limit_bytes
    charts = [
        ("cpu", "Cores in use", usage(rows, of_each_role("cores"), "cores", span, limit=limit)),
        (
            "delay",
            "Threads waiting for a core",
            usage(rows, of_each_role("waiting_cores"), "threads", span),
        ),
        ("disk", "Disk", usage(rows, disk, "MB/s", span, scale=1e-6)),
        (
            "memory",
            "Memory",
            usage(rows, of_each_role("rss_bytes"), "GB", span, scale=1e-9, least=0.1, limit=most),
        ),
    ]
    usable = f"; the job may use {limit:g}." if limit is not None else "."
    notes = {
        "cpu": "CPU-seconds per second" + usable,
        "delay": "They could run, but no core is free.",
        "disk": "Of the block device; what the page cache served is not in it.",
        "memory": "Resident; pages shared between processes count in each.",
    }
    drawn = [
        Section(name, title, notes[name], chart, half=True)
        for name, title, chart in charts
        if len(chart.data)
    ]
    return drawn if len(drawn) % 2 == 0 else [*drawn[:-1], replace(drawn[-1], half=False)]
