"""The charts of a report, in order; a chart whose facts are missing is left out, the overview says why."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.facts.stack_tree import stack_tree
from perfscope.analyzer.facts.time_budget import time_budget
from perfscope.analyzer.facts.usage_over_time import usage_over_time
from perfscope.traces.trace import Trace
from perfscope.ui.figures.budget_over_steps import budget_over_steps
from perfscope.ui.figures.stack_icicle import stack_icicle
from perfscope.ui.figures.step_times import step_times
from perfscope.ui.figures.usage import usage
from perfscope.ui.figures.worker_timeline import worker_timeline

STACK_TITLES = {"main": "Stacks of the training thread", "loader-worker": "Stacks of the loader workers"}


@dataclass(frozen=True)
class Section:
    """One chart of the page."""

    id: str
    title: str
    note: str
    figure: go.Figure
    half: bool = False


def sections(trace: Trace, diagnosis: Diagnosis) -> list[Section]:
    """All charts that this run has facts for."""
    return [*of_steps(trace, diagnosis), *of_workers(trace, diagnosis), *of_stacks(trace), *of_host(trace)]


def of_steps(trace: Trace, diagnosis: Diagnosis) -> list[Section]:
    budget = trace.fact(time_budget)
    own = budget[budget["rank"] == diagnosis.budget_rank].sort_values("ts")
    if not len(own):
        return []
    steady = own[own["phase"].isin(["train", "inference"])]
    found = []
    if len(steady):
        note = "Each column is a step (or the mean of neighbours), cut into what its time went to. Hatched: waiting."
        found.append(Section("budget", "Where each step's time went", note, budget_over_steps(steady)))
    note = "One point a step. A regular pattern of slow steps is something that happens every so many steps."
    return [*found, Section("steps", "How long each step took", note, step_times(own))]


def of_workers(trace: Trace, diagnosis: Diagnosis) -> list[Section]:
    loader, processes = trace.table("loader"), trace.table("processes")
    if loader is None or processes is None:
        return []
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    own = set(processes[processes["rank"] == rank]["process"])
    fetches, ranges = (of_processes(trace.table(name), own) for name in ("fetches", "ranges"))
    note = (
        "The first two seconds; drag to pan, scroll to zoom. Above the training thread, below what each worker makes."
    )
    figure = worker_timeline(of_processes(loader, own), fetches, ranges)
    figure.update_layout(dragmode="pan")
    return [Section("workers", "The training thread and its workers", note, figure)]


def of_processes(table: pd.DataFrame | None, processes: set[int]) -> pd.DataFrame | None:
    return None if table is None else table[table["process"].isin(processes)]


def of_stacks(trace: Trace) -> list[Section]:
    note = "Sampled Python stacks, callers above callees, width by time; click to zoom. Green frames are torch's."
    return [
        Section(f"stacks-{role}", STACK_TITLES[role], note, stack_icicle(nodes))
        for role, nodes in trace.fact(stack_tree).items()
    ]


def of_host(trace: Trace) -> list[Section]:
    rows = trace.fact(usage_over_time)
    if not len(rows):
        return []
    cores = trace.manifest.usable_cores
    limit = cores.cores if cores is not None else None
    busy = usage(rows, "cores", "cores", limit=limit)
    waiting = usage(rows, "waiting_cores", "threads waiting")
    read = usage(rows, "read_bytes_per_s", "MB/s read", scale=1e-6)
    written = usage(rows, "write_bytes_per_s", "MB/s written", scale=1e-6)
    memory = usage(rows, "rss_bytes", "GB", scale=1e-9, limit=trace.manifest.memory_limit_bytes)
    dotted = " The dotted line is what the job may use." if limit is not None else ""
    return [
        Section("cpu", "Cores in use", "CPU-seconds per second, summed over processes." + dotted, busy, half=True),
        Section(
            "delay", "Waiting for a core", "Threads that could run but have no core, on average.", waiting, half=True
        ),
        Section("reads", "Read from disk", "Block reads; what the page cache served is not in it.", read, half=True),
        Section("writes", "Written to disk", "What the processes handed over for writing.", written, half=True),
        Section(
            "memory", "Memory", "Resident memory; pages shared between processes count in each.", memory, half=True
        ),
    ]
