"""Our own run folder: raw streams to tables. See readers/run.py."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.clocks import Clock, host_clock
from perfscope.traces.intervals import Ints
from perfscope.traces.masked_trace import masked_manifest, masked_tables
from perfscope.traces.run import device_tables, events
from perfscope.traces.run.cells import LARGEST_NS, checks_of, holds, is_time, is_wall_time, is_whole
from perfscope.traces.run.growing import GrowingRun
from perfscope.traces.run.kernel_windows import OF_WINDOWS, window_tables
from perfscope.traces.run.nvtx_rows import nvtx_columns
from perfscope.traces.run.readings import Readings, whole_numbers
from perfscope.traces.run.stored import StoredRun
from perfscope.traces.schema import TABLES
from perfscope.traces.secret_masking import mask_values
from perfscope.traces.span import span
from perfscope.traces.trace import Trace, framed, without_nvtx_values
from perfscope.traces.trace_kind import TraceKind

CATEGORIES = {
    events.FORWARD: "forward",
    events.BACKWARD: "backward",
    events.OPTIMIZER: "optimizer",
    events.SCALER: "scaler",
    events.CHECKPOINT: "checkpoint",
    events.GC: "gc",
    events.SYNC: "sync",
    events.STEP: "step",
}
NAME_VALUE = {
    events.FORWARD: "v0",
    events.OPTIMIZER: "v0",
    events.SYNC: "v0",
    events.CHECKPOINT: "v1",
}
OBJECT_VALUE = {events.FORWARD: "v0", events.OPTIMIZER: "v0", events.GC: "v0"}
NUMBER_VALUE = {events.FORWARD: "v1", events.CHECKPOINT: "v0", events.GC: "v1", events.SYNC: "v1"}
NAMES = "probe.names"
SOURCES = {
    "stacks": "stacks",
    "thread_states": "thread_states",
    "counters": "host",
    "device_counters": "nvml",
    "device_processes": "nvml",
    "device_gaps": "nvml",
    "network_counters": "network",
}
"""Which source fills a table; the others are the probe's."""
ALL = frozenset(TABLES)
Run = StoredRun | GrowingRun


def read_run(path: Path) -> Trace:
    """The Trace of a run folder, finished or growing. Raises UnreadableRun."""
    return trace_of(StoredRun.open(path))


def trace_of(run: Run, wanted: Collection[str] = ALL) -> Trace:
    """The Trace of what was read of a run: all tables that it has, or only the wanted ones (what is
    looked at often).
    """
    clock = clock_of(run)
    records = probe_records(run, clock)
    told = {
        (process, row["code"]): row for process, row in run.rows(NAMES) if is_whole(row.get("code"))
    }
    names = {key: name_in(row) for key, row in told.items()}
    make: dict[str, Callable[[], pd.DataFrame | None]] = {
        "processes": lambda: listed(run, "processes"),
        "loader": lambda: loader(records, told),
        "fetches": lambda: fetches(records),
        "ranges": lambda: ranges(records, names, injected(run, clock)),
        "copies": lambda: copies(records),
        "stacks": lambda: sampled(run, clock, "stacks", ("probe.stacks", "pyspy.stacks")),
        "thread_states": lambda: sampled(run, clock, "thread_states", ("host.states",)),
        "counters": lambda: counters(run, clock),
        "counting_blocks": lambda: sampled(run, clock, "counting_blocks", ("probe.blocks",)),
        **device_tables.makers(run, clock),
    }
    of_windows, unreadable = window_tables(run, clock, wanted)
    made = {name: one() for name, one in make.items() if name in wanted}
    probed = made.get("ranges")
    if "ranges" in of_windows and probed is not None:
        of_windows["ranges"] = both(probed, of_windows["ranges"])
    made |= of_windows
    tables = {name: table for name, table in made.items() if table is not None and len(table)}
    absent = {name: why(run, name) for name in TABLES if name not in tables}
    return Trace(
        masked_tables(tables),
        mask_values(absent),
        [masked_manifest(run.manifest)],
        kind=TraceKind.RECORDING,
        span_ns=span(tables.values()),
        torn=run.torn + unreadable,
        clock_residual_ns=clock.residual_ns,
        path=run.path,
    )


def both(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows of two tables `ranges`, in order of time."""
    rows = pd.concat(
        [
            frame.astype({"name": object, "category": object, "label": object})
            for frame in (one, other)
        ]
    )
    rows = rows.sort_values("ts", kind="stable", ignore_index=True)
    return framed("ranges", {str(name): rows[name] for name in rows})


def why(run: Run, table: str) -> str:
    """Why a table is not there, from what the sources said of themselves."""
    if table in OF_WINDOWS and run.manifest.depth != "kernels":
        asked = [one.reason for one in run.manifest.sources if one.name == "kernels" and one.reason]
        return (
            asked[0] if asked else "recorded without a window of torch's profiler (--depth kernels)"
        )
    source = SOURCES.get(table, "probe")
    for one in run.manifest.sources:
        if one.name == source and one.reason:
            return one.reason
    if table in ("loader", "fetches"):
        return "no PyTorch data loader was seen"
    if table == "steps":
        return "derived by the analyzer"
    return "nothing of the kind was seen" if source == "probe" else f"{source} was not recorded"


def clock_of(run: Run) -> Clock:
    pairs: dict[int, list[tuple[int, int]]] = {}
    for process, row in run.rows("clock"):
        if is_time(row.get("mono")) and is_wall_time(row.get("real")):
            pairs.setdefault(process, []).append((row["mono"], row["real"]))
    agent = pairs.pop(-1, [])
    return host_clock(run.manifest.zero_monotonic_ns, agent, pairs)


def injected(run: Run, clock: Clock) -> tuple[pd.DataFrame, dict[tuple[int, int], str]]:
    """What the NVTX injection library recorded, and the names of its codes."""
    rows = ((process, row) for process, row in run.rows("nvtx.names") if is_whole(row.get("code")))
    names = {(process, row["code"]): name_in(row) for process, row in rows}
    return probe_records(run, clock, "nvtx.records"), names


def is_plausible(ns: Ints) -> NDArray[np.bool_]:
    """Which of these are times or durations that a recording can hold?"""
    return (ns > -LARGEST_NS) & (ns < LARGEST_NS)


def name_in(row: dict[str, Any]) -> str:
    """Return the name in a row of names."""
    name = row.get("name")
    return name if isinstance(name, str) else "None"


def probe_records(run: Run, clock: Clock, source: str = "probe.records") -> pd.DataFrame:
    """All records of a source: `process` and the columns of events.COLUMNS, `ts` in job time."""
    process: list[Ints] = []
    columns: dict[str, list[Ints]] = {name: [] for name in events.COLUMNS}
    for code, table in run.columns(source, events.COLUMNS):
        values = {name: table.column(name).to_numpy() for name in events.COLUMNS}
        good = is_plausible(values["ts"]) & is_plausible(values["dur"])
        run.torn_rows(int((~good).sum()))
        process.append(np.full(int(good.sum()), code, np.int64))
        for name, column in values.items():
            kept = column[good]
            columns[name].append(clock.job_ns(code, kept) if name == "ts" else kept)
    nothing = [np.empty(0, np.int64)]
    return pd.DataFrame(
        {
            name: np.concatenate(each or nothing)
            for name, each in {"process": process, **columns}.items()
        }
    )


def of_kinds(records: pd.DataFrame, kinds: Iterable[int]) -> pd.DataFrame:
    return (
        records[records["kind"].isin(list(kinds))]
        .sort_values("ts", kind="stable")
        .reset_index(drop=True)
    )


def named_values(rows: pd.DataFrame, kind: int) -> dict[str, Any]:
    """The kind's values under their names (events.VALUES), with where and when."""
    shared = {name: rows[name] for name in ("process", "tid", "ts", "dur")}
    return shared | {name: rows[f"v{at}"] for at, name in enumerate(events.VALUES[kind])}


def loader(records: pd.DataFrame, told: dict[tuple[int, int], dict[str, Any]]) -> pd.DataFrame:
    rows = of_kinds(records, (events.NEXT, events.LOADER_START))
    columns = named_values(rows, events.NEXT)
    ahead = {
        key: row["prefetch_factor"]
        for key, row in told.items()
        if is_whole(row.get("prefetch_factor"))
    }
    passes = zip(rows["process"].tolist(), columns["iterator"].tolist(), strict=True)
    columns["prefetch"] = np.array([ahead.get(one, -1) for one in passes], np.int64)
    columns["kind"] = np.where(rows["kind"] == events.NEXT, "next", "start")
    return framed("loader", columns)


def fetches(records: pd.DataFrame) -> pd.DataFrame:
    return framed("fetches", named_values(of_kinds(records, (events.FETCH,)), events.FETCH))


def copies(records: pd.DataFrame) -> pd.DataFrame:
    rows = of_kinds(records, (events.COPY,))
    columns = named_values(rows, events.COPY)
    columns["direction"] = np.where(rows["v1"] == 1, "h2d", "d2h")
    unknown = np.full(len(rows), -1, np.int64)
    return framed(
        "copies", columns | dict.fromkeys(("device", "stream", "correlation", "launch"), unknown)
    )


def ranges(
    records: pd.DataFrame,
    names: dict[tuple[int, int], str],
    injected: tuple[pd.DataFrame, dict[tuple[int, int], str]],
) -> pd.DataFrame:
    """Table `ranges`; `injected`: NVTX records of the injection library and the names of their
    codes.
    """
    rows = of_kinds(records, CATEGORIES)
    kind = rows["kind"].to_numpy()
    code = picked(rows, kind, NAME_VALUE)
    pairs = (
        pd.MultiIndex.from_arrays([rows["process"], code])
        if len(rows)
        else pd.MultiIndex.from_tuples([], names=[0, 1])
    )
    known = pd.Series(names, dtype=object)
    known.index = pd.MultiIndex.from_tuples(list(names), names=[0, 1]) if names else pairs[:0]
    category = pd.Series(kind).map(CATEGORIES)
    name = (
        pd.Series(known.reindex(pairs).to_numpy(), dtype=object)
        if len(rows)
        else pd.Series(dtype=object)
    )
    columns = {
        **{column: rows[column] for column in ("process", "tid", "ts", "dur")},
        "category": category,
        "name": name.where(name.notna(), category),
        "object": picked(rows, kind, OBJECT_VALUE),
        "value": picked(rows, kind, NUMBER_VALUE),
        **without_nvtx_values(len(rows)),
    }
    said = [nvtx_columns(of_kinds(records, (events.NVTX,)), names), nvtx_columns(*injected)]
    whole = {
        key: np.concatenate([np.asarray(columns[key]), *(one[key] for one in said)])
        for key in columns
    }
    order = np.argsort(whole["ts"], kind="stable")
    return framed("ranges", {key: values[order] for key, values in whole.items()})


def picked(rows: pd.DataFrame, kind: Any, wanted: dict[int, str]) -> pd.Series:
    """One value a row, from the column that its kind keeps it in; -1 where the kind has none."""
    value = np.full(len(rows), -1, np.int64)
    for its_kind, column in wanted.items():
        here = kind == its_kind
        value[here] = rows[column].to_numpy()[here]
    return pd.Series(value)


def listed(run: Run, source: str) -> pd.DataFrame | None:
    """The `processes` table: the last row said of each code."""
    rows = {row["process"]: row for _, row in run.rows(source) if is_whole(row.get("process"))}
    checks = checks_of(TABLES["processes"])
    whole = [row for row in rows.values() if holds(row, checks)]
    return (
        framed("processes", {name: [row[name] for row in whole] for name, _ in checks})
        if whole
        else None
    )


def sampled(run: Run, clock: Clock, name: str, sources: tuple[str, ...]) -> pd.DataFrame | None:
    """A table of samples from JSON lines that carry its columns but `process`."""
    checks = checks_of([column for column in TABLES[name] if column.name != "process"])
    columns: dict[str, list[Any]] = {one: [] for one in ("process", *(one for one, _ in checks))}
    for source in sources:
        for process, row in run.rows(source):
            if holds(row, checks):
                columns["process"].append(process)
                for one, _ in checks:
                    columns[one].append(row[one])
    if not columns["ts"]:
        return None
    return converted(framed(name, columns), clock)


def converted(frame: pd.DataFrame, clock: Clock) -> pd.DataFrame:
    """Raw readings of each process's clock to job time, in time order."""
    process, raw = frame["process"].to_numpy(np.int64), frame["ts"].to_numpy(np.int64)
    frame["ts"] = clock.job_ns_of(process, raw)
    return frame.sort_values("ts", kind="stable").reset_index(drop=True)


def counters(run: Run, clock: Clock) -> pd.DataFrame | None:
    """Every number of every reading as a row of its own. The agent takes the time, so no offset of
    the process applies.
    """
    readings = Readings()
    for process, row in run.rows("host.counters"):
        ts, tid = row.get("ts"), row.get("tid", -1)
        if is_time(ts) and is_whole(tid):
            readings.add(
                (process, tid), ts, ((name, row[name]) for name in row if name not in ("ts", "tid"))
            )
    if not readings:
        return None
    keys = {"process": whole_numbers(readings.first), "tid": whole_numbers(readings.second)}
    frame = framed("counters", {**keys, **readings.columns()})
    frame["ts"] = clock.job_ns(-1, frame["ts"].to_numpy(np.int64))
    return frame.sort_values("ts", kind="stable").reset_index(drop=True)
