"""What an export of Nsight Systems holds, as the tables of a Trace. See readers/nsys.py."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.masked_trace import masked_manifest, masked_tables
from perfscope.traces.nsys.database import Database, Rows, opened
from perfscope.traces.nsys.device_tables import (
    OnDevice,
    collective_table,
    copy_rows,
    copy_table,
    kernel_rows,
    kernel_table,
    launched,
    memory_table,
)
from perfscope.traces.nsys.host_tables import (
    launch_table,
    loader_table,
    other_ranges,
    runtime_calls,
)
from perfscope.traces.nsys.identity import identified
from perfscope.traces.nsys.nvtx import Nvtx, around, nvtx_events, op_table, range_rows
from perfscope.traces.nsys.payloads import said_by_nccl
from perfscope.traces.outliers import FAR_AWAY, lonely, tables_within_reach
from perfscope.traces.readers.nsys import MAGIC, REPORTS
from perfscope.traces.run.manifest import Manifest, SourceStatus
from perfscope.traces.schema import TABLES
from perfscope.traces.span import on_job_time, span
from perfscope.traces.trace import Trace

OF_AN_EXPORT = (
    "StringIds",
    "NVTX_EVENTS",
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "OSRT_API",
)
Tables = dict[str, pd.DataFrame]


def read_export(path: Path) -> Trace:
    """The Trace of one export: every process in it that used a device is a rank. Raises
    UnreadableRun.
    """
    refuse_what_is_no_export(path)
    with opened(path) as database:
        if not any(table in database.tables for table in OF_AN_EXPORT):
            raise UnreadableRun(
                f"{path}: is an SQLite file, but no export of Nsight Systems: it has none of its"
                " tables"
            )
        parts = Parts(database, path)
        tables = {
            name: frame
            for name, frame in parts.tables().items()
            if frame is not None and len(frame)
        }
        if not any("ts" in frame for frame in tables.values()):
            raise UnreadableRun(
                f"{path}: the export holds no event; was anything recorded (`nsys profile"
                " --trace=cuda,nvtx`)?"
            )
        tables, parts.far_away = tables_within_reach(tables)
        zero_ns = on_job_time(tables)
        manifest = manifest_of(database, parts, zero_ns)
    absent = {name: why_absent(name) for name in TABLES if name not in tables}
    whole = span(tables.values())
    return Trace(
        masked_tables(tables), absent, [masked_manifest(manifest)], span_ns=whole, path=path
    )


def refuse_what_is_no_export(path: Path) -> None:
    """Raises UnreadableRun for reports, for what is no SQLite file, and for what cannot be read."""
    if path.name.endswith(REPORTS):
        raise UnreadableRun(
            f"{path}: is a report in Nsight's own format; export it: nsys export --type sqlite"
            f" {path.name}"
        )
    try:
        with open(path, "rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise UnreadableRun(f"{path}: {error.strerror}") from error
    if head != MAGIC:
        what = "is empty" if not head else "is no SQLite file"
        raise UnreadableRun(
            f"{path}: {what}; export the report again: nsys export --type sqlite REPORT.nsys-rep"
        )


@dataclass
class Parts:
    """What an export holds, read and put into tables; `notes` says what is missing of it."""

    database: Database
    path: Path

    def __post_init__(self) -> None:
        self.calls = runtime_calls(self.database)
        self.kernels, self.copies = kernel_rows(self.database), copy_rows(self.database)
        events = nvtx_events(self.database)
        rows = (self.calls, self.kernels, self.copies, events)
        self.nvtx = Nvtx(self.database, events, last_instant(rows))
        on_host = [self.calls, events, self.database.events("OSRT_API", ("globalTid",))]
        self.who = identified([self.kernels, self.copies], on_host, self.database, self.path)
        self.left_out, self.far_away = sum(one.left_out for one in rows), 0

    def tables(self) -> dict[str, pd.DataFrame | None]:
        """Every table, None for those that have no rows."""
        who, ops = self.who, self.nvtx.ops
        said = said_by_nccl(self.calls, self.nvtx.ranges, who)
        op_of_call, op_rows = around(self.calls, ops), op_table(ops, who)
        launches = launch_table(self.calls, who, op_of_call)
        kernels, copies = self.placed(self.kernels), self.placed(self.copies)
        by_graph = np.append((launches["kind"] == "graph").to_numpy(bool), False)[kernels.launch]
        collectives = collective_table(kernels, op_rows, op_of_call, said)
        memory, left_out = memory_table(self.database, who)
        ranges, more_left_out = other_ranges(self.database, who)
        self.left_out += left_out + more_left_out
        used = [(one.process, one.device) for one in (kernels, copies)]
        return {
            "processes": who.process_table(),
            "ranks": who.rank_table(collectives is not None),
            "threads": who.thread_table(self.database),
            "devices": who.device_table(self.database, used),
            "ops": op_rows,
            "launches": launches,
            "kernels": kernel_table(kernels, by_graph),
            "copies": copy_table(copies, self.database),
            "collectives": collectives,
            "ranges": joined([range_rows(self.nvtx.ranges, who), *ranges]),
            "loader": loader_table(self.nvtx.ranges, who),
            "memory": memory,
        }

    def placed(self, rows: Rows) -> OnDevice:
        """Rows of a device with their launches; a row that names no process has that of its
        launch.
        """
        launch = launched(rows, self.calls)
        own = rows.numbers("globalPid")
        of_launch = np.append(self.calls.numbers("globalTid"), -1)[launch]
        process = self.who.processes(np.where(own == -1, of_launch, own))
        return OnDevice(rows, process, self.who.devices(process, rows.numbers("deviceId")), launch)

    def notes(self) -> list[str]:
        """What is missing or not as it seems."""
        notes = []
        if self.left_out:
            notes.append(f"{self.left_out} events left out: they have impossible times")
        if self.far_away:
            notes.append(f"{self.far_away} events left out: they {FAR_AWAY}")
        if self.nvtx.open:
            notes.append(
                f"{self.nvtx.open} NVTX ranges were open when the recording ended: they end there"
            )
        if self.database.has("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", "start") and len(
            self.database.events("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", ())
        ):
            notes.append(
                "CUDA graphs were recorded whole: their kernels are not told apart, nor"
                " communication in them (`nsys profile --cuda-graph-trace=node` tells)"
            )
        return notes


def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Several tables `ranges` as one, in the order of time."""
    some = [frame for frame in frames if len(frame)]
    if len(some) < 2:
        return some[0] if some else frames[0]
    names = ("category", "name")
    whole = {
        name: pd.api.types.union_categoricals([frame[name] for frame in some]) for name in names
    }
    together = pd.concat([frame.drop(columns=list(names)) for frame in some], ignore_index=True)
    for name in names:
        together[name] = whole[name]
    return together[list(some[0].columns)].sort_values("ts", kind="stable").reset_index(drop=True)


def last_instant(rows: tuple[Rows, ...]) -> int:
    """The end of the last event. (The recording says its end itself, but an excerpt says that of
    the whole.)
    """
    far = lonely([one.numbers("start") for one in rows])
    near = (
        rows
        if far is None
        else [one.where(~far.holds(one.numbers("start"))) for one in rows if len(one)]
    )
    last = [
        int((one.numbers("start") + np.maximum(one.numbers("dur"), 0)).max())
        for one in near
        if len(one)
    ]
    return max(last, default=0)


def manifest_of(database: Database, parts: Parts, zero_ns: int) -> Manifest:
    """Who was recorded, as far as an export tells. Of the command line only the program: the rest
    may hold secrets.
    """
    notes = parts.notes()
    program = [value for _, value in database.settings("META_DATA_CAPTURE", "PROCESS_0:COMMAND")][
        :1
    ]
    return Manifest(
        job_id="",
        host=parts.who.host,
        boot_id="",
        zero_monotonic_ns=0,
        zero_realtime_ns=realtime_of(database, zero_ns),
        tool_version="",
        command=program,
        target_pid=0,
        depth="trace",
        sources=[SourceStatus("nsys", "partial" if notes else "ok", "; ".join(notes) or None)],
        dropped=notes,
        finished=True,
    )


def realtime_of(database: Database, at_ns: int) -> int:
    """An instant of the recording on the wall clock; 0 where the export does not say when it
    began.
    """
    began = database.rows("TARGET_INFO_SESSION_START_TIME", "utcEpochNs", "systemClockNs")
    details = database.rows("ANALYSIS_DETAILS", "startTime")
    if not began or not isinstance(began[0][0], int):
        return 0
    first = next(
        (one for one in (began[0][1], details[0][0] if details else None) if isinstance(one, int)),
        0,
    )
    found = int(began[0][0]) + at_ns - first
    return found if 0 < found < 1 << 61 else 0


def why_absent(name: str) -> str:
    return WHY.get(name, "the recording holds none")


WHY = {
    "loader": "the recording holds no wait for PyTorch's data loader",
    "fetches": "Nsight Systems does not see into the loader's workers",
    "stacks": "call stacks of Nsight Systems are not read",
    "thread_states": "thread states of Nsight Systems are not read",
    "counters": "counters of Nsight Systems are not read",
    "memory": "recorded without `--cuda-memory-usage=true`",
    "kernels": "the recording holds no kernel (`nsys profile --trace=cuda`)",
    "launches": "the recording holds no CUDA call (`nsys profile --trace=cuda`)",
    "ops": "the recording holds no operator of PyTorch (`nsys profile --pytorch=autograd-nvtx`)",
    "ranges": "the recording holds no NVTX range",
    "collectives": "no kernel communicates",
    "steps": "derived by the analyzer",
}
