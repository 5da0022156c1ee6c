"""Builds the Trace of a run folder from its streams."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.clocks import Clock, host_clock
from perfscope.traces.intervals import Ints
from perfscope.traces.privacy.masked_trace import masked_manifest, masked_tables
from perfscope.traces.privacy.secret_masking import mask_values
from perfscope.traces.run_folder import events
from perfscope.traces.run_folder.cell_types import (
    LARGEST_NS,
    checks_of,
    has_valid_cells,
    is_time,
    is_wall_time,
    is_whole,
)
from perfscope.traces.run_folder.device_tables import HostTables
from perfscope.traces.run_folder.engine_tables import EngineTables
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.kernel_windows import WINDOW_TABLES, window_tables
from perfscope.traces.run_folder.nvtx_rows import CodeNames, names_of_codes, nvtx_columns
from perfscope.traces.run_folder.packed_numbers import Readings, int64_array
from perfscope.traces.run_folder.request_tables import request_table, token_gap_table
from perfscope.traces.run_folder.stored import StoredRun
from perfscope.traces.schema import TABLES
from perfscope.traces.shown_text import shown_values
from perfscope.traces.span import span
from perfscope.traces.trace import Trace, make_table
from perfscope.traces.trace_kind import TraceKind

CATEGORIES: Final = {
    events.FORWARD: "forward",
    events.BACKWARD: "backward",
    events.OPTIMIZER: "optimizer",
    events.SCALER: "scaler",
    events.CHECKPOINT: "checkpoint",
    events.GC: "gc",
    events.SYNC: "sync",
    events.STEP: "step",
    events.COMPILATION: "compilation",
}
"""Kind of record -> category in `ranges`."""
FSYNC: Final = "os.fsync"
LOG_CATEGORY: Final = "fsync"
# Kind of record -> the value that holds the code of its name, its `object`, its `value` and the
# code of its label.
NAME_VALUE: Final = {
    events.FORWARD: "v0",
    events.OPTIMIZER: "v0",
    events.SYNC: "v0",
    events.CHECKPOINT: "v1",
    events.GC: "v2",
    events.COMPILATION: "v0",
}
OBJECT_VALUE: Final = {
    events.FORWARD: "v0",
    events.OPTIMIZER: "v0",
    events.GC: "v0",
    events.COMPILATION: "v1",
}
NUMBER_VALUE: Final = {
    events.FORWARD: "v1",
    events.CHECKPOINT: "v0",
    events.GC: "v1",
    events.SYNC: "v1",
    events.STEP: "v0",
    events.COMPILATION: "v2",
}
LABEL_VALUE: Final = {events.COMPILATION: "v3"}
ITERATOR_COLUMNS: Final = {
    "prefetch": "prefetch_factor",
    "persistent": "persistent",
    "iterable": "iterable",
}
"""Column of `loader` -> what the probe noted of the iterator."""
PADDED_SIDES: Final = {0: "none", 1: "right", 2: "left"}
TOKENS_VALUE: Final = {events.STEP: "v1"}
SOURCE_OF_TABLE: Final = {
    "source_lines": "source-lines",
    "stacks": "stacks",
    "outside_stacks": "stacks",
    "native_samples": "native_code",
    "thread_states": "thread_states",
    "waits": "waits",
    "flight_records": "flight-recorder",
    "counters": "host",
    "device_counters": "nvml",
    "device_processes": "nvml",
    "device_gaps": "nvml",
    "network_counters": "network",
    "engine_servers": "engine-metrics",
    "engine_settings": "engine-metrics",
    "engine_metrics": "engine-metrics",
}
"""The source that fills a table; `probe` fills the others."""
ALL_TABLES: Final = frozenset(TABLES)
COMMON_COLUMNS: Final = ("process", "tid", "ts", "dur")
Run = StoredRun | GrowingRun
NameRows = dict[tuple[int, int], dict[str, Any]]
"""(process code, code) -> row of the stream of names."""


def read_run(path: Path) -> Trace:
    """Return the Trace of a run folder, finished or still being written. Raises UnreadableRun."""
    return trace_of(StoredRun.open(path))


def trace_of(run: Run, wanted: Collection[str] = ALL_TABLES) -> Trace:
    """Return the Trace of an opened run, with all its tables or only the wanted ones."""
    clock = run_clock(run)
    streams = RunStreams(run, clock)
    built = {name: build() for name, build in streams.builders().items() if name in wanted}
    from_windows, unreadable = window_tables(run, clock, wanted)
    for name in ("ranges", "copies"):
        of_probe = built.get(name)
        if name in from_windows and of_probe is not None:
            from_windows[name] = joined_in_time(name, of_probe, from_windows[name])
    built |= from_windows
    tables = {name: table for name, table in built.items() if table is not None and len(table)}
    absent = {name: why_not_recorded(run, name) for name in TABLES if name not in tables}
    return Trace(
        masked_tables(tables),
        shown_values(mask_values(absent)),
        [masked_manifest(run.manifest)],
        kind=TraceKind.RECORDING,
        span_ns=span(tables.values()),
        damaged_records=run.damaged_records + unreadable,
        clock_residual_ns=clock.residual_ns,
        path=run.path,
    )


def joined_in_time(name: str, first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of two tables `name`, in the order of time."""
    texts = dict.fromkeys(first.select_dtypes("category"), object)
    rows = pd.concat([first.astype(texts), second.astype(texts)])
    rows = rows.sort_values("ts", kind="stable", ignore_index=True)
    return make_table(name, {str(column): rows[column] for column in rows})


def why_not_recorded(run: Run, table: str) -> str:
    """Return why a table is absent, from the reasons that the sources gave."""
    reasons = {source.name: source.reason for source in run.manifest.sources if source.reason}
    if table in WINDOW_TABLES and run.manifest.depth != "kernels":
        return reasons.get(
            "kernels", "recorded without profiling windows (`--depth kernels` takes them)"
        )
    source = SOURCE_OF_TABLE.get(table, "probe")
    if source in reasons:
        return reasons[source]
    if table.startswith("engine_"):
        return "no metrics of an inference engine were read"
    if table in ("loader", "fetches"):
        return "the process used no PyTorch data loader"
    if table == "padding":
        return "no batch of token ids was seen"
    if table in ("requests", "token_gaps"):
        return "no requests were seen (`perfscope.request()` reports them)"
    if table == "steps":
        return "computed by the analyzer"
    if table == "waits":
        return "the job moved all the time"
    return "the probe recorded none" if source == "probe" else f"{source} was not recorded"


def run_clock(run: Run) -> Clock:
    """Return the clock of a run, from the readings that every process writes."""
    readings: dict[int, list[tuple[int, int]]] = {}
    for process, row in run.rows("clock"):
        if is_time(row.get("mono")) and is_wall_time(row.get("real")):
            readings.setdefault(process, []).append((row["mono"], row["real"]))
    agent_readings = readings.pop(-1, [])
    return host_clock(run.manifest.zero_monotonic_ns, agent_readings, readings)


class RunStreams:
    """Builds the tables of a run from its streams."""

    def __init__(self, run: Run, clock: Clock) -> None:
        self.run, self.clock = run, clock
        self.records = self.read_records("probe.records")
        self.name_rows = self.read_name_rows("probe.names")

    def builders(self) -> dict[str, Callable[[], pd.DataFrame | None]]:
        """Return for each table the function that builds it, which may return None."""
        return {
            "processes": self.processes,
            "loader": self.loader,
            "fetches": self.fetches,
            "padding": self.padding,
            "ranges": self.ranges,
            "copies": self.copies,
            "device_times": self.device_times,
            "requests": lambda: request_table(self.records),
            "token_gaps": lambda: token_gap_table(self.records),
            "stacks": self.stacks,
            "outside_stacks": lambda: self.samples("outside_stacks", "pyspy.stacks"),
            "native_samples": lambda: self.samples("native_samples", "host.native"),
            "thread_states": lambda: self.samples("thread_states", "host.states"),
            "waits": lambda: self.samples("waits", "host.waits"),
            "flight_records": lambda: self.samples("flight_records", "flight.records"),
            "source_lines": self.source_lines,
            "counters": self.counters,
            "counting_blocks": lambda: self.samples("counting_blocks", "probe.blocks"),
            **HostTables(self.run, self.clock).builders(),
            **EngineTables(self.run, self.clock).builders(),
        }

    def read_name_rows(self, stream: str) -> NameRows:
        """Return the rows of a stream of names that have a code."""
        return {
            (process, row["code"]): row
            for process, row in self.run.rows(stream)
            if is_whole(row.get("code"))
        }

    def read_records(self, stream: str) -> pd.DataFrame:
        """Return all records of a stream: `process` and the columns of events.COLUMNS, with `ts` in
        job time.
        """
        process_parts: list[Ints] = []
        parts: dict[str, list[Ints]] = {name: [] for name in events.COLUMNS}
        for process, table in self.run.columns(stream, events.COLUMNS):
            columns = {name: table.column(name).to_numpy() for name in events.COLUMNS}
            possible = is_possible_ns(columns["ts"]) & is_possible_ns(columns["dur"])
            self.run.count_damaged_rows(int((~possible).sum()))
            process_parts.append(np.full(int(possible.sum()), process, np.int64))
            columns["ts"] = self.clock.job_ns(process, columns["ts"])
            for name, column in columns.items():
                parts[name].append(column[possible])
        no_rows = [np.empty(0, np.int64)]
        all_parts = {"process": process_parts, **parts}
        return pd.DataFrame(
            {name: np.concatenate(column or no_rows) for name, column in all_parts.items()}
        )

    def processes(self) -> pd.DataFrame | None:
        """Return table `processes`, from the last row of each process."""
        last_rows = {
            row["process"]: row
            for _, row in self.run.rows("processes")
            if is_whole(row.get("process"))
        }
        checks = checks_of(TABLES["processes"])
        rows = [row for row in last_rows.values() if has_valid_cells(row, checks)]
        if not rows:
            return None
        return make_table("processes", {name: [row[name] for row in rows] for name, _ in checks})

    def loader(self) -> pd.DataFrame:
        """Return table `loader`."""
        rows = records_of_kinds(self.records, (events.NEXT, events.LOADER_START))
        columns = named_columns(rows, events.NEXT)
        iterators = [*zip(rows["process"].tolist(), columns["iterator"].tolist(), strict=True)]
        for name, field in ITERATOR_COLUMNS.items():
            known = {
                key: int(row[field])
                for key, row in self.name_rows.items()
                if is_whole(row.get(field)) or isinstance(row.get(field), bool)
            }
            values = [known.get(iterator, -1) for iterator in iterators]
            columns[name] = np.array(values, np.int64)
        columns["kind"] = np.where(rows["kind"] == events.NEXT, "next", "start")
        return make_table("loader", columns)

    def fetches(self) -> pd.DataFrame:
        """Return table `fetches`."""
        rows = records_of_kinds(self.records, (events.FETCH,))
        return make_table("fetches", named_columns(rows, events.FETCH))

    def padding(self) -> pd.DataFrame:
        """Return table `padding`."""
        rows = records_of_kinds(self.records, (events.PADDING,))
        columns = named_columns(rows, events.PADDING)
        columns["source"] = np.where(rows["v0"] == 1, "loader", "call")
        columns["side"] = rows["v6"].map(PADDED_SIDES)
        columns["padded_share"] = columns.pop("padded_ppm") / 1e6
        columns["masked"] = rows["v7"] == 1
        return make_table("padding", columns)

    def copies(self) -> pd.DataFrame:
        """Return table `copies`: the calls on the host."""
        rows = records_of_kinds(self.records, (events.COPY,))
        columns = named_columns(rows, events.COPY)
        columns["direction"] = np.where(rows["v1"] == 1, "h2d", "d2h")
        unknown = np.full(len(rows), -1, np.int64)
        columns |= dict.fromkeys(("device", "stream", "correlation", "launch"), unknown)
        return make_table("copies", columns)

    def device_times(self) -> pd.DataFrame:
        """Return table `device_times`."""
        rows = records_of_kinds(self.records, (events.DEVICE_TIME,))
        columns = named_columns(rows, events.DEVICE_TIME)
        columns["call"] = np.where(rows["v0"] == events.TIMED_COPY, "copy", "loader")
        return make_table("device_times", columns)

    def ranges(self) -> pd.DataFrame:
        """Return table `ranges`: records of the probe, and NVTX ranges of the probe and of the
        injection library.
        """
        names = code_names(self.name_rows)
        injected_names = code_names(self.read_name_rows("nvtx.names"))
        parts = [
            probe_range_columns(records_of_kinds(self.records, CATEGORIES), names),
            nvtx_columns(records_of_kinds(self.records, (events.NVTX,)), names),
            nvtx_columns(self.read_records("nvtx.records"), injected_names),
        ]
        columns = {
            name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]
        }
        columns["category"] = with_logs_apart(columns)
        order = np.argsort(columns["ts"], kind="stable")
        return make_table("ranges", {name: column[order] for name, column in columns.items()})

    def samples(self, table: str, *streams: str) -> pd.DataFrame | None:
        """Return a table from streams in JSON lines that have its columns without `process`. None
        without rows.
        """
        checks = checks_of([column for column in TABLES[table] if column.name != "process"])
        columns: dict[str, list[Any]] = {name: [] for name in ("process", *dict(checks))}
        for stream in streams:
            for process, row in self.run.rows(stream):
                if has_valid_cells(row, checks):
                    columns["process"].append(process)
                    for name, _ in checks:
                        columns[name].append(row[name])
        if not columns["ts"]:
            return None
        frame = make_table(table, columns)
        processes, raw_ns = frame["process"].to_numpy(np.int64), frame["ts"].to_numpy(np.int64)
        frame["ts"] = self.clock.job_ns_of(processes, raw_ns)
        return frame.sort_values("ts", kind="stable").reset_index(drop=True)

    def source_lines(self) -> pd.DataFrame:
        """Return table `source_lines`."""
        checks = checks_of(TABLES["source_lines"][1:])
        rows = [
            (process, *(row[name] for name, _ in checks))
            for process, row in self.run.rows("source.lines")
            if has_valid_cells(row, checks)
        ]
        names = ("process", *dict(checks))
        columns = zip(*rows, strict=True) if rows else ([] for _ in names)
        return make_table("source_lines", dict(zip(names, map(list, columns), strict=True)))

    def stacks(self) -> pd.DataFrame | None:
        """Return the stacks that the probes sampled, and those from outside of other processes."""
        inside = self.samples("stacks", "probe.stacks")
        outside = self.samples("stacks", "pyspy.stacks")
        if inside is None or outside is None:
            return outside if inside is None else inside
        others = outside[~outside["process"].isin(inside["process"].unique())]
        if not len(others):
            return inside
        both = pd.concat([inside.astype({"stack": str}), others.astype({"stack": str})])
        both = both.astype({"stack": "category"})
        return both.sort_values("ts", kind="stable").reset_index(drop=True)

    def counters(self) -> pd.DataFrame | None:
        """Return table `counters`, with a row for each number of a reading. None without rows.

        The times are those of the agent, so no offset of a process applies.
        """
        readings = Readings()
        for process, row in self.run.rows("host.counters"):
            ts, tid = row.get("ts"), row.get("tid", -1)
            if is_time(ts) and is_whole(tid):
                values = ((name, row[name]) for name in row if name not in ("ts", "tid"))
                readings.add((process, tid), ts, values)
        if not readings:
            return None
        keys = {"process": int64_array(readings.first), "tid": int64_array(readings.second)}
        frame = make_table("counters", {**keys, **readings.columns()})
        frame["ts"] = self.clock.job_ns(-1, frame["ts"].to_numpy(np.int64))
        return frame.sort_values("ts", kind="stable").reset_index(drop=True)


def is_possible_ns(ns: Ints) -> NDArray[np.bool_]:
    """Return which values are times or durations that a recording can contain."""
    return (ns > -LARGEST_NS) & (ns < LARGEST_NS)


def code_names(rows: NameRows) -> CodeNames:
    """Return the name of each code, `None` for one whose name is not text."""
    names = {key: row.get("name") for key, row in rows.items()}
    return {key: name if isinstance(name, str) else "None" for key, name in names.items()}


def records_of_kinds(records: pd.DataFrame, kinds: Iterable[int]) -> pd.DataFrame:
    """Return the records of these kinds, in the order of time."""
    rows = records[records["kind"].isin(list(kinds))]
    return rows.sort_values("ts", kind="stable").reset_index(drop=True)


def named_columns(rows: pd.DataFrame, kind: int) -> dict[str, Any]:
    """Return the columns of records of one kind, with its values under the names of
    events.VALUES.
    """
    columns = {name: rows[name] for name in COMMON_COLUMNS}
    return columns | {name: rows[f"v{at}"] for at, name in enumerate(events.VALUES[kind])}


def probe_range_columns(rows: pd.DataFrame, names: CodeNames) -> dict[str, Any]:
    """Return the columns of `ranges` for records of the kinds in CATEGORIES."""
    kind = rows["kind"].to_numpy()
    category = pd.Series(kind).map(CATEGORIES).to_numpy(object)
    process = rows["process"].to_numpy(np.int64)
    name = names_of_codes(process, value_of_kind(rows, NAME_VALUE), names)
    tokens = value_of_kind(rows, TOKENS_VALUE)
    return {
        **{column: rows[column] for column in COMMON_COLUMNS},
        "category": category,
        "name": np.where(pd.notna(name), name, category),
        "object": value_of_kind(rows, OBJECT_VALUE),
        "value": with_gradient_mode(rows, value_of_kind(rows, NUMBER_VALUE)),
        "label": names_of_codes(process, value_of_kind(rows, LABEL_VALUE), names),
        "payload": tokens.where(tokens >= 0).to_numpy(np.float64),
    }


def with_logs_apart(columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the categories of ranges; calls of fsync that are too frequent for checkpoints get
    LOG_CATEGORY.


    A process that calls it in more than half of its steps writes a log.
    """
    category, process = columns["category"].copy(), columns["process"]
    is_fsync = (columns["name"] == FSYNC) & (category == CATEGORIES[events.CHECKPOINT])
    for code in np.unique(process[is_fsync]):
        of_process = process == code
        steps = int((of_process & (category == CATEGORIES[events.OPTIMIZER])).sum())
        is_log = is_fsync & of_process
        if 2 * int(is_log.sum()) > steps > 0:
            category[is_log] = LOG_CATEGORY
    return category


def with_gradient_mode(rows: pd.DataFrame, values: "pd.Series[int]") -> "pd.Series[int]":
    """Return the values, 2 for forward passes in training mode while gradients are off."""
    is_training = (rows["kind"].to_numpy() == events.FORWARD) & (values.to_numpy() == 1)
    return values.mask(is_training & (rows["v2"].to_numpy() == 0), 2)


def value_of_kind(rows: pd.DataFrame, column_of_kind: dict[int, str]) -> "pd.Series[int]":
    """Return for each record the value in the column that its kind has; -1 where it has none."""
    kind = rows["kind"].to_numpy()
    values = np.full(len(rows), -1, np.int64)
    for wanted_kind, column in column_of_kind.items():
        is_kind = kind == wanted_kind
        values[is_kind] = rows[column].to_numpy()[is_kind]
    return pd.Series(values)
