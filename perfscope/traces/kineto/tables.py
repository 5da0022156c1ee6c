"""Builds the Trace of a Kineto trace from the columns of its events."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import groups
from perfscope.traces.kineto.assemble import (
    EventGroup,
    joined_groups,
    summed_counts,
    take_group,
)
from perfscope.traces.kineto.columns import CodedNames, as_text
from perfscope.traces.kineto.damaged_events import groups_without_damage
from perfscope.traces.kineto.device_tables import (
    StartedBy,
    kineto_collective_table,
    kineto_copy_table,
    kineto_kernel_table,
    split_mtia_queues,
)
from perfscope.traces.kineto.file import FileColumns
from perfscope.traces.kineto.host_tables import (
    enclosing_operators,
    is_loader_wait,
    is_profiler_step,
    kineto_launch_table,
    kineto_loader_table,
    kineto_memory_table,
    kineto_op_table,
    kineto_range_table,
)
from perfscope.traces.kineto.identity import (
    FileFacts,
    KinetoProcesses,
    kineto_processes,
    listed_devices,
)
from perfscope.traces.kineto.outliers import groups_without_outliers
from perfscope.traces.outliers import OUTLIER_REASON
from perfscope.traces.privacy.masked_trace import masked_manifest, masked_tables
from perfscope.traces.reader import WrongFormat
from perfscope.traces.run_folder.manifest import Manifest, SourceStatus
from perfscope.traces.schema import TABLES
from perfscope.traces.span import move_to_job_time, span
from perfscope.traces.trace import Trace
from perfscope.traces.trace_kind import PROFILER_DEPTH, TraceKind
from perfscope.traces.validation.checks import check_tables
from perfscope.traces.validation.invariants import violations_of

LATEST_NS: Final = 1 << 61
"""The year 2043. A recording that begins later has a damaged time."""
HOST_GROUPS: Final = (groups.OPS, groups.LAUNCHES, groups.RANGES, groups.MEMORY)
Groups = dict[str, EventGroup]
Tables = dict[str, pd.DataFrame]


def build_trace(path: Path, columns: FileColumns) -> Trace:
    """Return the Trace of a file. Raises UnreadableRun for a file without usable events."""
    left_out = summed_counts(piece.left_out for piece in columns.pieces)
    meta = [row for piece in columns.pieces for row in piece.meta]
    facts = FileFacts(columns.around, meta, path)
    events = {
        name: take_group(columns.pieces, name)
        for name in (*HOST_GROUPS, groups.KERNELS, groups.COPIES)
    }
    require_durations(path, events)
    counts = columns.violations()
    events, damaged_counts = groups_without_damage(events)
    events, outlier_count = groups_without_outliers(events)
    if outlier_count:
        left_out[OUTLIER_REASON] = outlier_count
    tables = build_tables(marks_as_ranges(events), facts)
    if not any("ts" in table for table in tables.values()):
        raise WrongFormat(f"{path} contains no events of the PyTorch profiler")
    tables, found_counts = check_tables(tables)
    violations = violations_of({**counts, **damaged_counts, **found_counts})
    base_ns = columns.around.get("baseTimeNanoseconds")
    zero_ns = move_to_job_time(tables)
    zero_ns += base_ns if isinstance(base_ns, int) and abs(base_ns) < LATEST_NS else 0
    missing = missing_lines(columns.cut_off_reason, left_out)
    manifest = kineto_manifest(facts, missing, zero_ns if abs(zero_ns) < LATEST_NS else 0)
    manifest.violations = violations
    absent = {name: WHY_ABSENT.get(name, NO_ROWS) for name in TABLES if name not in tables}
    return Trace(
        masked_tables(tables),
        absent,
        [masked_manifest(manifest)],
        kind=TraceKind.PROFILER,
        span_ns=span(tables.values()),
        path=path,
    )


def require_durations(path: Path, events: Groups) -> None:
    """Raise UnreadableRun for a trace in which no event has a duration."""
    durations = [
        group.numbers("dur")
        for name, group in events.items()
        if name != groups.MEMORY and len(group)
    ]
    if durations and not any(dur.any() for dur in durations):
        raise UnreadableRun(
            f"{path}: none of the events has a duration. Record the trace again with"
            " `torch.profiler.profile`."
        )


def build_tables(events: Groups, facts: FileFacts) -> Tables:
    """Return every table that has rows."""
    kernels, copies = split_mtia_queues(events[groups.KERNELS], events[groups.COPIES])
    ops, launches = events[groups.OPS], events[groups.LAUNCHES]
    # Events of the runtime with the pid of a device repeat those of the host.
    is_on_device = np.isin(launches.numbers("pid"), np.unique(kernels.numbers("pid")))
    launches = launches.where(~is_on_device)
    processes = kineto_processes([ops, launches, events[groups.RANGES]], facts)
    parent_of_op, op_of_launch = enclosing_operators(ops, launches)
    launch_table = kineto_launch_table(launches, processes.codes(launches), op_of_launch)
    memory = events[groups.MEMORY]
    tables = {
        "processes": processes.process_table(),
        "ranks": processes.rank_table(),
        "threads": processes.thread_table(),
        "devices": processes.device_table(kernels, copies),
        "ops": kineto_op_table(ops, processes.codes(ops), parent_of_op),
        "launches": launch_table,
        "memory": kineto_memory_table(memory, processes.codes(memory)),
        **range_tables(events[groups.RANGES], processes),
        **device_work_tables(kernels, copies, launch_table),
    }
    return {name: table for name, table in tables.items() if table is not None and len(table)}


def marks_as_ranges(events: Groups) -> Groups:
    """Return the groups with marks of steps and waits for the loader among the ranges. Some
    versions write them as operators.
    """
    ops = events[groups.OPS]
    is_mark = is_profiler_step(ops.names("name")) | is_loader_wait(ops.names("name"))
    if not is_mark.any():
        return events
    marks = ops.where(is_mark)
    marks.columns["cat"] = CodedNames(np.zeros(len(marks), np.int32), ["user_annotation"])
    range_columns = ("ts", "dur", "pid", "tid", "name", "cat")
    marks = EventGroup({name: marks.columns[name] for name in range_columns})
    return {
        **events,
        groups.OPS: ops.where(~is_mark),
        groups.RANGES: joined_groups([events[groups.RANGES], marks]),
    }


def range_tables(
    all_ranges: EventGroup, processes: KinetoProcesses
) -> dict[str, pd.DataFrame | None]:
    """Return table `ranges`, and table `loader` from the ranges that are waits for the loader."""
    is_wait = is_loader_wait(all_ranges.names("name"))
    waits, ranges = all_ranges.where(is_wait), all_ranges.where(~is_wait)
    return {
        "ranges": kineto_range_table(ranges, processes.codes(ranges)),
        "loader": kineto_loader_table(waits, processes.codes(waits)),
    }


def device_work_tables(
    kernels: EventGroup, copies: EventGroup, launch_table: pd.DataFrame
) -> dict[str, pd.DataFrame | None]:
    """Return the tables of what ran on devices, each row with the launch that started it."""
    by_correlation = LaunchIndex(launch_table)
    kernel_starts = by_correlation.started_by(kernels)
    is_graph_launch = (launch_table["kind"] == "graph").to_numpy(bool)
    by_graph = np.append(is_graph_launch, False)[kernel_starts.launch]
    return {
        "kernels": kineto_kernel_table(kernels, kernel_starts, by_graph),
        "copies": kineto_copy_table(copies, by_correlation.started_by(copies)),
        "collectives": kineto_collective_table(kernels, kernel_starts.process),
    }


@dataclass
class LaunchIndex:
    """Finds the rows of `launches` by their correlation ids."""

    launches: pd.DataFrame

    def __post_init__(self) -> None:
        ids = self.launches["correlation"].to_numpy(np.int64)
        self.order = np.argsort(ids, kind="stable")
        self.ids = ids[self.order]
        self.process = self.launches["process"].to_numpy(np.int64)

    def rows(self, wanted: Ints) -> Ints:
        """Return the first launch with each of these ids, -1 where there is none."""
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int64)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        rows: Ints = np.where((self.ids[at] == wanted) & (wanted > 0), self.order[at], -1)
        return rows

    def started_by(self, group: EventGroup) -> StartedBy:
        """Return the launch and the process that started each event; process 0 where no launch is
        known.
        """
        launch = self.rows(group.numbers("correlation"))
        return StartedBy(np.append(self.process, 0)[launch], launch)


def missing_lines(cut_off_reason: str | None, left_out: dict[str, int]) -> list[str]:
    """Return one line for everything that is missing from a trace."""
    lines = [f"{count} events left out: they {reason}" for reason, count in left_out.items()]
    if cut_off_reason:
        lines.insert(0, f"the file is cut off ({cut_off_reason}); the rest of the trace is missing")
    return lines


def kineto_manifest(facts: FileFacts, missing: list[str], zero_ns: int) -> Manifest:
    """Return the manifest of a trace, with the few fields that a Kineto trace contains."""
    status = SourceStatus("kineto", "partial" if missing else "ok", "; ".join(missing) or None)
    host = facts.around.get("host_name")
    return Manifest(
        job_id=as_text(facts.around.get("trace_id")) or "",
        host=host if isinstance(host, str) else "",
        boot_id="",
        zero_monotonic_ns=0,
        zero_realtime_ns=zero_ns,
        tool_version="",
        command=[],
        target_pid=0,
        depth=PROFILER_DEPTH,
        devices=listed_devices(facts),
        sources=[status],
        dropped=missing,
        finished=True,
    )


NO_ROWS: Final = "not in this trace"
WHY_ABSENT: Final = {
    "loader": "the trace contains no waits for a PyTorch data loader",
    "fetches": "the PyTorch profiler does not record loader workers",
    "stacks": "the PyTorch profiler does not sample call stacks",
    "outside_stacks": "the PyTorch profiler does not sample call stacks",
    "native_samples": "the PyTorch profiler does not sample native code",
    "waits": "the PyTorch profiler does not record what threads wait for",
    "thread_states": "the PyTorch profiler does not record thread states",
    "counters": "the PyTorch profiler does not record host counters",
    "memory": "recorded without `profile_memory=True`",
    "kernels": "the trace contains no GPU kernels",
    "steps": "computed by the analyzer",
}
