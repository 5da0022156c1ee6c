"""What was read of a file to the tables of a Trace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import groups
from perfscope.traces.kineto.assemble import Group, assembled, joined, totals
from perfscope.traces.kineto.columns import Coded, told
from perfscope.traces.kineto.device_tables import (
    collective_table,
    copy_table,
    kernel_table,
    separated,
)
from perfscope.traces.kineto.file import Columns
from perfscope.traces.kineto.host_tables import (
    is_loader,
    is_step,
    launch_table,
    loader_table,
    memory_table,
    nested,
    op_table,
    range_table,
)
from perfscope.traces.kineto.identity import Identity, identified, listed_devices
from perfscope.traces.kineto.outliers import within_reach
from perfscope.traces.masked_trace import masked_manifest, masked_tables
from perfscope.traces.outliers import FAR_AWAY
from perfscope.traces.reading_options import READABLE
from perfscope.traces.run.manifest import Manifest, SourceStatus
from perfscope.traces.schema import TABLES
from perfscope.traces.span import on_job_time, span
from perfscope.traces.trace import Trace

# A recording does not begin later than 2043.
LATEST_NS = 1 << 61


def trace_of(path: Path, columns: Columns) -> Trace:
    """The tables of what was read."""
    parts = columns.parts
    left_out = totals(part.left_out for part in parts)
    meta = [row for part in parts for row in part.meta]
    rows = {name: assembled(parts, name) for name in (*BY_HOST, groups.KERNELS, groups.COPIES)}
    lasting = [
        group.numbers("dur") for name, group in rows.items() if name != groups.MEMORY and len(group)
    ]
    if lasting and not any(dur.any() for dur in lasting):
        raise UnreadableRun(
            f"{path}: no durations: none of its events says how long it took, so nothing can be"
            " said"
        )
    rows, far_away = within_reach(rows)
    if far_away:
        left_out[FAR_AWAY] = far_away
    tables = tables_of(with_marks(rows), columns.around, meta, path)
    timed = [frame for frame in tables.values() if "ts" in frame]
    if not timed or not any(len(frame) for frame in timed):
        raise UnreadableRun(f"{path}: holds no event of the PyTorch profiler; {READABLE}")
    base_ns = columns.around.get("baseTimeNanoseconds")
    zero_ns = on_job_time(tables)
    zero_ns += base_ns if isinstance(base_ns, int) and abs(base_ns) < LATEST_NS else 0
    manifest = manifest_of(columns, left_out, zero_ns if abs(zero_ns) < LATEST_NS else 0)
    absent = {name: why_absent(name) for name in TABLES if name not in tables}
    whole = span(tables.values())
    return Trace(
        masked_tables(tables), absent, [masked_manifest(manifest)], span_ns=whole, path=path
    )


def tables_of(
    rows: dict[str, Group], around: dict[str, Any], meta: list[Any], path: Path
) -> dict[str, pd.DataFrame]:
    """Every table that has rows."""
    kernels, copies = separated(rows[groups.KERNELS], rows[groups.COPIES])
    launches = rows[groups.LAUNCHES]
    launches = launches.where(~np.isin(launches.numbers("pid"), np.unique(kernels.numbers("pid"))))
    who = identified(rows[groups.OPS], launches, rows[groups.RANGES], around, meta, path)
    parent, op = nested(who.processes(rows[groups.OPS]), rows[groups.OPS], launches)
    made = {
        "processes": who.process_table(),
        "ranks": who.rank_table(),
        "threads": who.thread_table(),
        "devices": who.device_table(kernels, copies),
        "ops": op_table(rows[groups.OPS], who.processes(rows[groups.OPS]), parent),
        "launches": launch_table(launches, who.processes(launches), op),
        "memory": memory_table(rows[groups.MEMORY], who.processes(rows[groups.MEMORY])),
        **annotated(rows, who),
        **started(kernels, copies, launches, who),
    }
    return {name: frame for name, frame in made.items() if frame is not None and len(frame)}


BY_HOST = (groups.OPS, groups.LAUNCHES, groups.RANGES, groups.MEMORY)


def with_marks(rows: dict[str, Group]) -> dict[str, Group]:
    """Marks of steps and waits for the loader among the annotations, also of versions that had them
    among the operators.
    """
    ops = rows[groups.OPS]
    marks = is_step(ops.names("name")) | is_loader(ops.names("name"))
    if not marks.any():
        return rows
    moved = ops.where(marks)
    moved.columns["cat"] = Coded(np.zeros(len(moved), np.int32), ["user_annotation"])
    kept = {name: moved.columns[name] for name in ("ts", "dur", "pid", "tid", "name", "cat")}
    return {
        **rows,
        groups.OPS: ops.where(~marks),
        groups.RANGES: joined([rows[groups.RANGES], Group(kept)]),
    }


def annotated(rows: dict[str, Group], who: Identity) -> dict[str, pd.DataFrame | None]:
    """Ranges, and of these the waits for the loader."""
    ranges = rows[groups.RANGES]
    loads = is_loader(ranges.names("name"))
    waits, others = ranges.where(loads), ranges.where(~loads)
    return {
        "ranges": range_table(others, who.processes(others)),
        "loader": loader_table(waits, who.processes(waits)),
    }


def started(
    kernels: Group, copies: Group, launches: Group, who: Identity
) -> dict[str, pd.DataFrame | None]:
    """What ran on the devices, each row with the launch that started it."""
    found = Launched(launches)
    by_kernel, by_copy = (
        found.rows(kernels.numbers("correlation")),
        found.rows(copies.numbers("correlation")),
    )
    process = who.processes(launches)
    of_kernel, of_copy = who.of_launch(by_kernel, process), who.of_launch(by_copy, process)
    kinds = launch_table(launches, process, process)["kind"] == "graph"
    graph = np.append(kinds.to_numpy(bool), False)[by_kernel]
    return {
        "kernels": kernel_table(kernels, of_kernel, by_kernel, graph),
        "copies": copy_table(copies, of_copy, by_copy),
        "collectives": collective_table(kernels, of_kernel),
    }


@dataclass
class Launched:
    """Finds launches by correlation id."""

    launches: Group

    def __post_init__(self) -> None:
        ids = self.launches.numbers("correlation")
        self.order = np.argsort(ids, kind="stable")
        self.ids = ids[self.order]

    def rows(self, wanted: Ints) -> Ints:
        """The first launch with each id, -1 where there is none."""
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int64)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        found: Ints = np.where((self.ids[at] == wanted) & (wanted > 0), self.order[at], -1)
        return found


def manifest_of(columns: Columns, left_out: dict[str, int], zero_ns: int) -> Manifest:
    """Who was recorded, as far as a foreign trace tells."""
    missing = [f"{count} events left out: they {why}" for why, count in left_out.items()]
    if columns.torn:
        missing.insert(0, f"the file is cut off ({columns.torn}): what came after is missing")
    status = SourceStatus("kineto", "partial" if missing else "ok", "; ".join(missing) or None)
    host = columns.around.get("host_name")
    return Manifest(
        job_id=told(columns.around.get("trace_id")) or "",
        host=host if isinstance(host, str) else "",
        boot_id="",
        zero_monotonic_ns=0,
        zero_realtime_ns=zero_ns,
        tool_version="",
        command=[],
        target_pid=0,
        depth="trace",
        devices=listed_devices(columns.around),
        sources=[status],
        dropped=missing,
        finished=True,
    )


def why_absent(name: str) -> str:
    return WHY.get(name, "the trace holds none")


WHY = {
    "loader": "the trace holds no wait for PyTorch's data loader",
    "fetches": "a profiler trace does not see into the loader's workers",
    "stacks": "a profiler trace has no stack samples",
    "thread_states": "a profiler trace does not say what its threads wait for",
    "counters": "a profiler trace has no counters of the host",
    "memory": "recorded without `profile_memory=True`",
    "kernels": "the trace holds no kernel of an accelerator",
    "steps": "derived by the analyzer",
}
