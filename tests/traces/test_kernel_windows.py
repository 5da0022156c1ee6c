"""The profiling windows of a run folder: the traces that are read, and those counted as damaged."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd

from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.kernel_windows import MOST_READ, profiler_only_ranges
from perfscope.traces.run_folder.manifest import Manifest

MS = 1_000_000
ZERO_NS = 1_000_000_000_000
REAL_NS = 1_700_000_000_000_000_000


def write_run(folder: Path, windows: list[dict[str, Any]]) -> Path:
    """Write a run of one process with these windows; a window with a name has a trace of one
    operator.
    """
    manifest = Manifest("job", "here", "boot", ZERO_NS, REAL_NS, "0", [], 1, "kernels")
    run = RunWriter.create(folder, manifest)
    run.jsonl("processes", -1).append(
        {
            "process": 0,
            "host": "here",
            "boot_id": "boot",
            "pid": 1,
            "start_ticks": 1,
            "role": "main",
            "rank": 0,
        }
    )
    (folder / "kineto").mkdir()
    for number, row in enumerate(windows):
        run.jsonl("kernels", 0).append(row)
        if "name" in row:
            event = {
                "ph": "X",
                "cat": "cpu_op",
                "name": f"aten::op{number}",
                "pid": 1,
                "tid": 1,
                "ts": 10.0,
                "dur": 5.0,
            }
            marks = [
                {**event, "cat": "user_annotation", "tid": 2, "name": name}
                for name in ("gloo:all_reduce", "user range", "Optimizer.step#SGD.step")
            ]
            zero = REAL_NS + number * 100 * MS
            whole = {
                "schemaVersion": 1,
                "baseTimeNanoseconds": zero,
                "traceEvents": [event, *marks],
            }
            (folder / "kineto" / row["name"]).write_bytes(gzip.compress(json.dumps(whole).encode()))
    run.close()
    return folder


def row(number: int, **more: Any) -> dict[str, Any]:
    at = ZERO_NS + number * 100 * MS
    times = {"first": at, "begin": at, "end": at + 50 * MS, "last": at + 60 * MS}
    return {"mono": at, "real": REAL_NS + number * 100 * MS, **times, "steps": 1, **more}


def test_a_trial_and_a_removed_trace_have_a_row_and_no_operators(tmp_path: Path) -> None:
    rows = [
        row(0, trial=True),
        row(1, name="rank0.json.gz"),
        row(2, name="rank0-2.json.gz"),
        {"gone": "rank0.json.gz"},
    ]
    trace = load_trace(write_run(tmp_path / "run", rows))
    windows, ops = trace.table("windows"), trace.table("ops")
    assert windows is not None and ops is not None
    assert list(windows["kept"]) == [False, False, True]
    assert list(ops["name"]) == ["aten::op2"] and trace.damaged_records == 0
    assert list(ops["ts"]) == [200 * MS + 10_000]
    ranges = trace.table("ranges")
    assert ranges is not None
    # Of the annotations, only those that the probe does not record are read.
    assert [(mark.name, mark.tid, mark.ts) for mark in ranges.itertuples()] == [
        (name, 2, 200 * MS + 10_000) for name in ("gloo:all_reduce", "user range")
    ]


def test_of_very_many_windows_all_have_a_row_and_the_newest_are_read(tmp_path: Path) -> None:
    rows = [row(number, name=f"rank0-{number}.json.gz") for number in range(MOST_READ + 3)]
    trace = load_trace(write_run(tmp_path / "run", rows))
    windows, ops = trace.table("windows"), trace.table("ops")
    assert windows is not None and ops is not None
    assert len(windows) == MOST_READ + 3 and list(ops["name"]) == [
        f"aten::op{n}" for n in range(3, MOST_READ + 3)
    ]


def test_a_missing_trace_is_counted_as_damaged(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "run", [row(0, name="rank0.json.gz"), row(1, name="rank0-2.json.gz")]
    )
    (folder / "kineto" / "rank0.json.gz").unlink()
    assert load_trace(folder).damaged_records == 1


def test_ranges_without_a_name_are_annotations_of_the_program() -> None:
    ranges = pd.DataFrame({"name": [None, "step"], "category": ["annotation", "annotation"]})
    ranges = ranges.astype("category")
    assert len(profiler_only_ranges(ranges)) == 2
