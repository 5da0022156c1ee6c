"""The tables that are read from the streams of a run folder."""

import array
import os
from pathlib import Path

import msgspec
import pytest

from perfscope.errors import UnreadableRun
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder import events
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest, SourceStatus
from perfscope.traces.schema import TABLES
from perfscope.ui.answer_cache import recalled_answer
from tests.build import FACTS, table

ROWS = [
    [events.NEXT, 7, 1000, 50, 4, 3, 2, 1, 0, 11, 12, -1],
    [events.LOADER_START, 7, 900, 90, 4, 3, 2, -1, -1, -1, -1, -1],
    [events.FORWARD, 7, 1050, 30, 9, 1, 1, -1, -1, -1, -1, -1],
    [events.GC, 7, 1085, 5, 2, 77, -1, -1, -1, -1, -1, -1],
    [events.CHECKPOINT, 7, 1100, 500, 4096, 8, -1, -1, -1, -1, -1, -1],
    [events.COPY, 7, 1700, 10, 256, 1, 1, 0, -1, -1, -1, -1],
]


def write(path: Path) -> None:
    run = RunWriter.create(path, msgspec.convert({**FACTS, "zero_monotonic_ns": 100}, Manifest))
    run.arrow("probe.records", 0, events.COLUMNS).append(
        array.array("q", [cell for row in ROWS for cell in row])
    )
    fetch = [events.FETCH, 8, 800, 100, 0, 70, 30, 60, 20, 4096, 0, 16]
    run.arrow("probe.records", 1, events.COLUMNS).append(array.array("q", fetch))
    names = run.jsonl("probe.names", 0)
    names.append({"code": 9, "kind": "module", "name": "Net"})
    names.append({"code": 8, "kind": "saver", "name": "torch.save"})
    run.jsonl("probe.stacks", 0).append(
        {"ts": 1200, "tid": 7, "weight_ns": 5, "stack": "main (a.py:1);f (a.py:2)"}
    )
    run.jsonl("host.states", 0).append({"ts": 1300, "tid": 7, "state": "gil"})
    run.jsonl("host.counters", 0).append({"ts": 1400, "tid": -1, "cpu_ns": 5, "rss_bytes": 6})
    run.manifest.sources = [SourceStatus("thread_states", "ok")]
    run.close()


def test_every_table_has_the_declared_columns_and_dtypes(tmp_path: Path) -> None:
    write(tmp_path / "r")
    trace = load_trace(tmp_path / "r")
    for name in ("loader", "fetches", "ranges", "copies", "stacks", "thread_states", "counters"):
        frame = trace.table(name)
        assert frame is not None, name
        assert [(column, str(dtype)) for column, dtype in frame.dtypes.items()] == [
            (c.name, c.dtype) for c in TABLES[name]
        ]
    assert list(table("processes", [{}]).columns) == [column.name for column in TABLES["processes"]]


def test_records_become_rows_in_job_time(tmp_path: Path) -> None:
    write(tmp_path / "r")
    trace = load_trace(tmp_path / "r")
    loader, ranges, fetches = trace.table("loader"), trace.table("ranges"), trace.table("fetches")
    assert loader is not None and ranges is not None and fetches is not None
    assert loader[["ts", "kind", "queue_depth", "workers"]].values.tolist() == [
        [800, "start", -1, 2],
        [900, "next", 1, 2],
    ]
    assert ranges[["ts", "category", "name", "object", "value"]].values.tolist() == [
        [950, "forward", "Net", 9, 1],
        [985, "gc", "gc", 2, 77],
        [1000, "checkpoint", "torch.save", -1, 4096],
    ]
    assert fetches[["process", "dataset_ns", "collate_ns", "run_delay_ns"]].values.tolist() == [
        [1, 70, 30, 20]
    ]
    assert trace.span_ns == (700, 1610)


def test_an_absent_table_has_the_reason_of_its_source(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path / "r", msgspec.convert(FACTS, Manifest))
    run.manifest.sources = [SourceStatus("probe", "unavailable", "the container lacks SYS_PTRACE")]
    run.close()
    trace = load_trace(tmp_path / "r")
    assert trace.table("loader") is None
    assert trace.why_absent("loader") == "the container lacks SYS_PTRACE"


def test_a_path_that_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableRun, match="symbolic link"):
        load_trace(tmp_path / "loop")
    with pytest.raises(UnreadableRun, match="is not a regular file"):
        load_trace(tmp_path / "pipe")
    assert recalled_answer(tmp_path / "loop") is None and recalled_answer(tmp_path / "pipe") is None
