"""Builds the Trace of an export of Nsight Systems."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.nsys.database import Database, Rows, open_database
from perfscope.traces.nsys.device_tables import (
    GRAPH_TABLE,
    DeviceRows,
    launch_of_rows,
    nsys_collective_table,
    nsys_copy_table,
    nsys_kernel_table,
    nsys_memory_table,
    read_copy_rows,
    read_kernel_rows,
)
from perfscope.traces.nsys.file_types import REPORT_SUFFIXES, SQLITE_MAGIC
from perfscope.traces.nsys.host_tables import (
    library_and_overhead_ranges,
    nsys_launch_table,
    nsys_loader_table,
    runtime_calls,
)
from perfscope.traces.nsys.identity import nsys_processes
from perfscope.traces.nsys.nvtx import (
    NvtxEvents,
    enclosing_rows,
    nsys_op_table,
    nvtx_range_table,
    read_nvtx_rows,
)
from perfscope.traces.nsys.payloads import nccl_facts
from perfscope.traces.outliers import OUTLIER_REASON, find_outliers, tables_without_outliers
from perfscope.traces.privacy.masked_trace import masked_manifest, masked_tables
from perfscope.traces.reader import WrongFormat
from perfscope.traces.run_folder.manifest import Manifest, SourceStatus
from perfscope.traces.schema import TABLES
from perfscope.traces.span import move_to_job_time, span
from perfscope.traces.trace import Trace
from perfscope.traces.trace_kind import PROFILER_DEPTH, TraceKind
from perfscope.traces.validation.checks import check_tables
from perfscope.traces.validation.invariants import violations_of

TABLES_OF_EXPORTS: Final = (
    "StringIds",
    "NVTX_EVENTS",
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "OSRT_API",
)
LATEST_NS: Final = 1 << 61
"""The year 2043. A recording that begins later has a damaged time."""


def read_export(path: Path) -> Trace:
    """Return the Trace of one export, in which every process that used a device is a rank.

    Raises UnreadableRun.
    """
    require_sqlite_export(path)
    with open_database(path) as database:
        if not any(table in database.tables for table in TABLES_OF_EXPORTS):
            raise WrongFormat(f"{path} is an SQLite file, but not an export of Nsight Systems")
        export = Export(database, path)
        tables = export.tables()
        if not any("ts" in table for table in tables.values()):
            raise UnreadableRun(
                f"{path} contains no events. Record it with `nsys profile --trace=cuda,nvtx`."
            )
        tables, export.outlier_count = tables_without_outliers(tables)
        tables, counts = check_tables(tables)
        zero_ns = move_to_job_time(tables)
        manifest = nsys_manifest(database, export, zero_ns)
        manifest.violations = violations_of(counts)
    absent = {name: WHY_ABSENT.get(name, NO_ROWS) for name in TABLES if name not in tables}
    return Trace(
        masked_tables(tables),
        absent,
        [masked_manifest(manifest)],
        kind=TraceKind.PROFILER,
        span_ns=span(tables.values()),
        path=path,
    )


def require_sqlite_export(path: Path) -> None:
    """Raise UnreadableRun for reports, files that are not SQLite, and files that cannot be read."""
    if path.name.endswith(REPORT_SUFFIXES):
        raise UnreadableRun(
            f"{path} is a report in Nsight's own format. Export it with `nsys export --type sqlite"
            f" {path.name}`."
        )
    try:
        with open(path, "rb") as file:
            head = file.read(len(SQLITE_MAGIC))
    except OSError as error:
        raise UnreadableRun(f"cannot read {path}: {error.strerror}") from error
    if head != SQLITE_MAGIC:
        what = "is not an SQLite file" if head else "is empty"
        raise UnreadableRun(
            f"{path} {what}. Export the report again with `nsys export --type sqlite"
            " REPORT.nsys-rep`."
        )


@dataclass
class Export:
    """The contents of an export."""

    database: Database
    path: Path

    def __post_init__(self) -> None:
        self.calls = runtime_calls(self.database)
        self.kernels = read_kernel_rows(self.database)
        self.copies = read_copy_rows(self.database)
        nvtx_rows = read_nvtx_rows(self.database)
        all_rows = (self.calls, self.kernels, self.copies, nvtx_rows)
        self.nvtx = NvtxEvents(self.database, nvtx_rows, last_instant(all_rows))
        os_calls = self.database.events("OSRT_API", ("globalTid",))
        on_device, on_host = (self.kernels, self.copies), (self.calls, nvtx_rows, os_calls)
        self.processes = nsys_processes(on_device, on_host, self.database, self.path)
        self.left_out = sum(rows.left_out for rows in all_rows)
        self.outlier_count = 0

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return every table that has rows."""
        processes = self.processes
        # First, because the payloads of NCCL have the ranks of the processes.
        facts = nccl_facts(self.calls, self.nvtx.ranges, processes)
        op_of_call = enclosing_rows(self.calls, self.nvtx.ops)
        ops = nsys_op_table(self.nvtx.ops, processes)
        launches = nsys_launch_table(self.calls, processes, op_of_call)
        kernels, copies = self.device_rows(self.kernels), self.device_rows(self.copies)
        is_graph_launch = (launches["kind"] == "graph").to_numpy(bool)
        by_graph_launch = np.append(is_graph_launch, False)[kernels.launch]
        collectives = nsys_collective_table(kernels, ops, op_of_call, facts)
        memory, memory_left_out = nsys_memory_table(self.database, processes)
        other_ranges, ranges_left_out = library_and_overhead_ranges(self.database, processes)
        self.left_out += memory_left_out + ranges_left_out
        used_devices = [(kernels.process, kernels.device), (copies.process, copies.device)]
        tables = {
            "processes": processes.process_table(),
            "ranks": processes.rank_table(communicates=collectives is not None),
            "threads": processes.thread_table(self.database),
            "devices": processes.device_table(self.database, used_devices),
            "ops": ops,
            "launches": launches,
            "kernels": nsys_kernel_table(kernels, by_graph_launch),
            "copies": nsys_copy_table(copies, self.database),
            "collectives": collectives,
            "ranges": joined_ranges([nvtx_range_table(self.nvtx.ranges, processes), *other_ranges]),
            "loader": nsys_loader_table(self.nvtx.ranges, processes),
            "memory": memory,
        }
        return {name: table for name, table in tables.items() if table is not None and len(table)}

    def device_rows(self, rows: Rows) -> DeviceRows:
        """Return rows of a device with their launches. A row without a process has the process of
        its launch.
        """
        launch = launch_of_rows(rows, self.calls)
        recorded = rows.numbers("globalPid")
        of_launch = np.append(self.calls.numbers("globalTid"), -1)[launch]
        process = self.processes.codes(np.where(recorded == -1, of_launch, recorded))
        device = self.processes.host_devices(process, rows.numbers("deviceId"))
        return DeviceRows(rows, process, device, launch)

    def missing_lines(self) -> list[str]:
        """Return one line for everything that is missing or incomplete."""
        lines = []
        if self.left_out:
            lines.append(f"{self.left_out} events left out: they have impossible times")
        if self.outlier_count:
            lines.append(f"{self.outlier_count} events left out: they {OUTLIER_REASON}")
        if self.nvtx.open_count:
            lines.append(
                f"{self.nvtx.open_count} NVTX ranges were open when the recording ended and are cut"
                " off there"
            )
        has_graphs = self.database.has(GRAPH_TABLE, "start")
        if has_graphs and len(self.database.events(GRAPH_TABLE, ())):
            lines.append(
                "CUDA graphs were recorded as a whole, so their kernels and their communication are"
                " unknown (record them with `nsys profile --cuda-graph-trace=node`)"
            )
        return lines


def joined_ranges(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return several tables `ranges` as one, in the order of time."""
    with_rows = [table for table in tables if len(table)]
    if len(with_rows) < 2:
        return with_rows[0] if with_rows else tables[0]
    columns = list(with_rows[0].columns)
    names = ["category", "name"]
    joined = pd.concat([table.drop(columns=names) for table in with_rows], ignore_index=True)
    for name in names:
        joined[name] = pd.api.types.union_categoricals([table[name] for table in with_rows])
    return joined[columns].sort_values("ts", kind="stable").reset_index(drop=True)


def last_instant(all_rows: tuple[Rows, ...]) -> int:
    """Return the end of the last event, outliers apart.

    The export also contains the end of the recording, but an excerpt contains that of the original.
    """
    outliers = find_outliers([rows.numbers("start") for rows in all_rows])
    last_ends = []
    for rows in all_rows:
        start = rows.numbers("start")
        end = start + np.maximum(rows.numbers("dur"), 0)
        if outliers is not None and len(rows):
            end = end[~outliers.contain(start)]
        if len(end):
            last_ends.append(int(end.max()))
    return max(last_ends, default=0)


def nsys_manifest(database: Database, export: Export, zero_ns: int) -> Manifest:
    """Return the manifest of an export, with the few fields that an export contains.

    Only the program of the command line is read: the rest may contain secrets.
    """
    missing = export.missing_lines()
    programs = database.settings("META_DATA_CAPTURE", "PROCESS_0:COMMAND")
    status = SourceStatus("nsys", "partial" if missing else "ok", "; ".join(missing) or None)
    return Manifest(
        job_id="",
        host=export.processes.host,
        boot_id="",
        zero_monotonic_ns=0,
        zero_realtime_ns=wall_clock_at(database, zero_ns),
        tool_version="",
        command=[program for _, program in programs[:1]],
        target_pid=0,
        depth=PROFILER_DEPTH,
        sources=[status],
        dropped=missing,
        finished=True,
    )


def wall_clock_at(database: Database, at_ns: int) -> int:
    """Return the wall clock at an instant of the recording, 0 where the export does not contain
    when the recording began.
    """
    starts = database.rows("TARGET_INFO_SESSION_START_TIME", "utcEpochNs", "systemClockNs")
    details = database.rows("ANALYSIS_DETAILS", "startTime")
    if not starts or not isinstance(starts[0][0], int):
        return 0
    epoch_ns, system_clock_ns = starts[0]
    analysis_start_ns = details[0][0] if details else None
    begin_ns = 0
    for candidate in (system_clock_ns, analysis_start_ns):
        if isinstance(candidate, int):
            begin_ns = candidate
            break
    wall_clock_ns = int(epoch_ns) + at_ns - begin_ns
    return wall_clock_ns if 0 < wall_clock_ns < LATEST_NS else 0


NO_ROWS: Final = "not in this recording"
WHY_ABSENT: Final = {
    "loader": "the recording contains no waits for a PyTorch data loader",
    "fetches": "Nsight Systems does not record loader workers",
    "stacks": "perfscope does not read the call stacks of Nsight Systems",
    "outside_stacks": "perfscope does not read the call stacks of Nsight Systems",
    "native_samples": "perfscope does not read the CPU samples of Nsight Systems",
    "waits": "Nsight Systems does not record what all threads wait for",
    "thread_states": "perfscope does not read the thread states of Nsight Systems",
    "counters": "perfscope does not read the counters of Nsight Systems",
    "memory": "recorded without `--cuda-memory-usage=true`",
    "kernels": "the recording contains no kernels (`nsys profile --trace=cuda` records them)",
    "launches": "the recording contains no CUDA calls (`nsys profile --trace=cuda` records them)",
    "ops": "the recording contains no PyTorch operators (`nsys profile --pytorch=autograd-nvtx`"
    " records them)",
    "ranges": "the recording contains no NVTX ranges",
    "collectives": "none of the kernels communicates",
    "steps": "computed by the analyzer",
}
